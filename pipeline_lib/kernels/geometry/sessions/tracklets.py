"""Cut the slots of one view into tracklets: pieces that certainly show one animal.

A slot is cut where its animal was not seen for long, where it jumps, and where its pose could
equally well continue another slot, because there the tracker may have exchanged two animals. Poses
without tracks are linked from moment to moment where each is clearly nearest to the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Floats = NDArray[np.floating]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

NO_TRACKLET = -1


@dataclass(frozen=True)
class TrackletRules:
    """Hold the rules by which slots are cut.

    Attributes
    ----------
    max_gap
        Largest number of moments between two that are linked.
    ambiguity
        0..1: distance to the slot's own last pose, as a share of that to any other, above which
        the slot is cut.
    jump
        Distance between linked poses, as a share of the size of an animal, above which the slot
        is cut; a multiple of the median distance, `steps`, is allowed in any case.
    steps
        See `jump`.
    """

    max_gap: int = 10
    ambiguity: float = 0.5
    jump: float = 0.5
    steps: float = 8.0


@dataclass(frozen=True)
class Tracklets:
    """Hold the tracklets of one view.

    Attributes
    ----------
    number
        Shape (moment, slot): the tracklet that each detection belongs to; -1: nothing seen.
    start, end
        Shape (tracklet,): first and last moment.
    slot
        Shape (tracklet,): the slot of its first detection.
    follows
        Shape (tracklet,): the tracklet that it may continue; -1: none. This is the previous one of
        the same slot or, after a jump, the one of the slot that was at this position before.
    """

    number: Numbers
    start: Numbers
    end: Numbers
    slot: Numbers
    follows: Numbers


def cut_tracklets(
    position: Floats, *, tracked: bool, doubtful: Flags | None, rules: TrackletRules
) -> Tracklets:
    """Cut the slots of one view into tracklets.

    Parameters
    ----------
    position
        Shape (moment, slot, keypoint, 2), in px; NaN: not seen.
    tracked
        Whether a slot follows one animal; otherwise slots are in any order at each moment.
    doubtful
        Shape (moment, slot): where the tracker itself is in doubt; the slot is cut where this
        begins and ends.
    rules
        When to cut.
    """
    seen: Flags = np.asarray(np.isfinite(position).all(-1).any(-1))
    if tracked:
        links, soft = _link_slots(position, seen, doubtful, rules)
    else:
        links, soft = _link_neighbours(position, seen, rules), None
    return _number(seen, links, soft)


def cut_before(tracklets: Tracklets, cuts: Mapping[int, Sequence[int]]) -> Tracklets:
    """Cut tracklets of a view; each piece follows the one before it.

    Parameters
    ----------
    tracklets
        Of the view.
    cuts
        By number of a tracklet: moments before which it is cut, ascending.
    """
    number, follows = tracklets.number.copy(), tracklets.follows.copy()
    count = len(tracklets.start)
    more: list[int] = []
    for name, moments in cuts.items():
        where, slot = np.nonzero(tracklets.number == name)
        pieces = np.unique(np.searchsorted(moments, where, side="right"), return_inverse=True)[1]
        last = name
        for piece in range(1, pieces.max() + 1):
            own = pieces == piece
            number[where[own], slot[own]] = count + len(more)
            more.append(last)
            last = count + len(more) - 1
        follows[tracklets.follows == name] = last
    if not more:
        return tracklets
    moment, slot = np.nonzero(number >= 0)
    order = np.lexsort((moment, number[moment, slot]))
    names, first = np.unique(number[moment, slot][order], return_index=True)
    del names
    final = np.append(first[1:], len(order)) - 1
    return Tracklets(
        number,
        moment[order[first]],
        moment[order[final]],
        slot[order[first]],
        np.concatenate([follows, np.array(more, np.int64)]),
    )


def measure_size(position: Floats) -> float:
    """Return the median diagonal of the box around an animal, in px; NaN if none has two points."""
    with np.errstate(all="ignore"):
        known = np.isfinite(position).all(-1)
        many = known.sum(-1) > 1
        some = position[many]
        if not len(some):
            return float("nan")
        extent = np.nanmax(some, axis=-2) - np.nanmin(some, axis=-2)
    return float(np.median(np.hypot(extent[..., 0], extent[..., 1])))


def _distance(first: Floats, second: Floats) -> Floats:
    """Return mean distances of keypoints (..., keypoint, 2); of centres if they share none."""
    off = np.hypot(first[..., 0] - second[..., 0], first[..., 1] - second[..., 1])
    known = np.isfinite(off)
    count = known.sum(-1)
    with np.errstate(all="ignore"):
        mean = np.where(known, off, 0).sum(-1) / count
    return np.asarray(np.where(count > 0, mean, np.inf))


@dataclass(frozen=True)
class _Links:
    """Hold which detections are linked: `before` and `after` are flat indices (moment, slot)."""

    before: Numbers
    after: Numbers


def _find_last(seen: Flags) -> Numbers:
    """Return the last moment before each one at which a slot was seen; -1: none."""
    moments = np.arange(len(seen))[:, None]
    last = np.maximum.accumulate(np.where(seen, moments, -1), axis=0)
    return np.concatenate([np.full((1, seen.shape[1]), -1), last[:-1]])


def _link_slots(
    position: Floats, seen: Flags, doubtful: Flags | None, rules: TrackletRules
) -> tuple[_Links, _Links]:
    """Return certain links, and those of a slot that is only cut because of a doubt."""
    count, slots = seen.shape
    last = _find_last(seen)
    gap = np.where(last >= 0, np.arange(count)[:, None] - last, np.iinfo(np.int64).max)
    near = seen & (gap <= rules.max_gap)
    own = np.full(seen.shape, np.inf)
    other = np.full(seen.shape, np.inf)
    nearest, rivals = np.full(seen.shape, np.inf), np.zeros(seen.shape, np.int64)
    before = np.stack(
        [position[np.maximum(last[:, slot], 0), slot] for slot in range(slots)], axis=1
    )
    recent = (last >= 0) & (gap <= rules.max_gap)
    for slot in range(slots):
        own[:, slot] = np.where(
            near[:, slot], _distance(before[:, slot], position[:, slot]), np.inf
        )
        for rival in range(slots):
            if rival == slot:
                continue
            # The other slot's last pose may continue in this slot, or this slot's in the other.
            away = np.where(
                recent[:, rival], _distance(before[:, rival], position[:, slot]), np.inf
            )
            there = np.where(
                recent[:, slot] & seen[:, rival],
                _distance(before[:, slot], position[:, rival]),
                np.inf,
            )
            other[:, slot] = np.minimum(other[:, slot], np.minimum(away, there))
            rivals[:, slot] = np.where(away < nearest[:, slot], rival, rivals[:, slot])
            nearest[:, slot] = np.minimum(nearest[:, slot], away)
    limit = _limit(position, own, rules)
    smooth = near & (own <= limit * np.sqrt(np.maximum(1, np.where(near, gap, 1))))
    ratio = np.where(smooth, own, 0) / np.maximum(other, 1e-9)
    ratio = np.where(np.isfinite(other), ratio, 0.0)
    cut = smooth & (ratio > rules.ambiguity)
    # In a run of doubtful moments the slot is cut at the worst ones only.
    worst = ratio >= np.maximum(_shift(ratio, 1), _shift(ratio, -1))
    worst &= ratio >= np.maximum(_shift(ratio, 2), _shift(ratio, -2))
    cut &= worst | (ratio > 1 / (1 + rules.ambiguity))
    if doubtful is not None:
        edge = doubtful.copy()
        edge[1:] ^= doubtful[:-1]
        cut |= smooth & edge
    flat = np.arange(count)[:, None] * slots + np.arange(slots)
    sure, jumps = smooth & ~cut, near & ~smooth
    soft = seen & (last >= 0) & ~sure & ~jumps
    source = np.maximum(last, 0) * slots + np.arange(slots)
    crossed = jumps & (nearest <= limit)
    crossing = np.take_along_axis(np.maximum(last, 0), rivals, axis=1) * slots + rivals
    return _Links(source[sure], flat[sure]), _Links(
        np.concatenate([source[soft], crossing[crossed]]),
        np.concatenate([flat[soft], flat[crossed]]),
    )


def _limit(position: Floats, own: Floats, rules: TrackletRules) -> float:
    steps = own[np.isfinite(own)]
    usual = float(np.median(steps)) if len(steps) else 0.0
    size = measure_size(position)
    limit = rules.steps * usual
    return max(limit, rules.jump * size) if np.isfinite(size) else max(limit, 1.0)


def _shift(values: Floats, by: int) -> Floats:
    moved = np.zeros_like(values)
    if by > 0:
        moved[by:] = values[:-by]
    else:
        moved[:by] = values[-by:]
    return moved


def _link_neighbours(position: Floats, seen: Flags, rules: TrackletRules) -> _Links:
    """Link detections of consecutive moments that are clearly nearest to each other."""
    count, slots = seen.shape
    distance = np.full((max(count - 1, 0), slots, slots), np.inf)
    for first in range(slots):
        for second in range(slots):
            both = seen[:-1, first] & seen[1:, second]
            off = _distance(position[:-1, first], position[1:, second])
            distance[:, first, second] = np.where(both, off, np.inf)
    nearest = distance.min(axis=(1, 2), initial=np.inf)
    usual = nearest[np.isfinite(nearest)]
    size = measure_size(position)
    limit = rules.steps * (float(np.median(usual)) if len(usual) else 0.0)
    limit = max(limit, rules.jump * size) if np.isfinite(size) else max(limit, 1.0)
    before, after = [], []
    for first in range(slots):
        for second in range(slots):
            here = distance[:, first, second]
            rival = np.minimum(
                np.delete(distance[:, first], second, axis=1).min(axis=1, initial=np.inf),
                np.delete(distance[:, :, second], first, axis=1).min(axis=1, initial=np.inf),
            )
            moment = np.flatnonzero((here <= limit) & (here <= rules.ambiguity * rival))
            before.append(moment * slots + first)
            after.append((moment + 1) * slots + second)
    return _Links(np.concatenate(before), np.concatenate(after))


def _number(seen: Flags, links: _Links, soft: _Links | None) -> Tracklets:
    count, slots = seen.shape
    size = count * slots
    graph = coo_array(
        (np.ones(len(links.before), np.int8), (links.before, links.after)), shape=(size, size)
    )
    _, label = connected_components(graph, directed=False)
    there = np.flatnonzero(seen.ravel())
    # In the order of their first detections.
    _, first, number = np.unique(label[there], return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    numbers = np.full(size, NO_TRACKLET, np.int64)
    numbers[there] = rank[number]
    start = np.full(len(order), count, np.int64)
    end = np.full(len(order), -1, np.int64)
    np.minimum.at(start, numbers[there], there // slots)
    np.maximum.at(end, numbers[there], there // slots)
    slot = there[first[order]] % slots
    follows = np.full(len(order), NO_TRACKLET, np.int64)
    if soft is not None:
        follows[numbers[soft.after]] = numbers[soft.before]
    return Tracklets(numbers.reshape(count, slots), start, end, slot, follows)
