"""Resolve the skeleton in force: that of the config, completed by the labels."""

import logging
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.skeleton import Skeleton

_log = logging.getLogger(__name__)


def choose_bodyparts(skeleton: Skeleton, labelled: Iterable[str]) -> tuple[str, ...]:
    """Return the bodyparts to use: the skeleton's, else those of the labels.

    Parameters
    ----------
    skeleton
        Of the config; bodyparts may be empty.
    labelled
        Bodyparts of the label tables in order of first appearance.

    Raises
    ------
    LabelError
        If the skeleton names bodyparts that no table has.
    """
    labelled = tuple(labelled)
    has = f"the label tables have {', '.join(labelled)}"
    wanted = {
        "bodyparts": skeleton.bodyparts,
        "edges": tuple(name for pair in skeleton.edges for name in pair),
        "symmetries": tuple(name for pair in skeleton.symmetries for name in pair),
        "unique_bodyparts": skeleton.unique_bodyparts,
    }
    problems = [
        f"skeleton.{key} names {name}, but {has}"
        for key, names in wanted.items()
        for name in dict.fromkeys(names)
        if name not in labelled
    ]
    if problems:
        raise LabelError("config", problems)
    left_out = [name for name in labelled if skeleton.bodyparts and name not in skeleton.bodyparts]
    if left_out:
        _log.info("labelled but not in skeleton.bodyparts, so left out: %s", ", ".join(left_out))
    return skeleton.bodyparts or labelled


def choose_unique(
    skeleton: Skeleton, bodyparts: Sequence[str], labelled: Iterable[str]
) -> tuple[str, ...]:
    """Return the unique bodyparts: the config's, and those of the labels.

    Parameters
    ----------
    skeleton
        Of the config.
    bodyparts
        All bodyparts in use.
    labelled
        Those that the labels have under the individual ``single``.

    Raises
    ------
    LabelError
        If the config names its bodyparts, and does not say that one of these is unique.
    """
    labelled = [name for name in bodyparts if name in set(labelled)]
    unsaid = [name for name in labelled if name not in skeleton.unique_bodyparts]
    if skeleton.bodyparts and unsaid:
        problem = (
            f"skeleton.bodyparts has {', '.join(unsaid)}, which the labels have once per image "
            "(individual `single`): name it in skeleton.unique_bodyparts, too"
        )
        raise LabelError("config", [problem])
    unique = {*skeleton.unique_bodyparts, *labelled}
    return tuple(name for name in bodyparts if name in unique)


def resolve_skeleton(
    skeleton: Skeleton,
    bodyparts: Sequence[str],
    unique: Sequence[str],
    sources: Iterable[Skeleton],
) -> Skeleton:
    """Complete the config's skeleton with edges and symmetries of the labels.

    Parameters
    ----------
    skeleton
        Of the config. Its edges are taken, and its symmetries; where it has none, those of the
        sources.
    bodyparts, unique
        All bodyparts in use, and the unique ones among them.
    sources
        Of the label sources, in the config's order.

    Raises
    ------
    LabelError
        If an edge of the config joins a unique bodypart of the labels.
    """
    sources = list(sources)
    animal = set(bodyparts) - set(unique)
    edges = skeleton.edges or _join_pairs(
        [pair for source in sources for pair in source.edges if set(pair) <= animal]
    )
    symmetries = skeleton.symmetries or _join_symmetries(
        [pair for source in sources for pair in source.symmetries if set(pair) <= set(bodyparts)]
    )
    try:
        return Skeleton(
            bodyparts=tuple(bodyparts),
            edges=edges,
            symmetries=symmetries,
            unique_bodyparts=tuple(unique),
        )
    except ValidationError as error:
        problems = [one["msg"].removeprefix("Value error, ") for one in error.errors()]
        raise LabelError("config", [f"skeleton.{problem}" for problem in problems]) from None


def find_missing_edges(skeleton: Skeleton, config: Config) -> str | None:
    """Explain that edges are missing to assemble animals; None if none are missing.

    One animal, one bodypart and a search for whole animals (``top-down``) need none.

    Parameters
    ----------
    skeleton
        The skeleton in force, with its bodyparts.
    config
        Its ``individuals`` and ``assembly`` are used.
    """
    individuals = config.individuals
    if individuals.max == 1 or individuals.method != "bottom-up":
        return None
    bodyparts = [skeleton.bodyparts[number] for number in skeleton.animal_indices]
    if config.assembly.graph == "complete" or len(bodyparts) < 2:
        return None
    if not skeleton.edges:
        return (
            "neither `skeleton.edges` nor the labels have edges, but bodyparts of several animals "
            "are joined along them: set `skeleton.edges`, or `assembly.graph: complete`"
        )
    joined = {name for pair in skeleton.edges for name in pair}
    apart = [name for name in bodyparts if name not in joined]
    if apart:
        _log.warning("no edge reaches %s: it is never joined to an animal", ", ".join(apart))
    return None


def _join_pairs(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return each pair once, in whichever direction it is given."""
    joined: dict[frozenset[str], tuple[str, str]] = {}
    for pair in pairs:
        joined.setdefault(frozenset(pair), pair)
    return tuple(joined.values())


def _join_symmetries(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return pairs of bodyparts that are in no earlier pair."""
    kept: list[tuple[str, str]] = []
    paired: set[str] = set()
    for pair in _join_pairs(pairs):
        if paired.isdisjoint(pair):
            kept.append(pair)
            paired |= set(pair)
    return tuple(kept)
