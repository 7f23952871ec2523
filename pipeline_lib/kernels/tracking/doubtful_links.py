"""Cut links that may have exchanged two animals, and links across gaps in crowds.

If an animal is lost in one frame and its neighbour in the next, each resembles only the other one:
frame by frame the assignment is unambiguous, although it may exchange the two animals. Comparing
the poses across the frames in which one is missing reveals the ambiguity.

In a crowd there are more tracklets at a time than animals. During a gap that a tracklet was linked
across, another tracklet may be the same animal. Such a link is cut; stitching decides with the
whole video at hand.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.tracking.links import LinkRules, Links, OpenEnds
from pipeline_lib.kernels.tracking.motion import MotionModel
from pipeline_lib.kernels.tracking.similarity import compare_poses

Indices = NDArray[np.integer[Any]]

# Pairs of links compared at a time.
_BLOCK = 2**15


class _Steps(NamedTuple):
    """Pairs of a pose (frame, individual) and a later pose (frame, individual)."""

    frame: Indices
    individual: Indices
    later: Indices
    other: Indices

    def take(self, index: Indices) -> "_Steps":
        return _Steps(*(values[index] for values in self))


def cut_doubtful(links: Links, ends: OpenEnds, motion: MotionModel, rules: LinkRules) -> None:
    """Cut the links of two animals whose exchange would be nearly as similar.

    Only links across missing frames are considered; for the others see
    `pipeline_lib.kernels.tracking.pairing.measure_ambiguity`. Both exchanged links must reach the
    least similarity of a link.

    Parameters
    ----------
    links
        Links of all poses; ambiguous ones are removed in place.
    ends
        Poses without a link that might have had one.
    motion
        Motion model of the poses.
    rules
        Rules by which poses are linked.
    """
    gaps = _find_gaps(links, ends, rules.max_gap)
    gap, others = _find_beside(gaps, links, rules.max_gap)
    doubtful = np.zeros(len(gap), bool)
    for start in range(0, len(gap), _BLOCK):
        block = slice(start, start + _BLOCK)
        one, other = gaps.take(gap[block]), others.take(np.arange(len(gap))[block])
        crossed = (
            _Steps(one.frame, one.individual, other.later, other.other),
            _Steps(other.frame, other.individual, one.later, one.other),
        )
        own = _compare(one, motion, rules) + _compare(other, motion, rules)
        first, second = (_compare(each, motion, rules) for each in crossed)
        likely = np.minimum(first, second) >= rules.min_similarity
        doubtful[block] = likely & (first + second > rules.max_ambiguity * own)
    one, other = gaps.take(gap[doubtful]), others.take(np.flatnonzero(doubtful))
    for cut in (one, other):
        links.step[cut.frame, cut.individual] = 0
        links.partner[cut.frame, cut.individual] = -1


def _find_gaps(links: Links, ends: OpenEnds, max_gap: int) -> _Steps:
    """Return links across gaps, and pairs of a pose that ends and a later one that begins."""
    frame, individual = np.nonzero(links.step > 1)
    later = frame + links.step[frame, individual]
    found = [_Steps(frame, individual, later, links.partner[frame, individual])]
    for step in range(2, min(max_gap + 1, len(links.step) - 1) + 1):
        pairs = ends.may_end[:-step, :, None] & ends.may_start[step:, None]
        frame, individual, other = np.nonzero(pairs)
        found.append(_Steps(frame, individual, frame + step, other))
    return _Steps(*(np.concatenate(each) for each in zip(*found, strict=True)))


def _find_beside(gaps: _Steps, links: Links, max_gap: int) -> tuple[Indices, _Steps]:
    """Return the links of other poses that overlap each gap in time: index of the gap, link."""
    frames, individuals = links.step.shape
    individual_axis = np.arange(individuals)
    which, found = [np.empty(0, np.intp)], [_Steps(*np.empty((4, 0), np.intp))]
    for shift in range(-max_gap, max_gap + 1):
        frame = np.clip(gaps.frame + shift, 0, frames - 1)[:, None]
        step = links.step[frame, individual_axis]
        beside = (step > 0) & (frame + step > gaps.frame[:, None]) & (frame < gaps.later[:, None])
        beside &= (frame == (gaps.frame + shift)[:, None]) & (
            (shift != 0) | (individual_axis != gaps.individual[:, None])
        )
        gap, individual = np.nonzero(beside)
        first = frame[gap, 0]
        other = links.partner[first, individual]
        which.append(gap)
        found.append(_Steps(first, individual, first + links.step[first, individual], other))
    return np.concatenate(which), _Steps(
        *(np.concatenate(each) for each in zip(*found, strict=True))
    )


def _compare(steps: _Steps, motion: MotionModel, rules: LinkRules) -> NDArray[np.float64]:
    apart = steps.later - steps.frame
    return compare_poses(
        motion.predict(steps.frame, steps.individual, apart),
        motion.position[steps.later, steps.other],
        rules.tolerance * np.sqrt(apart),
        rules.similarity,
    )


def cut_crowded(links: Links, number: NDArray[np.int32], individuals: int, shortest: int) -> Links:
    """Cut links across gaps in which there are more tracklets than animals.

    Parameters
    ----------
    links
        Links of a whole video.
    number
        Shape (frame, individual), int32, number of the tracklet of each pose; -1: no pose.
    individuals
        Largest number of animals at a time.
    shortest
        Tracklets of fewer poses are ignored: they may be false detections.

    Returns
    -------
    Links
        A copy without the links across gaps in any frame of which more than `individuals`
        tracklets are present.
    """
    crowded = count_tracklets(number, shortest) > individuals
    frame, individual = np.nonzero(links.step > 1)
    before = np.concatenate([[0], np.cumsum(crowded)])
    # The frames of the gap alone: neither of the two that are linked.
    inside = before[frame + links.step[frame, individual]] - before[frame + 1]
    cut = frame[inside > 0], individual[inside > 0]
    kept = Links(links.step.copy(), links.partner.copy())
    kept.step[cut] = 0
    kept.partner[cut] = -1
    return kept


def count_tracklets(number: NDArray[np.int32], shortest: int) -> NDArray[np.int64]:
    """Count the tracklets present in each frame.

    Parameters
    ----------
    number
        Shape (frame, individual), int32; -1: no pose.
    shortest
        Tracklets of fewer poses are ignored.

    Returns
    -------
    ndarray
        Shape (frame,), int64: tracklets that have begun and not ended, including their gaps.
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
