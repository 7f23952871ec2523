"""How near predicted keypoints are to labelled ones: the only distances of the project."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


def keypoint_distance(predicted: FloatArray, labelled: FloatArray) -> NDArray[np.float64]:
    """Return the Euclidean distance of each predicted keypoint from its label.

    Parameters
    ----------
    predicted, labelled
        Shape (..., 2), px; NaN where missing.

    Returns
    -------
    ndarray
        Shape (...), float64, px; NaN where either is missing.
    """
    difference = np.asarray(predicted, np.float64) - np.asarray(labelled, np.float64)
    return np.asarray(np.hypot(difference[..., 0], difference[..., 1]))


def mean_error(distance: FloatArray) -> float:
    """Return the mean Euclidean distance, which DeepLabCut prints as "RMSE".

    Parameters
    ----------
    distance
        Any shape, px; NaN is left out.

    Returns
    -------
    float
        px; NaN if no distance is left.
    """
    found = distance[np.isfinite(distance)]
    return float(found.mean()) if found.size else float("nan")


def median_error(distance: FloatArray) -> float:
    """Return the median Euclidean distance in px, leaving out NaN; NaN if none is left."""
    found = distance[np.isfinite(distance)]
    return float(np.median(found)) if found.size else float("nan")


def root_mean_square_error(distance: FloatArray) -> float:
    """Return the true root of the mean squared distance in px, leaving out NaN; NaN if none."""
    found = distance[np.isfinite(distance)]
    return float(np.sqrt(np.mean(found**2))) if found.size else float("nan")


def share_of_correct_keypoints(
    distance: FloatArray, threshold: float, found: NDArray[np.bool_] | None = None
) -> float:
    """Return PCK: the share of labelled keypoints predicted within a distance of the label.

    Parameters
    ----------
    distance
        Any shape, px; NaN where there is no label, which does not count.
    threshold
        px; a distance equal to it is correct.
    found
        Same shape: False where the prediction is rejected, which counts as wrong.

    Returns
    -------
    float
        0..1; NaN if nothing is labelled.
    """
    labelled = np.isfinite(distance)
    if not labelled.any():
        return float("nan")
    correct = labelled & (np.where(labelled, distance, np.inf) <= threshold)
    if found is not None:
        correct &= found
    return float(correct.sum() / labelled.sum())
