"""Follow the animals of a video while holding only a part of it in memory.

Poses are linked to tracklets segment by segment, and tracklets are joined over the whole video.
Poses are read again where they are needed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.kernels.metrics.keypoints import find_individuals
from pipeline_lib.kernels.segments import cut_segments
from pipeline_lib.kernels.tracking.detections import Detections, order_poses, take_ordered
from pipeline_lib.kernels.tracking.doubtful_links import cut_crowded
from pipeline_lib.kernels.tracking.gaps import fill_gaps
from pipeline_lib.kernels.tracking.identities import (
    DoubtRules,
    Slots,
    assign_slots,
    doubt_joins,
    list_track_segments,
    sort_slots,
)
from pipeline_lib.kernels.tracking.links import LinkRules, Links
from pipeline_lib.kernels.tracking.similarity import (
    Measure,
    Scale,
    measure_scale,
    measure_sizes,
    measure_usual_similarity,
)
from pipeline_lib.kernels.tracking.stitching import JoinRules, choose_paths, propose_joins
from pipeline_lib.kernels.tracking.surplus import (
    choose_track_segments,
    count_animals,
    count_usual,
    list_dropped_fragments,
)
from pipeline_lib.kernels.tracking.tracklet_ends import (
    EndPoses,
    Tracklets,
    choose_end_poses,
    describe_tracklets,
)
from pipeline_lib.kernels.tracking.tracklets import link_poses, number_tracklets

Floats = NDArray[np.floating[Any]]
Read = Callable[[int, int], Detections]
One = TypeVar("One")
Other = TypeVar("Other")

# Tracklets that are less alike are not joined: losing an animal and finding it anew costs less.
_MIN_JOIN_SIMILARITY = 0.1
# The scale of a long video is measured in this many stretches of this many frames.
_STRETCHES, _STRETCH_FRAMES = 64, 32


class Apply(Protocol):
    """Type of `map` and of functions like it that work in parallel and keep the order."""

    def __call__(
        self, function: Callable[[One], Other], items: Iterable[One], /
    ) -> Iterable[Other]:
        """Apply a function to each item."""
        ...


@dataclass(frozen=True)
class TrackRules:
    """Rules by which individuals are followed.

    The settings `pipeline_lib.core.settings.individuals.TrackingSettings` hold the defaults.

    Attributes
    ----------
    similarity
        Measure of similarity between poses.
    motion
        Motion model: ``kalman`` or ``none``.
    min_similarity
        0..1; least similarity of linked poses, as a share of the usual similarity between frames.
    max_ambiguity
        0..1; second-best ratio above which a tracklet ends.
    max_gap
        Largest number of missing frames within a tracklet.
    min_length
        Least number of poses of a tracklet that makes a track; shorter ones only fill gaps.
    max_stitch_gap
        Largest number of frames across which tracklets are joined.
    """

    similarity: Measure
    motion: Literal["kalman", "none"]
    min_similarity: float
    max_ambiguity: float
    max_gap: int
    min_length: int
    max_stitch_gap: int

    def for_links(self, scale: Scale, usual: float) -> LinkRules:
        """Return the rules by which poses are linked; `usual` is their usual similarity."""
        return LinkRules(
            tolerance=scale.tolerance,
            similarity=self.similarity,
            motion=self.motion,
            min_similarity=self.min_similarity * usual,
            max_ambiguity=self.max_ambiguity,
            max_gap=self.max_gap,
        )

    def for_joins(self, scale: Scale) -> JoinRules:
        """Return the rules by which tracklets are joined."""
        return JoinRules(
            tolerance=scale.tolerance,
            similarity=self.similarity,
            persistence=float(max(1, self.max_gap)) if self.motion == "kalman" else 1e-6,
            max_gap=self.max_stitch_gap,
            min_similarity=_MIN_JOIN_SIMILARITY,
        )


@dataclass(frozen=True)
class Followed:
    """Assignment of the poses of a video to slots.

    Attributes
    ----------
    slot
        Shape (frame, individual), int32: index of each pose on the individual axis of tracks; -1:
        no pose, or a pose of no animal that is kept.
    status
        Shape (frame, slot), uint8, values of `pipeline_lib.core.tables.TrackStatus`.
    animals
        Shape (frame,), int64: number of animals found, including those that are not kept, without
        tracklets shorter than `TrackRules.min_length`.
    """

    slot: NDArray[np.int32]
    status: NDArray[np.uint8]
    animals: NDArray[np.int64]


def cut_video(frames: int, longest: int) -> list[tuple[int, int]]:
    """Cut a video into segments of at most `longest` frames; none if it has no frame."""
    return cut_segments([(0, frames)], longest) if frames else []


def follow_individuals(
    read: Read,
    segments: list[tuple[int, int]],
    individuals: int,
    rules: TrackRules,
    apply: Apply = map,
) -> Followed:
    """Assign each pose of a video to a slot, reading the video in parts.

    Parameters
    ----------
    read
        Returns the poses of frames `start` to `stop` - 1; fewer at the end of the video.
    segments
        Consecutive ranges of frames that cover the video; the result does not depend on them.
    individuals
        Number of slots. If the video shows more animals, the best ones over the whole video are
        kept, see `pipeline_lib.kernels.tracking.surplus`.
    rules
        Rules by which individuals are followed.
    apply
        Applies a function to each segment: `map`, or that of an executor.

    Returns
    -------
    Followed
        A few numbers for each pose; the poses themselves are not kept.
    """
    frames = segments[-1][1] if segments else 0
    if frames == 0:
        return Followed(
            np.zeros((0, read(0, 0).position.shape[1]), np.int32),
            np.zeros((0, individuals), np.uint8),
            np.zeros(0, np.int64),
        )
    scale, alike = _measure_scale(read, frames, rules)
    link_rules = rules.for_links(scale, alike)
    parts = list(apply(lambda segment: _link_segment(read, segment, link_rules), segments))
    linked = _Linked.join(parts)
    number = number_tracklets(linked.links, linked.there)
    # In a video shorter than `min_length`, no tracklet would qualify.
    rules = replace(rules, min_length=min(rules.min_length, frames))
    usual = max(individuals, count_usual(count_animals(number, rules.min_length)))
    links = cut_crowded(linked.links, number, usual, rules.min_length)
    number = number_tracklets(links, linked.there)
    found = count_animals(number, rules.min_length)
    animals = int(found.max())
    ends = choose_end_poses(number)
    poses = _collect_poses(read, segments, linked.order, ends, apply)
    tracklets = describe_tracklets(
        number, ends, poses, (linked.usual_quality(), linked.size, linked.identity)
    )
    if animals > individuals:
        slots, kept = _assign_best(tracklets, individuals, animals, rules, scale)
    else:
        slots, kept = _assign_all(tracklets, individuals, rules, scale), None
    # The number -1, of no tracklet, selects the last entry.
    slot = np.append(slots.of_tracklet, -1).astype(np.int32)[number]
    if kept is not None:
        first, last = (np.append(frame, -1).astype(np.int32)[number] for frame in kept)
        frame = np.arange(frames, dtype=np.int32)[:, None]
        slot[(frame < first) | (frame > last)] = -1
    unordered = np.empty_like(slot)
    np.put_along_axis(unordered, linked.order.astype(np.intp), slot, axis=1)
    return Followed(
        unordered,
        _determine_status(slot, slots, individuals),
        found,
    )


@dataclass(frozen=True)
class _Linked:
    """Links and features of the poses of a segment, individuals in the order of `order_poses`."""

    order: NDArray[np.int32]
    links: Links
    there: NDArray[np.bool_]
    quality: NDArray[np.float32]
    size: NDArray[np.float32]
    identity: NDArray[np.float32] | None

    @classmethod
    def join(cls, parts: list["_Linked"]) -> "_Linked":
        identities = [part.identity for part in parts if part.identity is not None]
        return cls(
            np.concatenate([part.order for part in parts]),
            Links(
                np.concatenate([part.links.step for part in parts]),
                np.concatenate([part.links.partner for part in parts]),
            ),
            np.concatenate([part.there for part in parts]),
            np.concatenate([part.quality for part in parts]),
            np.concatenate([part.size for part in parts]),
            np.concatenate(identities) if identities else None,
        )

    def usual_quality(self) -> NDArray[np.float64]:
        """Return the detection quality of each pose, relative to the median of the video."""
        found = self.quality[self.there]
        usual = float(np.median(found)) if found.size else 0.0
        return self.quality.astype(np.float64) / (usual or 1.0)


def _link_segment(read: Read, segment: tuple[int, int], rules: LinkRules) -> _Linked:
    start, stop = segment
    first = max(0, start - rules.reach)
    around = read(first, stop + rules.reach)
    order = order_poses(around.position, around.confidence)
    position = take_ordered(around.position, order)
    own = slice(start - first, stop - first)
    links = link_poses(position, rules).cut(own.start, own.stop)
    position, confidence = position[own], take_ordered(around.confidence[own], order[own])
    found = np.isfinite(position).all(-1)
    quality = np.where(found, np.nan_to_num(confidence, nan=0.0), 0.0).mean(-1)
    identity = around.identity
    return _Linked(
        order[own].astype(np.int32),
        links,
        find_individuals(position),
        quality.astype(np.float32),
        measure_sizes(position).astype(np.float32),
        None if identity is None else take_ordered(identity[own], order[own]).astype(np.float32),
    )


def _measure_scale(read: Read, frames: int, rules: TrackRules) -> tuple[Scale, float]:
    """Measure size and speed of the animals, and their usual similarity between two frames."""
    starts, length = [0], frames
    if frames > _STRETCHES * _STRETCH_FRAMES:
        length = _STRETCH_FRAMES
        starts = np.linspace(0, frames - length, _STRETCHES).astype(int).tolist()
    stretches = np.stack([read(start, start + length).position for start in starts])
    position = stretches.astype(np.float64)
    scale = measure_scale(position)
    return scale, measure_usual_similarity(position, scale.tolerance, rules.similarity)


def _collect_poses(
    read: Read,
    segments: list[tuple[int, int]],
    order: NDArray[np.int32],
    ends: EndPoses,
    apply: Apply,
) -> tuple[Floats, Floats]:
    """Read the poses at the ends of the tracklets."""
    individuals = order.shape[1]
    wanted = np.stack([ends.head, ends.tail])

    def collect(segment: tuple[int, int]) -> tuple[NDArray[np.bool_], Floats]:
        start, stop = (frame * individuals for frame in segment)
        here = (wanted >= start) & (wanted < stop)
        ordered = take_ordered(read(*segment).position, order[slice(*segment)].astype(np.intp))
        return here, ordered.reshape(-1, *ordered.shape[2:])[wanted[here] - start]

    keypoints = read(0, 0).position.shape[2]
    poses = np.full((*wanted.shape, keypoints, 2), np.nan)
    for here, values in apply(collect, segments):
        poses[here] = values
    return poses[0], poses[1]


def _assign_all(tracklets: Tracklets, individuals: int, rules: TrackRules, scale: Scale) -> Slots:
    """Join tracklets and assign each to a slot."""
    shortest = rules.min_length
    join_rules, doubt = rules.for_joins(scale), DoubtRules(rules.max_ambiguity, rules.max_gap)
    solid = np.flatnonzero(tracklets.count >= shortest)
    joins = propose_joins(tracklets, solid, join_rules)
    following = choose_paths(tracklets, solid, joins, individuals, price=shortest / 2.0)
    track_segments = list_track_segments(tracklets, following)
    slots = assign_slots(tracklets, track_segments, individuals, doubt)
    doubt_joins(slots, tracklets, following, joins, doubt)
    fragments = np.flatnonzero(tracklets.count < shortest)
    fill_gaps(slots, tracklets, fragments, join_rules, rules.max_ambiguity)
    _order_slots(slots, tracklets, individuals)
    return slots


def _assign_best(
    tracklets: Tracklets, individuals: int, animals: int, rules: TrackRules, scale: Scale
) -> tuple[Slots, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Follow all animals, keep the best ones, and assign their tracklets to slots.

    Returns
    -------
    slots
        Slots of the animals that are kept.
    kept
        First and last frame that is kept of each tracklet.
    """
    shortest = rules.min_length
    join_rules, doubt = rules.for_joins(scale), DoubtRules(rules.max_ambiguity, rules.max_gap)
    solid = np.flatnonzero(tracklets.count >= shortest)
    fragments = np.flatnonzero(tracklets.count < shortest)
    joins = propose_joins(tracklets, solid, join_rules)
    following = choose_paths(tracklets, solid, joins, animals, price=shortest / 2.0)
    track_segments = list_track_segments(tracklets, following)
    everyone = assign_slots(tracklets, track_segments, animals, doubt)
    fill_gaps(everyone, tracklets, fragments, join_rules, rules.max_ambiguity)
    chosen = choose_track_segments(track_segments, tracklets, individuals, rules.max_stitch_gap)
    slots = assign_slots(tracklets, chosen, individuals, doubt)
    doubt_joins(slots, tracklets, following, joins, doubt)
    dropped = list_dropped_fragments(fragments, everyone, chosen, tracklets)
    own = np.setdiff1d(fragments, dropped)
    fill_gaps(slots, tracklets, own, join_rules, rules.max_ambiguity)
    _order_slots(slots, tracklets, individuals)
    first, last = tracklets.head.frame.copy(), tracklets.tail.frame.copy()
    for segment in chosen:
        inside = list(segment.tracklets)
        first[inside] = np.maximum(first[inside], segment.first)
        last[inside] = np.minimum(last[inside], segment.last)
    return slots, (first, last)


def _order_slots(slots: Slots, tracklets: Tracklets, individuals: int) -> None:
    """Sort the slots by time unless they are known identities."""
    if tracklets.identity is None or tracklets.identity.shape[1] != individuals:
        sort_slots(slots, tracklets)


def _determine_status(
    slot_of_pose: NDArray[np.int32], slots: Slots, individuals: int
) -> NDArray[np.uint8]:
    """Return the track status of each slot in each frame."""
    found = np.zeros((len(slot_of_pose), individuals), bool)
    frame, individual = np.nonzero(slot_of_pose >= 0)
    found[frame, slot_of_pose[frame, individual]] = True
    since = np.logical_or.accumulate(found, axis=0)
    until = np.logical_or.accumulate(found[::-1], axis=0)[::-1]
    status = np.where(since & until, TrackStatus.GAP, TrackStatus.ABSENT).astype(np.uint8)
    status[found] = TrackStatus.FOLLOWED
    for tracklet, first, last in slots.doubts:
        slot, frames = slots.of_tracklet[tracklet], slice(max(0, first), last + 1)
        if slot < 0:  # the animal is not kept
            continue
        status[frames, slot][found[frames, slot]] = TrackStatus.UNCERTAIN
    return status
