"""Choose peaks and poses where windows around animals overlap.

A window around one animal may also show a part of another one, whose keypoints may have higher
scores. But a keypoint belongs to one animal: where two windows found the same one, one of them
takes its next peak, if it has another one that is no mere noise.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline_lib.kernels.ensembles.members import combine_members
from pipeline_lib.kernels.metrics.keypoints import object_keypoint_similarity
from pipeline_lib.kernels.tracking.similarity import measure_sizes

Floats = NDArray[np.floating]

# Of two views of one animal a keypoint differs by less than this share of the animal's size.
_SAME_POSE = 0.3
# OKS from which two windows have found the same animal.
_SAME_ANIMAL = 0.5
# Share of an animal's size up to which keypoints of two animals are one and the same.
_SAME_KEYPOINT = 0.15
# Share of the confidence of the best peak that another peak must have to be chosen instead.
_LEAST_ALTERNATIVE = 0.1
# What a peak is worth, as a share of its confidence, to an animal that has no other one and
# shares it with another animal.
_SHARED = 0.25
_NO_PEAK = -1


class SharingRules(NamedTuple):
    """Rules for sharing peaks.

    Attributes
    ----------
    pcutoff, min_keypoints
        An animal has so many keypoints of this confidence; at most all keypoints are asked for.
    cell
        px. Peaks of two windows at most this far apart, and at most 0.15 of the size of the smaller
        animal, are one.
    """

    pcutoff: float
    min_keypoints: int
    cell: float


class _Peaks(NamedTuple):
    """Hold the peaks of one keypoint of one animal, those of all members joined, best first.

    Attributes
    ----------
    position
        Shape (peak, 2), px.
    value
        Shape (peak,): mean of the confidences of the members; 0 for one without this peak.
    member
        Shape (member, peak): number of the member's own peak; -1: none.
    """

    position: Floats
    value: Floats
    member: NDArray[np.intp]


def share_peaks(
    position: Floats, confidence: Floats, rules: SharingRules
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Choose a peak of each keypoint for the animal of each window of one frame.

    Each animal takes its best peak. Where two take the same, the sum of the confidences of all
    animals decides which of them takes its next peak instead. A peak of less than a tenth of the
    best one's confidence is no alternative. An animal without any keeps the shared peak, and one
    that would be left with too few certain keypoints keeps its best peaks. Windows that found an
    animal that another window found with higher confidences take nothing, and those that found
    too few certain keypoints dispute nothing.

    Members of an ensemble decide together; then each gives its own peak in the place.

    Parameters
    ----------
    position
        Shape (member, window, peak, keypoint, 2), px of the frame, best peaks first; NaN where
        missing.
    confidence
        Shape (member, window, peak, keypoint), 0..1.
    rules
        What is one peak, and what is an animal.

    Returns
    -------
    position, confidence
        Shapes (member, window, keypoint, 2) and (member, window, keypoint), float32; NaN and 0
        where there is no peak. The order of windows matters only where confidences are equal.
    """
    wanted = max(1, min(rules.min_keypoints, confidence.shape[-1]))
    best, sure = _combine_best(position, confidence)
    certain = (sure >= rules.pcutoff) & np.isfinite(best).all(-1)
    seen = np.where(certain[..., None], best, np.nan)
    order = np.argsort(-np.where(certain, sure, 0.0).sum(-1, dtype=np.float64), kind="stable")
    copy = np.zeros(len(order), np.bool_)
    copy[order] = find_copies(seen[order][None], rules.cell)[0]
    taken = np.broadcast_to(np.where(copy[:, None], _NO_PEAK, 0), confidence[:, :, 0].shape).copy()
    animals = np.flatnonzero(~copy & (certain.sum(-1) >= wanted))
    sizes = measure_sizes(seen)
    apart = np.minimum(rules.cell, _SAME_KEYPOINT * np.where(np.isfinite(sizes), sizes, np.inf))
    for keypoint in _find_disputed(best[animals], apart[animals]):
        points, values = position[..., keypoint, :], confidence[..., keypoint]
        there = [one for one in animals if np.isfinite(points[:, one, 0, 0]).any()]
        peaks = [_join_members(points[:, one], values[:, one], apart[one]) for one in there]
        chosen = _assign_peaks(peaks, apart[there])
        for animal, own, peak in zip(there, peaks, chosen, strict=True):
            taken[:, animal, keypoint] = own.member[:, peak]
    _keep_animals(taken, confidence, rules.pcutoff, wanted, animals)
    return _take_peaks(position, confidence, taken)


def _combine_best(position: Floats, confidence: Floats) -> tuple[Floats, Floats]:
    """Return the best peaks (window, keypoint) that the members have found together."""
    if len(position) == 1:
        return position[0, :, 0], confidence[0, :, 0]
    combined = combine_members(position[:, :, 0][:, :, None], confidence[:, :, 0][:, :, None])
    return combined.position[:, 0], combined.confidence[:, 0]


def _find_disputed(best: Floats, apart: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the keypoints of which two animals have the same best peak."""
    ways: Floats = np.sqrt(((best[:, None] - best) ** 2).sum(axis=-1))
    # False for NaN.
    near = ways <= np.minimum(apart[:, None], apart)[..., None]
    return np.flatnonzero(near[np.triu_indices(len(best), 1)].any(axis=0))


def _join_members(position: Floats, confidence: Floats, apart: float) -> _Peaks:
    """Join the peaks (member, peak) of one keypoint of one animal that are in one place."""
    members, peaks = confidence.shape
    places: list[Floats] = []
    value = np.zeros(members * peaks)
    owner = np.full((members, members * peaks), _NO_PEAK)
    there = np.asarray(np.isfinite(position).all(-1))
    sure = np.where(there, confidence, 0.0)
    for number in np.argsort(-sure, axis=None, kind="stable").tolist():
        member, peak = divmod(number, peaks)
        if not there[member, peak]:
            break
        place = _find_place(position[member, peak], places, [apart] * len(places), apart)
        if place == len(places):
            places.append(position[member, peak])
        if owner[member, place] == _NO_PEAK:
            owner[member, place] = peak
            value[place] += sure[member, peak] / members
    order = np.argsort(-value[: len(places)], kind="stable")
    where = np.array(places).reshape(-1, 2)
    return _Peaks(where[order], value[: len(places)][order], owner[:, : len(places)][:, order])


def _find_place(
    point: Floats, places: list[Floats], tolerances: Sequence[float], apart: float
) -> int:
    """Return the number of the nearest place that a point is in; their number if it is in none."""
    if not places:
        return 0
    ways = np.linalg.norm(np.array(places) - point, axis=-1)
    ways = np.where(ways <= np.minimum(tolerances, apart), ways, np.inf)
    nearest = int(ways.argmin())
    return nearest if np.isfinite(ways[nearest]) else len(places)


def _assign_peaks(peaks: Sequence[_Peaks], apart: NDArray[np.float64]) -> list[int]:
    """Return the peak of one keypoint that each animal takes, none twice if there are others.

    Parameters
    ----------
    peaks
        Of each animal, one at least.
    apart
        Shape (animal,), px: how far apart peaks of an animal and of another may be to be one.
    """
    offers = [
        (float(value), animal, peak)
        for animal, own in enumerate(peaks)
        for peak, value in enumerate(own.value)
        if value >= _LEAST_ALTERNATIVE * own.value[0]
    ]
    alternatives = np.bincount([animal for _, animal, _ in offers], minlength=len(peaks)) > 1
    places: list[Floats] = []
    tolerances: list[float] = []
    gain = np.zeros((len(peaks), len(offers) + len(peaks)))
    which = np.zeros(gain.shape, np.intp)
    for value, animal, peak in sorted(offers, key=lambda offer: -offer[0]):
        point, own = peaks[animal].position[peak], float(apart[animal])
        place = _find_place(point, places, tolerances, own)
        if place == len(places):
            places.append(point)
            tolerances.append(own)
        if value > gain[animal, place]:
            gain[animal, place], which[animal, place] = value, peak
    for animal, own_peaks in enumerate(peaks):
        if not alternatives[animal]:
            gain[animal, len(offers) + animal] = _SHARED * own_peaks.value[0]
    _, columns = linear_sum_assignment(gain, maximize=True)
    return [int(which[animal, column]) for animal, column in enumerate(columns)]


def _keep_animals(
    taken: NDArray[np.intp],
    confidence: Floats,
    pcutoff: float,
    wanted: int,
    animals: NDArray[np.intp],
) -> None:
    """Give animals their best peaks back that would have too few certain keypoints without."""
    values = np.take_along_axis(confidence, np.maximum(taken, 0)[:, :, None], axis=2)[:, :, 0]
    sure = np.median(np.where(taken == _NO_PEAK, 0.0, np.nan_to_num(values)), axis=0)
    left = (sure >= pcutoff).sum(axis=-1) < wanted
    taken[:, animals[left[animals]]] = 0


def _take_peaks(
    position: Floats, confidence: Floats, taken: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the taken peaks (member, window, keypoint)."""
    place = np.maximum(taken, 0)[:, :, None]
    points = np.take_along_axis(position, place[..., None], axis=2)[:, :, 0]
    values = np.take_along_axis(confidence, place, axis=2)[:, :, 0]
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
    position, confidence = keep_certain(
        position,
        confidence,
        pcutoff=pcutoff,
        min_confidence=min_confidence,
        min_keypoints=min_keypoints,
    )
    order = np.argsort(-confidence.sum(-1, dtype=np.float64), axis=-1, kind="stable")
    position, confidence = _reorder(position, confidence, order)
    sure = np.where((confidence >= pcutoff)[..., None], position, np.nan)
    copy = find_copies(sure, least_size)
    position[copy], confidence[copy] = np.nan, 0.0
    last = np.argsort(copy, axis=-1, kind="stable")
    position, confidence = _reorder(position, confidence, last)
    return position, confidence, np.take_along_axis(order, last, axis=-1)


def keep_certain(
    position: Floats,
    confidence: Floats,
    *,
    pcutoff: float,
    min_confidence: float,
    min_keypoints: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Leave out poses with too few certain keypoints, and keypoints of low confidence.

    Parameters
    ----------
    position, confidence
        Shapes (..., keypoint, 2), px, NaN where missing, and (..., keypoint), 0..1.
    pcutoff, min_confidence, min_keypoints
        As in `rank_poses`.

    Returns
    -------
    position, confidence
        float32 in the same shapes; NaN and 0 where a keypoint is left out.
    """
    found = np.isfinite(position).all(-1)
    certain = (found & (confidence >= pcutoff)).sum(-1)
    wanted = max(1, min(min_keypoints, confidence.shape[-1]))
    kept = found & (confidence >= min_confidence) & (certain >= wanted)[..., None]
    return (
        np.where(kept[..., None], position, np.nan).astype(np.float32),
        np.where(kept, confidence, 0.0).astype(np.float32),
    )


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
