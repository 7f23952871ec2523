"""The criterion `fitting`: a keypoint is not where its motion so far leads it.

DeepLabCut's criterion of this name fits an ARIMA model to each trace. Here a Kalman filter of
constant velocity (Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and
Navigation, 2001, section 6.3) predicts each keypoint: it streams and bridges gaps. Its memory is
short, so that it starts anew every `SEGMENT` frames, after `CONTEXT` frames in which it settles;
all these segments are filtered at once. A position beyond the gate does not move the filter, so
that the frame after an outlier is none.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.refinement.blocks import (
    CONTEXT,
    SEGMENT,
    PoseBlock,
    PoseNames,
    Scored,
    measure_usual,
    take_worst,
)

# Variance of the acceleration between frames, in variances of a measured position.
_ACCELERATION = 1.0
# Of a keypoint that was not seen yet.
_UNKNOWN_POSITION, _UNKNOWN_VELOCITY = 1e8, 1e4
_SMALLEST_SPREAD = 0.1
_GATE = 10.0  # robust standard deviations


class UsualInnovation(NamedTuple):
    """Hold the usual innovation of each keypoint: shape (keypoint,)."""

    median: NDArray[np.float64]
    spread: NDArray[np.float64]


def fit(blocks: Sequence[PoseBlock], names: PoseNames) -> UsualInnovation:
    """Measure the usual innovation of each keypoint in a sample of the cohort."""
    found = [measure_innovation(block.position) for block in blocks]
    flat = [one.reshape(-1, len(names.bodyparts)) for one in found]
    return UsualInnovation(*measure_usual(np.concatenate(flat), _SMALLEST_SPREAD))


def score(block: PoseBlock, usual: UsualInnovation) -> Scored:
    """Return the largest innovation of a keypoint, in robust standard deviations."""
    gate = usual.median + _GATE * usual.spread
    return take_worst((measure_innovation(block.position, gate) - usual.median) / usual.spread)


def explain(value: float, culprit: int, names: PoseNames) -> str:
    """Describe a score in words."""
    return (
        f"{names.name_keypoint(culprit)} is {value:.3g} times the usual spread away from where its "
        "motion led"
    )


def measure_innovation(
    position: NDArray[np.float32], gate: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Return the distance of each keypoint from its prediction, over its standard deviation.

    Parameters
    ----------
    position
        Shape (frame, individual, keypoint, 2), px, the first `CONTEXT` frames being context; NaN:
        not found.
    gate
        Shape (keypoint,): innovation from which a position is taken for an outlier, NaN for none;
        None: there are no gates.

    Returns
    -------
    NDArray[np.float32]
        Shape (frame - CONTEXT, individual, keypoint), in standard deviations of the innovation if
        a position is measured with one of 1 px; NaN: not found.
    """
    frames = len(position) - CONTEXT
    segments = -(-frames // SEGMENT)
    number = math.prod(position.shape[1:-1])
    points = position.reshape(len(position), number, 2)
    # Shape (frame of a segment, segment, point, 2): the filter passes along the first axis.
    places = np.arange(CONTEXT + SEGMENT)[:, None] + np.arange(segments) * SEGMENT
    measured = points[np.minimum(places, len(points) - 1)].astype(np.float64)
    passed = np.empty((SEGMENT, segments, number), np.float32)
    limits = np.full(position.shape[1:-1], np.inf)
    if gate is not None:
        limits[:] = np.where(np.isnan(gate), np.inf, gate)
    for place, distance in enumerate(_filter(measured, limits.reshape(number))):
        if place >= CONTEXT:
            passed[place - CONTEXT] = distance
    whole = passed.swapaxes(0, 1).reshape(segments * SEGMENT, number)[:frames]
    return whole.reshape(frames, *position.shape[1:-1])


def _filter(
    measured: NDArray[np.float64], gate: NDArray[np.float64]
) -> Iterator[NDArray[np.float64]]:
    """Yield the normalised innovation of each frame: one filter of x and y for each series."""
    place, velocity = np.zeros(measured.shape[1:]), np.zeros(measured.shape[1:])
    shape = measured.shape[1:-1]
    # Covariance of position and velocity, the same for x and y.
    pp, pv = np.full(shape, _UNKNOWN_POSITION), np.zeros(shape)
    vv = np.full(shape, _UNKNOWN_VELOCITY)
    for now in measured:
        place += velocity
        pp = pp + 2 * pv + vv + _ACCELERATION / 4
        pv = pv + vv + _ACCELERATION / 2
        vv = vv + _ACCELERATION
        difference = now - place
        total = pp + 1.0
        distance = np.hypot(difference[..., 0], difference[..., 1]) / np.sqrt(total)
        yield distance
        # False for NaN, too.
        seen = distance <= gate
        difference[~seen] = 0.0
        gain_p, gain_v = np.where(seen, pp / total, 0.0), np.where(seen, pv / total, 0.0)
        place += gain_p[..., None] * difference
        velocity += gain_v[..., None] * difference
        vv = vv - gain_v * pv
        pp, pv = np.where(seen, pp / total, pp), np.where(seen, pv / total, pv)
