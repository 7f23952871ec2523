"""Choose among scored frames: comparable scores, thinned in time, spread, different in looks.

Scores of different criteria have different units. What they have in common is how rare they are:
the share of the cohort's frames that are as bad or worse. Rare alone is not bad, since every
criterion has rarest frames, so that frames beyond the outer fence of a criterion (Tukey,
Exploratory Data Analysis, 1977) come before all others. Both are read from a histogram of all
scores: no list of all frames is kept.
"""

import numpy as np
from numpy.typing import NDArray

# The first 16 bits of a positive float32 are its exponent and 7 bits of its mantissa: bins of
# 0.8 % of a score, in ascending order.
_SHIFT = 16
BINS = 2**15
# Fence beyond the upper quartile, in distances between the quartiles.
_FENCE = 3.0
_SHORTEST_GAP = 1e-6  # seconds
_COMPONENTS = 16
# Weight of the least bad candidate in comparison with the worst.
_LEAST_WEIGHT = 0.25


def count_scores(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return how many scores fall into each of `BINS` bins; NaN is left out.

    Parameters
    ----------
    scores
        Not negative, any shape.
    """
    return np.bincount(_find_bins(scores[np.isfinite(scores)]), minlength=BINS)


def rank_scores(counts: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how far out scores are, in units that are the same for all criteria.

    Parameters
    ----------
    counts
        Shape (BINS,), of `count_scores`, of all frames.
    scores
        Any shape; NaN: not scored.

    Returns
    -------
    NDArray[np.float64]
        Rarity, which is log10 of one over the share of frames that are as bad or worse: 3 is one
        frame in 1000. For a score that is within the fence, this less that of the rarest frame:
        at most 0. Minus infinity for scores of 0 and NaN.
    """
    worse = counts[::-1].cumsum()[::-1]
    total = max(int(worse[0]), 1)
    scored = np.isfinite(scores) & (scores > 0)
    number = np.maximum(worse[_find_bins(np.where(scored, scores, 0.0))], 1)
    rarity = np.where(scored, np.log10(total / np.minimum(number, total)), -np.inf)
    with np.errstate(invalid="ignore"):
        beyond = scored & (scores > _find_fence(counts))
    return np.where(beyond, rarity, rarity - np.log10(total))


def _find_fence(counts: NDArray[np.int64]) -> float:
    """Return the outer fence of the scores in a histogram; infinite for an empty one."""
    upto = counts.cumsum()
    if not upto[-1]:
        return np.inf
    quartiles = np.searchsorted(upto, np.array([0.25, 0.75]) * upto[-1])
    # A bin's largest score: one that equals the quartiles is not beyond.
    values = ((quartiles.astype(np.uint32) << _SHIFT) | (2**_SHIFT - 1)).view(np.float32)
    first, third = (float(value) for value in values)
    return third + _FENCE * (third - first)


def _find_bins(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    bits = np.ascontiguousarray(scores, np.float32).view(np.uint32) >> _SHIFT
    # The sign bit of -0.
    return (bits & (BINS - 1)).astype(np.int64)


def keep_worst(
    score: NDArray[np.float32] | NDArray[np.float64],
    time: NDArray[np.float64],
    *,
    number: int,
    gap: float,
) -> NDArray[np.int64]:
    """Choose the worst frames of a video, no two of which are closer in time than a gap.

    Parameters
    ----------
    score
        Shape (frame,); only finite ones above 0 are chosen.
    time
        Shape (frame,), s, ascending; NaN: unknown, such a frame is not chosen.
    number
        Most frames.
    gap
        Seconds.

    Returns
    -------
    NDArray[np.int64]
        Positions, worst first, the earliest of equals first.
    """
    with np.errstate(invalid="ignore"):
        eligible = np.flatnonzero((score > 0) & np.isfinite(score) & np.isfinite(time))
    if gap > _SHORTEST_GAP and len(eligible):
        eligible = _keep_worst_of_bins(eligible, score, np.floor(time[eligible] / gap))
    order = eligible[np.argsort(-score[eligible], kind="stable")]
    chosen: list[int] = []
    times = np.empty(number)
    for place in order.tolist():
        if len(chosen) == number:
            break
        if (np.abs(times[: len(chosen)] - time[place]) >= gap).all():
            times[len(chosen)] = time[place]
            chosen.append(place)
    return np.array(chosen, dtype=np.int64)


def _keep_worst_of_bins(
    eligible: NDArray[np.int64],
    score: NDArray[np.float32] | NDArray[np.float64],
    bins: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return the worst frame of each bin of time, the earliest of equals."""
    order = np.lexsort((eligible, -score[eligible], bins))
    _, firsts = np.unique(bins[order], return_index=True)
    return np.sort(eligible[order[firsts]])


def spread_candidates(
    rarity: NDArray[np.float64], parts: NDArray[np.int64], groups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Lower the rarity of candidates whose video, or group of videos, has worse ones.

    As D'Hondt's method divides votes among parties: the n-th frame of a video counts as if n
    times as many frames were as bad, and so does the n-th frame of a group after that.

    Parameters
    ----------
    rarity
        Shape (candidate,), of `rank_scores`.
    parts, groups
        Shape (candidate,): number of the video, and of its group.

    Returns
    -------
    NDArray[np.float64]
        Shape (candidate,), the order in which to take them.
    """
    for owner in (parts, groups):
        rarity = rarity - np.log10(_number_within(owner, rarity))
    return rarity


def _number_within(owner: NDArray[np.int64], rarity: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the place of each candidate among those of its owner, 1 being the worst."""
    order = np.lexsort((np.arange(len(owner)), -rarity, owner))
    ordered = owner[order]
    new = np.r_[True, ordered[1:] != ordered[:-1]][: len(owner)]
    starts = np.flatnonzero(new)
    place = np.arange(len(owner)) - starts[np.cumsum(new) - 1] + 1
    numbers = np.empty(len(owner), np.int64)
    numbers[order] = place
    return numbers


def reduce_embeddings(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the principal components of embeddings whose channels have the same variance.

    Parameters
    ----------
    embeddings
        Shape (frame, channel). Channels that are all the same say nothing.

    Returns
    -------
    NDArray[np.float64]
        Shape (frame, component), at most 16 components.
    """
    values = embeddings.astype(np.float64)
    values -= values.mean(axis=0)
    spread = values.std(axis=0)
    values = values[:, spread > 0] / spread[spread > 0]
    if not values.size:
        return np.zeros((len(embeddings), 1))
    left, size, _ = np.linalg.svd(values, full_matrices=False)
    components: NDArray[np.float64] = (left * size)[:, :_COMPONENTS]
    return components


def choose_different(
    value: NDArray[np.float64],
    place: NDArray[np.float64],
    number: int,
    known: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Choose frames that are bad and look unlike each other and unlike what is known.

    A farthest-first traversal (Gonzalez, Theoretical Computer Science 1985), whose choices are
    centres of clusters: each choice is the frame with the largest distance from what is known and
    chosen, times a weight that falls from 1 for the worst frame to a quarter for the least bad.

    Parameters
    ----------
    value
        Shape (frame,), larger is worse; the order alone counts.
    place
        Shape (frame, component): where the look of a frame is, of `reduce_embeddings`.
    number
        Frames to choose.
    known
        Shape (known frame, component): looks of frames that need not be chosen again, such as
        labelled ones. None, or empty: nothing is known, and the worst frame is chosen first.

    Returns
    -------
    NDArray[np.int64]
        Positions, in the order of choice: `number`, or all if fewer. Frames that are alike
        complete the choice worst first.
    """
    order = np.argsort(-value, kind="stable")
    weight = np.empty(len(value))
    weight[order] = np.linspace(1.0, _LEAST_WEIGHT, len(value))
    distance = np.full(len(value), np.inf)
    for one in () if known is None else known:
        distance = np.minimum(distance, np.linalg.norm(place - one, axis=1))
    free = np.ones(len(value), np.bool_)
    chosen: list[int] = []
    while len(chosen) < min(number, len(value)):
        gain = np.where(free, distance * weight, -1.0)
        # The worst of equals, among which are all as long as nothing is known.
        best = int(order[gain[order].argmax()]) if chosen or np.isfinite(gain).all() else order[0]
        chosen.append(int(best))
        free[best] = False
        distance = np.minimum(distance, np.linalg.norm(place - place[best], axis=1))
    return np.array(chosen, dtype=np.int64)
