"""Link poses of consecutive frames to tracklets, each of one animal beyond doubt.

A tracklet ends where another continuation is nearly as good; stitching, which sees the whole video,
decides there. A link depends on a few frames around it only. Thus the parts of a video can be
linked independently, and joined without a difference.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.metrics.keypoints import find_individuals
from pipeline_lib.kernels.tracking.doubtful_links import cut_doubtful
from pipeline_lib.kernels.tracking.links import LinkRules, Links, OpenEnds
from pipeline_lib.kernels.tracking.motion import MotionModel, estimate_motion
from pipeline_lib.kernels.tracking.pairing import measure_ambiguity, pair_frames
from pipeline_lib.kernels.tracking.similarity import compare_poses

Floats = NDArray[np.floating[Any]]

# Size of the arrays of pairs of poses, so that they stay in the processor's cache.
_MOST_NUMBERS = 2**19
# Least similarity of the poses from which velocities are estimated.
_LEAST_SIMILARITY = 0.02


def link_poses(position: Floats, rules: LinkRules) -> Links:
    """Link the poses of consecutive frames that show one animal beyond doubt.

    The most similar poses of two frames are paired (Hungarian matching): first at their measured
    positions, then at the positions predicted with the resulting velocities, then across gaps,
    short ones first. Finally links are cut if an exchange would be nearly as similar.

    Parameters
    ----------
    position
        Shape (frame, individual, keypoint, 2), px; NaN where missing.
    rules
        Rules by which poses are linked.

    Returns
    -------
    Links
        The links of a frame do not depend on frames farther away than `LinkRules.reach`.
    """
    poses = np.asarray(position, np.float64)
    frames, individuals = poses.shape[:2]
    there = find_individuals(poses)
    links = Links.none((frames, individuals))
    if frames < 2 or individuals == 0:
        return links
    motion = _fit_motion_model(poses, rules)
    ends = OpenEnds(there.copy(), there.copy())
    for step in range(1, min(rules.max_gap + 1, frames - 1) + 1):
        waiting = np.flatnonzero(ends.may_end[:-step].any(-1) & ends.may_start[step:].any(-1))
        if waiting.size:
            _link_apart(step, waiting, motion, rules, (links, ends))
    cut_doubtful(links, ends, motion, rules)
    return links


def number_tracklets(links: Links, there: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Assign numbers to tracklets in the order of their first poses.

    Parameters
    ----------
    links
        Links of a whole video.
    there
        Shape (frame, individual), bool: whether there is a pose.

    Returns
    -------
    ndarray
        Shape (frame, individual), int32, number of the tracklet of each pose; -1: no pose.
    """
    # SciPy takes long to load, and a job without work does not need it.
    from scipy.sparse import coo_array  # noqa: PLC0415
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    poses = there.size
    source = np.flatnonzero((links.step > 0).ravel())
    individuals = there.shape[1]
    target = (source // max(1, individuals) + links.step.ravel()[source]) * individuals
    target = target + links.partner.ravel()[source]
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
    """Return the number of the tracklet of each pose of a video.

    Parameters
    ----------
    position
        Shape (frame, individual, keypoint, 2), px; NaN where missing.
    rules
        Rules by which poses are linked.

    Returns
    -------
    ndarray
        Shape (frame, individual), int32; -1: no pose.
    """
    return number_tracklets(link_poses(position, rules), find_individuals(position))


def _link_apart(
    step: int,
    frame: NDArray[np.intp],
    motion: MotionModel,
    rules: LinkRules,
    made: tuple[Links, OpenEnds],
) -> None:
    """Link open poses of some frames with open poses `step` frames later."""
    links, ends = made
    first = motion.predict(frame, slice(None), step)
    first = np.where(ends.may_end[frame][..., None, None], first, np.nan)
    second = motion.position[frame + step]
    second = np.where(ends.may_start[frame + step][..., None, None], second, np.nan)
    partner, sure = _pair_in_blocks(first, second, rules.tolerance * step**0.5, rules)
    row, individual = np.nonzero(partner >= 0)
    found, other, kept = frame[row], partner[row, individual], sure[row, individual]
    # A pose with an ambiguous choice gets no link: a later choice would not be certain either.
    ends.may_end[found, individual] = False
    ends.may_start[found + step, other] = False
    links.step[found[kept], individual[kept]] = step
    links.partner[found[kept], individual[kept]] = other[kept]


def _fit_motion_model(position: NDArray[np.float64], rules: LinkRules) -> MotionModel:
    """Estimate the motion of animals from the most similar poses of consecutive frames."""
    if rules.motion == "none":
        nothing = np.zeros((*position.shape[:2], 2))
        return MotionModel(position, nothing, nothing)
    # A fast animal differs from its pose one frame before; only its direction is needed here.
    lenient = replace(rules, min_similarity=_LEAST_SIMILARITY)
    partner, sure = _pair_in_blocks(position[:-1], position[1:], rules.tolerance, lenient)
    before = np.full(position.shape[:2], -1)
    frame, individual = np.nonzero(sure)
    before[frame + 1, partner[frame, individual]] = individual
    return MotionModel(position, *estimate_motion(position, before))


def _pair_in_blocks(
    first: Floats, second: Floats, tolerance: float, rules: LinkRules
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Pair the poses of two frames, block by block; return partners and a mask of certain pairs."""
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
        ambiguity = measure_ambiguity(similarity, partner[block])
        sure[block] = (partner[block] >= 0) & (ambiguity <= rules.max_ambiguity)
    return partner, sure
