"""Choose the animals to keep where a video shows more of them than may be kept.

All animals of the video are followed first. Those with the highest total detection quality over the
whole video are kept. Thus the choice does not change from frame to frame, and a neighbour does not
replace an animal that is hidden for a while.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.tracking.identities import Slots, TrackSegment
from pipeline_lib.kernels.tracking.tracklet_ends import Tracklets

# One frame in this many may show more animals by mistake.
_FEW = 20


def count_animals(number: NDArray[np.int32], shortest: int) -> NDArray[np.int64]:
    """Count the animals in each frame, ignoring possible false detections.

    Parameters
    ----------
    number
        Shape (frame, individual), int32, numbers of tracklets; -1: no pose.
    shortest
        Tracklets of fewer poses are ignored.

    Returns
    -------
    ndarray
        Shape (frame,), int64.
    """
    poses = np.bincount(number[number >= 0])
    is_long = np.append(poses >= shortest, np.False_)  # the number -1 finds the last
    return np.asarray(is_long[number].sum(axis=1), np.int64)


def count_usual(animals: NDArray[np.int64]) -> int:
    """Return how many animals a video usually shows at most.

    Parameters
    ----------
    animals
        Shape (frame,), int64, as `count_animals` returns it.

    Returns
    -------
    int
        Largest number reached by more than 5 % of the frames with an animal; 0 if there are none.
    """
    shown = np.sort(animals[animals > 0])
    return int(shown[len(shown) - 1 - len(shown) // _FEW]) if shown.size else 0


def choose_track_segments(
    track_segments: list[TrackSegment], tracklets: Tracklets, most: int, shortest: int
) -> list[TrackSegment]:
    """Choose the track segments to keep: the best over the whole video, at most `most` at a time.

    Track segments are taken in descending order of worth. If those taken before leave no room for a
    whole segment, its longest free part is kept, provided that it has at least ``shortest`` frames
    or half of the segment. Thus an animal is not lost because others were present for some frames,
    and none appears for some frames because another one is hidden.

    Parameters
    ----------
    track_segments
        Track segments of all animals.
    tracklets
        All tracklets of a video.
    most
        Largest number of animals at a time.
    shortest
        Least number of frames of a part.

    Returns
    -------
    list of TrackSegment
        Those kept, possibly in part, in the order of their first frames. A segment needs room from
        its first to its last frame, including frames in which the animal is not found.
    """
    worth = np.array([tracklets.worth[list(segment.tracklets)].sum() for segment in track_segments])
    taken = np.zeros(max((segment.last for segment in track_segments), default=-1) + 1, np.int64)
    kept = []
    # Ties: the segment that begins first.
    for index in np.argsort(-worth, kind="stable").tolist():
        segment = track_segments[index]
        first, last = _find_longest(taken[segment.first : segment.last + 1] < most)
        length = last - first + 1
        if not length or length < min(shortest, (segment.last - segment.first + 1) / 2):
            continue
        part = _cut_segment(segment, segment.first + first, segment.first + last, tracklets)
        if part.tracklets:
            taken[part.first : part.last + 1] += 1
            kept.append(part)
    return sorted(kept, key=lambda segment: (segment.first, segment.tracklets))


def list_dropped_fragments(
    fragments: NDArray[np.int64], everyone: Slots, kept: list[TrackSegment], tracklets: Tracklets
) -> NDArray[np.int64]:
    """Return the fragments that belong to animals that are not kept.

    Parameters
    ----------
    fragments
        Shape (fragment,), int64, numbers of tracklets too short to be a track on their own.
    everyone
        Slots of all animals, with the fragments that fill their gaps.
    kept
        Track segments that are kept.
    tracklets
        All tracklets of a video.

    Returns
    -------
    ndarray
        Shape (n,), int64, numbers of fragments, ascending.
    """
    own = {number: segment for segment in kept for number in segment.tracklets}
    short = set(fragments.tolist())
    begins, ends = tracklets.head.frame, tracklets.tail.frame
    dropped = []
    for members in everyone.tracklets:
        solid = [number for number in members if number not in short]
        for number in members:
            if number in short:
                nearest = min(
                    solid,
                    key=lambda other: max(
                        begins[other] - ends[number], begins[number] - ends[other]
                    ),
                )
                segment = own.get(nearest)
                if segment is None or begins[number] < segment.first or ends[number] > segment.last:
                    dropped.append(number)
    return np.array(sorted(dropped), np.int64)


def _find_longest(free: NDArray[np.bool_]) -> tuple[int, int]:
    """Return first and last index of the longest run of True, ties: the first; 0, -1: none."""
    turns = np.flatnonzero(np.diff(np.concatenate([[False], free, [False]]).astype(np.int8)))
    if not turns.size:
        return 0, -1
    starts, stops = turns[::2], turns[1::2]
    longest = int((stops - starts).argmax())
    return int(starts[longest]), int(stops[longest]) - 1


def _cut_segment(
    segment: TrackSegment, first: int, last: int, tracklets: Tracklets
) -> TrackSegment:
    inside = tuple(
        number
        for number in segment.tracklets
        if tracklets.head.frame[number] <= last and tracklets.tail.frame[number] >= first
    )
    return replace(segment, tracklets=inside, first=first, last=last)
