"""Combine the poses that the members of an ensemble predict: median and spread."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.metrics.keypoints import find_individuals, measure_areas
from pipeline_lib.kernels.metrics.matching import UNMATCHED, match_individuals

Floats = NDArray[np.floating]

# OKS from which individuals of two members are the same animal.
MIN_OKS = 0.1
# As similar as animals at the largest distance.
_NEAR = {"min_similarity": 0.5}
_NOBODY = UNMATCHED


class Combined(NamedTuple):
    """Hold the poses of an ensemble.

    Attributes
    ----------
    position
        Shape (frame, individual, keypoint, 2), float32, px; NaN: found by fewer than half of the
        members.
    confidence
        Shape (frame, individual, keypoint), float32, 0..1; 0: not found.
    spread
        Shape (frame, individual, keypoint), float32, px; NaN: not found by two members.
    """

    position: NDArray[np.float32]
    confidence: NDArray[np.float32]
    spread: NDArray[np.float32]


def combine_members(position: Floats, confidence: Floats) -> Combined:
    """Return the median of the members' keypoints, and how far these lie from it.

    Parameters
    ----------
    position
        Shape (member, frame, individual, keypoint, 2), px; NaN: not found. The same individual
        has the same slot in all members, see `arrange_members`.
    confidence
        Shape (member, frame, individual, keypoint), 0..1; of what a member did not find, 0.

    Returns
    -------
    Combined
        Of each coordinate, the median over the members that found the keypoint; the median of
        the confidences of all members; and the root mean square of the distances between the
        members' points and the median.
    """
    found = np.asarray(np.isfinite(position).all(axis=-1))
    count = found.sum(axis=0)
    enough = 2 * count >= len(position)
    middle = _find_medians(np.where(found[..., None], position, np.nan), count[..., None])
    sure = np.median(np.where(found, np.nan_to_num(confidence), 0.0), axis=0)
    square = ((position - middle) ** 2).sum(axis=-1)
    total = np.where(found, square, 0.0).sum(axis=0)
    spread = np.sqrt(total / np.maximum(count, 1))
    return Combined(
        np.where(enough[..., None], middle, np.nan).astype(np.float32),
        np.where(enough, sure, 0.0).astype(np.float32),
        np.where(enough & (count > 1), spread, np.nan).astype(np.float32),
    )


def leave_out_weak(found: Combined, min_confidence: float) -> Combined:
    """Return the poses without keypoints of a lower confidence."""
    weak = found.confidence < min_confidence
    return Combined(
        np.where(weak[..., None], np.float32(np.nan), found.position),
        np.where(weak, np.float32(0), found.confidence),
        np.where(weak, np.float32(np.nan), found.spread),
    )


def _find_medians(values: Floats, count: NDArray[np.int64]) -> Floats:
    """Return the medians along the first axis, of the values that are not NaN."""
    # NaN come last.
    ordered = np.sort(values.astype(np.float64), axis=0)
    last = np.maximum(count - 1, 0)
    places = (last // 2, (last + 1) // 2)
    shape = ordered.shape[1:]
    low, high = (
        np.take_along_axis(ordered, np.broadcast_to(place, shape)[None], axis=0)[0]
        for place in places
    )
    return np.asarray((low + high) / 2)


def arrange_members(
    position: Floats, confidence: Floats, *, max_distance: float, min_oks: float = MIN_OKS
) -> NDArray[np.int64]:
    """Match the individuals of the members of an ensemble, frame by frame.

    The individuals of the first member are groups. Those of each further member are matched with
    the groups, so that the sum of their OKS is largest; of those without a match each makes a
    group of its own. Groups with individuals of at least half of the members are kept, the most
    confident ones first.

    Parameters
    ----------
    position, confidence
        Shapes (member, frame, individual, keypoint, 2), px, and without the 2; NaN: not found.
    max_distance
        Distance in px up to which animals of a single bodypart, which have no OKS, match.
    min_oks
        OKS from which individuals match.

    Returns
    -------
    ndarray
        Shape (member, frame, individual), int64: individual of the member that has the slot of
        the ensemble; -1: none.
    """
    # One by one: the area of an animal without any must not depend on other frames.
    arranged = [
        _arrange_frame(position[:, frame], confidence[:, frame], max_distance, min_oks)
        for frame in range(position.shape[1])
    ]
    return np.stack(arranged, axis=1) if arranged else np.empty(position.shape[:3], np.int64)


def _arrange_frame(
    position: Floats, confidence: Floats, max_distance: float, min_oks: float
) -> NDArray[np.int64]:
    """Return the individuals of a frame by member and slot; see `arrange_members`."""
    members, slots = position.shape[:2]
    owner = np.full((members, members * slots), _NOBODY)
    sure = np.zeros(members * slots)
    there = find_individuals(position)
    sized = np.isfinite(measure_areas(position)).any()
    rules = {"min_similarity": min_oks} if sized else {"max_distance": max_distance, **_NEAR}
    groups = np.full((members * slots, *position.shape[2:]), np.nan)
    free = 0
    for number in range(members):
        matched = match_individuals(groups[None], position[number][None], **rules)[0]
        for slot in np.flatnonzero(there[number]).tolist():
            place = int(matched[slot])
            if place == UNMATCHED:
                place, free = free, free + 1
                groups[place] = position[number, slot]
            owner[number, place] = slot
            sure[place] += np.nansum(confidence[number, slot])
    kept = 2 * (owner >= 0).sum(axis=0) >= members
    order = np.argsort(np.where(kept, -sure, np.inf), kind="stable")[:slots]
    return np.where(kept[order], owner[:, order], _NOBODY)


def take_individuals(values: Floats, arranged: NDArray[np.int64], missing: float) -> Floats:
    """Return values of individuals in the slots of the ensemble.

    Parameters
    ----------
    values
        Shape (member, frame, individual, ...).
    arranged
        As from `arrange_members`.
    missing
        Value of a slot that a member has no individual for.
    """
    more = values.ndim - arranged.ndim
    place = arranged.reshape(*arranged.shape, *(1,) * more)
    taken = np.take_along_axis(values, np.maximum(place, 0), axis=2)
    return np.where(place >= 0, taken, missing)
