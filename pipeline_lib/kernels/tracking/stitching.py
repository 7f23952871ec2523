"""Join tracklets to paths by a minimum-cost flow through all tracklets of a video at once.

One unit of flow per animal passes through the video, from tracklet to tracklet. A tracklet lets one
unit pass and gains the worth of its poses. A unit moves to the next tracklet either by a join,
which costs less the more similar the tracklets are across the gap, or by leaving to and entering
from a pool that holds the animals out of sight. The flow of least cost is the solution of a linear
program, which is integral.

References
----------
Zhang, Li and Nevatia (2008), Global data association for multi-object tracking using network
flows, CVPR, doi:10.1109/CVPR.2008.4587584.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.tracking.similarity import Measure, compare_poses
from pipeline_lib.kernels.tracking.tracklet_ends import TrackletEnd, Tracklets

# Standard deviation of the logarithm of one animal's size, measured at different times.
_SIZE_SPREAD = 0.35
# Pairs of tracklets compared at a time.
_BLOCK_PAIRS = 2**15


@dataclass(frozen=True)
class JoinRules:
    """Rules by which tracklets are joined across a gap.

    Attributes
    ----------
    tolerance
        px, width of similarities between consecutive frames; it grows with the square root of the
        gap.
    similarity
        Measure of similarity.
    persistence
        Number of frames for which a velocity holds on average.
    max_gap
        Largest number of frames from the end of a tracklet to the beginning of the next.
    min_similarity
        0..1; tracklets below this similarity are not joined.
    """

    tolerance: float
    similarity: Measure
    persistence: float
    max_gap: int
    min_similarity: float


@dataclass(frozen=True)
class Joins:
    """Pairs of tracklets that may be consecutive parts of one track.

    Attributes
    ----------
    first, second
        Shape (join,), int64, numbers of tracklets, in ascending order of (first, second).
    similarity
        Shape (join,), float64 in 0..1.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    similarity: NDArray[np.float64]


def propose_joins(tracklets: Tracklets, candidates: NDArray[np.int64], rules: JoinRules) -> Joins:
    """Find the pairs of tracklets that may belong to one animal, and their similarity.

    Parameters
    ----------
    tracklets
        All tracklets of a video.
    candidates
        Shape (candidate,), int64, numbers of the tracklets that may be joined, ascending.
    rules
        Rules by which tracklets are joined.
    """
    begins, ends = tracklets.head.frame[candidates], tracklets.tail.frame[candidates]
    # Numbers ascend with the first frames.
    low = np.searchsorted(begins, ends, side="right")
    high = np.searchsorted(begins, ends + rules.max_gap, side="right")
    count = high - low
    first = np.repeat(np.arange(len(candidates)), count)
    second = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + low[first]
    first, second = candidates[first], candidates[second]
    similarity = compare_tracklets(tracklets, first, second, rules)
    kept = similarity >= rules.min_similarity
    return Joins(first[kept], second[kept], similarity[kept])


def compare_tracklets(
    tracklets: Tracklets, first: NDArray[np.int64], second: NDArray[np.int64], rules: JoinRules
) -> NDArray[np.float64]:
    """Compare the end of one tracklet with the beginning of a later one.

    Both poses are moved to the middle of the gap with a decaying velocity, and compared with a
    tolerance that grows with the gap. A long gap, another size or another identity lower the
    similarity.

    Parameters
    ----------
    tracklets
        All tracklets of a video.
    first, second
        Shape (pair,), int64, numbers of the earlier and the later tracklet.
    rules
        Rules by which tracklets are joined.

    Returns
    -------
    ndarray
        Shape (pair,), float64 in 0..1.
    """
    similarity = np.empty(len(first))
    for start in range(0, len(first), _BLOCK_PAIRS):
        block = slice(start, start + _BLOCK_PAIRS)
        similarity[block] = _compare_block(tracklets, first[block], second[block], rules)
    return similarity


def choose_paths(
    tracklets: Tracklets, candidates: NDArray[np.int64], joins: Joins, paths: int, price: float
) -> NDArray[np.int64]:
    """Choose the tracklets that belong to animals, and the order in which they follow.

    Parameters
    ----------
    tracklets
        All tracklets of a video.
    candidates
        Shape (candidate,), int64, numbers of the tracklets to choose from, ascending.
    joins
        Pairs that may follow each other.
    paths
        Largest number of paths at a time.
    price
        Cost of leaving and entering anew, in units of a tracklet's worth. A join costs the share
        of it by which its similarity is below 1.

    Returns
    -------
    ndarray
        Shape (tracklet,), int64: number of the next tracklet; -1: last of its path; -2: not
        chosen.
    """
    chosen = np.full(len(tracklets.count), -2)
    if len(candidates) == 0 or paths == 0:
        return chosen
    flow = _solve_flow(tracklets, candidates, joins, paths, price)
    taken, entered = flow
    follows = np.zeros(len(tracklets.count), bool)
    follows[joins.second[taken]] = True
    follows[candidates[entered]] = True
    chosen[follows] = -1
    chosen[joins.first[taken]] = joins.second[taken]
    return chosen


def _solve_flow(
    tracklets: Tracklets, candidates: NDArray[np.int64], joins: Joins, paths: int, price: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return masks of the joins that are taken, and of the candidates entered from the pool."""
    from scipy.optimize import linprog  # noqa: PLC0415
    from scipy.sparse import block_array, coo_array, eye_array  # noqa: PLC0415

    count, number = len(joins.first), len(candidates)
    worth = tracklets.worth[candidates]
    row = np.searchsorted(candidates, joins.first), np.searchsorted(candidates, joins.second)
    ones, edge = np.ones(count), np.arange(count)
    out_of = coo_array((ones, (row[0], edge)), (number, count))
    into = coo_array((ones, (row[1], edge)), (number, count))
    one = eye_array(number)
    # The pool between the times at which units leave or enter; a unit may re-enter at once.
    begins, ends = tracklets.head.frame[candidates], tracklets.tail.frame[candidates] + 1
    times, place = np.unique(np.concatenate([begins, ends]), return_inverse=True)
    every, tracklet = np.ones(number), np.arange(number)
    enter = coo_array((every, (place[:number], tracklet)), (len(times), number))
    leave = coo_array((every, (place[number:], tracklet)), (len(times), number))
    pool = eye_array(len(times)) - eye_array(len(times), k=-1)
    # Variables: joins, entering, leaving, pool after each time.
    balance = block_array([[into - out_of, one, -one, None], [None, enter, -leave, pool]])
    filled = np.zeros(number + len(times))
    filled[number] = paths
    cost = np.concatenate(
        [
            price * (1.0 - joins.similarity) - worth[row[1]],
            price / 2.0 - worth,
            np.full(number, price / 2.0),
            np.zeros(len(times)),
        ]
    )
    through = block_array([[into, one, coo_array((number, number + len(times)))]])
    solved = linprog(
        cost,
        A_ub=through.tocsr(),
        b_ub=np.ones(number),
        A_eq=balance.tocsr(),
        b_eq=filled,
        # The dual simplex method ends in a vertex, which is integral.
        method="highs-ds",
    )
    if not solved.success:
        raise ArithmeticError(f"tracklets could not be joined: {solved.message}")
    return solved.x[:count] > 0.5, solved.x[count : count + number] > 0.5


def _compare_block(
    tracklets: Tracklets, first: NDArray[np.int64], second: NDArray[np.int64], rules: JoinRules
) -> NDArray[np.float64]:
    gap = (tracklets.head.frame[second] - tracklets.tail.frame[first]).astype(np.float64)
    similarity = compare_poses(
        _move_to_middle(tracklets.tail, first, gap, rules.persistence),
        _move_to_middle(tracklets.head, second, -gap, rules.persistence),
        rules.tolerance * np.sqrt(gap),
        rules.similarity,
    )
    similarity *= np.exp(-(gap - 1.0) / rules.max_gap)
    ratio = np.nan_to_num(tracklets.log_size[first] - tracklets.log_size[second], nan=0.0)
    similarity *= np.exp(-(ratio**2) / (2.0 * _SIZE_SPREAD**2))
    if tracklets.identity is not None:
        similarity *= _compare_identities(tracklets.identity[first], tracklets.identity[second])
    return similarity


def _move_to_middle(
    end: TrackletEnd, number: NDArray[np.int64], gap: NDArray[np.float64], persistence: float
) -> NDArray[np.float64]:
    """Return poses moved to the middle of a gap; a negative gap leads back in time."""
    lasts = np.sign(gap) * persistence * -np.expm1(-np.abs(gap) / persistence) / 2.0
    return end.pose[number] + (end.velocity[number] * lasts[:, None])[:, None]


def _compare_identities(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the Bhattacharyya coefficient of the identity distributions of two tracklets."""
    one, other = (np.exp(each - each.max(-1, keepdims=True)) for each in (first, second))
    one /= one.sum(-1, keepdims=True)
    other /= other.sum(-1, keepdims=True)
    return np.asarray(np.sqrt(one * other).sum(-1))
