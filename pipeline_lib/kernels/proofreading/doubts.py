"""List the frames at which two animals may have been exchanged (doubts), worst first.

For two animals near each other, the last pose of each track before a place is moved along its
motion and compared with the first pose after it of its own track and of the other track, and the
same back in time. How far a pose usually is from where its own track was some frames before is
measured in the video itself, so that a noisy network or fast animals are not mistaken for
exchanges. The evidence for an exchange is the logarithm of the likelihood ratio of both
assignments, where distances have Cauchy's heavy tails: a false keypoint decides nothing alone.
A logistic function turns it into the probability that the tracks are wrong at this place.

The tracker's own mark of uncertainty is a doubt only where poses tell nothing: where a track goes
on after so long a gap, or so far away, that no pair of tracks can be compared.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.core.track_decisions import DecisionKind
from pipeline_lib.kernels.metrics.keypoints import find_individuals, keypoint_distance
from pipeline_lib.kernels.proofreading.corrections import DecidedPlace
from pipeline_lib.kernels.tracking.motion import estimate_motion
from pipeline_lib.kernels.tracking.similarity import centre_poses, measure_scale

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.integer[Any]]

# Slope and intercept of the logistic function from evidence to probability. Fitted to the mistakes
# of our own tracker in simulated recordings other than those of
# `benchmarks/labelling/proofreading.py`.
_SLOPE, _INTERCEPT = 4.0, -0.7
# Probability of a place that the tracker marked as uncertain and that cannot be compared.
_UNCERTAIN = 0.3
# Probability above which the exchanged tracks fit better than the present ones.
_EVEN = 0.5
# A pose this many times as far from its track as usual (squared) does not continue it.
_OFF = 100.0
# Gaps in frames at which usual distances are measured, and most poses for each.
_GAPS = (1, 2, 3, 5, 8, 12, 18, 27, 40, 60, 90, 135, 200, 300, 450, 700, 1000)
_MOST_POSES, _FEWEST_POSES = 2000, 10
# Number of frames for which a velocity holds on average.
_PERSISTENCE = 5.0
# Least usual distance, as a share of the tolerance of similarities: exact tracks may rest.
_LEAST_DISTANCE = 0.05
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
    min_probability
        0..1; least probability of being wrong from which a place is a doubt.
    near
        Number of frames within which places are one event.
    max_gap
        Longest gap in frames across which poses are compared.
    """

    min_probability: float
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
    probability
        0..1, that the tracks are wrong at this place; doubts are listed by falling probability.
    """

    frame: int
    first: int
    last: int
    slots: tuple[int, ...]
    probability: float


def list_doubts(
    position: Floats, status: NDArray[np.uint8] | None, rules: DoubtRules
) -> list[TrackDoubt]:
    """List the doubts about tracks, worst first; one for each event.

    Places of one pair within ``rules.near`` frames are one doubt. Of doubts that overlap in time
    and share an animal, the worst is listed.

    Parameters
    ----------
    position
        Shape (frame, slot, keypoint, 2), px; NaN where missing.
    status
        Shape (frame, slot), values of `TrackStatus`; None: unknown.
    rules
        Rules by which doubts are listed.
    """
    return keep_worst_of_events(find_doubts(position, status, rules), rules.near)


def find_doubts(
    position: Floats, status: NDArray[np.uint8] | None, rules: DoubtRules
) -> list[TrackDoubt]:
    """List the doubts about each pair of animals, worst first, also several of one event.

    Parameters are those of `list_doubts`.
    """
    if len(position) <= 1:
        return []
    judge = _Judge.make(position.astype(np.float64), rules)
    doubts = list(_merge(judge.compare_pairs(), rules.near))
    if status is not None and rules.min_probability <= _UNCERTAIN:
        doubts += _list_uncertain(status, judge, doubts, rules.near)
    return sorted(doubts, key=lambda one: (-one.probability, one.frame, one.slots))


def keep_worst_of_events(doubts: Sequence[TrackDoubt], near: int) -> list[TrackDoubt]:
    """Return the worst doubt of each event.

    Parameters
    ----------
    doubts
        Doubts, worst first.
    near
        Doubts this number of frames apart that share an animal are one event.
    """
    kept: list[TrackDoubt] = []
    for doubt in doubts:
        if not any(_is_one_event(doubt, other, near) for other in kept):
            kept.append(doubt)
    return kept


def _is_one_event(one: TrackDoubt, other: TrackDoubt, near: int) -> bool:
    together = one.first <= other.last + near and other.first <= one.last + near
    return together and not set(one.slots).isdisjoint(other.slots)


def drop_decided(
    doubts: Iterable[TrackDoubt], decided: Sequence[DecidedPlace], near: int
) -> list[TrackDoubt]:
    """Return the doubts that no decision settles.

    A `confirm` settles the doubts about its animals, and those of the same event about one of them
    and a third animal, unless an exchange would fit better than the tracks. After a `swap`,
    `join`, `new` or `cut`, a doubt remains only if a further exchange would fit better than the
    corrected tracks.

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
    if place.slots.isdisjoint(doubt.slots):
        return False
    same = place.slots.issuperset(doubt.slots)
    likely = doubt.probability > _EVEN
    if place.what is DecisionKind.CONFIRM:
        within = place.frame - near <= doubt.frame <= place.last + near
        return within and (same or not likely)
    # A new or cut track has one animal of the pair: what it was exchanged with is told, too.
    told = same or place.what in (DecisionKind.NEW, DecisionKind.CUT)
    for frame in (place.frame, place.last + 1):
        if told and abs(doubt.frame - frame) <= _AT_PLACE:
            return True
        if doubt.first - near <= frame <= doubt.last + near and not likely:
            return True
    return False


@dataclass(frozen=True)
class _Judge:
    """Compare the tracks of a video with what they would be after an exchange.

    Attributes
    ----------
    position
        Shape (frame, slot, keypoint, 2), float64, px; NaN where missing.
    onward, back
        Offset and velocity of each pose in time and back in time, as `estimate_motion` has them.
    before, after
        Shape (frame, slot), as `_list_neighbours` returns them.
    usual
        Returns the usual squared distance in px^2 between a pose and its track some frames before.
    rules
        Rules by which doubts are listed.
    """

    position: NDArray[np.float64]
    onward: tuple[NDArray[np.float64], NDArray[np.float64]]
    back: tuple[NDArray[np.float64], NDArray[np.float64]]
    before: Indices
    after: Indices
    usual: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    rules: DoubtRules

    @classmethod
    def make(cls, position: NDArray[np.float64], rules: DoubtRules) -> "_Judge":
        """Measure motion and usual distances in a video."""
        seen = find_individuals(position)
        order = np.broadcast_to(np.arange(seen.shape[1]), seen.shape)
        offset, velocity = estimate_motion(position[::-1], order)
        motion = estimate_motion(position, order), (offset[::-1], velocity[::-1])
        before, after = _list_neighbours(seen)
        judge = cls(position, *motion, before, after, np.ones_like, rules)
        return cls(position, *motion, before, after, judge._measure_usual(), rules)

    def compare_pairs(self) -> Iterator[TrackDoubt]:
        """Yield the places at which two animals near each other may have been exchanged."""
        scale = measure_scale(self.position[None])
        centre = centre_poses(self.position)
        animals = self.position.shape[1]
        for pair in ((one, other) for one in range(animals) for other in range(one + 1, animals)):
            passages = _choose_places(self.before, self.after, pair, self.rules.max_gap)
            reach = 4.0 * scale.size + 4.0 * scale.tolerance * np.sqrt(passages.longest)
            near = _measure_approach(centre, passages, pair) <= reach
            passages = passages.take(np.flatnonzero(near))
            for start in range(0, len(passages.frame), _BLOCK):
                part = passages.take(np.arange(start, min(start + _BLOCK, len(passages.frame))))
                for row, probability in self._list_likely(part):
                    first, last = part.before[row].max(), part.after[row].min()
                    yield TrackDoubt(int(part.frame[row]), int(first), int(last), pair, probability)

    def continues(self, slot: int, first: int, last: int) -> bool:
        """Tell whether a track continues as usual wherever it is seen in some frames."""
        frames = np.arange(max(1, first), min(last, len(self.position) - 1) + 1)
        start, stop = self.before[frames, slot], self.after[frames, slot]
        known = (start >= 0) & (stop >= 0)
        if not known.any():
            return False
        start, stop = start[known], stop[known]
        close = self._measure((start, slot), (stop, slot)) <= _OFF
        return bool((close & (stop - start <= self.rules.max_gap + 1)).all())

    def _list_likely(self, places: "_Passages") -> list[tuple[int, float]]:
        def compare(before: int, after: int) -> NDArray[np.float64]:
            start = places.before[:, before], places.slots[before]
            return np.log1p(self._measure(start, (places.after[:, after], places.slots[after])))

        evidence = compare(0, 0) + compare(1, 1) - compare(0, 1) - compare(1, 0)
        probability = 1.0 / (1.0 + np.exp(-(_SLOPE * evidence + _INTERCEPT)))
        rows = np.flatnonzero(probability >= self.rules.min_probability)
        return [(row, float(probability[row])) for row in rows.tolist()]

    def _measure(
        self, start: tuple[Indices, int], stop: tuple[Indices, int]
    ) -> NDArray[np.float64]:
        """Return the squared distance between earlier and later poses, relative to the usual one.

        Both are pairs of frames and a slot.
        """
        step = (stop[0] - start[0]).astype(np.float64)
        return np.asarray(self._measure_distance(start, stop) / self.usual(step))

    def _measure_distance(
        self, start: tuple[Indices, int], stop: tuple[Indices, int]
    ) -> NDArray[np.float64]:
        """Return the squared distance between earlier and later poses, px^2.

        One is moved to the other along its motion, in both directions of time. Near other animals
        motion is easily wrong: what fits without it fits, too.
        """
        one, other = self.position[start], self.position[stop]
        step = (stop[0] - start[0]).astype(np.float64)
        lasts = (_PERSISTENCE * -np.expm1(-step / _PERSISTENCE))[:, None]
        still = _compare(one, other)
        onward = self.onward[0][start] + lasts * self.onward[1][start]
        back = self.back[0][stop] + lasts * self.back[1][stop]
        there = _compare(one + onward[:, None], other)
        return (
            np.minimum(there, still) + np.minimum(_compare(one, other + back[:, None]), still)
        ) / 2.0

    def _measure_usual(self) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """Measure the median squared distance of poses to their own tracks, by gap."""
        scale = measure_scale(self.position[None])
        gaps, values = [1.0], [scale.tolerance**2]
        for gap in _GAPS:
            last = len(self.position) - gap
            if last <= 0 or (gap > self.rules.max_gap + 1 and gaps[1:]):
                break
            start = np.unique(np.linspace(0, last - 1, min(last, _MOST_POSES)).astype(np.int64))
            own = [
                self._measure_distance((start, slot), (start + gap, slot))
                for slot in range(self.position.shape[1])
            ]
            found = np.concatenate(own) if own else np.empty(0)
            found = found[np.isfinite(found)]
            if len(found) >= _FEWEST_POSES:
                gaps.append(float(gap))
                values.append(float(np.median(found)))
        # The first entry is for videos too short to measure anything.
        measured = slice(1, None) if gaps[1:] else slice(None)
        least = (_LEAST_DISTANCE * scale.tolerance) ** 2
        known = np.log(gaps[measured]), np.log(np.maximum(values[measured], least))
        return lambda step: np.asarray(np.exp(np.interp(np.log(np.maximum(step, 1.0)), *known)))


def _compare(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean squared distance of the keypoints that two poses share, px^2.

    That of their centres if they share none; infinite if either has no keypoint.
    """
    square = np.square(one - other).sum(-1)
    shared = np.isfinite(square)
    count = shared.sum(-1)
    centre = np.square(centre_poses(one) - centre_poses(other)).sum(-1)
    mean = np.where(shared, square, 0.0).sum(-1) / np.maximum(1, count)
    return np.asarray(np.nan_to_num(np.where(count > 0, mean, centre), nan=np.inf))


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
    worst = max(group, key=lambda place: place.probability)
    first, last = min(one.first for one in group), max(one.last for one in group)
    return worst._replace(first=first, last=last)


def _list_uncertain(
    status: NDArray[np.uint8], judge: _Judge, known: Sequence[TrackDoubt], near: int
) -> Iterator[TrackDoubt]:
    """Yield the runs that the tracker called uncertain, where poses cannot tell.

    These are runs in which a track does not continue as usual, without a doubt about the slot.
    """
    uncertain = status == TrackStatus.UNCERTAIN
    runs: list[tuple[int, int, int]] = []
    for slot in range(status.shape[1]):
        change = np.flatnonzero(np.diff(uncertain[:, slot], prepend=False, append=False))
        for start, stop in change.reshape(-1, 2).tolist():
            told = any(
                slot in one.slots and one.first < stop and start <= one.last for one in known
            )
            if stop > 1 and not told and not judge.continues(slot, start, stop):
                runs.append((start, stop - 1, slot))
    for group in _group_runs(sorted(runs), near):
        first, last = min(run[0] for run in group), max(run[1] for run in group)
        slots = sorted({run[2] for run in group})
        for start in range(0, len(slots), _PAIR):
            some = tuple(slots[start : start + _PAIR])
            yield TrackDoubt(max(1, first), max(0, first - 1), last + 1, some, _UNCERTAIN)


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
