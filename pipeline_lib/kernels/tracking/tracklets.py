"""Tracklets: what is one animal beyond doubt, from frame to frame.

A tracklet ends where another continuation is nearly as good, so that what may be wrong is left
to those who see the whole video. Whether two poses are linked depends on a few frames around
them only. So parts of a video are linked apart from each other, and joined without a trace.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.metrics.keypoints import find_individuals
from pipeline_lib.kernels.tracking.doubtful_links import cut_doubtful
from pipeline_lib.kernels.tracking.links import LinkRules, Links, OpenEnds
from pipeline_lib.kernels.tracking.motion import Courses, estimate_motion
from pipeline_lib.kernels.tracking.pairing import measure_rivals, pair_frames
from pipeline_lib.kernels.tracking.similarity import compare_poses

Floats = NDArray[np.floating[Any]]

# Numbers in the arrays of pairs of poses, so that they stay in the processor's cache.
_MOST_NUMBERS = 2**19
# Of poses that velocities are told from.
_LEAST_SIMILARITY = 0.02


def link_poses(position: Floats, rules: LinkRules) -> Links:
    """Link the poses of consecutive frames that are one animal beyond doubt.

    Frame by frame the most similar poses are paired (Hungarian matching); first where they were,
    then, with the velocities that this gave, where they are expected, and then over gaps, short
    ones first. In the end links are cut for which an exchange would be nearly as good.

    Parameters
    ----------
    position
        Shape (frame, individual, keypoint, 2), px; NaN where missing.
    rules
        When poses are linked.

    Returns
    -------
    Links
        Those of a frame are the same whatever is cut off beyond `LinkRules.reach` frames.
    """
    poses = np.asarray(position, np.float64)
    frames, individuals = poses.shape[:2]
    there = find_individuals(poses)
    links = Links.none((frames, individuals))
    if frames < 2 or individuals == 0:
        return links
    courses = _estimate_courses(poses, rules)
    ends = OpenEnds(there.copy(), there.copy())
    for step in range(1, min(rules.max_gap + 1, frames - 1) + 1):
        waiting = np.flatnonzero(ends.may_end[:-step].any(-1) & ends.may_start[step:].any(-1))
        if waiting.size:
            _link_apart(step, waiting, courses, rules, (links, ends))
    cut_doubtful(links, ends, courses, rules)
    return links


def number_tracklets(links: Links, there: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Give numbers to the tracklets that links make, in the order of their first poses.

    Parameters
    ----------
    links
        Of a whole video.
    there
        Shape (frame, individual): where there is a pose.

    Returns
    -------
    ndarray
        Shape (frame, individual), int32, number of the tracklet; -1 where there is no pose.
    """
    # It takes long to load, and a job without work need not.
    from scipy.sparse import coo_array  # noqa: PLC0415
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    poses = there.size
    source = np.flatnonzero((links.step > 0).ravel())
    individuals = there.shape[1]
    target = (source // max(1, individuals) + links.step.ravel()[source]) * individuals
    target = target + links.place.ravel()[source]
    graph = coo_array((np.ones(source.size, np.int8), (source, target)), (poses, poses))
    _, label = connected_components(graph, directed=False)
    label = label[there.ravel()]
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    number = np.full(there.shape, -1, np.int32)
    number[there] = rank[inverse]
    return number


def link_tracklets(position: Floats, rules: LinkRules) -> NDArray[np.int32]:
    """Tell the number of the tracklet of each pose of a video.

    Parameters
    ----------
    position
        Shape (frame, individual, keypoint, 2), px; NaN where missing.
    rules
        When poses are linked.

    Returns
    -------
    ndarray
        Shape (frame, individual), int32; -1 where there is no pose.
    """
    return number_tracklets(link_poses(position, rules), find_individuals(position))


def _link_apart(
    step: int,
    frame: NDArray[np.intp],
    courses: Courses,
    rules: LinkRules,
    made: tuple[Links, OpenEnds],
) -> None:
    """Link poses of some frames with those so many frames later, where both still may be."""
    links, ends = made
    first = courses.expect(frame, slice(None), step)
    first = np.where(ends.may_end[frame][..., None, None], first, np.nan)
    second = courses.position[frame + step]
    second = np.where(ends.may_start[frame + step][..., None, None], second, np.nan)
    partner, sure = _pair_in_blocks(first, second, rules.tolerance * step**0.5, rules)
    row, place = np.nonzero(partner >= 0)
    found, other, kept = frame[row], partner[row, place], sure[row, place]
    # One whose choice is in doubt is linked to none: a later choice would not be sure either.
    ends.may_end[found, place] = False
    ends.may_start[found + step, other] = False
    links.step[found[kept], place[kept]] = step
    links.place[found[kept], place[kept]] = other[kept]


def _estimate_courses(position: NDArray[np.float64], rules: LinkRules) -> Courses:
    """Estimate how animals move from the most similar poses of consecutive frames."""
    if rules.motion == "none":
        nothing = np.zeros((*position.shape[:2], 2))
        return Courses(position, nothing, nothing)
    # A fast animal is not quite like itself where it was; what is found is only a direction.
    lenient = replace(rules, min_similarity=_LEAST_SIMILARITY)
    partner, sure = _pair_in_blocks(position[:-1], position[1:], rules.tolerance, lenient)
    before = np.full(position.shape[:2], -1)
    frame, place = np.nonzero(sure)
    before[frame + 1, partner[frame, place]] = place
    return Courses(position, *estimate_motion(position, before))


def _pair_in_blocks(
    first: Floats, second: Floats, tolerance: float, rules: LinkRules
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Pair the poses of each frame with those of another; tell which pairs are beyond doubt."""
    frames, individuals, keypoints = first.shape[:3]
    partner = np.empty((frames, individuals), np.int64)
    sure = np.empty((frames, individuals), bool)
    longest = max(1, _MOST_NUMBERS // max(1, individuals * individuals * keypoints))
    for start in range(0, frames, longest):
        block = slice(start, start + longest)
        similarity = compare_poses(
            first[block, :, None], second[block, None], tolerance, rules.similarity
        )
        partner[block] = pair_frames(similarity, rules.min_similarity)
        rivals = measure_rivals(similarity, partner[block])
        sure[block] = (partner[block] >= 0) & (rivals <= rules.max_rival)
    return partner, sure
