"""What is worth knowing of the poses of one video, in a few numbers."""

import itertools
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.poses import Poses
from pipeline_lib.core.tables import FrameStatus


class PoseSummary(TypedDict):
    """Summary of one video.

    Attributes
    ----------
    frames
        True frames, undecodable ones included.
    undecodable
        Frames that could not be decoded.
    confidence
        Shape (keypoint,), float64 in 0..1: mean over decoded frames and individuals. NaN: no
        frame could be decoded.
    detection
        Shape (keypoint,), float64 in 0..1: share of the decoded frames in which at least one
        individual shows the bodypart at or above the cutoff. NaN: no frame could be decoded.
    path
        Shape (point, 2, keypoint, individual), float32 px: as `downsample_path`.
    """

    frames: int
    undecodable: int
    confidence: NDArray[np.float64]
    detection: NDArray[np.float64]
    path: NDArray[np.float32]


def summarise_poses(poses: Poses, pcutoff: float, points: int = 200) -> PoseSummary:
    """Summarise the poses of one video.

    Parameters
    ----------
    poses
        Poses of every true frame.
    pcutoff
        Confidence from which a keypoint counts as found.
    points
        Most points of the path.
    """
    decoded = poses.frame_status == FrameStatus.DECODED
    confidence = poses.confidence[decoded]
    found = _find_keypoints(poses, pcutoff)[decoded]
    missing = np.full(len(poses.bodyparts), np.nan)
    valid = np.isfinite(confidence)
    weight = valid.sum(axis=(0, 2))
    total = np.where(valid, confidence, 0.0).sum(axis=(0, 2), dtype=np.float64)
    mean = np.divide(total, weight, out=missing.copy(), where=weight > 0)
    return PoseSummary(
        frames=len(poses.time),
        undecodable=int(np.count_nonzero(~decoded)),
        confidence=mean,
        detection=found.any(axis=2).mean(axis=0) if decoded.any() else missing,
        path=downsample_path(poses, pcutoff, points),
    )


def downsample_path(poses: Poses, pcutoff: float, points: int) -> NDArray[np.float32]:
    """Thin the trajectories of one video out to a few points that were really predicted.

    Time is cut into equal stretches; each gives, per keypoint and individual, its first
    position at or above the cutoff.

    Parameters
    ----------
    poses
        Poses of every true frame.
    pcutoff
        Confidence from which a keypoint counts as found.
    points
        Most stretches; a shorter video keeps every frame.

    Returns
    -------
    ndarray
        Shape (min(points, time), 2, keypoint, individual), float32 px. NaN: not found in the
        whole stretch.
    """
    frames = len(poses.time)
    stretches = min(points, frames)
    found = _find_keypoints(poses, pcutoff)
    edges = np.linspace(0, frames, stretches + 1).astype(int)
    path = np.full((stretches, *poses.position.shape[1:]), np.nan, dtype=np.float32)
    for index, (start, stop) in enumerate(itertools.pairwise(edges)):
        first = found[start:stop].argmax(axis=0)[None, None]
        position = np.take_along_axis(poses.position[start:stop], first, axis=0)[0]
        path[index] = np.where(found[start:stop].any(axis=0, keepdims=True), position, np.nan)
    return path


def merge_summaries(parts: Sequence[PoseSummary], points: int = 200) -> PoseSummary:
    """Merge the summaries of consecutive stretches of one video into that of the whole.

    Means are weighted by decoded frames, so that they equal those of the whole video. The
    paths are joined and thinned out to at most the given number of points.

    Parameters
    ----------
    parts
        At least one summary, in the order of time.
    points
        Most points of the path.

    Raises
    ------
    ValueError
        If there is nothing to merge.
    """
    if not parts:
        raise ValueError("no summaries to merge")
    weights = [part["frames"] - part["undecodable"] for part in parts]
    path = np.concatenate([part["path"] for part in parts])
    if len(path) > points:
        path = path[np.linspace(0, len(path), points, endpoint=False).astype(int)]
    return PoseSummary(
        frames=sum(part["frames"] for part in parts),
        undecodable=sum(part["undecodable"] for part in parts),
        confidence=_average([part["confidence"] for part in parts], weights),
        detection=_average([part["detection"] for part in parts], weights),
        path=path,
    )


def _average(values: Sequence[NDArray[np.float64]], weights: Sequence[int]) -> NDArray[np.float64]:
    """Return the weighted mean over stretches; those without a decoded frame do not count."""
    counted = [(value, weight) for value, weight in zip(values, weights, strict=True) if weight]
    if not counted:
        return np.full_like(values[0], np.nan)
    total = sum(weight for _, weight in counted)
    mean: NDArray[np.float64] = np.sum([value * (weight / total) for value, weight in counted], 0)
    return mean


def _find_keypoints(poses: Poses, pcutoff: float) -> NDArray[np.bool_]:
    """Return which keypoints were found; shape (time, keypoint, individual)."""
    # A comparison with NaN is False: an undecodable frame shows nothing.
    located = np.isfinite(poses.position).all(axis=1)
    found: NDArray[np.bool_] = np.logical_and(located, poses.confidence >= pcutoff)
    return found
