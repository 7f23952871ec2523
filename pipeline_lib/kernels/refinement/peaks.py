"""The criterion `peaks`: a bodypart's score map has more strong peaks than there are animals.

The network then hesitates between places, for instance between left and right. Unlike a low
confidence, this does not come from a bodypart that is hidden.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.refinement.blocks import PoseNames, Scored, measure_usual, take_worst

_SMALLEST_SPREAD = 0.02
_STRONG = 0.2  # smallest score of a strong peak


class UsualPeaks(NamedTuple):
    """Hold the usual score of the first surplus peak of each keypoint: shape (keypoint,)."""

    median: NDArray[np.float64]
    spread: NDArray[np.float64]


def fit(surplus: NDArray[np.float32], names: PoseNames) -> UsualPeaks:
    """Measure the usual surplus peaks in a sample of the cohort.

    Parameters
    ----------
    surplus
        Shape (frame, keypoint), 0..1: score of the best peak beyond as many as there are animals;
        0: there is none.
    names
        Names of the keypoints.
    """
    return UsualPeaks(*measure_usual(surplus.reshape(-1, len(names.bodyparts)), _SMALLEST_SPREAD))


def score(surplus: NDArray[np.float32], usual: UsualPeaks) -> Scored:
    """Return the strongest surplus peak of each frame, in robust standard deviations.

    The culprit is the keypoint. Frames without a strong surplus peak have a score of 0.
    """
    above = np.where(surplus >= _STRONG, (surplus - usual.median) / usual.spread, 0.0)
    return take_worst(above)


def explain(value: float, culprit: int, names: PoseNames) -> str:
    """Describe a score in words."""
    return (
        f"{names.bodyparts[culprit]} has a surplus peak {value:.3g} times the usual spread above "
        "the usual one"
    )
