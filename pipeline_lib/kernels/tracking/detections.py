"""Hold the poses of several animals as they were found, frame by frame, and order them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.tracking.similarity import centre_poses

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Detections:
    """Poses of consecutive frames, individuals in arbitrary order.

    Attributes
    ----------
    position
        Shape (frame, individual, keypoint, 2), px; NaN where missing.
    confidence
        Shape (frame, individual, keypoint), 0..1; NaN: the frame could not be decoded.
    identity
        Shape (frame, individual, identity), 0..1, confidence that an individual is each of the
        known identities; NaN where unknown. None: identities were not predicted.
    """

    position: Floats
    confidence: Floats
    identity: Floats | None = None


def order_poses(position: Floats, confidence: Floats) -> NDArray[np.intp]:
    """Order the poses of each frame by position, independently of the given order.

    Parameters
    ----------
    position
        Shape (frame, individual, keypoint, 2), px; NaN where missing.
    confidence
        Shape (frame, individual, keypoint), 0..1.

    Returns
    -------
    ndarray
        Shape (frame, individual), intp, as `numpy.argsort` returns it: by the x coordinate of the
        centre, ties by keypoints and confidences; missing individuals last.
    """
    centre = centre_poses(position)
    keys = np.concatenate(
        [confidence[..., ::-1], position[..., ::-1, 1], position[..., ::-1, 0], centre[..., ::-1]],
        axis=-1,
    )
    return np.lexsort(np.moveaxis(np.where(np.isnan(keys), np.inf, keys), -1, 0), axis=-1)


def take_ordered(values: NDArray[Any], order: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """Reorder the individuals of each frame.

    Parameters
    ----------
    values
        Shape (frame, individual, ...).
    order
        Shape (frame, individual), as `order_poses` returns it.

    Returns
    -------
    ndarray
        Shape and dtype of `values`.
    """
    shape = order.shape + (1,) * (values.ndim - 2)
    return np.take_along_axis(values, order.reshape(shape), axis=1)


def count_individuals(confidence: Floats, pcutoff: float) -> int:
    """Estimate from peaks how many animals a video shows at a time.

    A frame shows n animals if at least half of the bodyparts have n peaks. The estimate is the
    largest number reached by more than 5 % of the frames that show any animal: a few false peaks
    do not count as an animal, and neither do empty frames lower the number.

    Parameters
    ----------
    confidence
        Shape (frame, keypoint, peak), 0..1, without unique bodyparts; NaN where there is no peak.
    pcutoff
        Peaks below this confidence are ignored.

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
