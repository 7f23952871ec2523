"""Poses of several animals as they were found in each frame, in no order."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.tracking.similarity import centre_poses

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Detections:
    """Poses of some frames, the order of the individuals telling nothing.

    Attributes
    ----------
    position
        Shape (frame, individual, keypoint, 2), px; NaN where missing.
    confidence
        Shape (frame, individual, keypoint), 0..1; NaN: the frame could not be decoded.
    identity
        Shape (frame, individual, identity), 0..1, how much each looks like each of the known
        individuals; NaN where unknown. None where nothing is known.
    """

    position: Floats
    confidence: Floats
    identity: Floats | None = None


def order_poses(position: Floats, confidence: Floats) -> NDArray[np.intp]:
    """Order the poses of each frame by where they are, whatever order they came in.

    Returns
    -------
    ndarray
        Shape (frame, individual), as `numpy.argsort` returns it: from left to right; those that
        coincide by their keypoints; frames' missing ones last.
    """
    centre = centre_poses(position)
    keys = np.concatenate(
        [confidence[..., ::-1], position[..., ::-1, 1], position[..., ::-1, 0], centre[..., ::-1]],
        axis=-1,
    )
    return np.lexsort(np.moveaxis(np.where(np.isnan(keys), np.inf, keys), -1, 0), axis=-1)


def take_ordered(values: NDArray[Any], order: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """Bring the individuals of each frame into an order.

    Parameters
    ----------
    values
        Shape (frame, individual, ...).
    order
        Shape (frame, individual), as `order_poses` returns it.
    """
    shape = order.shape + (1,) * (values.ndim - 2)
    return np.take_along_axis(values, order.reshape(shape), axis=1)


def count_individuals(confidence: Floats, pcutoff: float) -> int:
    """Tell from peaks how many animals a video shows at most.

    A frame shows as many as at least half of the bodyparts have peaks. The video shows as many as
    more than one in twenty of those frames show that show any, so that a few false peaks are no
    animal, and frames in which no animal is there do not count.

    Parameters
    ----------
    confidence
        Shape (frame, keypoint, peak), 0..1; NaN where there is no peak. Unique bodyparts left out.
    pcutoff
        Peaks of a lower confidence do not count.

    Returns
    -------
    int
        At least 1.
    """
    if 0 in confidence.shape:
        return 1
    peaks = np.sort((confidence >= pcutoff).sum(-1), axis=1)
    shown = np.sort(peaks[:, peaks.shape[1] // 2])
    shown = shown[shown > 0]
    return int(shown[len(shown) - 1 - len(shown) // 20]) if shown.size else 1
