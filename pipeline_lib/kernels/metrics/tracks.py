"""Measure tracking accuracy: MOTA, IDF1, identity switches and HOTA."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.kernels.assignment import assign_most
from pipeline_lib.kernels.metrics.keypoints import (
    OKS_SIGMA,
    FloatArray,
    compare_individuals,
    find_individuals,
)
from pipeline_lib.kernels.metrics.matching import UNMATCHED, assign_pairs

# Built as TrackEval builds them, so that a similarity at a threshold falls on the same side.
_HOTA_THRESHOLDS = np.arange(0.05, 0.99, 0.05)
_ROUNDING = np.finfo(np.float64).eps


@dataclass(frozen=True)
class TrackMetrics:
    """Agreement of tracks with true ones.

    Attributes
    ----------
    frames
        Frames compared.
    truths, predictions
        Individuals in all frames together.
    matches
        Of them those that are matched, in MOTA's way.
    misses, false_positives
        True individuals without a prediction, and predictions without a true individual.
    identity_switches
        How often a true individual is matched with another track than the last time.
    mota
        At most 1: one minus misses, false positives and switches over `truths`. NaN if there are
        no true individuals.
    idf1, id_precision, id_recall
        0..1: F1 score, precision and recall of individuals whose identity is right, each track
        being paired with one true individual at most. NaN where there is nothing to count.
    hota, detection_accuracy, association_accuracy, localisation_accuracy
        0..1, means over similarity thresholds of 0.05 to 0.95. NaN if there are neither true
        individuals nor predictions.
    """

    frames: int
    truths: int
    predictions: int
    matches: int
    misses: int
    false_positives: int
    identity_switches: int
    mota: float
    idf1: float
    id_precision: float
    id_recall: float
    hota: float
    detection_accuracy: float
    association_accuracy: float
    localisation_accuracy: float


def measure_tracks(
    predicted: FloatArray,
    truth: FloatArray,
    *,
    sigmas: ArrayLike = OKS_SIGMA,
    max_distance: float | None = None,
    min_similarity: float = 0.5,
) -> TrackMetrics:
    """Compare tracks with true ones.

    MOTA and identity switches are those of py-motmetrics (Bernardin and Stiefelhagen 2008,
    doi:10.1155/2008/246309): an earlier pair is kept while both are present and similar enough,
    however long it was interrupted; the others are paired so that the number of pairs is largest
    and, among these, the sum of similarities. IDF1 is that of py-motmetrics and TrackEval (Ristani
    et al. 2016, doi:10.1007/978-3-319-48881-3_2), HOTA that of TrackEval (Luiten et al. 2021,
    doi:10.1007/s11263-020-01375-2).

    Parameters
    ----------
    predicted
        Shape (frame, n, keypoint, 2), px; each index of the axis n is one track. NaN where
        missing; an individual without a keypoint is absent.
    truth
        Shape (frame, m, keypoint, 2), px; each index of the axis m is one individual.
    sigmas, max_distance
        Similarity by OKS or by mean distance, as in
        `pipeline_lib.kernels.metrics.keypoints.compare_individuals`.
    min_similarity
        Least similarity of a match, for all measures but HOTA. With `max_distance`, 0.5 corresponds
        to this distance.
    """
    similarity = compare_individuals(predicted, truth, sigmas=sigmas, max_distance=max_distance)
    alike = similarity >= min_similarity
    predictions, truths = find_individuals(predicted), find_individuals(truth)
    wanted, given = int(truths.sum()), int(predictions.sum())
    matches, switches = _follow(similarity, alike)
    errors = wanted - matches + given - matches + switches
    right = _count_right_identities(alike)
    return TrackMetrics(
        frames=len(truth),
        truths=wanted,
        predictions=given,
        matches=matches,
        misses=wanted - matches,
        false_positives=given - matches,
        identity_switches=switches,
        mota=1.0 - _share(errors, wanted),
        idf1=_share(2 * right, wanted + given),
        id_precision=_share(right, given),
        id_recall=_share(right, wanted),
        **_measure_hota(similarity, predictions, truths),
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _follow(similarity: NDArray[np.float64], alike: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the numbers of matches and of identity switches of shape (frame, n, m)."""
    matches = switches = 0
    partner = np.full(similarity.shape[2], UNMATCHED)
    for frame, allowed in enumerate(alike):
        free = allowed.copy()
        for known in np.flatnonzero(partner != UNMATCHED):
            if free[partner[known], known]:
                free[partner[known]] = free[:, known] = False
                matches += 1
        if not free.any():
            continue
        # A pair more is worth more than any similarity of the others.
        worth = np.where(free, similarity[frame] + min(free.shape), 0.0)
        prediction, truth = assign_most(worth)
        kept = free[prediction, truth]
        prediction, truth = prediction[kept], truth[kept]
        matches += len(truth)
        switches += int((partner[truth] != UNMATCHED).sum())
        partner[truth] = prediction
    return matches, switches


def _count_right_identities(alike: NDArray[np.bool_]) -> int:
    """Return the largest number of matches with each track fixed to one true individual."""
    together = alike.sum(0)
    track, truth = assign_most(together)
    return int(together[track, truth].sum())


def _measure_hota(
    similarity: NDArray[np.float64], predictions: NDArray[np.bool_], truths: NDArray[np.bool_]
) -> dict[str, float]:
    """Return HOTA and its parts.

    Tracks that lie together in many frames are preferred when the individuals of a frame are
    matched; what is matched is then counted at each threshold.
    """
    there = np.isfinite(similarity)
    alike = np.where(there, similarity, 0.0)
    given, wanted = predictions.sum(0)[:, None], truths.sum(0)
    others = alike.sum(1, keepdims=True) + alike.sum(2, keepdims=True) - alike
    shared = np.divide(alike, others, out=np.zeros_like(alike), where=others > _ROUNDING).sum(0)
    together = np.divide(
        shared, given + wanted - shared, out=np.zeros_like(shared), where=given + wanted > 0
    )
    pairs = assign_pairs(together * alike, there)
    frame, truth = np.nonzero(pairs != UNMATCHED)
    track = pairs[frame, truth]
    matched = alike[frame, track, truth]
    detection, association, localisation = np.zeros((3, len(_HOTA_THRESHOLDS)))
    for number, level in enumerate(_HOTA_THRESHOLDS):
        right = matched >= level - _ROUNDING
        count = int(right.sum())
        pairs_right = np.zeros_like(together)
        np.add.at(pairs_right, (track[right], truth[right]), 1.0)
        union = np.maximum(1, given + wanted - pairs_right)
        detection[number] = count / max(1, given.sum() + wanted.sum() - count)
        association[number] = (pairs_right**2 / union).sum() / max(1, count)
        localisation[number] = matched[right].sum() / count if count else 1.0
    known = np.nan if given.sum() + wanted.sum() == 0 else 1.0
    return {
        "hota": float(np.sqrt(detection * association).mean() * known),
        "detection_accuracy": float(detection.mean() * known),
        "association_accuracy": float(association.mean() * known),
        "localisation_accuracy": float(localisation.mean() * known),
    }
