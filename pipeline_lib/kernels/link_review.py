"""Links of two animals that may have been exchanged while one of them was not found.

When an animal is lost in one frame and its neighbour in the next, each is like nobody but the
other one, and frame by frame there is no doubt. Across the frames in which either is missing
there is.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.links import LinkRules, Links, OpenEnds
from pipeline_lib.kernels.motion import Courses
from pipeline_lib.kernels.pose_similarity import compare_poses

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
    `pipeline_lib.kernels.pairing` looks at the others. Exchanged, either must be alike enough to
    be linked.

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
