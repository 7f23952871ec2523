"""Find the animals of a session: which slots of the views show the same animal at each moment.

Slots are cut into tracklets. Tracklets of different views are compared over all their common
moments and grouped. Groups that follow each other in time are joined if slots continue or positions
in space agree. Usually at least one view follows an animal without doubt; its identity then holds
for all views, and a slot of another view in which animals were exchanged is assigned piece by
piece. A slot that two other views contradict at a moment is left out there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline_lib.core.cameras.calibration import Camera
from pipeline_lib.kernels.geometry.sessions.agreement import (
    Agreement,
    Comparison,
    Membership,
    compare_views,
    measure_agreement,
    measure_membership,
)
from pipeline_lib.kernels.geometry.sessions.contradictions import cut_contradictions
from pipeline_lib.kernels.geometry.sessions.groups import (
    NO_GROUP,
    Assignment,
    Evidence,
    Pieces,
    merge_pieces,
)
from pipeline_lib.kernels.geometry.sessions.links import link_over_time
from pipeline_lib.kernels.geometry.sessions.tracklets import (
    TrackletRules,
    Tracklets,
    cut_tracklets,
)
from pipeline_lib.kernels.geometry.triangulation import triangulate_linear

Floats = NDArray[np.floating[Any]]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

NO_SLOT = -1

# Weight of a slot that continues after a doubt, in moments at which two views agree.
_SLOT = 1.0
# Weight of groups that continue each other in space; moments over which it and that of slots fade.
_SPACE, _FADE = 3.0, 50.0
# Longest gap in moments across which groups are joined.
_GAP = 250
# Distance that an animal may move between two groups, in sizes: at once, and per moment.
_REACH, _PACE = 0.3, 0.05
# Evidence below which a group is no animal.
_FEWEST = 1.0
# Gain by an exchange, as a share of what speaks for the present assignment, that leaves a doubt.
_DOUBT = 0.25
# Moments around an uncertain link that are marked.
_AROUND = 2
# Share of the evidence of the other views by which a slot must fit its individual better than none,
# and better than another one that it fits, too.
_CONFIRMED, _APART = 0.2, 0.35
# Number of other views that must share keypoints with a slot; one keypoint counts a third.
_SHARED = 0.5
# Number of other views from which on slots that are not confirmed are left out.
_CONFIRMING = 2


@dataclass(frozen=True)
class Sighting:
    """Hold what one view saw.

    Attributes
    ----------
    position
        Shape (moment, slot, keypoint, 2), in px; NaN: not seen.
    tracked
        Whether slots follow animals.
    doubtful
        Shape (moment, slot): where the tracker is in doubt; None: it does not tell.
    names
        For each slot, the number of the individual of the same name.
    """

    position: Floats
    tracked: bool
    doubtful: Flags | None
    names: Numbers


@dataclass(frozen=True)
class Matching:
    """Hold the animals that were found.

    Attributes
    ----------
    slots
        Shape (moment, view, individual), int16: slot of each view; -1: none.
    doubtful
        Shape (moment, individual): where it may have been exchanged for another one.
    tracklets, exchanged, left_over
        Number of tracklets; of tracklets assigned to another individual than most of their slot;
        of detections without an individual.
    tolerance
        Error in px at which a keypoint counted neither for nor against.
    """

    slots: NDArray[np.int16]
    doubtful: Flags
    tracklets: int
    exchanged: int
    left_over: int
    tolerance: float


def match_animals(
    cameras: Sequence[Camera],
    sightings: Sequence[Sighting],
    individuals: int,
    *,
    rules: TrackletRules,
    most_pairs: float = 1e8,
) -> Matching:
    """Match the animals of a session across its views.

    Parameters
    ----------
    cameras, sightings
        Of the views, at the same moments.
    individuals
        Largest number of animals; those with the most evidence are kept.
    rules
        When slots are cut.
    most_pairs
        See `pipeline_lib.kernels.geometry.sessions.agreement.measure_agreement`.
    """
    cut = [
        cut_tracklets(one.position, tracked=one.tracked, doubtful=one.doubtful, rules=rules)
        for one in sightings
    ]
    positions = [one.position for one in sightings]
    comparison = compare_views(cameras, positions, cut, most_pairs)
    cut = cut_contradictions(comparison, cut)
    pieces = _list_pieces(cut)
    agreement = measure_agreement(comparison, cut)
    seen_together = Evidence(agreement.first, agreement.second, agreement.score)
    groups = merge_pieces(pieces, seen_together)
    continued = _continue_slots(cut, sightings)
    in_space = _continue_in_space(cameras, positions, cut, groups)
    evidence = _join(seen_together, continued, in_space)
    groups = merge_pieces(pieces, evidence, groups)
    support = _measure_support(agreement, groups)
    votes = _count_votes(cut, sightings, individuals)
    labels = _assign(pieces, groups, support, votes, individuals)
    assignment = Assignment(pieces, evidence, labels, individuals)
    assignment.drop_strangers()
    assignment.improve()
    over_time = _join(continued, in_space)
    uncertain = link_over_time(pieces, over_time, assignment.labels, individuals)
    doubtful = _find_doubts(pieces, assignment, len(positions[0]), individuals)
    for moment, first, second in uncertain:
        span = slice(max(0, moment - _AROUND), moment + _AROUND + 2)
        doubtful[span, [first, second]] = True
    return _finish(cut, sightings, assignment, comparison, doubtful)


def _list_pieces(cut: Sequence[Tracklets]) -> Pieces:
    views = [np.full(len(one.start), number, np.int64) for number, one in enumerate(cut)]
    return Pieces(
        np.concatenate(views),
        np.concatenate([one.start for one in cut]),
        np.concatenate([one.end for one in cut]),
    )


def _join(*evidence: Evidence) -> Evidence:
    return Evidence(
        np.concatenate([one.first for one in evidence]),
        np.concatenate([one.second for one in evidence]),
        np.concatenate([one.weight for one in evidence]),
    )


def _continue_slots(cut: Sequence[Tracklets], sightings: Sequence[Sighting]) -> Evidence:
    """Return the evidence from slots that continue after a cut."""
    firsts, seconds, weights = [], [], []
    base = 0
    for one, sighting in zip(cut, sightings, strict=True):
        after = np.flatnonzero(one.follows >= 0)
        before = one.follows[after]
        gap = np.maximum(one.start[after] - one.end[before], 1)
        # A crossing of slots may begin before the other ends.
        if sighting.tracked:
            firsts.append(before + base)
            seconds.append(after + base)
            weights.append(_SLOT * np.exp(-(gap - 1) / _FADE))
        base += len(one.start)
    if not firsts:
        return _nothing()
    return Evidence(np.concatenate(firsts), np.concatenate(seconds), np.concatenate(weights))


def _nothing() -> Evidence:
    return Evidence(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def _continue_in_space(
    cameras: Sequence[Camera],
    positions: Sequence[Floats],
    cut: Sequence[Tracklets],
    groups: Numbers,
) -> Evidence:
    """Return the evidence from groups that end near the position at which others begin."""
    ends = _find_ends(positions, cut, groups)
    if ends is None:
        return _nothing()
    moments, piece, pixels = ends
    points = triangulate_linear(cameras, pixels)
    points = np.where(np.isfinite(points).all(-1, keepdims=True), points, np.nan)
    size = _measure_extent(points)
    if not size > 0:
        return _nothing()
    count = len(moments) // 2
    first, last = moments[:count], moments[count:]
    order = np.argsort(first, kind="stable")
    low = np.searchsorted(first[order], last, side="right")
    high = np.searchsorted(first[order], last + _GAP, side="right")
    before = np.repeat(np.arange(count), high - low)
    after = [order[a:b] for a, b in zip(low.tolist(), high.tolist(), strict=True)]
    later = np.concatenate(after) if after else np.zeros(0, np.int64)
    gap = (first[later] - last[before]).astype(np.float64)
    distance = _compare_points(points[:count][later], points[count:][before])
    weight = _SPACE * np.clip(1 - distance / (size * (_REACH + _PACE * gap)), -1, 1)
    weight *= np.exp(-(gap - 1) / _FADE)
    good = np.isfinite(weight)
    return Evidence(piece[count:][before[good]], piece[:count][later[good]], weight[good])


def _measure_extent(points: NDArray[np.float64]) -> float:
    """Return the median size in space of animals of two points or more; 0 if there is none."""
    some = points[np.isfinite(points[..., 0]).sum(-1) > 1]
    if not len(some):
        return 0.0
    extent = np.nanmax(some, axis=1) - np.nanmin(some, axis=1)
    return float(np.median(np.linalg.norm(extent, axis=-1)))


def _compare_points(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return median distances of common keypoints; NaN where there is none."""
    distance = np.linalg.norm(first - second, axis=-1)
    result = np.full(len(distance), np.nan)
    some = np.isfinite(distance).any(axis=-1)
    result[some] = np.nanmedian(distance[some], axis=-1)
    return result


def _find_ends(
    positions: Sequence[Floats], cut: Sequence[Tracklets], groups: Numbers
) -> tuple[Numbers, Numbers, NDArray[np.float64]] | None:
    """Return the first, then the last moments at which two views see each group.

    Beside them: a piece of the group at this moment, and pixels (2 x group, view, keypoint, 2).
    """
    count, keypoints = positions[0].shape[0], positions[0].shape[2]
    codes, base = [], 0
    for one in cut:
        moment, slot = np.nonzero(one.number >= 0)
        codes.append(np.unique(groups[one.number[moment, slot] + base] * count + moment))
        base += len(one.start)
    code, views = np.unique(np.concatenate(codes), return_counts=True)
    code = code[views > 1]
    if not len(code):
        return None
    group, first = np.unique(code // count, return_index=True)
    last = np.append(first[1:], len(code)) - 1
    moments = np.concatenate([code[first] % count, code[last] % count])
    wanted = np.concatenate([group, group])
    pixels = np.full((len(wanted), len(cut), keypoints, 2), np.nan)
    piece, base = np.full(len(wanted), -1, np.int64), 0
    for view, one in enumerate(cut):
        numbers = np.where(one.number >= 0, one.number + base, -1)[moments]
        same = np.where(numbers >= 0, groups[np.maximum(numbers, 0)], -1) == wanted[:, None]
        has = np.flatnonzero(same.any(axis=1))
        slot = same[has].argmax(axis=1)
        pixels[has, view] = positions[view][moments[has], slot]
        piece[has] = numbers[has, slot]
        base += len(one.start)
    return moments, piece, pixels


def _measure_support(agreement: Agreement, groups: Numbers) -> NDArray[np.float64]:
    """Return the evidence of several views for each group."""
    same = groups[agreement.first] == groups[agreement.second]
    support: NDArray[np.float64] = np.bincount(
        groups[agreement.first[same]], agreement.score[same], minlength=groups.max(initial=-1) + 1
    ).astype(np.float64)
    return support


def _count_votes(
    cut: Sequence[Tracklets], sightings: Sequence[Sighting], individuals: int
) -> NDArray[np.float64]:
    """Return for each tracklet the number of moments in slots of each individual's name."""
    votes = []
    for one, sighting in zip(cut, sightings, strict=True):
        own = np.zeros((len(one.start), individuals))
        if sighting.tracked:
            for slot, name in enumerate(sighting.names.tolist()):
                numbers = one.number[:, slot]
                if 0 <= name < individuals:
                    own[:, name] += np.bincount(numbers[numbers >= 0], minlength=len(one.start))
        votes.append(own)
    return np.concatenate(votes)


def _assign(
    pieces: Pieces,
    groups: Numbers,
    support: NDArray[np.float64],
    votes: NDArray[np.float64],
    individuals: int,
) -> Numbers:
    """Assign groups to individuals: most evidence first, and by name where there are names."""
    count = len(support)
    total = np.zeros((count, individuals))
    np.add.at(total, groups, votes)
    spans: list[list[tuple[int, slice]]] = [[] for _ in range(count)]
    columns = (groups, pieces.view, pieces.start, pieces.end + 1)
    for group, view, start, end in zip(*(one.tolist() for one in columns), strict=True):
        spans[group].append((view, slice(start, end)))
    shape = (pieces.view.max(initial=-1) + 1, pieces.end.max(initial=-1) + 1)
    order = sorted(range(count), key=lambda group: (-support[group], group))
    main = _choose_main(order, spans, shape[1], int((support >= _FEWEST).sum()))[:individuals]
    labels = np.full(count, NO_GROUP, np.int64)
    busy = np.zeros((individuals, *shape), dtype=bool)
    row, column = linear_sum_assignment(-total[main])
    for index, label in zip(row.tolist(), column.tolist(), strict=True):
        labels[main[index]] = label
        _occupy(busy[label], spans[main[index]])
    for group in order:
        # A group seen by one view alone belongs to the individual that its slot is named after.
        lonely = support[group] < _FEWEST
        free = [
            label
            for label in range(individuals)
            if not (lonely and total[group, label] == 0)
            and not any(busy[label, view, span].any() for view, span in spans[group])
        ]
        if labels[group] != NO_GROUP or not free:
            continue
        best = max(free, key=lambda label: (total[group, label], -label))
        labels[group] = best
        _occupy(busy[best], spans[group])
    return labels[groups]


def _choose_main(
    order: Sequence[int], spans: Sequence[list[tuple[int, slice]]], moments: int, count: int
) -> list[int]:
    """Return the groups with the most evidence that are seen together, hence different animals."""
    main: list[int] = []
    seen: list[Flags] = []
    for group in order[:count]:
        if all(any(one[span].any() for _, span in spans[group]) for one in seen):
            main.append(group)
            own = np.zeros((1, moments), dtype=bool)
            _occupy(own, [(0, span) for _, span in spans[group]])
            seen.append(own[0])
    return main


def _occupy(busy: Flags, spans: list[tuple[int, slice]]) -> None:
    for view, span in spans:
        busy[view, span] = True


def _label_slots(cut: Sequence[Tracklets], labels: Numbers) -> list[Numbers]:
    """Return for each view the individual of each slot, shape (moment, slot); -1: none."""
    base = np.cumsum([0, *(len(one.start) for one in cut)])[:-1]
    return [
        np.where(one.number >= 0, labels[np.maximum(one.number, 0) + start], NO_GROUP)
        for one, start in zip(cut, base.tolist(), strict=True)
    ]


def _drop_weak(
    comparison: Comparison, labels: Sequence[Numbers], doubtful: Flags
) -> tuple[list[Numbers], Flags]:
    """Take slots from individuals that the other views do not confirm, and mark them.

    Where animals lie on each other, a detection may show parts of both. It is left out if two other
    views or more see the individual. A detection that shares hardly a keypoint with these may be
    what the pose of another animal left over. It is left out if two other views or more see the
    individual and are confirmed themselves.
    """
    moments, individuals = doubtful.shape
    members = measure_membership(comparison, labels, individuals)
    compared = np.isin(np.arange(moments), comparison.moments)[:, None]
    judged = [_judge(one, member, compared) for one, member in zip(labels, members, strict=True)]
    firm = [
        np.where(weak | few, NO_GROUP, one) for one, (weak, few) in zip(labels, judged, strict=True)
    ]
    seen, confirmed = (_count_views(each, individuals) for each in (labels, firm))
    kept, marked = [], doubtful.copy()
    for one, (weak, few) in zip(labels, judged, strict=True):
        own = np.maximum(one, 0)
        others = np.take_along_axis(seen, own, axis=1) - 1
        taken = weak & (others >= _CONFIRMING)
        taken |= few & (np.take_along_axis(confirmed, own, axis=1) >= _CONFIRMING)
        moment, slot = np.nonzero(taken)
        for shift in range(-_AROUND, _AROUND + 1):
            marked[np.clip(moment + shift, 0, moments - 1), one[moment, slot]] = True
        kept.append(np.where(taken, NO_GROUP, one))
    return kept, marked


def _judge(labels: Numbers, member: Membership, compared: Flags) -> tuple[Flags, Flags]:
    """Return which slots of a view the others contradict, and which hardly share a keypoint."""
    own = np.maximum(labels, 0)[..., None]
    sure, most, shared = (np.take_along_axis(each, own, axis=2)[..., 0] for each in member)
    others = member.fit.copy()
    np.put_along_axis(others, own, 0.0, axis=2)
    rival = others.max(axis=2)
    weak = (sure - rival < _CONFIRMED * most) | ((rival > 0) & (sure - rival < _APART * most))
    there = (labels != NO_GROUP) & compared
    return there & weak, there & (shared < _SHARED)


def _count_views(labels: Sequence[Numbers], individuals: int) -> Numbers:
    """Return how many views see each individual, shape (moment, individual)."""
    each = [(one[..., None] == np.arange(individuals)).any(axis=1) for one in labels]
    return np.asarray(np.sum(each, axis=0), np.int64)


def _finish(
    cut: Sequence[Tracklets],
    sightings: Sequence[Sighting],
    assignment: Assignment,
    comparison: Comparison,
    doubtful: Flags,
) -> Matching:
    labels, marked = _drop_weak(comparison, _label_slots(cut, assignment.labels), doubtful)
    slots = np.full((len(marked), len(cut), marked.shape[1]), NO_SLOT, np.int16)
    exchanged = left_over = base = 0
    for view, (one, own) in enumerate(zip(cut, labels, strict=True)):
        moment, slot = np.nonzero(own != NO_GROUP)
        slots[moment, view, own[moment, slot]] = slot
        left_over += int(((one.number >= 0) & (own == NO_GROUP)).sum())
        if sightings[view].tracked:
            exchanged += _count_exchanged(one, assignment.labels[base : base + len(one.start)])
        base += len(one.start)
    return Matching(slots, marked, base, exchanged, left_over, comparison.usual)


def _count_exchanged(cut: Tracklets, labels: Numbers) -> int:
    """Return the number of tracklets that belong to another individual than most of their slot."""
    length = cut.end - cut.start + 1
    count = 0
    for slot in np.unique(cut.slot):
        own = np.flatnonzero((cut.slot == slot) & (labels != NO_GROUP))
        if len(own):
            usual = np.bincount(labels[own], length[own]).argmax()
            count += int((labels[own] != usual).sum())
    return count


def _find_doubts(pieces: Pieces, assignment: Assignment, moments: int, individuals: int) -> Flags:
    """Mark where an exchange would lose little evidence."""
    doubtful = np.zeros((moments, individuals), dtype=bool)
    if individuals < 2:
        return doubtful
    for piece, own in enumerate(assignment.labels.tolist()):
        if own == NO_GROUP:
            continue
        scores = assignment.score(piece)
        for label in range(individuals):
            if label == own:
                continue
            loss = -assignment.weigh_exchange(piece, label, scores)
            if loss < _DOUBT * max(scores[own], 1.0) and scores[label] > 0:
                span = slice(
                    max(0, int(pieces.start[piece]) - _AROUND),
                    int(pieces.end[piece]) + _AROUND + 1,
                )
                doubtful[span, [own, label]] = True
    return doubtful
