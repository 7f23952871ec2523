"""Links that may have exchanged two animals, and links across gaps in a crowd.

When an animal is lost in one frame and its neighbour in the next, each is like nobody but the
other one, and frame by frame there is no doubt. Across the frames in which either is missing
there is.

A crowd has more tracklets at a time than there are animals. A tracklet that was linked across a gap
holds a slot meanwhile; another tracklet of some length may be that very animal. Such a link is cut,
and stitching, which sees the whole video, decides.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.tracking.links import LinkRules, Links, OpenEnds
from pipeline_lib.kernels.tracking.motion import Courses
from pipeline_lib.kernels.tracking.similarity import compare_poses

Places = NDArray[np.integer[Any]]

# Pairs of links that are compared at a time.
_BLOCK = 2**15


class _Steps(NamedTuple):
    """From a pose to a later one, each a frame and a place on the individual axis."""

    frame: Places
    place: Places
    later: Places
    other: Places

    def take(self, index: Places) -> "_Steps":
        return _Steps(*(values[index] for values in self))


def cut_doubtful(links: Links, ends: OpenEnds, courses: Courses, rules: LinkRules) -> None:
    """Cut the links of two animals that would be nearly as alike to themselves if exchanged.

    Only where one of them is missing for at least a frame; `measure_rivals` of
    `pipeline_lib.kernels.tracking.pairing` looks at the others. Exchanged, either must be alike
    enough to be linked.

    Parameters
    ----------
    links
        Those made; loses those in doubt.
    ends
        Poses that were linked to none, though they might be.
    courses
        Where animals are and go.
    rules
        When poses are linked.
    """
    gaps = _find_gaps(links, ends, rules.max_gap)
    gap, others = _find_beside(gaps, links, rules.max_gap)
    doubtful = np.zeros(len(gap), bool)
    for start in range(0, len(gap), _BLOCK):
        block = slice(start, start + _BLOCK)
        one, other = gaps.take(gap[block]), others.take(np.arange(len(gap))[block])
        crossed = (
            _Steps(one.frame, one.place, other.later, other.other),
            _Steps(other.frame, other.place, one.later, one.other),
        )
        own = _compare(one, courses, rules) + _compare(other, courses, rules)
        first, second = (_compare(each, courses, rules) for each in crossed)
        likely = np.minimum(first, second) >= rules.min_similarity
        doubtful[block] = likely & (first + second > rules.max_rival * own)
    one, other = gaps.take(gap[doubtful]), others.take(np.flatnonzero(doubtful))
    for cut in (one, other):
        links.step[cut.frame, cut.place] = 0
        links.place[cut.frame, cut.place] = -1


def _find_gaps(links: Links, ends: OpenEnds, max_gap: int) -> _Steps:
    """Return links over a gap, and pairs of an animal that is lost and one that appears."""
    frame, place = np.nonzero(links.step > 1)
    later = frame + links.step[frame, place]
    found = [_Steps(frame, place, later, links.place[frame, place])]
    for step in range(2, min(max_gap + 1, len(links.step) - 1) + 1):
        pairs = ends.may_end[:-step, :, None] & ends.may_start[step:, None]
        frame, place, other = np.nonzero(pairs)
        found.append(_Steps(frame, place, frame + step, other))
    return _Steps(*(np.concatenate(each) for each in zip(*found, strict=True)))


def _find_beside(gaps: _Steps, links: Links, max_gap: int) -> tuple[Places, _Steps]:
    """Return for each gap the links of others in its time: which gap, and the links."""
    frames, individuals = links.step.shape
    everybody = np.arange(individuals)
    which, found = [np.empty(0, np.intp)], [_Steps(*np.empty((4, 0), np.intp))]
    for shift in range(-max_gap, max_gap + 1):
        frame = np.clip(gaps.frame + shift, 0, frames - 1)[:, None]
        step = links.step[frame, everybody]
        beside = (step > 0) & (frame + step > gaps.frame[:, None]) & (frame < gaps.later[:, None])
        beside &= (frame == (gaps.frame + shift)[:, None]) & (
            (shift != 0) | (everybody != gaps.place[:, None])
        )
        gap, place = np.nonzero(beside)
        first = frame[gap, 0]
        other = links.place[first, place]
        which.append(gap)
        found.append(_Steps(first, place, first + links.step[first, place], other))
    return np.concatenate(which), _Steps(
        *(np.concatenate(each) for each in zip(*found, strict=True))
    )


def _compare(steps: _Steps, courses: Courses, rules: LinkRules) -> NDArray[np.float64]:
    apart = steps.later - steps.frame
    return compare_poses(
        courses.expect(steps.frame, steps.place, apart),
        courses.position[steps.later, steps.other],
        rules.tolerance * np.sqrt(apart),
        rules.similarity,
    )


def cut_crowded(links: Links, number: NDArray[np.int32], individuals: int, shortest: int) -> Links:
    """Cut links across gaps in which there are more tracklets than animals.

    Parameters
    ----------
    links
        Of a whole video.
    number
        Shape (frame, individual), int32, numbers of the tracklets that they make; -1: no pose.
    individuals
        Most animals at a time.
    shortest
        Tracklets of fewer poses do not count: they may be false detections.

    Returns
    -------
    Links
        Without those in whose gap, in any frame of it, more than so many tracklets have begun
        and not yet ended.
    """
    crowded = count_tracklets(number, shortest) > individuals
    frame, place = np.nonzero(links.step > 1)
    before = np.concatenate([[0], np.cumsum(crowded)])
    # The frames of the gap alone: neither of the two that are linked.
    inside = before[frame + links.step[frame, place]] - before[frame + 1]
    cut = frame[inside > 0], place[inside > 0]
    kept = Links(links.step.copy(), links.place.copy())
    kept.step[cut] = 0
    kept.place[cut] = -1
    return kept


def count_tracklets(number: NDArray[np.int32], shortest: int) -> NDArray[np.int64]:
    """Return how many tracklets, of so many poses at least, are on their way in each frame.

    Parameters
    ----------
    number
        Shape (frame, individual), int32; -1: no pose.
    shortest
        Fewest poses.

    Returns
    -------
    ndarray
        Shape (frame,), int64, those that have begun and not yet ended, whether found or not.
    """
    frame, individual = np.nonzero(number >= 0)
    tracklet = number[frame, individual]
    count = np.bincount(tracklet)
    first, last = np.full(len(count), len(number)), np.full(len(count), -1)
    np.minimum.at(first, tracklet, frame)
    np.maximum.at(last, tracklet, frame)
    long = count >= max(1, shortest)
    change = np.zeros(len(number) + 1, np.int64)
    np.add.at(change, first[long], 1)
    np.add.at(change, last[long] + 1, -1)
    return np.cumsum(change)[:-1]
