"""List the frames at which two animals may have been exchanged (doubts), worst first.

For two animals near each other, the pose that each track predicts is compared with the next pose of
its own track and with that of the other track. The *ambiguity* is the summed similarity of the
exchanged assignment divided by that of the present one; above 1 the exchange fits better. Frames
that the tracker marked as uncertain are doubts, too.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.core.track_decisions import DecisionKind
from pipeline_lib.kernels.metrics.keypoints import find_individuals, keypoint_distance
from pipeline_lib.kernels.tracking.corrections import DecidedPlace
from pipeline_lib.kernels.tracking.motion import estimate_motion
from pipeline_lib.kernels.tracking.similarity import (
    Measure,
    centre_poses,
    compare_poses,
    measure_scale,
)

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.integer[Any]]

# Ambiguity of a run that the tracker marked as uncertain, if that of its pairs is lower.
_UNCERTAIN = 0.5
# Mean similarity below which an exchange is ruled out.
_LEAST_SIMILARITY = 0.02
# Largest ambiguity, where the present assignment fits not at all.
_HIGHEST = 99.0
# Number of animals in an exchange.
_PAIR = 2
_BLOCK = 2**16
# Doubts within this number of frames of a decision are settled by it.
_AT_PLACE = 1


@dataclass(frozen=True)
class DoubtRules:
    """Hold the rules by which doubts are listed.

    Attributes
    ----------
    similarity
        Measure of similarity between poses.
    max_ambiguity
        0..1; ambiguity above which a place is a doubt.
    near
        Number of frames within which places of the same animals are one doubt.
    max_gap
        Longest gap in frames across which poses are compared.
    """

    similarity: Measure
    max_ambiguity: float
    near: int
    max_gap: int


class TrackDoubt(NamedTuple):
    """Describe a doubt: a place at which tracks may be wrong.

    Attributes
    ----------
    frame
        First frame from which the animals may have been exchanged, 1 or more.
    first, last
        Last certain frame before the doubt, and first certain frame after it.
    slots
        Slots of the animals: two, or one that the tracker marked as uncertain.
    ambiguity
        Similarity of the exchange divided by that of the tracks as they are; doubts are listed
        by falling ambiguity.
    """

    frame: int
    first: int
    last: int
    slots: tuple[int, ...]
    ambiguity: float


def list_doubts(
    position: Floats, status: NDArray[np.uint8] | None, rules: DoubtRules
) -> list[TrackDoubt]:
    """List the doubts about tracks, worst first.

    Parameters
    ----------
    position
        Shape (frame, slot, keypoint, 2), px; NaN where missing.
    status
        Shape (frame, slot), values of `TrackStatus`; None: unknown.
    rules
        Rules by which doubts are listed.
    """
    if len(position) <= 1:
        return []
    pairs = list(_compare_pairs(position.astype(np.float64), rules))
    places = [place for place in pairs if place.ambiguity > rules.max_ambiguity]
    doubts = list(_merge(places, rules.near))
    if status is not None:
        doubts += _list_uncertain(status, pairs, doubts, rules.near)
    return sorted(doubts, key=lambda one: (-one.ambiguity, one.frame, one.slots))


def drop_decided(
    doubts: Iterable[TrackDoubt], decided: Sequence[DecidedPlace], near: int
) -> list[TrackDoubt]:
    """Return the doubts that no decision settles.

    A `confirm` settles the doubts about its animals. After a `swap`, `join`, `new` or `cut`, a
    doubt remains only if a further exchange would fit better than the corrected tracks.

    Parameters
    ----------
    doubts
        Doubts about the tracks after these decisions.
    decided
        Places of the decisions, by slots of the same tracks.
    near
        Number of frames within which places are one.
    """
    return [doubt for doubt in doubts if not any(_settles(place, doubt, near) for place in decided)]


def _settles(place: DecidedPlace, doubt: TrackDoubt, near: int) -> bool:
    if place.what is DecisionKind.CONFIRM:
        within = place.frame - near <= doubt.frame <= place.last + near
        return within and place.slots.issuperset(doubt.slots)
    if place.slots.isdisjoint(doubt.slots):
        return False
    for frame in (place.frame, place.last + 1):
        if abs(doubt.frame - frame) <= _AT_PLACE:
            return True
        if doubt.first - near <= frame <= doubt.last + near and doubt.ambiguity <= 1.0:
            return True
    return False


def _compare_pairs(position: NDArray[np.float64], rules: DoubtRules) -> Iterator[TrackDoubt]:
    """Yield the ambiguity of each place at which two animals are near each other."""
    seen = find_individuals(position)
    before, after = _list_neighbours(seen)
    scale = measure_scale(position[None])
    centre = centre_poses(position)
    order = np.broadcast_to(np.arange(seen.shape[1]), seen.shape)
    motion = estimate_motion(position, order)
    for one in range(seen.shape[1]):
        for other in range(one + 1, seen.shape[1]):
            passages = _choose_places(before, after, (one, other), rules.max_gap)
            reach = 4.0 * scale.size + 4.0 * scale.tolerance * np.sqrt(passages.longest)
            near = _measure_approach(centre, passages, (one, other)) <= reach
            passages = passages.take(np.flatnonzero(near))
            for start in range(0, len(passages.frame), _BLOCK):
                part = passages.take(np.arange(start, min(start + _BLOCK, len(passages.frame))))
                ambiguity = _measure_ambiguity(position, motion, part, scale.tolerance, rules)
                for row, value in enumerate(ambiguity.tolist()):
                    first, last = part.before[row].max(), part.after[row].min()
                    yield TrackDoubt(
                        int(part.frame[row]), int(first), int(last), (one, other), value
                    )


class _Passages(NamedTuple):
    """Hold places at which two tracks pass: frame, and frames before and after of both slots.

    ``slots`` has the two slots, ``before`` and ``after`` have shape (place, 2).
    """

    frame: Indices
    before: Indices
    after: Indices
    slots: tuple[int, int]

    @property
    def longest(self) -> NDArray[np.int64]:
        """Number of frames from the first pose before to the last pose after."""
        return np.asarray(self.after.max(1) - self.before.min(1))

    def take(self, index: Indices) -> "_Passages":
        return _Passages(self.frame[index], self.before[index], self.after[index], self.slots)


def _list_neighbours(seen: NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """Return the last frame before, and the first at or after, in which each slot is seen.

    Shape (frame, slot), for the place between a frame and the one before; -1: never.
    """
    frames = len(seen)
    number = np.arange(frames)[:, None]
    last = np.maximum.accumulate(np.where(seen, number, -1), axis=0)
    before = np.concatenate([np.full((1, seen.shape[1]), -1), last[:-1]])
    following = np.minimum.accumulate(np.where(seen, number, frames)[::-1], axis=0)[::-1]
    return before, np.where(following == frames, -1, following)


def _choose_places(
    before: Indices, after: Indices, slots: tuple[int, int], max_gap: int
) -> _Passages:
    """Return the places at which both slots go on, those of one gap once."""
    earlier, later = before[:, slots], after[:, slots]
    there = (earlier >= 0).all(1) & (later >= 0).all(1)
    there &= (later - earlier).max(1) <= max_gap + 1
    # Within a gap of both the place does not matter: the first frame stands for all.
    same = (earlier[1:] == earlier[:-1]).all(1) & (later[1:] == later[:-1]).all(1)
    there[1:] &= ~(same & there[:-1])
    frame = np.flatnonzero(there)
    return _Passages(frame, earlier[frame], later[frame], slots)


def _measure_approach(
    centre: NDArray[np.float64], passages: _Passages, slots: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the smallest distance of one animal before a place to the other one after it, px."""
    one, other = slots
    before, after = passages.before, passages.after
    there = keypoint_distance(centre[before[:, 0], one], centre[after[:, 1], other])
    back = keypoint_distance(centre[before[:, 1], other], centre[after[:, 0], one])
    return np.asarray(np.fmin(there, back))


def _measure_ambiguity(
    position: NDArray[np.float64],
    motion: tuple[NDArray[np.float64], NDArray[np.float64]],
    passages: _Passages,
    tolerance: float,
    rules: DoubtRules,
) -> NDArray[np.float64]:
    """Return how similar exchanged tracks are, as a share of the tracks as they are."""
    offset, velocity = motion

    def compare(one: int, other: int) -> NDArray[np.float64]:
        start, stop = passages.before[:, one], passages.after[:, other]
        slots = passages.slots
        step = (stop - start).astype(np.float64)
        shift = offset[start, slots[one]] + step[:, None] * velocity[start, slots[one]]
        there = position[stop, slots[other]]
        width = tolerance * np.sqrt(np.maximum(step, 1.0))
        # Near other animals motion is easily wrong: what fits without it fits, too.
        moved, still = (
            compare_poses(position[start, slots[one]] + way, there, width, rules.similarity)
            for way in (shift[:, None, :], 0.0)
        )
        return np.maximum(moved, still)

    kept = compare(0, 0) + compare(1, 1)
    exchanged = compare(0, 1) + compare(1, 0)
    ratio = exchanged / np.maximum(kept, exchanged / _HIGHEST + 1e-12)
    return np.where(exchanged >= 2.0 * _LEAST_SIMILARITY, ratio, 0.0)


def _merge(places: Iterable[TrackDoubt], near: int) -> Iterator[TrackDoubt]:
    """Yield one doubt for places of the same animals that are near each other in time."""
    by_pair: dict[tuple[int, ...], list[TrackDoubt]] = {}
    for place in places:
        by_pair.setdefault(place.slots, []).append(place)
    for found in by_pair.values():
        group: list[TrackDoubt] = []
        for place in sorted(found):
            if group and place.frame - group[-1].frame > near:
                yield _sum_up(group)
                group = []
            group.append(place)
        yield _sum_up(group)


def _sum_up(group: Sequence[TrackDoubt]) -> TrackDoubt:
    worst = max(group, key=lambda place: place.ambiguity)
    first, last = min(one.first for one in group), max(one.last for one in group)
    return worst._replace(first=first, last=last)


def _list_uncertain(
    status: NDArray[np.uint8],
    pairs: Sequence[TrackDoubt],
    known: Sequence[TrackDoubt],
    near: int,
) -> Iterator[TrackDoubt]:
    """Yield the runs that the tracker called uncertain and that are not among the known doubts."""
    uncertain = status == TrackStatus.UNCERTAIN
    runs: list[tuple[int, int, int]] = []
    for slot in range(status.shape[1]):
        change = np.flatnonzero(np.diff(uncertain[:, slot], prepend=False, append=False))
        runs += [(int(start), int(stop) - 1, slot) for start, stop in change.reshape(-1, 2)]
    for group in _group_runs(sorted(runs), near):
        first, last = min(run[0] for run in group), max(run[1] for run in group)
        told = {
            slot for one in known if one.first <= last and first <= one.last for slot in one.slots
        }
        left = sorted({run[2] for run in group} - told)
        if last > 0 and left:
            inside = [one for one in pairs if first <= one.frame <= last and one.ambiguity > 0.0]
            yield from _name_uncertain(left, inside, (first, last))


def _name_uncertain(
    slots: Sequence[int], pairs: Sequence[TrackDoubt], frames: tuple[int, int]
) -> Iterator[TrackDoubt]:
    """Yield doubts about all slots of an uncertain run: the most ambiguous pair, then the rest."""
    first, last = max(0, frames[0] - 1), frames[1] + 1
    concerned = [one for one in pairs if set(one.slots) & set(slots)]
    worst = max(concerned, key=lambda place: place.ambiguity, default=None)
    left = list(slots)
    if worst is not None and len(slots) != _PAIR:
        left = [slot for slot in slots if slot not in worst.slots]
        yield TrackDoubt(worst.frame, first, last, worst.slots, max(_UNCERTAIN, worst.ambiguity))
    frame = worst.frame if worst is not None else max(1, (sum(frames) + 1) // 2)
    for start in range(0, len(left), _PAIR):
        yield TrackDoubt(frame, first, last, tuple(left[start : start + _PAIR]), _UNCERTAIN)


def _group_runs(
    runs: Sequence[tuple[int, int, int]], near: int
) -> Iterator[list[tuple[int, int, int]]]:
    """Yield runs of any slots that overlap in time, or nearly."""
    group: list[tuple[int, int, int]] = []
    for run in runs:
        if group and run[0] > max(one[1] for one in group) + near:
            yield group
            group = []
        group.append(run)
    if group:
        yield group
