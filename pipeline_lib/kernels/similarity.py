"""How near predicted keypoints are to labelled ones: the only distances of the project."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def object_keypoint_similarity(
    predicted: FloatArray, truth: FloatArray, scale: ArrayLike, sigmas: ArrayLike
) -> NDArray[np.float64]:
    """Return how alike two poses are: OKS, 1 where they coincide, near 0 where they are far apart.

    The mean over the keypoints that the truth has of ``exp(-d^2 / (2 * scale * (2 * sigma)^2))``,
    d being a keypoint's distance, as COCO's keypoint evaluation defines it (its ``area`` is the
    scale; Ronchi and Perona 2017, doi:10.1109/ICCV.2017.48). A keypoint that the prediction lacks
    has the similarity 0, as in DeepLabCut; COCO has no missing predictions.

    Parameters
    ----------
    predicted, truth
        Shape (..., keypoint, 2), px, broadcast against each other; NaN where missing.
    scale
        Shape (...) or a number, px^2: area of the individual of the truth.
    sigmas
        Shape (keypoint,) or a number: how far apart labels of a keypoint lie, as a fraction of the
        root of the scale.

    Returns
    -------
    ndarray
        Shape (...), float64 in 0..1; NaN where the truth has no keypoint.
    """
    distance = keypoint_distance(predicted, truth)
    area = np.asarray(scale, np.float64)[..., None]
    # pycocotools adds the same to an area, so that one of 0 gives 0 or 1.
    spread = 2.0 * (area + np.spacing(1)) * (2.0 * np.asarray(sigmas, np.float64)) ** 2
    visible = np.broadcast_to(np.isfinite(truth).all(-1), distance.shape)
    near = np.where(np.isfinite(distance), np.exp(-(distance**2) / spread), 0.0)
    total = np.where(visible, near, 0.0).sum(-1)
    count = visible.sum(-1)
    mean = np.full(total.shape, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean
