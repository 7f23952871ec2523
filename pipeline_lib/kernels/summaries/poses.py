"""Summarise the poses of one video in a few numbers."""

import itertools
from collections.abc import Collection, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.poses import Poses, find_decoded
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL


class PoseSummary(TypedDict):
    """Summary of one video.

    Attributes
    ----------
    frames
        True frames, undecodable ones included.
    undecodable
        Frames that could not be decoded.
    poses
        Shape (keypoint,), int64: individuals that could show the bodypart, summed over decoded
        frames. A single individual always could; of several, those that were found.
    confidence
        Shape (keypoint,), float64 in 0..1: mean over these poses. NaN: there are none, since no
        frame could be decoded or, of several individuals, none was found; `frames` and
        `undecodable` tell which.
    detection
        Shape (keypoint,), float64 in 0..1: share of these poses that show the bodypart at or
        above the cutoff. NaN: as for the confidence.
    path
        Shape (point, individual, keypoint, 2), float32 px: as `downsample_path`.
    track_status
        Shape (time, individual), uint8, as in `Poses`: a byte per frame, so kept whole. None:
        not tracked.
    frame_status
        Shape (time,), uint8, as in `Poses`.
    """

    frames: int
    undecodable: int
    poses: NDArray[np.int64]
    confidence: NDArray[np.float64]
    detection: NDArray[np.float64]
    path: NDArray[np.float32]
    track_status: NDArray[np.uint8] | None
    frame_status: NDArray[np.uint8]


def summarise_poses(
    poses: Poses, pcutoff: float, points: int = 200, unique: Collection[int] | None = None
) -> PoseSummary:
    """Summarise the poses of one video.

    Parameters
    ----------
    poses
        Poses of every true frame.
    pcutoff
        Confidence from which a keypoint counts as found.
    points
        Most points of the path.
    unique
        Indices on the keypoint axis of the bodyparts of `UNIQUE_INDIVIDUAL`; None: those that it
        has in these frames, see `find_unique`.
    """
    decoded = find_decoded(poses.frame_status)
    possible = _find_possible(poses, find_unique(poses) if unique is None else unique)[decoded]
    counts = possible.sum(axis=(0, 1))
    # A bodypart that was not found has no confidence at all.
    confidence = np.where(possible, np.nan_to_num(poses.confidence[decoded]), 0.0)
    found = _find_keypoints(poses, pcutoff)[decoded] & possible
    return PoseSummary(
        frames=len(poses.time),
        undecodable=int(np.count_nonzero(~decoded)),
        poses=counts,
        confidence=_divide(confidence.sum(axis=(0, 1), dtype=np.float64), counts),
        detection=_divide(found.sum(axis=(0, 1)), counts),
        path=downsample_path(poses, pcutoff, points),
        track_status=poses.track_status,
        frame_status=poses.frame_status,
    )


def find_unique(poses: Poses) -> frozenset[int]:
    """Return the indices of the bodyparts that `UNIQUE_INDIVIDUAL` has in any of the frames."""
    if UNIQUE_INDIVIDUAL not in poses.individuals or len(poses.individuals) == 1:
        return frozenset()
    place = poses.individuals.index(UNIQUE_INDIVIDUAL)
    located = ~np.isnan(poses.position[:, place]).any(axis=-1)
    return frozenset(np.flatnonzero(located.any(axis=0)).tolist())


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
        Shape (min(points, time), individual, keypoint, 2), float32 px. NaN: not found in the
        whole stretch.
    """
    frames = len(poses.time)
    stretches = min(points, frames)
    found = _find_keypoints(poses, pcutoff)
    edges = np.linspace(0, frames, stretches + 1).astype(int)
    path = np.full((stretches, *poses.position.shape[1:]), np.nan, dtype=np.float32)
    for index, (start, stop) in enumerate(itertools.pairwise(edges)):
        first = found[start:stop].argmax(axis=0)[None, ..., None]
        position = np.take_along_axis(poses.position[start:stop], first, axis=0)[0]
        shown = np.expand_dims(found[start:stop].any(axis=0), -1)
        path[index] = np.where(shown, position, np.nan)
    return path


def merge_summaries(parts: Sequence[PoseSummary], points: int = 200) -> PoseSummary:
    """Merge the summaries of consecutive stretches of one video into that of the whole.

    Means are weighted by poses, so that they equal those of the whole video. The
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
    counts = np.stack([part["poses"] for part in parts])
    path = np.concatenate([part["path"] for part in parts])
    if len(path) > points:
        path = path[np.linspace(0, len(path), points, endpoint=False).astype(int)]
    statuses = [part["track_status"] for part in parts]
    tracked = [status for status in statuses if status is not None]
    return PoseSummary(
        frames=sum(part["frames"] for part in parts),
        undecodable=sum(part["undecodable"] for part in parts),
        poses=counts.sum(axis=0),
        confidence=_average(np.stack([part["confidence"] for part in parts]), counts),
        detection=_average(np.stack([part["detection"] for part in parts]), counts),
        path=path,
        track_status=np.concatenate(tracked) if len(tracked) == len(parts) else None,
        frame_status=np.concatenate([part["frame_status"] for part in parts]),
    )


def _average(values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the means of stretches, weighted; those without a pose do not count."""
    total = np.where(counts > 0, np.nan_to_num(values) * counts, 0.0).sum(axis=0)
    return _divide(total, counts.sum(axis=0))


def _divide(total: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return total over counts, NaN where the count is zero."""
    missing = np.full(counts.shape, np.nan)
    mean: NDArray[np.float64] = np.divide(total, counts, out=missing, where=counts > 0)
    return mean


def _find_possible(poses: Poses, unique: Collection[int]) -> NDArray[np.bool_]:
    """Return a mask of possible keypoints, shape (time, individual, keypoint).

    Of several individuals only those that were found count, each with its own bodyparts: unique
    bodyparts belong to `UNIQUE_INDIVIDUAL`.
    """
    located = ~np.asarray(np.isnan(poses.position).any(axis=-1))
    if len(poses.individuals) == 1:
        return np.ones_like(located)
    possible = np.repeat(located.any(axis=-1, keepdims=True), located.shape[-1], axis=-1)
    if UNIQUE_INDIVIDUAL in poses.individuals:
        place = poses.individuals.index(UNIQUE_INDIVIDUAL)
        theirs = np.isin(np.arange(located.shape[-1]), list(unique))
        possible[..., theirs] = False
        # They are to be seen in every frame.
        possible[:, place] = theirs
    return possible


def _find_keypoints(poses: Poses, pcutoff: float) -> NDArray[np.bool_]:
    """Return which keypoints were found; shape (time, individual, keypoint)."""
    # A comparison with NaN is False: an undecodable frame shows nothing.
    located = np.isfinite(poses.position).all(axis=-1)
    found: NDArray[np.bool_] = np.logical_and(located, poses.confidence >= pcutoff)
    return found
