"""Measure distances and similarities between predicted and labelled keypoints."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating]

# DeepLabCut's, the same for all bodyparts.
OKS_SIGMA = 0.1

# Number of frames compared at once, so that memory does not grow with the video.
_BLOCK_FRAMES = 1024


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
        Any shape, px; NaN where there is no label, which does not count; infinite where there is
        one and no prediction, which counts as wrong.
    threshold
        px; a distance equal to it is correct.
    found
        Same shape: False where the prediction is rejected, which counts as wrong.

    Returns
    -------
    float
        0..1; NaN if nothing is labelled.
    """
    labelled = ~np.isnan(distance)
    if not labelled.any():
        return float("nan")
    correct = labelled & (np.where(labelled, distance, np.inf) <= threshold)
    if found is not None:
        correct &= found
    return float(correct.sum() / labelled.sum())


def object_keypoint_similarity(
    predicted: FloatArray, truth: FloatArray, scale: ArrayLike, sigmas: ArrayLike
) -> NDArray[np.float64]:
    """Return the object keypoint similarity (OKS) of two poses, 1 where they coincide.

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


def measure_areas(keypoints: FloatArray) -> NDArray[np.float64]:
    """Return the scale of each individual for `object_keypoint_similarity`.

    It is the area of the upright box around the individual's keypoints, as DeepLabCut takes it.
    One keypoint, or several in a row or a column, have no area: the median of the others stands
    for it, where DeepLabCut leaves such individuals out.

    Parameters
    ----------
    keypoints
        Shape (..., keypoint, 2), px; NaN where missing.

    Returns
    -------
    ndarray
        Shape (...), float64, px^2; NaN without a keypoint, and where nothing has an area.
    """
    points = np.asarray(keypoints, np.float64)
    points = np.where(np.isfinite(points).all(-1, keepdims=True), points, np.nan)
    if points.shape[-2] == 0:
        return np.full(points.shape[:-2], np.nan)
    # Unlike max, fmax and fmin pass over NaN, and without a warning.
    area = np.prod(np.fmax.reduce(points, -2) - np.fmin.reduce(points, -2), -1)
    usual = np.median(area[area > 0]) if (area > 0).any() else np.nan
    return np.asarray(np.where(area == 0, usual, area))


def compare_individuals(
    predicted: FloatArray,
    truth: FloatArray,
    *,
    sigmas: ArrayLike = OKS_SIGMA,
    max_distance: float | None = None,
) -> NDArray[np.float64]:
    """Return the similarity of each predicted to each true individual of a frame.

    Parameters
    ----------
    predicted
        Shape (frame, n, keypoint, 2), px; NaN where missing.
    truth
        Shape (frame, m, keypoint, 2), px; NaN where missing.
    sigmas
        Of the OKS, as in `object_keypoint_similarity`; the scale is that of `measure_areas`.
    max_distance
        If given, px: instead of the OKS, ``1 - d / (2 * max_distance)``, at least 0, d being the
        mean distance of the keypoints that both have. It is 0.5 at `max_distance`, as TrackEval
        defines the similarity of points.

    Returns
    -------
    ndarray
        Shape (frame, n, m), float64 in 0..1; NaN where either individual has no keypoint, 0 where
        they have none in common.
    """
    shape = (predicted.shape[0], predicted.shape[1], truth.shape[1])
    similarity = np.empty(shape)
    areas = measure_areas(truth)[:, None]
    for start in range(0, shape[0], _BLOCK_FRAMES):
        rows = slice(start, start + _BLOCK_FRAMES)
        one, other = predicted[rows, :, None], truth[rows, None]
        if max_distance is None:
            alike = object_keypoint_similarity(one, other, areas[rows], sigmas)
        else:
            alike = _near(keypoint_distance(one, other), max_distance)
        both = find_individuals(one) & find_individuals(other)
        similarity[rows] = np.where(both, alike, np.nan)
    return similarity


def find_individuals(keypoints: FloatArray) -> NDArray[np.bool_]:
    """Return which individuals have a keypoint; of shape (..., keypoint, 2), as (...)."""
    return np.asarray(np.isfinite(keypoints).all(-1).any(-1))


def _near(distance: NDArray[np.float64], max_distance: float) -> NDArray[np.float64]:
    """Return the similarity by the mean of distances (..., keypoint); 0 if none is known."""
    known = np.isfinite(distance)
    count = known.sum(-1)
    total = np.where(known, distance, 0.0).sum(-1)
    mean = np.full(total.shape, np.inf)
    np.divide(total, count, out=mean, where=count > 0)
    return np.asarray(np.maximum(0.0, 1.0 - mean / (2.0 * max_distance)))


def gaussian_overlap(
    first_mean: FloatArray,
    first_covariance: FloatArray,
    second_mean: FloatArray,
    second_covariance: FloatArray,
) -> NDArray[np.float64]:
    """Return the Bhattacharyya coefficient of normal distributions in the plane: how they overlap.

    Parameters
    ----------
    first_mean, second_mean
        Shape (..., 2), px, broadcast against each other; NaN where missing.
    first_covariance, second_covariance
        Shape (..., 2, 2), px^2, positive definite.

    Returns
    -------
    ndarray
        Shape (...), float64 in 0..1: 1 if they are the same; NaN where either is missing.

    References
    ----------
    Kailath (1967), IEEE Transactions on Communication Technology 15(1),
    doi:10.1109/TCOM.1967.1089532.
    """
    between = (np.asarray(first_covariance, np.float64) + second_covariance) / 2.0
    offset = np.asarray(second_mean, np.float64) - first_mean
    determinant = _determinant(between)
    # offset^T between^-1 offset, by the adjugate of a 2 x 2 matrix.
    x, y = offset[..., 0], offset[..., 1]
    stretched = x**2 * between[..., 1, 1] + y**2 * between[..., 0, 0]
    stretched = (stretched - 2.0 * x * y * between[..., 0, 1]) / determinant
    product = _determinant(first_covariance) * _determinant(second_covariance)
    return np.asarray(np.exp(-stretched / 8.0) * product**0.25 / np.sqrt(determinant))


def _determinant(matrix: FloatArray) -> NDArray[np.float64]:
    square = np.asarray(matrix, np.float64)
    return np.asarray(square[..., 0, 0] * square[..., 1, 1] - square[..., 0, 1] * square[..., 1, 0])
