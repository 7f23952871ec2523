"""Compare two poses of one video, relative to the size and speed of its animals."""

from dataclasses import dataclass
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.kernels.metrics.keypoints import (
    gaussian_overlap,
    keypoint_distance,
    object_keypoint_similarity,
)
from pipeline_lib.kernels.tracking.motion import median_finite

Floats = NDArray[np.floating[Any]]
# The values of `tracking.similarity` in `pipeline_lib.core.settings.individuals`.
Measure = Literal["oks", "ellipse", "centroid"]

# Keypoints of a pose move relative to each other by this share of its size between two frames.
_POSTURE = 0.3
# Animals move by up to this share of their size between two frames. Longer steps are measured only
# where detections come and go.
_FASTEST = 0.25


@dataclass(frozen=True)
class Scale:
    """Size and speed of the animals of a video.

    Attributes
    ----------
    size
        px, root mean square distance of an animal's keypoints from their centre.
    speed
        px per frame of a walking animal.
    """

    size: float
    speed: float

    @property
    def tolerance(self) -> float:
        """Distance in px that a keypoint may move between two frames: the width of similarities."""
        return float(np.hypot(_POSTURE * self.size, 2.0 * self.speed))


def centre_poses(position: Floats) -> NDArray[np.float64]:
    """Return the mean of the keypoints of each pose.

    Parameters
    ----------
    position
        Shape (..., keypoint, 2), px; NaN where missing.

    Returns
    -------
    ndarray
        Shape (..., 2), float64, px; NaN where a pose has no keypoint.
    """
    found = np.isfinite(position).all(-1, keepdims=True)
    total = np.where(found, np.asarray(position, np.float64), 0.0).sum(-2)
    count = found.sum(-2)
    return np.asarray(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0))


def measure_sizes(position: Floats) -> NDArray[np.float64]:
    """Return the root mean square distance of each pose's keypoints from their centre.

    Parameters
    ----------
    position
        Shape (..., keypoint, 2), px; NaN where missing.

    Returns
    -------
    ndarray
        Shape (...), float64, px; NaN where a pose has fewer than two keypoints.
    """
    square = keypoint_distance(position, centre_poses(position)[..., None, :]) ** 2
    count = np.isfinite(square).sum(-1)
    total = np.where(np.isfinite(square), square, 0.0).sum(-1)
    mean = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 1)
    return np.asarray(np.sqrt(mean))


def compare_poses(
    first: Floats, second: Floats, tolerance: ArrayLike, measure: Measure
) -> NDArray[np.float64]:
    """Return the similarity of poses: 1 where they coincide, 0 where either is missing.

    Parameters
    ----------
    first, second
        Shape (..., keypoint, 2), px, broadcast against each other; NaN where missing.
    tolerance
        Shape (...) or a number, px: keypoints at this distance have a similarity of 0.61.
    measure
        ``oks``: object keypoint similarity, the lower of both directions, so that a keypoint found
        in only one pose lowers it; ``ellipse``: overlap of the ellipses around the keypoints;
        ``centroid``: Gaussian of the distance between the centres.

    Returns
    -------
    ndarray
        Shape (...), float64 in 0..1.
    """
    square = np.asarray(tolerance, np.float64) ** 2
    if measure == "ellipse":
        similarity = _compare_ellipses(first, second, square)
    elif measure == "centroid":
        one, other = centre_poses(first)[..., None, :], centre_poses(second)[..., None, :]
        similarity = object_keypoint_similarity(one, other, square, 0.5)
    elif measure == "oks":
        # With half of it as sigma, OKS is exp(-d^2 / (2 * tolerance^2)).
        similarity = object_keypoint_similarity(first, second, square, 0.5)
        counts = [np.isfinite(pose).all(-1).sum(-1) for pose in (first, second)]
        similarity = similarity * (counts[1] / np.maximum(1, np.maximum(*counts)))
    else:
        assert_never(measure)
    return np.nan_to_num(similarity, nan=0.0)


def measure_scale(position: Floats) -> Scale:
    """Measure size and speed of the animals of a video.

    The size is the median over the poses. The speed is the 90th percentile of the steps; a step
    joins two poses of consecutive frames that are each other's nearest ones. If no pose has two
    keypoints, the size is a quarter of the median distance to the nearest other animal or, failing
    that, a tenth of the spread of the poses.

    Parameters
    ----------
    position
        Shape (stretch, frame, individual, keypoint, 2), px, stretches of consecutive frames; NaN
        where missing.

    Returns
    -------
    Scale
        Size and speed in px; size 1 if the positions do not determine it.
    """
    sizes = measure_sizes(position)
    size = _median(sizes[sizes > 0])
    centre = centre_poses(position)
    if not size:
        apart = keypoint_distance(centre[..., :, None, :], centre[..., None, :, :])
        apart = np.where(apart > 0, apart, np.nan)
        nearest = np.fmin.reduce(apart, axis=-1, initial=np.nan)
        size = _median(nearest[np.isfinite(nearest)]) / 4.0
    if not size:
        flat = centre[np.isfinite(centre).all(-1)]
        size = float(np.hypot(*flat.std(0))) / 10.0 if len(flat) else 0.0
    size = size or 1.0
    steps = _measure_steps(position)
    speed = float(np.quantile(steps, 0.9)) if steps.size else 0.0
    return Scale(size, min(speed, _FASTEST * size))


def _measure_steps(position: Floats) -> Floats:
    """Return the lengths of the steps between poses that are each other's nearest ones.

    The distance of two poses is the median over their keypoints, which a false keypoint hardly
    changes.
    """
    way = keypoint_distance(position[:, :-1, :, None], position[:, 1:, None])
    length = np.nan_to_num(median_finite(np.moveaxis(way, -1, 0)), nan=np.inf)
    if 0 in length.shape:
        return np.empty(0)
    onward = length == length.min(-1, keepdims=True)
    back = length == length.min(-2, keepdims=True)
    return np.asarray(length[onward & back & np.isfinite(length)])


def measure_usual_similarity(position: Floats, tolerance: float, measure: Measure) -> float:
    """Measure the usual similarity of an animal to itself one frame later.

    Parameters
    ----------
    position
        Shape (stretch, frame, individual, keypoint, 2), as for `measure_scale`.
    tolerance, measure
        As for `compare_poses`.

    Returns
    -------
    float
        Median over the poses of the similarity to the most similar pose of the next frame; 1 if
        there is none.
    """
    first, second = position[:, :-1, :, None], position[:, 1:, None]
    best = compare_poses(first, second, tolerance, measure).max(-1, initial=0.0)
    return _median(best[best > 0.0]) or 1.0


def _compare_ellipses(
    first: Floats, second: Floats, square: NDArray[np.float64]
) -> NDArray[np.float64]:
    one, other = (_fit_ellipse(pose) for pose in (first, second))
    widen = square[..., None, None] * np.eye(2) / 2.0
    return gaussian_overlap(one[0], one[1] + widen, other[0], other[1] + widen)


def _fit_ellipse(position: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and covariance of the keypoints; the covariance of a single one is 0."""
    centre = centre_poses(position)
    offset = np.nan_to_num(position - centre[..., None, :], nan=0.0)
    count = np.isfinite(position).all(-1).sum(-1)
    covariance = np.einsum("...ki,...kj->...ij", offset, offset)
    return centre, covariance / np.maximum(1, count)[..., None, None]


def _median(values: Floats) -> float:
    return float(np.median(values)) if values.size else 0.0
