"""Tracklets: what is one animal beyond doubt, from frame to frame.

A tracklet ends where another continuation is nearly as good, so that what may be wrong is left
to those who see the whole video. Whether two poses are linked depends on a few frames around
them only. So parts of a video are linked apart from each other, and joined without a trace.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.motion import MEMORY, estimate_motion
from pipeline_lib.kernels.pairing import measure_rivals, pair_frames
from pipeline_lib.kernels.pose_similarity import Measure, compare_poses, find_poses

Floats = NDArray[np.floating[Any]]

# Numbers in the arrays of pairs of poses, so that they stay in the processor's cache.
_MOST_NUMBERS = 2**19
# Of poses that velocities are told from.
_LEAST_SIMILARITY = 0.02


@dataclass(frozen=True)
class LinkRules:
    """When two poses are one animal beyond doubt.

    Attributes
    ----------
    tolerance
        px; see `pipeline_lib.kernels.pose_similarity.compare_poses`.
    similarity
        What is compared.
    motion
        Where an animal is expected: ``kalman``, by its velocity, or ``none``, where it was.
    min_similarity
        Poses that are less alike are not linked.
    max_rival
        They are neither where another choice is more than this share as good.
    max_gap
        Frames between linked poses at most.
    """

    tolerance: float
    similarity: Measure = "oks"
    motion: Literal["kalman", "none"] = "kalman"
    min_similarity: float = 0.6
    max_rival: float = 0.7
    max_gap: int = 5

    @property
    def reach(self) -> int:
        """How many frames on either side decide on the links of a frame."""
        # Each round of gaps looks as far as the rounds before it, and over its own gap.
        return MEMORY + 2 + sum(range(1, self.max_gap + 2))


@dataclass(frozen=True)
class Links:
    """For each pose the next one of its tracklet.

    Attributes
    ----------
    step
        Shape (frame, individual), int32, frames to the next pose; 0: the tracklet ends.
    place
        Shape (frame, individual), int32, its place on the individual axis; -1: none.
    """

    step: NDArray[np.int32]
    place: NDArray[np.int32]

    def cut(self, start: int, stop: int) -> "Links":
        """Return the links of some frames."""
        return Links(self.step[start:stop], self.place[start:stop])


def link_poses(position: Floats, rules: LinkRules) -> Links:
    """Link the poses of consecutive frames that are one animal beyond doubt.

    Frame by frame the most similar poses are paired (Hungarian matching); first where they were,
    then, with the velocities that this gave, where they are expected, and then over gaps, short
    ones first.

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
    position = np.asarray(position, np.float64)
    frames, individuals = position.shape[:2]
    ends = _Ends(frames, individuals)
    if frames < 2 or individuals == 0:
        return ends.links
    moved = position
    if rules.motion == "kalman":
        # A fast animal is not quite like itself where it was; what is found is only a direction.
        lenient = replace(rules, min_similarity=_LEAST_SIMILARITY)
        partner, sure = _pair_in_blocks(position[:-1], position[1:], rules.tolerance, lenient)
        before = _look_back(np.where(sure, partner, -1))
        offset, velocity = estimate_motion(position, before)
        moved = position + (offset + velocity)[:, :, None]
    partner, sure = _pair_in_blocks(moved[:-1], position[1:], rules.tolerance, rules)
    ends.link(np.arange(frames - 1), 1, partner, sure)
    there = find_poses(position)
    for step in range(2, min(rules.max_gap + 1, frames - 1) + 1):
        start, stop = there & ends.may_end, there & ends.may_start
        waiting = np.flatnonzero(start[:-step].any(-1) & stop[step:].any(-1))
        if not waiting.size:
            continue
        if rules.motion == "kalman":
            moved = position[waiting] + (offset + step * velocity)[waiting, :, None]
        else:
            moved = position[waiting]
        partner, sure = _pair_in_blocks(
            np.where(start[waiting][..., None, None], moved, np.nan),
            np.where(stop[waiting + step][..., None, None], position[waiting + step], np.nan),
            rules.tolerance * step**0.5,
            rules,
        )
        ends.link(waiting, step, partner, sure)
    return ends.links


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
    return number_tracklets(link_poses(position, rules), find_poses(position))


class _Ends:
    """Links while they are made: which poses may still be linked."""

    def __init__(self, frames: int, individuals: int) -> None:
        self.links = Links(
            np.zeros((frames, individuals), np.int32), np.full((frames, individuals), -1, np.int32)
        )
        # A pose whose choice is in doubt is linked to none: a later one would not be sure either.
        self.may_end = np.ones((frames, individuals), bool)
        self.may_start = np.ones((frames, individuals), bool)

    def link(
        self,
        frame: NDArray[np.intp],
        step: int,
        partner: NDArray[np.int64],
        sure: NDArray[np.bool_],
    ) -> None:
        """Link the poses of some frames with their partners so many frames later."""
        row, place = np.nonzero(partner >= 0)
        found, other = frame[row], partner[row, place]
        self.may_end[found, place] = False
        self.may_start[found + step, other] = False
        kept = sure[row, place]
        self.links.step[found[kept], place[kept]] = step
        self.links.place[found[kept], place[kept]] = other[kept]


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


def _look_back(partner: NDArray[np.int64]) -> NDArray[np.int64]:
    """Turn partners in the next frame into partners in the frame before."""
    before = np.full((len(partner) + 1, partner.shape[1]), -1)
    frame, place = np.nonzero(partner >= 0)
    before[frame + 1, partner[frame, place]] = place
    return before
