"""Choose peaks and poses where windows around animals overlap.

A window around one animal may also show a part of another one, whose keypoints may have higher
scores. But a keypoint belongs to one animal: where two windows found the same one, one of them
takes its next peak, if it has another one that is no mere noise.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline_lib.kernels.metrics.keypoints import object_keypoint_similarity
from pipeline_lib.kernels.tracking.similarity import measure_sizes

Floats = NDArray[np.floating]

# Of two views of one animal a keypoint differs by less than this share of the animal's size.
_SAME_POSE = 0.3
# OKS from which two windows have found the same animal.
_SAME_ANIMAL = 0.5
_NO_PEAK = -1


# Share of an animal's size up to which keypoints of two animals are one and the same.
_SAME_KEYPOINT = 0.15
# Share of the confidence of the best peak that another peak must have to be chosen instead.
_LEAST_ALTERNATIVE = 0.1


def share_peaks(
    position: Floats, confidence: Floats, *, pcutoff: float, cell: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Choose a peak of each keypoint for the animal of each window of one frame.

    Each animal takes its best peak. Where two take the same, the sum of the confidences of all
    animals decides which of them takes its next peak instead. A peak of less than a tenth of the
    best one's confidence is no alternative; an animal without any keeps its best peak. Windows
    that found an animal that another window found with higher confidences take nothing.

    Parameters
    ----------
    position
        Shape (window, peak, keypoint, 2), px of the frame, best peaks first; NaN where missing.
    confidence
        Shape (window, peak, keypoint), 0..1.
    pcutoff
        Confidence of the keypoints by which windows with the same animal are known.
    cell
        px. Peaks of two windows at most this far apart, and at most 0.15 of the size of the smaller
        animal, are one.

    Returns
    -------
    position, confidence
        Shapes (window, keypoint, 2) and (window, keypoint), float32; NaN and 0 where an animal has
        no peak.
    """
    best, sure = position[:, 0], confidence[:, 0]
    certain = (sure >= pcutoff) & np.isfinite(best).all(-1)
    order = np.argsort(-np.where(certain, sure, 0.0).sum(-1, dtype=np.float64), kind="stable")
    seen = np.where(certain[..., None], best, np.nan)
    alone = np.ones(len(order), np.bool_)
    alone[order] = ~find_copies(seen[order][None], cell)[0]
    sizes = measure_sizes(seen)
    apart = np.minimum(cell, _SAME_KEYPOINT * np.where(np.isfinite(sizes), sizes, np.inf))
    taken = np.where(alone[:, None], 0, _NO_PEAK)
    taken = np.broadcast_to(taken, sure.shape).copy()
    near = np.linalg.norm(best[:, None] - best, axis=-1)
    near = near <= np.minimum(apart[:, None], apart)[..., None]  # False for NaN
    near &= (alone[:, None] & alone)[..., None]
    disputed = near[np.triu_indices(len(best), 1)].any(axis=0)
    animals = np.flatnonzero(alone)
    for keypoint in np.flatnonzero(disputed):
        taken[animals, keypoint] = _assign_peaks(
            position[animals, :, keypoint], confidence[animals, :, keypoint], apart[animals]
        )
    return _take_peaks(position, confidence, taken)


def _assign_peaks(
    position: Floats, confidence: Floats, apart: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Return the peak of one keypoint that each animal takes, none twice if there are others.

    Parameters
    ----------
    position, confidence
        Shapes (animal, peak, 2) and (animal, peak).
    apart
        Shape (animal,), px: how far apart peaks of an animal and of another may be to be one.
    """
    animals, peaks = confidence.shape
    value = np.where(np.isfinite(position).all(-1), np.nan_to_num(confidence), 0.0)
    value = np.where(value >= _LEAST_ALTERNATIVE * value[:, :1], value, 0.0)
    places: list[Floats] = []
    gain = np.zeros((animals, animals * peaks + animals))
    which = np.full(gain.shape, _NO_PEAK)
    for number in np.argsort(-value, axis=None, kind="stable").tolist():
        animal, peak = divmod(number, peaks)
        if value[animal, peak] <= 0:
            break
        point = position[animal, peak]
        ways = [float(np.linalg.norm(point - other)) for other in places]
        place = int(np.argmin(ways)) if ways else 0
        if not ways or ways[place] > apart[animal]:
            place = len(places)
            places.append(point)
        if which[animal, place] == _NO_PEAK:
            gain[animal, place], which[animal, place] = value[animal, peak], peak
    # As many places again as there are animals stand for having none.
    rows, columns = linear_sum_assignment(gain[:, : len(places) + animals], maximize=True)
    chosen = np.zeros(animals, np.intp)
    chosen[rows] = np.maximum(which[rows, columns], 0)
    return chosen


def _take_peaks(
    position: Floats, confidence: Floats, taken: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the taken peaks (window, keypoint) of each window."""
    place = np.maximum(taken, 0)[:, None]
    points = np.take_along_axis(position, place[..., None], axis=1)[:, 0]
    values = np.take_along_axis(confidence, place, axis=1)[:, 0]
    there = (taken != _NO_PEAK) & np.isfinite(points).all(-1)
    return (
        np.where(there[..., None], points, np.nan).astype(np.float32),
        np.where(there, values, 0.0).astype(np.float32),
    )


def rank_poses(  # noqa: PLR0913 - poses, and what is kept of them
    position: NDArray[np.floating],
    confidence: NDArray[np.floating],
    *,
    pcutoff: float,
    min_confidence: float,
    min_keypoints: int,
    least_size: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
    """Keep what is certain of the poses that windows gave, and each animal once.

    A frame's result depends on that frame alone, and on the order of its poses only where two
    are equally good.

    Parameters
    ----------
    position
        Shape (frame, individual, keypoint, 2), px; NaN where there was no window.
    confidence
        Shape (frame, individual, keypoint), 0..1.
    pcutoff, min_keypoints
        A pose with fewer keypoints of this confidence is left out; at most all keypoints are asked
        for.
    min_confidence
        Keypoints of a lower confidence are left out.
    least_size
        px, size assumed for a pose without a size of its own.

    Returns
    -------
    position, confidence
        float32 in the same shapes, the poses of a frame best first (by the sum of their
        confidences); NaN and 0 where there is no keypoint or no individual.
    order
        Shape (frame, individual), the slot from which each pose comes.
    """
    found = np.isfinite(position).all(-1)
    certain = (found & (confidence >= pcutoff)).sum(-1)
    wanted = max(1, min(min_keypoints, confidence.shape[-1]))
    kept = found & (confidence >= min_confidence) & (certain >= wanted)[..., None]
    position = np.where(kept[..., None], position, np.nan).astype(np.float32)
    confidence = np.where(kept, confidence, 0.0).astype(np.float32)
    order = np.argsort(-confidence.sum(-1, dtype=np.float64), axis=-1, kind="stable")
    position, confidence = _reorder(position, confidence, order)
    sure = np.where((confidence >= pcutoff)[..., None], position, np.nan)
    copy = find_copies(sure, least_size)
    position[copy], confidence[copy] = np.nan, 0.0
    last = np.argsort(copy, axis=-1, kind="stable")
    position, confidence = _reorder(position, confidence, last)
    return position, confidence, np.take_along_axis(order, last, axis=-1)


def find_copies(position: NDArray[np.floating], least_size: float) -> NDArray[np.bool_]:
    """Return which poses show an animal that a better pose of the frame already shows.

    Only the keypoints of the worse pose count, so that a part of an animal is a copy, too.

    Parameters
    ----------
    position
        Shape (frame, individual, keypoint, 2), px, best first; NaN where missing.
    least_size
        px, size assumed for a pose without a size of its own.

    Returns
    -------
    ndarray
        Shape (frame, individual), bool; False for those that are not there.
    """
    size = np.fmax(measure_sizes(position), least_size)
    # With half of it as sigma, OKS is exp(-d^2 / (2 * (share * size)^2)).
    alike = object_keypoint_similarity(
        position[:, None], position[:, :, None], size[:, None] ** 2, _SAME_POSE / 2
    )
    same = alike >= _SAME_ANIMAL  # (frame, worse, better); False for NaN
    copy = np.zeros(position.shape[:2], np.bool_)
    for place in range(1, position.shape[1]):
        copy[:, place] = (same[:, place, :place] & ~copy[:, :place]).any(-1)
    return copy


def _reorder(
    position: NDArray[np.float32], confidence: NDArray[np.float32], order: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Reorder the poses of each frame."""
    return (
        np.take_along_axis(position, order[..., None, None], axis=1),
        np.take_along_axis(confidence, order[..., None], axis=1),
    )
