"""Measure the size of labelled animals and the distances between their keypoints."""

import numpy as np
from numpy.typing import NDArray

# Percentile taken for "the largest": one label in a hundred may be misplaced.
LARGEST = 99.0
# Percentile taken for "the closest" of animals that meet.
CLOSEST = 1.0
# From so many values on, a percentile is one of them that is not the most extreme one, so that one
# misplaced label does not change it. Fewer do not tell a misplaced label from a large animal.
_SEVERAL = 6
# Keypoints nearer than this, px, are one place that was labelled under two names.
SAME_PLACE = 1.0


def choose_percentile(values: NDArray[np.float64], percentile: float) -> float:
    """Return a percentile that one misplaced label does not change.

    Parameters
    ----------
    values
        Shape (value,).
    percentile
        Above 50, the value at or below it; else the one at or above it. Of fewer than six values,
        the percentile is interpolated.

    Returns
    -------
    float
        NaN without values.
    """
    if not len(values):
        return np.nan
    if len(values) < _SEVERAL:
        return float(np.percentile(values, percentile))
    if percentile > 50:
        return float(np.percentile(values, percentile, method="lower"))
    return float(np.percentile(values, percentile, method="higher"))


def list_poses(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the poses with at least one labelled keypoint.

    Parameters
    ----------
    position
        Shape (frame, individual, keypoint, 2), px; NaN where unlabelled.

    Returns
    -------
    ndarray
        Shape (pose, keypoint, 2), px.
    """
    frames, individuals, *pose = position.shape
    poses = position.reshape(frames * individuals, *pose)
    kept: NDArray[np.float64] = poses[np.isfinite(poses).all(axis=-1).any(axis=-1)]
    return kept


def measure_length(poses: NDArray[np.float64]) -> float:
    """Return the length of the largest animals: the longer side of the box around a pose.

    Parameters
    ----------
    poses
        Shape (pose, keypoint, 2), px; NaN where unlabelled.

    Returns
    -------
    float
        99th percentile over the poses with two keypoints or more, px; NaN if there are none, or
        if all keypoints lie in one place.
    """
    known = poses[np.isfinite(poses).all(axis=-1).sum(axis=-1) > 1]
    sides = np.nanmax(known, axis=1) - np.nanmin(known, axis=1)
    return _choose_largest(sides.max(axis=1))


def measure_reach(poses: NDArray[np.float64]) -> float:
    """Return how far keypoints lie from the mean of their pose, along either axis.

    Windows of top-down networks are centred there.

    Parameters
    ----------
    poses
        As in `measure_length`.

    Returns
    -------
    float
        99th percentile over the poses with two keypoints or more, px; NaN as in
        `measure_length`.
    """
    known = poses[np.isfinite(poses).all(axis=-1).sum(axis=-1) > 1]
    away = np.abs(known - np.nanmean(known, axis=1, keepdims=True))
    return _choose_largest(np.nanmax(away, axis=(1, 2)))


def _choose_largest(lengths: NDArray[np.float64]) -> float:
    """Return the usual largest of lengths, px; NaN if there are none above that of one place."""
    if not len(lengths) or lengths.max() < SAME_PLACE:
        return np.nan
    return choose_percentile(lengths, LARGEST)


def measure_closest_pair(poses: NDArray[np.float64]) -> float:
    """Return the usual distance of the two bodyparts of an animal that are closest to each other.

    Parameters
    ----------
    poses
        As in `measure_length`.

    Returns
    -------
    float
        Smallest median distance over pairs of keypoints, px. Pairs that usually lie in one place
        cannot be told apart at any scale and do not count. NaN if no two keypoints are labelled
        together.
    """
    medians = [
        float(np.median(distance[known]))
        for first in range(poses.shape[1])
        for second in range(first + 1, poses.shape[1])
        for distance in [np.linalg.norm(poses[:, first] - poses[:, second], axis=-1)]
        for known in [np.isfinite(distance)]
        if known.any()
    ]
    return min((one for one in medians if one >= SAME_PLACE), default=np.nan)


def measure_closest_animals(position: NDArray[np.float64]) -> float:
    """Return the distance between the same keypoint of animals that meet.

    Parameters
    ----------
    position
        Shape (frame, individual, keypoint, 2), px; NaN where unlabelled.

    Returns
    -------
    float
        1st percentile over all frames, keypoints and pairs of animals, px; NaN if no frame has
        two.
    """
    count = position.shape[1]
    pairs = [(first, second) for first in range(count) for second in range(first + 1, count)]
    if not pairs:
        return np.nan
    distance = np.concatenate(
        [np.linalg.norm(position[:, a] - position[:, b], axis=-1).ravel() for a, b in pairs]
    )
    return choose_percentile(distance[np.isfinite(distance)], CLOSEST)
