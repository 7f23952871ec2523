"""Match predicted individuals with true ones, frame by frame."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.kernels.assignment import assign_most
from pipeline_lib.kernels.metrics.keypoints import OKS_SIGMA, FloatArray, compare_individuals

UNMATCHED = -1


def match_individuals(
    predicted: FloatArray,
    truth: FloatArray,
    *,
    sigmas: ArrayLike = OKS_SIGMA,
    max_distance: float | None = None,
    min_similarity: float = 0.0,
) -> NDArray[np.int64]:
    """Match the individuals of each frame so that the sum of similarities is largest.

    Parameters
    ----------
    predicted
        Shape (frame, n, keypoint, 2), px; NaN where missing. An individual without a keypoint is
        not matched.
    truth
        Shape (frame, m, keypoint, 2), px; likewise.
    sigmas, max_distance
        What is compared, OKS or mean distance, as in
        `pipeline_lib.kernels.metrics.keypoints.compare_individuals`.
    min_similarity
        Individuals that are less alike are not matched.

    Returns
    -------
    ndarray
        Shape (frame, m), int64, index of the matched individual on the axis n; -1: none.
    """
    similarity = compare_individuals(predicted, truth, sigmas=sigmas, max_distance=max_distance)
    return assign_pairs(similarity, similarity >= min_similarity)


def assign_pairs(score: FloatArray, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pair rows with columns so that the sum of the scores of the pairs is largest.

    It is a linear assignment problem for each frame, solved by SciPy; the same input gives the
    same pairs, also where several are equally good.

    Parameters
    ----------
    score
        Shape (frame, n, m), not negative; NaN where there is no such pair.
    allowed
        Shape (frame, n, m); other pairs count nothing and are not returned.

    Returns
    -------
    ndarray
        Shape (frame, m), int64, the row of each column; -1: none.
    """
    frames, rows, columns = score.shape
    pairs = np.full((frames, columns), UNMATCHED, np.int64)
    allowed = allowed & np.isfinite(score)
    gain = np.where(allowed, score, 0.0)
    if rows == 0:
        return pairs
    for frame in np.flatnonzero(allowed.any((1, 2))):
        row, column = assign_most(gain[frame])
        kept = allowed[frame, row, column]
        pairs[frame, column[kept]] = row[kept]
    return pairs
