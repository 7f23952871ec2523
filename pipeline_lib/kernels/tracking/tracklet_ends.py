"""Describe how tracklets begin and end and what they are worth: the features used to join them.

The poses of a long video are not held in memory: `choose_end_poses` selects those that are needed,
the caller reads them, and `describe_tracklets` describes the tracklets by them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.tracking.motion import median_finite

Floats = NDArray[np.floating[Any]]

# Number of poses at either end of a tracklet from which pose and velocity are estimated.
END_POSES = 5
# Weight of the identity evidence of one frame: consecutive frames are not independent.
_IDENTITY_WEIGHT = 0.1
_LEAST_IDENTITY = 1e-3


@dataclass(frozen=True)
class EndPoses:
    """Indices of the poses at the ends of each tracklet.

    Attributes
    ----------
    head, tail
        Shape (tracklet, END_POSES), int64: index of the pose in the flattened axes (frame,
        individual), outermost first; -1 where the tracklet is shorter.
    """

    head: NDArray[np.int64]
    tail: NDArray[np.int64]


@dataclass(frozen=True)
class TrackletEnd:
    """One end of each tracklet, `head` or `tail`.

    Attributes
    ----------
    frame
        Shape (tracklet,), int64, frame of the outermost pose.
    pose
        Shape (tracklet, keypoint, 2), float64, px; NaN: the keypoint was not found near this end.
    velocity
        Shape (tracklet, 2), float64, px per frame, forward in time; 0 where unknown.
    """

    frame: NDArray[np.int64]
    pose: NDArray[np.float64]
    velocity: NDArray[np.float64]


@dataclass(frozen=True)
class Tracklets:
    """All tracklets of a video, in the order of their first poses.

    Attributes
    ----------
    head, tail
        First and last poses.
    count
        Shape (tracklet,), int64, number of poses.
    worth
        Shape (tracklet,), float64, sum of the detection quality over the poses.
    log_size
        Shape (tracklet,), float64, mean logarithm of the poses' sizes; NaN where unknown.
    identity
        Shape (tracklet, identity), float64, log-likelihood of each identity; None: identities were
        not predicted.
    """

    head: TrackletEnd
    tail: TrackletEnd
    count: NDArray[np.int64]
    worth: NDArray[np.float64]
    log_size: NDArray[np.float64]
    identity: NDArray[np.float64] | None


def choose_end_poses(tracklet: NDArray[np.int32]) -> EndPoses:
    """Select the poses at the ends of each tracklet.

    Parameters
    ----------
    tracklet
        Shape (frame, individual), int32, number of the tracklet of each pose; -1: no pose.
    """
    flat = tracklet.ravel()
    poses = np.flatnonzero(flat >= 0)
    order = poses[np.argsort(flat[poses], kind="stable")]
    count = np.bincount(flat[poses])
    first = np.cumsum(count) - count
    age = np.arange(END_POSES)
    within = age < count[:, None]
    head = np.where(within, first[:, None] + age, 0)
    tail = np.where(within, (first + count - 1)[:, None] - age, 0)
    if not order.size:
        return EndPoses(*(np.full((0, END_POSES), -1) for _ in range(2)))
    return EndPoses(np.where(within, order[head], -1), np.where(within, order[tail], -1))


def describe_tracklets(
    tracklet: NDArray[np.int32],
    ends: EndPoses,
    poses: tuple[Floats, Floats],
    features: tuple[Floats, Floats, Floats | None],
) -> Tracklets:
    """Describe all tracklets of a video.

    Parameters
    ----------
    tracklet
        Shape (frame, individual), int32, number of the tracklet of each pose; -1: no pose.
    ends
        Indices of the poses at the ends.
    poses
        Those poses, of heads and of tails: shape (tracklet, END_POSES, keypoint, 2), px; NaN where
        missing.
    features
        Features of every pose: shape (frame, individual), detection quality, 1 being usual; the
        same shape, size in px, NaN where unknown; shape (frame, individual, identity), confidence
        of each identity, 0..1, NaN where unknown, or None.
    """
    individuals = max(1, tracklet.shape[1])
    flat = tracklet.ravel()
    there = flat >= 0
    number, tracklets = flat[there], len(ends.head)
    quality, size, likeness = features
    logarithm = np.log(np.where(size.ravel()[there] > 0, size.ravel()[there], np.nan))
    known = np.isfinite(logarithm)
    sized = _sum_by(number[known], logarithm[known], tracklets)
    count = np.bincount(number[known], minlength=tracklets)
    identity = None
    if likeness is not None:
        seen = likeness.reshape(-1, likeness.shape[-1])[there]
        evidence = np.log(np.clip(np.nan_to_num(seen, nan=1.0), _LEAST_IDENTITY, 1.0))
        identity = _sum_by(number, _IDENTITY_WEIGHT * evidence, tracklets)
    return Tracklets(
        head=_describe_end(ends.head, individuals, poses[0]),
        tail=_describe_end(ends.tail, individuals, poses[1]),
        count=np.bincount(number, minlength=tracklets),
        worth=_sum_by(number, quality.ravel()[there], tracklets),
        log_size=np.divide(sized, count, out=np.full(tracklets, np.nan), where=count > 0),
        identity=identity,
    )


def _sum_by(number: NDArray[np.int32], values: Floats, length: int) -> NDArray[np.float64]:
    total = np.zeros((length, *values.shape[1:]))
    np.add.at(total, number, values)
    return total


def _describe_end(index: NDArray[np.int64], individuals: int, poses: Floats) -> TrackletEnd:
    """Estimate pose and velocity by medians of the outermost poses, robust to false points."""
    frame = np.where(index >= 0, index // individuals, 0)
    apart = (frame[:, :1] - frame)[..., None, None].astype(np.float64)
    poses = np.asarray(poses, np.float64)
    passed = np.diff(frame, axis=1)[..., None, None]
    speed = np.divide(
        np.diff(poses, axis=1),
        passed,
        out=np.full((*poses[:, 1:].shape,), np.nan),
        where=passed != 0,
    )
    tracklets, keypoints = len(poses), poses.shape[2]
    speed = np.moveaxis(speed, 0, -2).reshape((END_POSES - 1) * keypoints, tracklets, 2)
    velocity = np.nan_to_num(median_finite(speed), nan=0.0)
    moved = np.where((index >= 0)[..., None, None], poses + apart * velocity[:, None, None], np.nan)
    return TrackletEnd(frame[:, 0], median_finite(np.moveaxis(moved, 1, 0)), velocity)
