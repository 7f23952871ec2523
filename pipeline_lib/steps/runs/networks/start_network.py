"""Find the network that a training starts from, and refuse one that does not fit.

Imports are light: the workflow asks whenever it is parsed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, takewhile
from pathlib import Path
from typing import TypeVar

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.formats.backbones import name_architecture
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.base import AUTO
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.untrusted.bundle_address import names_bundle
from pipeline_lib.core.untrusted.credentials import show_address
from pipeline_lib.models.card import ModelCard, read_card
from pipeline_lib.models.zoo.archive import Bundle
from pipeline_lib.models.zoo.manifest import LOCATOR
from pipeline_lib.models.zoo.sources import find_bundle, list_unclear_addresses

Network = TypeVar("Network")
# What decides the layers of a network, and what its maps are of.
_LAYERS = ("backbone", "head_channels", "head_context", "head_stages", "stride")
_MAPS = ("skeleton", "edges", "identities")


@dataclass(frozen=True)
class BundledStart:
    """Name a network in a bundle that a training starts from.

    Attributes
    ----------
    bundle
        The bundle.
    folder
        Folder of the network in it: empty, that of a member of an ensemble, or that of the
        locator.
    """

    bundle: Bundle
    folder: str = ""

    @property
    def weights(self) -> Path:
        """Return the file whose hash the training depends on: the bundle."""
        return self.bundle.path

    @property
    def card(self) -> ModelCard | None:
        """Return the network's card; None if the bundle has no such network to start from.

        Detectors of other tools are none: they are of another kind than our locators.
        """
        card = self.bundle.networks.get(self.folder)
        return None if card is None or (self.finds_animals and card.origin) else card

    @property
    def finds_animals(self) -> bool:
        """Return whether the network finds the animals."""
        return self.folder == LOCATOR

    @property
    def locator(self) -> "BundledStart":
        """Return the network that finds the animals."""
        return BundledStart(self.bundle, LOCATOR)


def find_start(
    config: Config, *, locator: bool = False, member: int = 1
) -> ModelFiles | BundledStart:
    """Return the network of ``training.start_from``, or its locator.

    Parameters
    ----------
    config
        The run.
    locator
        Return the network that finds the animals.
    member
        Number of the network to train in its ensemble, for `choose_start`.

    Raises
    ------
    ModelError
        If it is a bundle that cannot be found or used.
    ValueError
        If the training starts from scratch.
    """
    if config.training.start_from is None:
        raise ValueError("training.start_from names no network")
    if names_bundle(config.training.start_from):
        bundle = find_bundle(config.training.start_from)
        if locator:
            return BundledStart(bundle).locator
        folders = ("", *bundle.manifest.list_ensemble())
        return BundledStart(bundle, choose_start(folders, member))
    files = Results(Path(config.results)).model(config.training.start_from)
    if locator:
        return files.locator
    return choose_start(list_trained(files), member)


def list_trained(files: ModelFiles) -> list[ModelFiles]:
    """Return the first network of an ensemble, and the others that belong to it.

    A larger ensemble, or one with other bodyparts, may have left members there.
    """
    others = takewhile(partial(_belong_together, files), map(files.member, count(2)))
    return [files, *others]


def _belong_together(files: ModelFiles, other: ModelFiles) -> bool:
    try:
        first, card = read_card(files.card), read_card(other.card)
    except ModelError:
        return False
    same = all(getattr(first, name) == getattr(card, name) for name in (*_LAYERS, *_MAPS))
    return same and other.weights.is_file()


def choose_start(networks: Sequence[Network], member: int) -> Network:
    """Return the network of an ensemble that a member of another ensemble starts from.

    Each member starts from a network of its own, so that they differ from the beginning. If there
    are fewer networks than members, the first is used again after the last.

    Parameters
    ----------
    networks
        Networks to start from, at least one.
    member
        Number of the network to train, from 1 on.
    """
    return networks[(member - 1) % len(networks)]


def read_start_card(config: Config, *, locator: bool = False) -> ModelCard | None:
    """Return the card of the network whose maps a training goes on with.

    Returns
    -------
    ModelCard or None
        None for a missing locator, and for a network of another tool, whose head is not kept.

    Raises
    ------
    ModelError
        If the network is missing or cannot be used.
    """
    start = find_start(config, locator=locator)
    if isinstance(start, BundledStart):
        return None if start.card is None or start.card.origin else start.card
    return None if locator and not start.card.exists() else read_card(start.card)


def read_start_backbone(config: Config) -> str | None:
    """Return the backbone of the network of ``training.start_from``; None where it has no card.

    Raises
    ------
    ModelError
        If the network is missing or cannot be used.
    """
    start = find_start(config)
    card = start.card if isinstance(start, BundledStart) else read_card(start.card)
    return None if card is None else card.backbone


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
    own = config.for_locator() if locator else config
    try:
        files = find_start(config, locator=locator)
    except ModelError as error:
        return [f"`training.start_from`: {error}"]
    if isinstance(files, BundledStart):
        members = 1 if locator else config.training.ensemble
        starts = (find_start(config, locator=locator, member=one + 1) for one in range(members))
        problems = (
            problem
            for one in starts
            if isinstance(one, BundledStart)
            for problem in _list_bundle_problems(own, one)
        )
        unclear = list_unclear_addresses("training.start_from", config.training.start_from)
        return [*dict.fromkeys(problems), *unclear]
    if config.training.start_bodyparts:
        problem = (
            "`training.start_bodyparts`: goes with a bundle: the bodyparts of a network in the "
            "same results must be the same"
        )
        return [problem]
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
        "backbone": (card.backbone, _settle_backbone(own, card)),
        **_compare_heads(card, own),
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
        **_compare_heads(card, config),
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


def require_bundled_start(config: Config, start: BundledStart) -> ModelCard:
    """Return the card of a network in a bundle to start from, if its backbone and head fit.

    Parameters
    ----------
    config
        Settings of the training; for the locator, its own.
    start
        The network.

    Raises
    ------
    ModelError
        With every difference.
    """
    problems = list(_list_bundle_problems(config, start))
    if problems or start.card is None:
        raise ModelError("; ".join(problems) or f"{start.bundle.path}: has no locator")
    return start.card


def _settle_backbone(config: Config, card: ModelCard) -> str:
    """Return the backbone that a training has: that of the network it starts from if `auto`."""
    stated = config.training.backbone
    return card.backbone if stated == AUTO else stated


def _list_bundle_problems(config: Config, start: BundledStart) -> Iterator[str]:
    """Yield what keeps a training from starting from a bundle.

    A locator that the bundle lacks is none: it starts from the pretrained weights.
    """
    card = start.card
    if card is None:
        return
    if card.origin:
        yield from _list_foreign_problems(config, card)
        return
    yield from _list_differences(
        config,
        {
            "backbone": (card.backbone, _settle_backbone(config, card)),
            **_compare_heads(card, config),
            "stride": (
                card.stride,
                card.stride if config.targets.stride == AUTO else config.targets.stride,
            ),
        },
    )
    if start.finds_animals:
        return
    known, own = card.skeleton.bodyparts, config.skeleton.bodyparts
    for name, there in config.training.start_bodyparts.items():
        if there not in known:
            yield (
                f"`training.start_bodyparts`: the bundle has no bodypart {there!r}; it has "
                f"{', '.join(known)}"
            )
        if own and name not in own:
            yield f"`training.start_bodyparts`: `skeleton.bodyparts` has no {name!r}"


def _list_foreign_problems(config: Config, card: ModelCard) -> Iterator[str]:
    """Yield what keeps a training from taking the backbone of a network of another tool."""
    start = show_address(config.training.start_from or "")
    named = f"`training.start_from`: {start} is a network of {card.origin}"
    torchvision = card.lightning_pose is not None and not card.backbone.startswith("resnet")
    if card.sleap_nn is not None or torchvision:
        yield (
            f"{named} with the backbone {card.backbone}, which trainings here do not have: only "
            "a ResNet or an HRNet is taken over; set it to null"
        )
        return
    backbone = _settle_backbone(config, card)
    if name_architecture(backbone) != name_architecture(card.backbone):
        yield (
            f"{named}, of which the backbone is kept: set `training.backbone` to {card.backbone}, "
            f"not {backbone}"
        )
    if config.training.start_bodyparts:
        yield (
            f"`training.start_bodyparts`: of a network of {card.origin} the backbone alone is "
            "kept, and every bodypart is new: leave it out"
        )


def _compare_heads(card: ModelCard, config: Config) -> dict[str, tuple[object, object]]:
    """Return what describes the head, of a network and of a training."""
    names = ("head_channels", "head_context", "head_stages")
    return {name: (getattr(card, name), getattr(config.training, name)) for name in names}


def _list_differences(config: Config, wanted: dict[str, tuple[object, object]]) -> Iterator[str]:
    start = show_address(config.training.start_from or "")
    for name, (found, expected) in wanted.items():
        if found != expected:
            yield (
                f"`training.start_from`: {start} has {name} {show_value(found)}, "
                f"but this training has {show_value(expected)}: make them the same, or set it to "
                "null to train from scratch"
            )


def show_value(value: object) -> str:
    """Return the value of a setting for a message; the parts of a tuple with commas."""
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def _list_networks(files: ModelFiles, *, locator: bool) -> str:
    models = files.folder.parents[1 if locator else 0]
    names = sorted(card.parent.name for card in models.glob("*/model.json"))
    return ", ".join(names) or "none"
