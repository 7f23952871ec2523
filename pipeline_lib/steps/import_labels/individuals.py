"""Assign imported labels to slots of the individual axis by the names in each source."""

import difflib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.settings.individuals import IndividualSettings
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL, UNIQUE_INDIVIDUAL
from pipeline_lib.core.untrusted.names import natural_order

_log = logging.getLogger(__name__)

_MOST_NAMED = 6  # in a message


@dataclass(frozen=True)
class _Animal:
    """Describe one animal of one image.

    Attributes
    ----------
    individual, named
        As in the source.
    position
        x and y of each bodypart in turn, infinite where not labelled: an order of animals that
        does not depend on that of the file.
    """

    individual: str
    named: bool
    position: tuple[float, ...]

    @property
    def order(self) -> tuple[bool, tuple[tuple[int, str], ...], tuple[float, ...]]:
        """Sort key: first the named animals by name, then the others by position."""
        name = natural_order(self.individual) if self.named else ()
        return not self.named, name, self.position


def keep_single_individual(points: pd.DataFrame) -> pd.DataFrame:
    """Drop unlabelled individuals and give the one that is labelled its common name.

    Parameters
    ----------
    points
        Columns `pipeline_lib.io.labels.points.POINT_COLUMNS`, ``source_number`` and
        ``identified`` (`pipeline_lib.io.labels.points.SourceLabels`).
        Points of DeepLabCut's individual ``single`` become the animal's.

    Raises
    ------
    LabelError
        If a source labels several: where its names are no identities (SLEAP's tracks are names
        within one video, COCO has none), two in one image.
    """
    problems, kept = [], []
    for _, rows in points.groupby("source_number", sort=True):
        animals = rows[rows["individual"] != UNIQUE_INDIVIDUAL]
        labelled = animals.loc[animals["visible"], ["image", "individual"]].drop_duplicates()
        names = labelled["individual"].unique().tolist()
        identified = bool(rows["identified"].iloc[0])
        number = len(names) if identified else labelled.groupby("image").size().max()
        if number > 1:
            problems.append(
                f"{rows['source'].iloc[0]}: {number} individuals are labelled ({_join(names)}), "
                "but `individuals.max` is 1: set it to the most animals in one image"
            )
            continue
        found = _keep_labelled(rows, names) if identified else rows
        problems += _check_once(found)
        kept.append(found.assign(individual=SINGLE_INDIVIDUAL))
    if problems:
        raise LabelError("labels", problems)
    joined: pd.DataFrame = pd.concat(kept, ignore_index=True)
    return joined


def _keep_labelled(rows: pd.DataFrame, labelled: Sequence[str]) -> pd.DataFrame:
    names = [name for name in rows["individual"].unique() if name != UNIQUE_INDIVIDUAL]
    chosen = next(iter([*labelled, *names]), UNIQUE_INDIVIDUAL)
    if len(names) > 1:
        _log.info("only individual %s is labelled: the others are left out", chosen)
    kept: pd.DataFrame = rows[rows["individual"].isin([chosen, UNIQUE_INDIVIDUAL])]
    return kept


def place_individuals(
    points: pd.DataFrame,
    settings: IndividualSettings,
    bodyparts: Sequence[str],
    unique: Sequence[str],
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Give every labelled animal one of ``individuals.max`` names, each once in an image.

    The names are those of the config, else those of the labels, completed to ``individuals.max``
    by ``individual1`` and so on. Where the labels have more names than animals fit in an image
    (tracks that begin anew in each video), their names say nothing across images: all animals
    get such counted names. Animals without a name take the free slots of their image.

    Parameters
    ----------
    points
        Columns `pipeline_lib.io.labels.points.POINT_COLUMNS`.
    settings
        Most individuals, and their names.
    bodyparts, unique
        All bodyparts to use, and the unique ones among them; a unique one is that of the image
        whichever individual has it.

    Returns
    -------
    points
        Rows of the labelled points only, with the new names in ``individual``. They do not depend
        on the order of rows.
    individuals
        The names, in the order of the individual axis.

    Raises
    ------
    LabelError
        If an image has more animals than ``individuals.max`` or a unique bodypart twice, if an
        individual is not among ``individuals.names``, or if identities are to be learned and an
        animal has none.
    """
    declared = _list_names(points)
    points = points[points["visible"] & points["bodypart"].isin(bodyparts)]
    is_unique = points["bodypart"].isin(unique)
    single = points[is_unique].assign(individual=UNIQUE_INDIVIDUAL)
    points = points[~is_unique]
    problems = _check_unique(single)
    animals = _collect_animals(points, [name for name in bodyparts if name not in unique])
    problems += _check_numbers(animals, settings.max)
    names = _list_names(points)
    problems += _check_names(names, points, settings)
    if problems:
        raise LabelError("labels", problems)
    individuals, lasting = _choose_names(names, declared, settings)
    if settings.identity:
        _check_identities(animals, lasting=lasting)
    slots = {
        (image, animal.individual, animal.named): name
        for image, found in animals.items()
        for name, animal in _fill_slots(found, individuals, lasting=lasting)
    }
    keys = zip(points["image"], points["individual"], points["named"], strict=True)
    placed = points.assign(individual=[slots[key] for key in keys])
    return pd.concat([placed, single], ignore_index=True), individuals


def _collect_animals(points: pd.DataFrame, bodyparts: Sequence[str]) -> Mapping[str, list[_Animal]]:
    """Return the animals of each image, in an order that does not depend on that of the rows."""
    order = {name: number for number, name in enumerate(bodyparts)}
    positions: dict[tuple[str, str, bool], list[float]] = {}
    columns = (points[name] for name in ("image", "individual", "named", "bodypart", "x", "y"))
    for image, individual, named, bodypart, x, y in zip(*columns, strict=True):
        key = (image, individual, bool(named))
        position = positions.setdefault(key, [np.inf] * (2 * len(order)))
        position[2 * order[bodypart] : 2 * order[bodypart] + 2] = [x, y]
    animals: dict[str, list[_Animal]] = {}
    for (image, individual, named), position in positions.items():
        animals.setdefault(image, []).append(_Animal(individual, named, tuple(position)))
    return {image: sorted(found, key=lambda one: one.order) for image, found in animals.items()}


def _fill_slots(
    animals: Iterable[_Animal], individuals: Sequence[str], *, lasting: bool
) -> list[tuple[str, _Animal]]:
    own = {one.individual for one in animals if one.named} if lasting else set()
    free = iter(name for name in individuals if name not in own)
    return [(one.individual if lasting and one.named else next(free), one) for one in animals]


def _list_names(points: pd.DataFrame) -> list[str]:
    names = set(points.loc[points["named"], "individual"]) - {UNIQUE_INDIVIDUAL}
    return sorted(names, key=natural_order)


def _choose_names(
    names: Sequence[str], declared: Sequence[str], settings: IndividualSettings
) -> tuple[tuple[str, ...], bool]:
    """Return the names of the slots, and whether a name means the same animal in all images.

    Names without a labelled point are taken where there is room for them.
    """
    lasting = bool(settings.names) or len(names) <= settings.max
    if not lasting:
        _log.info(
            "the labels name %d individuals (%s), but `individuals.max` is %d: their names are "
            "not used",
            len(names),
            _join(names),
            settings.max,
        )
    more = [name for name in declared if name not in names][: max(settings.max - len(names), 0)]
    found = sorted([*names, *more], key=natural_order) if lasting else []
    chosen = list(settings.names or found)
    counted = (f"individual{number}" for number in range(1, 2 * settings.max + 1))
    free = (name for name in counted if name not in chosen)
    return (*chosen, *(next(free) for _ in range(settings.max - len(chosen)))), lasting


def _check_once(rows: pd.DataFrame) -> list[str]:
    labelled = rows.loc[rows["visible"], ["source", "image", "bodypart"]]
    again = labelled[labelled.duplicated(["image", "bodypart"])]
    return [
        f"{source}: {bodypart} is a bodypart of the animal and a unique one: rename one of them"
        for source, bodypart in again[["source", "bodypart"]]
        .drop_duplicates()
        .itertuples(index=False)
    ]


def _check_unique(single: pd.DataFrame) -> list[str]:
    counts = Counter(zip(single["image"], single["bodypart"], strict=True))
    return [
        f"{image}: {bodypart} is labelled {count} times, but it is one of the unique bodyparts"
        for (image, bodypart), count in counts.items()
        if count > 1
    ]


def _check_numbers(animals: Mapping[str, list[_Animal]], most: int) -> list[str]:
    return [
        f"{image}: {len(found)} animals are labelled ({_join(one.individual for one in found)}), "
        f"but `individuals.max` is {most}"
        for image, found in animals.items()
        if len(found) > most
    ]


def _check_names(
    names: Iterable[str], points: pd.DataFrame, settings: IndividualSettings
) -> list[str]:
    known = settings.names
    if not known:
        return []
    problems = []
    for name in names:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {_join(known)}"
        image = points.loc[points["named"] & (points["individual"] == name), "image"].iloc[0]
        problems.append(
            f"{image}: individual {name} is labelled, but is not among `individuals.names`; {hint}"
        )
    return problems


def _check_identities(animals: Mapping[str, list[_Animal]], *, lasting: bool) -> None:
    nameless = [image for image, found in animals.items() if not all(one.named for one in found)]
    if lasting and not nameless:
        return
    problem = (
        f"{nameless[0]}: an animal has no name (so it is in {len(nameless)} images)"
        if nameless
        else "the labels have more names than `individuals.max`"
    )
    advice = "give each animal one name in all labels, or set `individuals.identity` to false"
    raise LabelError("labels", [f"{problem}, but `individuals.identity` is set: {advice}"])


def _join(names: Iterable[str]) -> str:
    names = list(names)
    more = f", and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(str, names[:_MOST_NAMED])) + more
