"""The criterion `spread`: the members of an ensemble disagree more than they usually do."""

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

# Of the logarithm: a spread of a tenth more is nothing.
_SMALLEST_DEVIATION = 0.1
# px: members agree to less by accident.
_SMALLEST_SPREAD = 0.05


class UsualSpread(NamedTuple):
    """Hold the usual logarithm of the spread of each keypoint, and its deviation; (keypoint,)."""

    median: NDArray[np.float64]
    deviation: NDArray[np.float64]


def fit(blocks: Sequence[PoseBlock], names: PoseNames) -> UsualSpread:
    """Measure the usual spread of each keypoint in a sample of the cohort."""
    known = [_take_logarithm(block).reshape(-1, len(names.bodyparts)) for block in blocks]
    return UsualSpread(*measure_usual(np.concatenate(known), _SMALLEST_DEVIATION))


def score(block: PoseBlock, usual: UsualSpread) -> Scored:
    """Return the mean excess of the spread of the individual on which members disagree most.

    A keypoint's excess is what the logarithm of its spread is above the median, in robust standard
    deviations. Keypoints without a spread do not count. The culprit is the individual's worst
    keypoint. Poses of one network have no score.
    """
    excess = np.maximum((_take_logarithm(block) - usual.median) / usual.deviation, 0.0)
    known = np.isfinite(excess)
    count = known.sum(axis=2)
    total = np.where(known, excess, 0.0).sum(axis=2)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    worst = take_worst(mean)
    rows, keypoints = np.arange(len(excess)), excess.shape[2]
    keypoint = np.where(known, excess, -1.0)[rows, worst.culprit].argmax(axis=1)
    return Scored(worst.score, (worst.culprit * keypoints + keypoint).astype(np.int32))


def explain(value: float, culprit: int, names: PoseNames) -> str:
    """Describe a score in words."""
    return (
        f"the networks of the ensemble disagree {value:.3g} deviations more than usual, most about "
        f"{names.name_keypoint(culprit)}"
    )


def _take_logarithm(block: PoseBlock) -> NDArray[np.float64]:
    """Return the logarithm of the spread, (frame, individual, keypoint), without context."""
    located, usable = block.located[CONTEXT:], block.usable[CONTEXT:]
    if block.spread is None:
        return np.full(located.shape, np.nan)
    spread = block.spread[CONTEXT:].astype(np.float64)
    known = located & usable[:, None, None] & np.isfinite(spread)
    return np.log(np.maximum(np.where(known, spread, np.nan), _SMALLEST_SPREAD))
