"""Draw the targets of the network, both the stored and the augmented ones."""

from typing import Any, NamedTuple, assert_never

from array_api_compat import array_namespace

from pipeline_lib.core.settings.network import TargetSettings
from pipeline_lib.kernels.maps.part_affinity import encode_part_affinity
from pipeline_lib.kernels.maps.score_maps import (
    MapShape,
    encode_gaussian,
    encode_location_refinement,
    encode_plateau,
)

Array = Any  # NumPy array or torch tensor


class TargetPlan(NamedTuple):
    """Describe the targets of a network besides the maps of the bodyparts.

    Attributes
    ----------
    animals
        Most animals in an image.
    edges
        Pairs of positions on the keypoint axis that get a part affinity field.
    identities
        Number of the first individuals that are recognised by their appearance; 0: none.
    window
        Side in network px of the window around the centre of each image, which is that of
        an animal; None: all of it.
    """

    animals: int = 1
    edges: tuple[tuple[int, int], ...] = ()
    identities: int = 0
    window: int | None = None


class TargetMaps(NamedTuple):
    """Hold the maps of a batch of samples, or of one.

    Attributes
    ----------
    score
        Shape (..., keypoint, rows, columns), 0..1.
    offset
        Shape (..., keypoint, 2, rows, columns), in units of the refinement scale.
    mask
        Shape (..., keypoint, rows, columns), bool: where an offset was drawn.
    affinity
        Shape (..., edge, 2, rows, columns), unit vectors; 0 where none was drawn. None: no edges.
    affinity_mask
        Shape (..., edge, rows, columns), bool: where a vector was drawn.
    identity
        Shape (..., identity, rows, columns), 0 or 1: whose bodypart a cell shows; all 0 where it
        is nobody's or several individuals'. None: no identities.
    """

    score: Array
    offset: Array
    mask: Array
    affinity: Array | None = None
    affinity_mask: Array | None = None
    identity: Array | None = None


ONE_ANIMAL = TargetPlan()


def encode_targets(
    position: Array, shape: MapShape, settings: TargetSettings, plan: TargetPlan = ONE_ANIMAL
) -> TargetMaps:
    """Draw all maps of keypoints by the settings.

    Parameters
    ----------
    position
        Shape (..., individual, keypoint, 2), network px; NaN where missing. NumPy or torch.
    shape
        The maps to draw.
    settings
        How to draw.
    plan
        What to draw besides, for several animals.
    """
    if settings.score_map == "gaussian":
        score = encode_gaussian(position, shape, settings.sigma)
    elif settings.score_map == "plateau":
        score = encode_plateau(position, shape, settings.pos_dist_thresh)
    else:
        assert_never(settings.score_map)
    offset, mask = encode_location_refinement(position, shape, settings.pos_dist_thresh)
    maps = TargetMaps(score, offset / settings.location_refinement_scale, mask)
    if plan.edges:
        affinity, affinity_mask = encode_part_affinity(
            position, plan.edges, shape, settings.part_affinity_width
        )
        maps = maps._replace(affinity=affinity, affinity_mask=affinity_mask)
    if plan.identities:
        named = position[..., : plan.identities, :, :]
        maps = maps._replace(identity=_encode_identity(named, shape, settings.pos_dist_thresh))
    return maps


def _encode_identity(position: Array, shape: MapShape, radius: float) -> Array:
    """Draw 1 around every keypoint of an individual, where no other one is closer."""
    xp = array_namespace(position)
    # Individuals and keypoints exchanged: one map for all keypoints of an individual.
    near = encode_plateau(xp.moveaxis(position, -2, -3), shape, radius)
    alone = xp.sum(near, axis=-3, keepdims=True) == 1.0
    return near * xp.astype(alone, near.dtype)
