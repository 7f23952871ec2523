"""What the network is asked to draw: the one code for stored targets and for augmented ones."""

from typing import Any, NamedTuple

from pipeline_lib.core.settings import TargetSettings
from pipeline_lib.kernels.score_maps import (
    MapShape,
    encode_gaussian,
    encode_location_refinement,
    encode_plateau,
)

Array = Any  # NumPy array or torch tensor


class TargetMaps(NamedTuple):
    """Maps of a batch of samples, or of one.

    Attributes
    ----------
    score
        Shape (..., keypoint, rows, columns), 0..1.
    offset
        Shape (..., keypoint, 2, rows, columns), in units of the refinement scale.
    mask
        Shape (..., keypoint, rows, columns), bool: where an offset was drawn.
    """

    score: Array
    offset: Array
    mask: Array


def encode_targets(position: Array, shape: MapShape, settings: TargetSettings) -> TargetMaps:
    """Draw all maps of keypoints, as the settings say.

    Parameters
    ----------
    position
        Shape (..., individual, keypoint, 2), network px; NaN where missing. NumPy or torch.
    """
    if settings.score_map == "gaussian":
        score = encode_gaussian(position, shape, settings.sigma)
    else:
        score = encode_plateau(position, shape, settings.pos_dist_thresh)
    offset, mask = encode_location_refinement(position, shape, settings.pos_dist_thresh)
    return TargetMaps(score, offset / settings.location_refinement_scale, mask)
