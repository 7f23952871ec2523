"""Load the weights that a training starts from: all of them, or those of shared bodyparts."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.settings.run import ResolvedConfig
from pipeline_lib.io.targets.store import TargetLayout
from pipeline_lib.models.network.network import PoseNetwork
from pipeline_lib.models.training.run import load_start
from pipeline_lib.models.training.transfer import (
    match_channels,
    transfer_backbone,
    transfer_weights,
)
from pipeline_lib.models.zoo.manifest import WEIGHTS
from pipeline_lib.models.zoo.weights import unpack_weights
from pipeline_lib.steps.runs.networks.start_network import (
    BundledStart,
    require_bundled_start,
    require_start,
)

logger = logging.getLogger(__name__)


def plan_start(
    config: ResolvedConfig, start: ModelFiles | BundledStart, layout: TargetLayout
) -> Callable[[PoseNetwork], None]:
    """Check the network that a training starts from; return a function that loads its weights.

    Parameters
    ----------
    config
        Settings of the training; for the locator, its own.
    start
        The network.
    layout
        Layout of the targets.

    Raises
    ------
    ModelError
        If it is missing, damaged, or does not fit the training.
    """
    if isinstance(start, BundledStart):
        return _plan_bundled(config, start, layout)
    if not start.weights.is_file():
        raise ModelError(
            f"`training.start_from`: {start.weights}: no such file; train that network first, or "
            "set it to null"
        )
    require_start(
        config,
        start,
        layout.bodyparts,
        layout.edges,
        layout.animals if layout.identities else (),
        scale=config.targets.scale,
    )
    return partial(load_start, path=start.weights)


def _plan_bundled(
    config: ResolvedConfig, start: BundledStart, layout: TargetLayout
) -> Callable[[PoseNetwork], None]:
    card = require_bundled_start(config, start)
    state = unpack_weights(start.bundle.read(start.folder + WEIGHTS) or b"", card, _name(start))
    if card.origin:
        logger.info(
            "%s: the backbone of %s is kept, the head is new", start.bundle.path.name, card.origin
        )
        where = f"`training.start_from`: {start.bundle.path}"
        return partial(transfer_backbone, state=state, card=card, where=where)
    names = {} if start.finds_animals else config.training.start_bodyparts
    bodyparts, known = layout.skeleton.bodyparts, card.skeleton.bodyparts
    if strange := sorted(set(names) - set(bodyparts)):
        raise ModelError(
            f"`training.start_bodyparts`: {strange[0]!r} is no bodypart of this training; it has "
            f"{', '.join(bodyparts)}"
        )
    sources = match_channels(bodyparts, layout.edges, known, card.edges, names)
    _warn_of_shared(bodyparts, sources.bodyparts, known)
    factor = card.refinement_scale / config.targets.location_refinement_scale
    found = [
        name for name, old in zip(bodyparts, sources.bodyparts, strict=True) if old is not None
    ]
    new = [name for name in bodyparts if name not in found]
    logger.info(
        "%s: weights of %s are kept%s",
        start.bundle.path.name,
        ", ".join(found) or "backbone and head alone",
        f", new: {', '.join(new)}" if new else "",
    )
    return partial(transfer_weights, state=state, sources=replace(sources, offset_factor=factor))


def _warn_of_shared(
    bodyparts: tuple[str, ...], sources: tuple[int | None, ...], known: tuple[str, ...]
) -> None:
    """Warn of bodyparts that start from the same one of the bundle, which may be a mistake."""
    for place, name in enumerate(known):
        sharing = [one for one, old in zip(bodyparts, sources, strict=True) if old == place]
        if len(sharing) > 1:
            logger.warning(
                "`training.start_bodyparts`: %s all start as %s of the bundle, and only their "
                "labels tell them apart: name another one if that is not meant",
                *(", ".join(sharing), name),
            )


def _name(start: BundledStart) -> str:
    return f"{start.bundle.path}: {start.folder}{WEIGHTS}"
