"""Find the network that a training starts from, and refuse one that does not fit.

Imports are light: the workflow asks whenever it is parsed.
"""

from collections.abc import Iterator
from pathlib import Path

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.base import AUTO
from pipeline_lib.core.settings.run import Config
from pipeline_lib.models.card import ModelCard, read_card


def find_start(config: Config, *, locator: bool = False) -> ModelFiles:
    """Return the files of ``training.start_from``, or of its locator.

    Raises
    ------
    ValueError
        If the training starts from scratch.
    """
    if config.training.start_from is None:
        raise ValueError("training.start_from names no network")
    files = Results(Path(config.results)).model(config.training.start_from)
    return files.locator if locator else files


def check_start(config: Config, *, locator: bool = False) -> list[str]:
    """Return what the settings alone show to be wrong with the network to start from.

    Parameters
    ----------
    config
        The run.
    locator
        Check the network that finds the animal.
    """
    if config.training.start_from is None:
        return []
    files = find_start(config, locator=locator)
    own = config.for_locator() if locator else config
    try:
        card = read_card(files.card)
    except ModelError:
        card = None
    if card is None or not files.weights.is_file():
        problem = (
            f"`training.start_from`: {config.training.start_from}: no such network "
            f"({files.folder}); there are {_list_networks(files, locator=locator)}: train it "
            "first, or set it to null"
        )
        return [problem]
    listed, stride = own.skeleton.bodyparts, own.targets.stride
    wanted = {
        "backbone": (card.backbone, own.training.backbone),
        "head_channels": (card.head_channels, own.training.head_channels),
        "stride": (card.stride, card.stride if stride == AUTO else stride),
        "bodyparts": (card.skeleton.bodyparts, listed or card.skeleton.bodyparts),
    }
    return list(_list_differences(config, wanted))


def require_start(  # noqa: PLR0913 - what the maps depend on
    config: Config,
    files: ModelFiles,
    bodyparts: tuple[str, ...],
    edges: tuple[tuple[int, int], ...],
    identities: tuple[str, ...],
    *,
    scale: float,
) -> ModelCard:
    """Return the card of the network to start from if its maps are those to be trained.

    Parameters
    ----------
    config
        Settings of the training; for the locator, its own.
    files
        Of the network to start from.
    bodyparts, edges, identities
        Of the target store, as in `ModelCard`.
    scale
        Factor by which frames are shrunk.

    Raises
    ------
    ModelError
        With every difference.
    """
    card = read_card(files.card)
    wanted = {
        "backbone": (card.backbone, config.training.backbone),
        "head_channels": (card.head_channels, config.training.head_channels),
        "stride": (card.stride, config.targets.stride),
        "scale": (card.scale, scale),
        "bodyparts": (card.skeleton.bodyparts, bodyparts),
        "edges with an affinity field": (card.edges, edges),
        "identities": (card.identities, identities),
    }
    problems = list(_list_differences(config, wanted))
    if problems:
        raise ModelError("; ".join(problems))
    return card


def _list_differences(config: Config, wanted: dict[str, tuple[object, object]]) -> Iterator[str]:
    for name, (found, expected) in wanted.items():
        if found != expected:
            yield (
                f"`training.start_from`: {config.training.start_from} has {name} {_show(found)}, "
                f"but this training has {_show(expected)}: make them the same, or set it to null "
                "to train from scratch"
            )


def _show(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def _list_networks(files: ModelFiles, *, locator: bool) -> str:
    models = files.folder.parents[1 if locator else 0]
    names = sorted(card.parent.name for card in models.glob("*/model.json"))
    return ", ".join(names) or "none"
