"""Apply a proofreader's decisions to the slots of tracks.

The places of all decisions divide a video into blocks. Within a block each slot holds one animal: a
*piece*. Decisions state which pieces are the same animal (`swap`, `join`, `confirm`) and which are
different animals (`new`, `cut`). They identify animals by position, not by slot number. An animal
about which no decision is made stays in its slot. Applying decisions is therefore idempotent and
does not depend on the order of slots or decisions; a decision that already holds changes nothing.
If decisions contradict each other, the newest ones hold.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.core.track_decisions import Anchor, DecisionKind, Passage, TrackDecision
from pipeline_lib.kernels.metrics.keypoints import keypoint_distance
from pipeline_lib.kernels.tracking.similarity import centre_poses, measure_sizes

Floats = NDArray[np.floating[Any]]
ReadFrame = Callable[[int], Floats]

# An animal matches an anchor if its centre is within the size of a pose, or this many px, of it.
_LEAST_TOLERANCE = 16.0
# Swaps by two authors are the same swap if they are at most this number of frames apart.
_SAME_PLACE = 5
# Anchors are searched within this number of frames of a place.
_REACH = 250

# Number of animals in a swap.
_PAIR = 2

Piece = tuple[int, int]  # block, slot


class Outcome(StrEnum):
    """Name the outcomes of decisions."""

    APPLIED = "applied"
    RIGHT = "already right"
    REPLACED = "replaced"  # by a newer decision that it contradicts
    IMPOSSIBLE = "not applicable"  # its frame or its animal is not there


class Result(NamedTuple):
    """Hold the outcome of a decision, and its reason; empty where the decision was applied."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class Arrangement:
    """Map the slots of corrected tracks to the slots of the tracks, block by block.

    Attributes
    ----------
    starts
        Shape (block,), int64, first frame of each block; the first is 0.
    source
        Shape (block, slot of the result), int64: slot of the tracks; -1: no animal. The result has
        as many slots as the tracks, plus one for each new animal for which no slot is free.
    results
        Outcome of each decision, in the order of the decisions.
    """

    starts: NDArray[np.int64]
    source: NDArray[np.int64]
    results: tuple[Result, ...]

    @property
    def changes_nothing(self) -> bool:
        """Tell whether the corrected tracks equal the tracks."""
        return bool((self.source == np.arange(self.source.shape[1])).all())

    def list_sources(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the source of each slot in some frames, shape (frame, slot)."""
        block = np.searchsorted(self.starts, np.arange(start, stop), side="right") - 1
        return np.asarray(self.source[block])


def arrange_slots(
    decisions: Sequence[TrackDecision], found: NDArray[np.bool_], read_frame: ReadFrame
) -> Arrangement:
    """Decide which slot holds which animal from which frame on.

    Parameters
    ----------
    decisions
        All decisions about a video, in any order.
    found
        Shape (frame, slot): whether a pose was found.
    read_frame
        Returns the poses of a frame, shape (slot, keypoint, 2), px; NaN where missing.

    Returns
    -------
    Arrangement
        Its ``source`` is the identity if no decision changes the tracks.
    """
    frames, slots = found.shape
    results: list[Result | None] = [None] * len(decisions)
    located = _locate_all(decisions, frames, read_frame, results)
    # The newest first; at equal times, the author whose name sorts first.
    order = sorted(located, key=lambda number: (decisions[number].author, number))
    order.sort(key=lambda number: decisions[number].time, reverse=True)
    order = list(_drop_repeated(decisions, order, _choose_tolerance(located), results))
    places = {frame for number in order for frame in located[number].places}
    starts = np.array(sorted({0, *places}), np.int64)
    pieces = _Pieces(starts, slots)
    for number in order:
        claims = located[number].claims
        if not pieces.accept(claims):
            results[number] = Result(Outcome.REPLACED, "contradicts newer decisions")
        else:
            right = all((one.before[1] == one.after[1]) == one.same for one in claims)
            results[number] = Result(Outcome.RIGHT if right else Outcome.APPLIED, "")
    pieces.continue_slots()
    source = _number_slots(pieces, _find_used(found, starts))
    # Merge blocks whose slots equal those of the block before: no change at that place.
    differs = np.concatenate([[True], (source[1:] != source[:-1]).any(axis=1)])
    return Arrangement(
        starts[differs], source[differs], tuple(one for one in results if one is not None)
    )


def rearrange(values: NDArray[Any], sources: NDArray[np.int64], missing: float) -> NDArray[Any]:
    """Return values of some frames in the slots of corrected tracks.

    Parameters
    ----------
    values
        Shape (frame, slot, ...).
    sources
        Shape (frame, slot of the result), of `Arrangement.list_sources`.
    missing
        Value where nobody is.
    """
    frame = np.arange(len(values))[:, None]
    taken = values[frame, sources]
    taken[sources < 0] = missing
    return np.asarray(taken)


def determine_status(status: NDArray[np.uint8], sources: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the track status of corrected tracks.

    Parameters
    ----------
    status
        Shape (frame, slot), of the tracks, all frames, values of `TrackStatus`.
    sources
        Shape (frame, slot of the result), of `Arrangement.list_sources`.
    """
    moved = rearrange(status, sources, int(TrackStatus.ABSENT)).astype(np.uint8)
    found = find_followed(moved)
    since = np.logical_or.accumulate(found, axis=0)
    until = np.logical_or.accumulate(found[::-1], axis=0)[::-1]
    missing = np.where(since & until, TrackStatus.GAP, TrackStatus.ABSENT)
    return np.where(found, moved, missing).astype(np.uint8)


def find_followed(status: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell where a slot holds a pose, by its track status."""
    return np.isin(status, (TrackStatus.FOLLOWED, TrackStatus.UNCERTAIN))


def correct_positions(position: Floats, decisions: Sequence[TrackDecision]) -> Floats:
    """Apply decisions to tracks that are held in memory.

    Parameters
    ----------
    position
        Shape (frame, slot, keypoint, 2), px; NaN where missing.
    decisions
        All decisions about the video.

    Returns
    -------
    ndarray
        The same poses in the slots of their animals; slots may be added.
    """
    found = np.asarray(np.isfinite(position).all(-1).any(-1))
    arrangement = arrange_slots(decisions, found, lambda frame: position[frame])
    return rearrange(position, arrangement.list_sources(0, len(position)), np.nan)


class DecidedPlace(NamedTuple):
    """Describe the place of a decision, in slots of the tracks.

    Attributes
    ----------
    what
        The kind of the decision.
    frame, last
        First frame that it concerns, and the last one; the same where there is no end.
    slots
        The animals, by their slots in the tracks.
    """

    what: DecisionKind
    frame: int
    last: int
    slots: frozenset[int]


def place_decisions(
    decisions: Sequence[TrackDecision], frames: int, read_frame: ReadFrame
) -> list[DecidedPlace]:
    """Return the places of decisions by the slots of some tracks.

    Parameters
    ----------
    decisions
        Decisions; those whose frames or animals are not there are left out.
    frames
        Number of frames.
    read_frame
        As in `arrange_slots`, of the tracks whose slots are wanted.
    """
    located = _locate_all(decisions, frames, read_frame, [None] * len(decisions))
    places = []
    for number, found in located.items():
        one = decisions[number]
        last = one.first_frame if one.last_frame is None else one.last_frame
        places.append(DecidedPlace(one.what, one.first_frame, last, found.slots))
    return places


def anchor_decision(
    position: Floats, what: DecisionKind, frame: int, last: int | None, slots: Sequence[int]
) -> tuple[tuple[Passage, ...], tuple[Passage, ...]]:
    """Return the anchors of a decision: where its animals are before and after its places.

    Parameters
    ----------
    position
        Shape (frame, slot, keypoint, 2), px, tracks as the person who decides sees them.
    what
        The kind of the decision.
    frame, last
        First and last frame that it concerns; None: to the end.
    slots
        The animals: of a ``swap``, both; of a ``join``, the one before and the one after; of a
        ``new`` or a ``cut``, one; of a ``confirm``, one or two.

    Returns
    -------
    passages, ends
        As in `TrackDecision`; an anchor is None where an animal is not seen near the place.
    """
    centre = centre_poses(position)

    # A place that was confirmed is fine, however long an animal was lost.
    reach = len(centre) if what is DecisionKind.CONFIRM else _REACH

    def passage(place: int, one: int, other: int, after: int | None = None) -> Passage:
        before = _find_seen(centre[:, one], range(place - 1, max(-1, place - 1 - reach), -1))
        later = place if after is None else max(place, after)
        following = range(later, min(len(centre), later + reach))
        return Passage(before, _find_seen(centre[:, other], following))

    first, second = slots[0], slots[-1]
    both = what is DecisionKind.SWAP
    if what is DecisionKind.CONFIRM:
        return tuple(passage(frame, one, one, last) for one in slots), ()
    if what is DecisionKind.JOIN:
        return (passage(frame, first, second),), ()
    pairs = ((first, second), (second, first)) if both else ((first, first),)
    passages = tuple(passage(frame, one, other) for one, other in pairs)
    if last is None:
        return passages, ()
    # Between the two places, each animal is in the slot of the other one.
    return passages, tuple(passage(last + 1, other, one) for one, other in pairs)


def _find_seen(centre: Floats, frames: Iterable[int]) -> Anchor | None:
    """Return the first of some frames in which an animal is seen, and where it is."""
    for frame in frames:
        if 0 <= frame < len(centre) and np.isfinite(centre[frame]).all():
            return Anchor(frame, float(centre[frame, 0]), float(centre[frame, 1]))
    return None


class _Claim(NamedTuple):
    """Say that an animal in a frame and slot is, or is not, the one in a later frame and slot."""

    same: bool
    before: tuple[int, int]
    after: tuple[int, int]


@dataclass(frozen=True)
class _Located:
    """Hold what a decision says of slots, the frames of its places, and the animals' size."""

    claims: tuple[_Claim, ...]
    slots: frozenset[int]
    places: tuple[int, ...]
    size: float


def _locate_all(
    decisions: Sequence[TrackDecision],
    frames: int,
    read_frame: ReadFrame,
    results: list[Result | None],
) -> dict[int, _Located]:
    """Return the claims of each decision that can be applied; note why others cannot."""
    located = {}
    for number, decision in enumerate(decisions):
        last = max(decision.first_frame, decision.last_frame or 0)
        if last >= frames:
            reason = f"frame {last} is not there: the video has {frames} frames"
            results[number] = Result(Outcome.IMPOSSIBLE, reason)
            continue
        found = _locate(decision, frames, read_frame)
        if found is None:
            reason = f"no animal where it was at frame {decision.first_frame}"
            results[number] = Result(Outcome.IMPOSSIBLE, reason)
        else:
            located[number] = found
    return located


def _locate(decision: TrackDecision, frames: int, read_frame: ReadFrame) -> _Located | None:
    anchors = [
        anchor
        for passage in (*decision.passages, *decision.ends)
        for anchor in passage
        if anchor is not None
    ]
    by_frame: dict[int, list[Anchor]] = {}
    for anchor in anchors:
        by_frame.setdefault(anchor.frame, []).append(anchor)
    slots: dict[Anchor, int] = {}
    sizes = []
    for frame, there in by_frame.items():
        if frame < frames:
            poses = read_frame(frame)
            size = measure_tolerance(measure_sizes(poses))
            sizes.append(size)
            slots |= _assign_anchors(there, poses, size)
    claims = tuple(_list_claims(decision, slots))
    # A `confirm` of an animal that is seen on one side only claims nothing, and holds.
    if not claims and not (slots and decision.what is DecisionKind.CONFIRM):
        return None
    ends = decision.what in (DecisionKind.SWAP, DecisionKind.CUT)
    places = [decision.first_frame]
    if ends and decision.last_frame is not None and decision.last_frame + 1 < frames:
        places.append(decision.last_frame + 1)
    return _Located(claims, frozenset(slots.values()), tuple(places), float(np.median(sizes)))


def _list_claims(decision: TrackDecision, slots: dict[Anchor, int]) -> Iterable[_Claim]:
    """Yield what a decision says of the animals that are where they were."""

    def claim(before: Anchor | None, after: Anchor | None, *, same: bool) -> Iterable[_Claim]:
        if before in slots and after in slots:
            yield _Claim(same, (before.frame, slots[before]), (after.frame, slots[after]))

    same = decision.what not in (DecisionKind.NEW, DecisionKind.CUT)
    for passage in decision.passages:
        yield from claim(*passage, same=same)
    if decision.what is DecisionKind.CUT and decision.ends:
        # What was cut out ends here, and the animal from before goes on.
        yield from claim(decision.passages[0].before, decision.ends[0].after, same=True)
    elif decision.what is DecisionKind.SWAP:
        for passage in decision.ends:
            yield from claim(*passage, same=True)


def measure_tolerance(sizes: Floats) -> float:
    """Return the distance from an anchor within which an animal is taken for the one meant, px.

    Parameters
    ----------
    sizes
        Sizes of poses in px, any shape, as `similarity.measure_sizes` returns them; NaN: unknown.
    """
    known = sizes[np.isfinite(sizes)]
    # The keypoints of a pose lie within twice this distance of its centre.
    return max(_LEAST_TOLERANCE, 2.0 * float(np.median(known)) if known.size else 0.0)


def _assign_anchors(anchors: Sequence[Anchor], poses: Floats, size: float) -> dict[Anchor, int]:
    """Return the slot of each anchor of one frame that has an animal near enough."""
    distinct = list(dict.fromkeys(anchors))
    wanted = np.array([[anchor.x, anchor.y] for anchor in distinct])
    distance = keypoint_distance(wanted[:, None], centre_poses(poses)[None])
    cost = np.where(np.isfinite(distance), np.minimum(distance, size), size)
    anchor, slot = linear_sum_assignment(cost)
    return {
        distinct[one]: int(other)
        for one, other in zip(anchor, slot, strict=True)
        if np.isfinite(distance[one, other]) and distance[one, other] < size
    }


def _choose_tolerance(located: dict[int, _Located]) -> float:
    return float(np.median([one.size for one in located.values()])) if located else 0.0


def _drop_repeated(
    decisions: Sequence[TrackDecision],
    order: Sequence[int],
    tolerance: float,
    results: list[Result | None],
) -> Iterable[int]:
    """Yield decisions, the newest first, without older exchanges of others at the same place.

    Otherwise two people who correct one exchange a frame apart would exchange the animals twice.
    """
    kept: list[int] = []
    for number in order:
        own = decisions[number]
        newer = next((one for one in kept if _mean_the_same(decisions[one], own, tolerance)), None)
        if newer is not None:
            by = f"by the decision of {decisions[newer].author} at frame"
            reason = f"{by} {decisions[newer].first_frame}"
            results[number] = Result(Outcome.REPLACED, reason)
            continue
        kept.append(number)
        yield number


def _mean_the_same(one: TrackDecision, other: TrackDecision, tolerance: float) -> bool:
    """Tell whether two authors swap the same animals at slightly different frames."""
    swaps = one.what == other.what == DecisionKind.SWAP
    apart = abs(one.first_frame - other.first_frame)
    if not swaps or one.author == other.author or not 0 < apart <= _SAME_PLACE:
        return False
    pairs = [[p.before for p in each.passages if p.before is not None] for each in (one, other)]
    if min(map(len, pairs)) < _PAIR:
        return False
    first, second = (np.array([[a.x, a.y] for a in anchors]) for anchors in pairs)
    distance = keypoint_distance(first[:, None], second[None])
    rows, columns = linear_sum_assignment(distance)
    return bool((distance[rows, columns] < tolerance).all())


class _Pieces:
    """Group the pieces of tracks by animal.

    Parameters
    ----------
    starts
        First frame of each block.
    slots
        Number of slots.
    """

    def __init__(self, starts: NDArray[np.int64], slots: int) -> None:
        self._starts, self.slots = starts, slots
        self.blocks = len(starts)
        every = [(block, slot) for block in range(self.blocks) for slot in range(slots)]
        self._group: dict[Piece, int] = {piece: number for number, piece in enumerate(every)}
        self._members: dict[int, dict[int, int]] = {
            number: {block: slot} for number, (block, slot) in enumerate(every)
        }
        # Groups that are other animals than this one.
        self._others: dict[int, set[int]] = {number: set() for number in self._members}

    def accept(self, claims: Iterable[_Claim]) -> bool:
        """Accept all claims of a decision, or none if one contradicts; return whether accepted."""
        undo = dict(self._group), dict(self._members), dict(self._others)
        for claim in claims:
            before, after = (self._find_piece(*place) for place in (claim.before, claim.after))
            join = self.join if claim.same else self._part
            if not join(before, after):
                self._group, self._members, self._others = undo
                return False
        return True

    def join(self, one: Piece, other: Piece) -> bool:
        """Make two pieces one animal; return False if that contradicts accepted claims."""
        first, second = self._group[one], self._group[other]
        if first == second:
            return True
        if second in self._others[first]:
            return False
        smaller, larger = sorted((first, second), key=lambda group: len(self._members[group]))
        if not self._members[smaller].keys().isdisjoint(self._members[larger]):
            return False
        # Groups are replaced, never changed: `accept` may have to undo it.
        moved = self._members.pop(smaller)
        self._members[larger] = {**self._members[larger], **moved}
        for piece in moved.items():
            self._group[piece] = larger
        rivals = self._others.pop(smaller)
        self._others[larger] = self._others[larger] | rivals
        for rival in rivals:
            self._others[rival] = (self._others[rival] - {smaller}) | {larger}
        return True

    def _part(self, one: Piece, other: Piece) -> bool:
        """Make two pieces different animals; return False if that contradicts accepted claims."""
        first, second = self._group[one], self._group[other]
        if first == second:
            return False
        self._others[first] = self._others[first] | {second}
        self._others[second] = self._others[second] | {first}
        return True

    def continue_slots(self) -> None:
        """Continue each animal in its slot wherever no claim says otherwise.

        An animal whose slot is taken by another one continues in the slot that this one left; if
        that slot is taken, too, the chain is followed until a free slot is found.
        """
        for block in range(self.blocks - 1):
            for slot in range(self.slots):
                self.join((block, slot), (block + 1, slot))
            for slot in range(self.slots):
                group = self._group[block, slot]
                if block + 1 not in self._members[group]:
                    self.join((block, slot), (block + 1, self._find_free(block, slot)))

    def _find_free(self, block: int, slot: int) -> int:
        """Return the slot of the next block to which a chain of exchanges leads."""
        while True:
            taken = self._members[self._group[block + 1, slot]]
            if block not in taken:
                return slot
            slot = taken[block]

    def list_groups(self) -> list[dict[int, int]]:
        """Return the slot of each animal by block, animals in the order of their first pieces."""
        return sorted(self._members.values(), key=lambda group: min(group.items()))

    def _find_piece(self, frame: int, slot: int) -> Piece:
        return int(np.searchsorted(self._starts, frame, side="right")) - 1, slot


def _find_used(found: NDArray[np.bool_], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell whether a slot has a pose in a block, shape (block, slot)."""
    if not len(found):
        return np.zeros((len(starts), found.shape[1]), bool)
    return np.asarray(np.logical_or.reduceat(found, starts, axis=0))


def _number_slots(pieces: _Pieces, used: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Give each animal a slot: that of its first piece in the first block, or a free one."""
    source = np.full((pieces.blocks, pieces.slots), -1, np.int64)
    free: list[int] = []
    late: list[NDArray[np.int64]] = []
    for group in pieces.list_groups():
        column = np.full(pieces.blocks, -1, np.int64)
        column[list(group)] = list(group.values())
        seen = any(used[block, slot] for block, slot in group.items())
        if 0 in group:
            source[:, group[0]] = column
            if not seen:
                free.append(group[0])
        elif seen:
            late.append(column)
    added = []
    for column in late:
        if free:
            source[:, free.pop(0)] = column
        else:
            added.append(column)
    return np.concatenate([source, *(column[:, None] for column in added)], axis=1)
