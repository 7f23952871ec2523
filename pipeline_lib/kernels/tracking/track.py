"""Following the animals of a video, of which a part at a time is held in memory.

Poses are linked to tracklets, segment by segment, and tracklets are joined over the whole video.
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
    Places,
    doubt_joins,
    give_places,
    list_stays,
    sort_places,
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
    choose_stays,
    count_animals,
    count_usual,
    list_strangers,
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

# The scale of a long video is told from this many stretches of so many frames.
_STRETCHES, _STRETCH_FRAMES = 64, 32


class Apply(Protocol):
    """`map`, or something like it that works in parallel and keeps the order."""

    def __call__(
        self, function: Callable[[One], Other], items: Iterable[One], /
    ) -> Iterable[Other]:
        """Apply a function to each item."""
        ...


@dataclass(frozen=True)
class TrackRules:
    """How individuals are followed; see `pipeline_lib.core.settings.individuals`."""

    similarity: Measure = "oks"
    motion: Literal["kalman", "none"] = "kalman"
    min_similarity: float = 0.6
    max_rival: float = 0.7
    max_gap: int = 5
    min_length: int = 5
    max_stitch_gap: int = 250

    def for_links(self, scale: Scale, usual: float) -> LinkRules:
        """Return when poses are linked, which usually are so alike."""
        return LinkRules(
            tolerance=scale.tolerance,
            similarity=self.similarity,
            motion=self.motion,
            min_similarity=self.min_similarity * usual,
            max_rival=self.max_rival,
            max_gap=self.max_gap,
        )

    def for_joins(self, scale: Scale) -> JoinRules:
        """Return when tracklets are joined."""
        return JoinRules(
            tolerance=scale.tolerance,
            similarity=self.similarity,
            persistence=float(max(1, self.max_gap)) if self.motion == "kalman" else 1e-6,
            max_gap=self.max_stitch_gap,
        )


@dataclass(frozen=True)
class Followed:
    """Where each pose of a video belongs.

    Attributes
    ----------
    place
        Shape (frame, individual), int32: the place on the individual axis of tracks of each
        pose; -1: it belongs to no animal, or there is none.
    status
        Shape (frame, place), uint8, values of `pipeline_lib.core.tables.TrackStatus`.
    animals
        Shape (frame,), int64: how many animals were found, those beyond the places too, without
        what is too short to be one.
    """

    place: NDArray[np.int32]
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
    """Tell where each pose of a video belongs, reading it in parts.

    Parameters
    ----------
    read
        Returns the poses from one frame to before another one; less at the end of the video.
    segments
        Consecutive ranges of frames, the whole video together; the result does not depend on
        where they are cut.
    individuals
        Most individuals at a time. Where the video shows more, those are kept that are best over
        the whole video, see `pipeline_lib.kernels.tracking.surplus`.
    rules
        How individuals are followed.
    apply
        How segments are worked on: `map`, or that of an executor.

    Returns
    -------
    Followed
        Holding a few numbers for each pose; the poses themselves are not kept.
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
    # Of a video that is shorter, nothing could be long enough.
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
        places, kept = _choose_places(tracklets, individuals, animals, rules, scale)
    else:
        places, kept = _find_places(tracklets, individuals, rules, scale), None
    # The number -1, of no tracklet, finds the last one.
    place = np.append(places.of, -1).astype(np.int32)[number]
    if kept is not None:
        first, last = (np.append(frame, -1).astype(np.int32)[number] for frame in kept)
        frame = np.arange(frames, dtype=np.int32)[:, None]
        place[(frame < first) | (frame > last)] = -1
    unordered = np.empty_like(place)
    np.put_along_axis(unordered, linked.order.astype(np.intp), place, axis=1)
    return Followed(
        unordered,
        _tell_status(place, places, individuals),
        found,
    )


@dataclass(frozen=True)
class _Linked:
    """What linking leaves of the poses of a segment, individuals in an order of their own."""

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
                np.concatenate([part.links.place for part in parts]),
            ),
            np.concatenate([part.there for part in parts]),
            np.concatenate([part.quality for part in parts]),
            np.concatenate([part.size for part in parts]),
            np.concatenate(identities) if identities else None,
        )

    def usual_quality(self) -> NDArray[np.float64]:
        """Return how well each pose was found, in units of what is usual in this video."""
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
    """Measure how large and fast the animals are, and how alike to themselves a frame later."""
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
    """Read the poses at the ends of tracklets."""
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


def _find_places(tracklets: Tracklets, individuals: int, rules: TrackRules, scale: Scale) -> Places:
    """Join tracklets, and give each a place."""
    shortest = rules.min_length
    join_rules, doubt = rules.for_joins(scale), DoubtRules(rules.max_rival, rules.max_gap)
    solid = np.flatnonzero(tracklets.count >= shortest)
    joins = propose_joins(tracklets, solid, join_rules)
    following = choose_paths(tracklets, solid, joins, individuals, price=shortest / 2.0)
    stays = list_stays(tracklets, following)
    places = give_places(tracklets, stays, individuals, doubt)
    doubt_joins(places, tracklets, following, joins, doubt)
    fragments = np.flatnonzero(tracklets.count < shortest)
    fill_gaps(places, tracklets, fragments, join_rules, rules.max_rival)
    _name_places(places, tracklets, individuals)
    return places


def _choose_places(
    tracklets: Tracklets, individuals: int, animals: int, rules: TrackRules, scale: Scale
) -> tuple[Places, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Follow all animals, keep the best ones, and give each tracklet of theirs a place.

    Returns
    -------
    places
        Of those kept.
    kept
        First and last frame of each tracklet that are kept.
    """
    shortest = rules.min_length
    join_rules, doubt = rules.for_joins(scale), DoubtRules(rules.max_rival, rules.max_gap)
    solid = np.flatnonzero(tracklets.count >= shortest)
    fragments = np.flatnonzero(tracklets.count < shortest)
    joins = propose_joins(tracklets, solid, join_rules)
    following = choose_paths(tracklets, solid, joins, animals, price=shortest / 2.0)
    stays = list_stays(tracklets, following)
    everyone = give_places(tracklets, stays, animals, doubt)
    fill_gaps(everyone, tracklets, fragments, join_rules, rules.max_rival)
    chosen = choose_stays(stays, tracklets, individuals, rules.max_stitch_gap)
    places = give_places(tracklets, chosen, individuals, doubt)
    doubt_joins(places, tracklets, following, joins, doubt)
    strangers = list_strangers(fragments, everyone, chosen, tracklets)
    own = np.setdiff1d(fragments, strangers)
    fill_gaps(places, tracklets, own, join_rules, rules.max_rival)
    _name_places(places, tracklets, individuals)
    first, last = tracklets.head.frame.copy(), tracklets.tail.frame.copy()
    for stay in chosen:
        inside = list(stay.tracklets)
        first[inside] = np.maximum(first[inside], stay.first)
        last[inside] = np.minimum(last[inside], stay.last)
    return places, (first, last)


def _name_places(places: Places, tracklets: Tracklets, individuals: int) -> None:
    """Sort the places, unless known identities are the places."""
    if tracklets.identity is None or tracklets.identity.shape[1] != individuals:
        sort_places(places, tracklets)


def _tell_status(place: NDArray[np.int32], places: Places, individuals: int) -> NDArray[np.uint8]:
    """Tell what is known of each place in each frame."""
    found = np.zeros((len(place), individuals), bool)
    frame, individual = np.nonzero(place >= 0)
    found[frame, place[frame, individual]] = True
    since = np.logical_or.accumulate(found, axis=0)
    until = np.logical_or.accumulate(found[::-1], axis=0)[::-1]
    status = np.where(since & until, TrackStatus.GAP, TrackStatus.ABSENT).astype(np.uint8)
    status[found] = TrackStatus.FOLLOWED
    for tracklet, first, last in places.doubts:
        home, frames = places.of[tracklet], slice(max(0, first), last + 1)
        if home < 0:  # of an animal that is not kept
            continue
        status[frames, home][found[frames, home]] = TrackStatus.UNCERTAIN
    return status
