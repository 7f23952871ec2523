"""The criterion `uncertain`: the network is less sure of a pose than it usually is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.refinement.blocks import (
    CONTEXT,
    PoseBlock,
    PoseNames,
    Scored,
    measure_usual,
    take_worst,
)

_SMALLEST_SPREAD = 0.05


class UsualConfidence(NamedTuple):
    """Hold the usual confidence.

    Attributes
    ----------
    median, spread
        Shape (keypoint,).
    exists
        Shape (individual, keypoint), bool: False for a keypoint that an individual never has,
        such as the unique bodyparts of an animal.
    """

    median: NDArray[np.float64]
    spread: NDArray[np.float64]
    exists: NDArray[np.bool_]


def fit(blocks: Sequence[PoseBlock], names: PoseNames) -> UsualConfidence:
    """Measure the usual confidence of each keypoint in a sample of the cohort."""
    located = np.concatenate([block.located[CONTEXT:] for block in blocks])
    confidence = np.concatenate([block.confidence[CONTEXT:] for block in blocks])
    known = np.where(located, confidence, np.nan).reshape(-1, len(names.bodyparts))
    median, spread = measure_usual(known, _SMALLEST_SPREAD)
    exists: NDArray[np.bool_] = np.logical_or.reduce(located, axis=0)
    if not exists.any():
        # No animal was found anywhere: that is what is wrong with every frame, so that all count.
        return UsualConfidence(
            np.ones_like(median), np.full_like(spread, _SMALLEST_SPREAD), ~exists
        )
    return UsualConfidence(median, spread, exists)


def score(block: PoseBlock, usual: UsualConfidence) -> Scored:
    """Return the mean lack of confidence of the least certain individual.

    A keypoint's lack is what its confidence is below the median, in robust standard deviations;
    a keypoint that was not found has a confidence of 0. An individual that was not found has no
    score, unless the whole frame shows none. The culprit is that individual's worst keypoint.
    """
    located, usable = block.located[CONTEXT:], block.usable[CONTEXT:]
    confidence = np.where(located, np.nan_to_num(block.confidence[CONTEXT:]), 0.0)
    lack = np.maximum((usual.median - confidence) / usual.spread, 0.0)
    lack = np.where(usual.exists, lack, np.nan)
    number = np.maximum(usual.exists.sum(axis=1), 1)
    mean = np.nansum(lack, axis=2) / number
    present: NDArray[np.bool_] = np.logical_or.reduce(located, axis=2)
    nobody: NDArray[np.bool_] = ~np.logical_or.reduce(present, axis=1)
    counted = (present | nobody[:, None]) & usable[:, None] & usual.exists.any(axis=1)
    worst = take_worst(np.where(counted, mean, np.nan))
    rows, keypoints = np.arange(len(lack)), lack.shape[2]
    keypoint = np.nan_to_num(lack[rows, worst.culprit], nan=-1.0).argmax(axis=1)
    return Scored(worst.score, (worst.culprit * keypoints + keypoint).astype(np.int32))


def explain(value: float, culprit: int, names: PoseNames) -> str:
    """Describe a score in words."""
    return (
        f"confidence is {value:.3g} times the usual spread below the usual one, lowest at "
        f"{names.name_keypoint(culprit)}"
    )
