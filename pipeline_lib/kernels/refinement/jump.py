"""The criterion `jump`: a keypoint moves farther between two frames than is usual."""

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

_SMALLEST_SPREAD = 0.1  # px


class UsualMotion(NamedTuple):
    """Hold the usual displacement of each keypoint: shape (keypoint,), px per frame."""

    median: NDArray[np.float64]
    spread: NDArray[np.float64]


def fit(blocks: Sequence[PoseBlock], names: PoseNames) -> UsualMotion:
    """Measure the usual displacement of each keypoint in a sample of the cohort."""
    moved = [_measure_motion(block).reshape(-1, len(names.bodyparts)) for block in blocks]
    return UsualMotion(*measure_usual(np.concatenate(moved), _SMALLEST_SPREAD))


def score(block: PoseBlock, usual: UsualMotion) -> Scored:
    """Return the displacement since the frame before, in robust standard deviations.

    The keypoint with the largest one counts. A keypoint that was not found in either frame has
    none.
    """
    return take_worst((_measure_motion(block) - usual.median) / usual.spread)


def explain(value: float, culprit: int, names: PoseNames) -> str:
    """Describe a score in words."""
    return f"{names.name_keypoint(culprit)} moved by {value:.3g} times the usual spread"


def _measure_motion(block: PoseBlock) -> NDArray[np.float32]:
    """Return displacements, shape (frame, individual, keypoint), px."""
    moved: NDArray[np.float32] = np.diff(block.position[CONTEXT - 1 :], axis=0)
    return np.hypot(moved[..., 0], moved[..., 1])
