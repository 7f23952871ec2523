"""The criterion `views`: the other cameras of a session see a keypoint elsewhere.

What is judged is the distance in px between a keypoint and the point that the other cameras see,
projected into this one. `pipeline_lib.kernels.geometry.sessions.disagreement` measures it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.refinement.blocks import PoseNames, Scored, measure_usual, take_worst

_SMALLEST_SPREAD = 0.25  # px


class UsualDistances(NamedTuple):
    """Hold the usual distance of each keypoint from where the others see it: (keypoint,), px."""

    median: NDArray[np.float64]
    spread: NDArray[np.float64]


def fit(distances: Sequence[NDArray[np.float32]], names: PoseNames) -> UsualDistances:
    """Measure the usual distances in a sample of the cohort's sessions.

    Parameters
    ----------
    distances
        Each of shape (frame, individual, keypoint), px; NaN: not seen by enough cameras.
    names
        Names of the keypoints.
    """
    flat = [one.reshape(-1, len(names.bodyparts)) for one in distances]
    joined = np.concatenate(flat) if flat else np.empty((0, len(names.bodyparts)), np.float32)
    return UsualDistances(*measure_usual(joined, _SMALLEST_SPREAD))


def score(distances: NDArray[np.float32], usual: UsualDistances) -> Scored:
    """Return the largest distance of each frame, in robust standard deviations above the median.

    The culprit is the index on (individual, keypoint), flattened.
    """
    return take_worst((distances - usual.median) / usual.spread)


def explain(value: float, culprit: int, names: PoseNames) -> str:
    """Describe a score in words."""
    return (
        f"{names.name_keypoint(culprit)} is {value:.3g} times the usual spread farther than usual "
        "from where the other cameras see it"
    )
