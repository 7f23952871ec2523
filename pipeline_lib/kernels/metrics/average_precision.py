"""Measure average precision and recall of predicted individuals, as COCO does for keypoints."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.kernels.metrics.keypoints import (
    FloatArray,
    find_individuals,
    object_keypoint_similarity,
)

COCO_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())

_RECALLS = np.linspace(0.0, 1.0, 101)
# COCO takes a similarity of 1 for enough even if it is a rounding error below.
_NEARLY_ONE = 1.0 - 1e-10


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision and recall of predicted individuals.

    Attributes
    ----------
    mean_precision
        0..1: mAP, the mean of `precision`. NaN if there is no individual to find.
    mean_recall
        0..1: mAR, the mean of `recall`. NaN likewise.
    thresholds
        Shape (threshold,): OKS from which a prediction is right.
    precision, recall
        Shape (threshold,): average precision, and the share of the individuals that are found.
    """

    mean_precision: float
    mean_recall: float
    thresholds: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def measure_average_precision(  # noqa: PLR0913
    predicted: FloatArray,
    score: FloatArray,
    truth: FloatArray,
    area: FloatArray,
    sigmas: ArrayLike,
    *,
    thresholds: Sequence[float] = COCO_THRESHOLDS,
) -> AveragePrecision:
    """Measure average precision and recall of the individuals of all frames, as COCO does.

    The predictions of a frame take, best score first, the most similar true individual that is
    still free, if its OKS reaches the threshold. Over the predictions of all frames, best first,
    precision is averaged at 101 recalls, each time the best precision at that recall or a higher
    one (Lin et al. 2014, doi:10.1007/978-3-319-10602-1_48, and pycocotools' ``COCOeval``, whose
    figures these are but for its limit of 20 predictions in a frame).

    Parameters
    ----------
    predicted
        Shape (frame, n, keypoint, 2), px; NaN where missing. Without a keypoint there is no
        prediction.
    score
        Shape (frame, n), higher is more certain; NaN comes last.
    truth
        Shape (frame, m, keypoint, 2), px; NaN where missing. Individuals without a keypoint are
        not looked for.
    area
        Shape (frame, m), px^2: scale of the OKS, for example
        `pipeline_lib.kernels.metrics.keypoints.measure_areas`. Individuals with NaN are left out.
    sigmas
        As in `pipeline_lib.kernels.metrics.keypoints.object_keypoint_similarity`.
    thresholds
        OKS, 0..1.
    """
    levels = np.asarray(thresholds, np.float64)
    wanted = int((find_individuals(truth) & np.isfinite(area)).sum())
    if wanted == 0:
        missing = np.full(levels.shape, np.nan)
        return AveragePrecision(np.nan, np.nan, levels, missing, missing)
    order = np.argsort(-np.asarray(score, np.float64), axis=1, kind="stable")
    ranked = np.take_along_axis(predicted, order[..., None, None], 1)
    there = find_individuals(ranked)
    right = _match_greedily(ranked, truth, area, sigmas, levels)[there]
    # Stable, as in pycocotools: among equal scores the earlier frame comes first.
    best_first = np.argsort(-np.take_along_axis(score, order, 1)[there], kind="stable")
    precision = np.array([_average(column, wanted) for column in right[best_first].T])
    recall = right.sum(0) / wanted
    return AveragePrecision(
        float(precision.mean()), float(recall.mean()), levels, precision, recall
    )


def _match_greedily(
    ranked: FloatArray,
    truth: FloatArray,
    area: FloatArray,
    sigmas: ArrayLike,
    levels: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return which predictions, best first, find an individual: (frame, n, threshold)."""
    frames, predictions, individuals = len(truth), ranked.shape[1], truth.shape[1]
    found = np.zeros((frames, predictions, len(levels)), np.bool_)
    free = np.ones((frames, len(levels), individuals), np.bool_)
    enough = np.minimum(levels, _NEARLY_ONE)[:, None]
    for rank in range(predictions):
        alike = object_keypoint_similarity(ranked[:, rank, None], truth, area, sigmas)[:, None]
        candidates = free & (alike >= enough)
        # Of individuals that are equally similar COCO takes the last.
        backwards = np.where(candidates, alike, -1.0)[..., ::-1].argmax(-1)
        best = individuals - 1 - backwards
        found[:, rank] = candidates.any(-1)
        free &= ~(candidates & (np.arange(individuals) == best[..., None]))
    return found


def _average(right: NDArray[np.bool_], wanted: int) -> float:
    """Return the average precision of predictions in the order of their scores."""
    found = np.cumsum(right)
    precision = found / (np.arange(1, len(right) + 1) + np.spacing(1))
    best = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(found / wanted, _RECALLS, side="left")
    return float(np.append(best, 0.0)[reached].mean())
