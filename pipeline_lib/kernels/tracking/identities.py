"""Assign tracklets to the slots of tracks, and note where an assignment is doubtful."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.metrics.keypoints import keypoint_distance
from pipeline_lib.kernels.tracking.similarity import centre_poses
from pipeline_lib.kernels.tracking.stitching import Joins
from pipeline_lib.kernels.tracking.tracklet_ends import Tracklets

Doubt = tuple[int, int, int]  # a tracklet, the first and the last doubtful frame


@dataclass(frozen=True)
class TrackSegment:
    """Consecutive tracklets of one animal, from its appearance to its loss.

    Attributes
    ----------
    tracklets
        Numbers of the tracklets, in the order of time.
    first, last
        Frames of the first and the last pose.
    """

    tracklets: tuple[int, ...]
    first: int
    last: int


@dataclass(frozen=True)
class DoubtRules:
    """Rules by which an assignment is marked as doubtful.

    Attributes
    ----------
    max_ambiguity
        0..1; second-best ratio (similarity of the second-best choice as a share of the best one)
        above which an assignment is doubtful.
    near
        Number of frames around a doubtful assignment that are marked.
    """

    max_ambiguity: float
    near: int


@dataclass
class Slots:
    """Assignment of tracklets to slots; filled step by step.

    Attributes
    ----------
    of_tracklet
        Shape (tracklet,), int64, slot of each tracklet; -1: not assigned.
    tracklets
        Tracklets of each slot, in the order of time.
    doubts
        Tracklets that may belong to another animal, with the frames of doubt.
    """

    of_tracklet: NDArray[np.int64]
    tracklets: list[list[int]]
    doubts: list[Doubt] = field(default_factory=list)


def list_track_segments(tracklets: Tracklets, following: NDArray[np.int64]) -> list[TrackSegment]:
    """List the track segments of a video in the order of their first frames.

    Parameters
    ----------
    tracklets
        All tracklets of a video.
    following
        Shape (tracklet,), as `pipeline_lib.kernels.tracking.stitching.choose_paths` returns it.
    """
    track_segments = []
    begins = np.setdiff1d(np.flatnonzero(following != -2), following)
    for number in begins.tolist():
        path = [number]
        while (after := int(following[path[-1]])) >= 0:
            path.append(after)
        first, last = tracklets.head.frame[path[0]], tracklets.tail.frame[path[-1]]
        track_segments.append(TrackSegment(tuple(path), int(first), int(last)))
    return track_segments


def assign_slots(
    tracklets: Tracklets, track_segments: list[TrackSegment], individuals: int, rules: DoubtRules
) -> Slots:
    """Assign each track segment to a free slot.

    If there are as many identities as slots, slots are the identities, and the assignment of
    greatest total likelihood is chosen. Otherwise an animal that appears takes the slot of the
    animal that was lost nearest to it; an unused slot only if no used one is free.

    Parameters
    ----------
    tracklets
        All tracklets of a video.
    track_segments
        Track segments in the order of their first frames, at most `individuals` at a time.
    individuals
        Number of slots.
    rules
        Rules by which an assignment is marked as doubtful.
    """
    slots = Slots(np.full(len(tracklets.count), -1), [[] for _ in range(individuals)])
    evidence = tracklets.identity
    if evidence is not None and evidence.shape[1] == individuals and track_segments:
        likely = np.array([evidence[list(segment.tracklets)].sum(0) for segment in track_segments])
        assigned = _assign_by_identity(track_segments, likely)
        others = likely.copy()
        others[np.arange(len(track_segments)), assigned] = -np.inf
        margin = likely[np.arange(len(track_segments)), assigned] - others.max(1)
        doubtful = margin < -np.log(max(rules.max_ambiguity, 1e-9))
        for segment, slot, doubt in zip(track_segments, assigned.tolist(), doubtful, strict=True):
            _assign_segment(slots, segment, slot, rules.near if doubt and individuals > 1 else None)
        return slots
    ends = (centre_poses(tracklets.tail.pose), centre_poses(tracklets.head.pose))
    left = [-1] * individuals
    for segment in track_segments:
        used = [
            n for n, members in enumerate(slots.tracklets) if members and left[n] < segment.first
        ]
        unused = [n for n, members in enumerate(slots.tracklets) if not members]
        if used:
            before = [slots.tracklets[n][-1] for n in used]
            far = keypoint_distance(ends[0][before], ends[1][segment.tracklets[0]])
            slot = used[int(np.nan_to_num(far, nan=np.inf).argmin())]
        else:
            slot = unused[0]
        sure = not used or len(used) + len(unused) == 1
        _assign_segment(slots, segment, slot, None if sure else rules.near)
        left[slot] = segment.last
    return slots


def doubt_joins(
    slots: Slots,
    tracklets: Tracklets,
    following: NDArray[np.int64],
    joins: Joins,
    rules: DoubtRules,
) -> None:
    """Note the joins whose second-best choice is nearly as good.

    Parameters
    ----------
    slots
        Doubts are added in place.
    tracklets, joins
        Arguments of `pipeline_lib.kernels.tracking.stitching.choose_paths`.
    following
        Its result.
    rules
        Rules by which an assignment is marked as doubtful.
    """
    known = {
        (first, second): similarity
        for first, second, similarity in zip(
            joins.first.tolist(), joins.second.tolist(), joins.similarity.tolist(), strict=True
        )
    }
    leading = {int(after): number for number, after in enumerate(following) if after >= 0}
    for (first, second), similarity in known.items():
        after, before = int(following[first]), leading.get(second, -1)
        if after == second or following[first] == -2 or following[second] == -2:
            continue
        exchanged = similarity + known.get((before, after), 0.0)
        kept = known.get((first, after), 0.0) + known.get((before, second), 0.0)
        if kept > 0.0 and exchanged > rules.max_ambiguity * kept:
            for one, other in ((first, after), (before, second)):
                if one >= 0 and other >= 0:
                    _doubt_join(slots, tracklets, one, other, rules.near)


def sort_slots(slots: Slots, tracklets: Tracklets) -> None:
    """Sort slots by the first pose of each; empty slots come last."""
    # Tracklets are in the order of their first frames, there from left to right.
    first = [members[0] if members else len(tracklets.count) for members in slots.tracklets]
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order) + 1, np.int64)
    rank[order], rank[-1] = np.arange(len(order)), -1
    slots.of_tracklet = rank[slots.of_tracklet]
    slots.tracklets = [slots.tracklets[slot] for slot in order.tolist()]


def _assign_by_identity(
    track_segments: list[TrackSegment], likely: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the most likely slots; segments that overlap in time have different ones."""
    from scipy.optimize import LinearConstraint, milp  # noqa: PLC0415
    from scipy.sparse import eye_array, kron, lil_array  # noqa: PLC0415

    count, individuals = likely.shape
    together = lil_array((count, count))
    active: list[int] = []
    for number, segment in enumerate(track_segments):
        active = [
            *(other for other in active if track_segments[other].last >= segment.first),
            number,
        ]
        together[number, active] = 1.0
    one = kron(eye_array(count), np.ones((1, individuals)))
    solved = milp(
        -likely.ravel(),
        integrality=np.ones(likely.size),
        bounds=(0, 1),
        constraints=[
            LinearConstraint(one.tocsr(), 1, 1),
            LinearConstraint(kron(together, eye_array(individuals)).tocsr(), -np.inf, 1),
        ],
    )
    if solved.x is None:
        raise ArithmeticError(f"identities could not be given: {solved.message}")
    return np.asarray(solved.x.reshape(count, individuals).argmax(1))


def _assign_segment(slots: Slots, segment: TrackSegment, slot: int, near: int | None) -> None:
    slots.of_tracklet[list(segment.tracklets)] = slot
    slots.tracklets[slot].extend(segment.tracklets)
    if near is not None:
        slots.doubts.append((segment.tracklets[0], segment.first, segment.first + near))


def _doubt_join(slots: Slots, tracklets: Tracklets, one: int, other: int, near: int) -> None:
    ends, begins = int(tracklets.tail.frame[one]), int(tracklets.head.frame[other])
    # Doubts are noted with their tracklet, so that they move along with its slot.
    slots.doubts.append((one, ends - near, begins + near))
