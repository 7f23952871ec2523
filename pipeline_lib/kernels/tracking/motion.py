"""Predict the next position of an animal by a Kalman filter of finite memory.

The prediction for a frame depends on that frame and a few frames before it. A video can therefore
be cut anywhere and its parts be processed in parallel without changing the result.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.integer[Any]]

# Number of steps in the memory of the filter.
MEMORY = 4


@dataclass(frozen=True)
class MotionModel:
    """Motion model of the poses: position and velocity.

    Attributes
    ----------
    position
        Shape (frame, individual, keypoint, 2), float64, px; NaN where missing.
    offset, velocity
        Shape (frame, individual, 2), as `estimate_motion` returns them.
    """

    position: NDArray[np.float64]
    offset: NDArray[np.float64]
    velocity: NDArray[np.float64]

    def predict(self, frame: Indices, individual: Indices | slice, step: Indices | int) -> Floats:
        """Return the poses predicted `step` frames later.

        Parameters
        ----------
        frame, individual
            Indices of poses, broadcast against each other.
        step
            Number of frames.

        Returns
        -------
        ndarray
            Shape (..., keypoint, 2), float64, px; NaN where missing.
        """
        offset, velocity = self.offset[frame, individual], self.velocity[frame, individual]
        shift = offset + np.asarray(step)[..., None] * velocity
        predicted: Floats = self.position[frame, individual] + shift[..., None, :]
        return predicted


@cache
def kalman_weights(steps: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the weights that a Kalman filter gives to the last steps of an animal.

    The state is position and velocity; white noise changes the velocity by about as much per frame
    as positions are uncertain. The filter starts with the oldest two positions and no prior. It is
    linear, so that its state is a weighted sum of the steps.

    Parameters
    ----------
    steps
        Number of known steps; a step is the displacement between two frames.

    Returns
    -------
    offset, velocity
        `steps` weights each, latest step first: for the difference between the estimated and the
        measured position, and for the estimated velocity per frame.

    References
    ----------
    Kalman (1960), Journal of Basic Engineering 82(1), doi:10.1115/1.3662552; with finite memory:
    Jazwinski (1968), IEEE Transactions on Automatic Control 13(5), doi:10.1109/TAC.1968.1098981.
    """
    if steps == 0:
        return (), ()
    # Row t: the position before the last t steps, measured from the last one.
    measured = -np.tri(steps + 1, steps, -1)
    transition = np.array([[1.0, 1.0], [0.0, 1.0]])
    noise = np.array([[1 / 3, 1 / 2], [1 / 2, 1.0]])
    state = np.stack([measured[steps - 1], measured[steps - 1] - measured[steps]])
    spread = np.array([[1.0, 1.0], [1.0, 2.0]])
    for row in measured[: steps - 1][::-1]:
        state, spread = transition @ state, transition @ spread @ transition.T + noise
        gain = spread[:, 0] / (spread[0, 0] + 1.0)
        state = state + gain[:, None] * (row - state[0])
        spread = spread - gain[:, None] * spread[0]
    return tuple(state[0].tolist()), tuple(state[1].tolist())


def estimate_motion(
    position: Floats, before: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Estimate position and velocity of each animal in each frame from its last steps.

    Parameters
    ----------
    position
        Shape (frame, individual, keypoint, 2), px; NaN where missing.
    before
        Shape (frame, individual): index of the same animal on the individual axis of the frame
        before; -1 where unknown.

    Returns
    -------
    offset, velocity
        Shape (frame, individual, 2), float64: px from the measured to the estimated position, and
        px per frame; 0 where unknown.
    """
    step = _measure_steps(position, before)
    frames, individuals = before.shape
    weights = _tabulate_weights()
    latest = np.zeros((MEMORY, frames, individuals, 2))
    known = np.zeros((frames, individuals), np.intp)
    individual = np.broadcast_to(np.arange(individuals), before.shape)
    is_known = np.ones(before.shape, bool)
    frame = np.arange(frames)[:, None]
    for age in range(MEMORY):
        past = np.maximum(frame - age, 0)
        is_known = is_known & (frame >= age) & np.isfinite(step[past, individual, 0])
        latest[age] = np.where(is_known[..., None], step[past, individual], 0.0)
        known += is_known
        individual = np.where(is_known, before[past, individual], individual)
    offset, velocity = (np.einsum("fia,afid->fid", table[known], latest) for table in weights)
    return offset, velocity


def median_finite(values: Floats) -> NDArray[np.float64]:
    """Return the median of the finite values along the first axis.

    Parameters
    ----------
    values
        Shape (n, ...).

    Returns
    -------
    ndarray
        Shape (...), float64; NaN where no value is finite.
    """
    finite = np.isfinite(values)
    ordered = np.sort(np.where(finite, values, np.inf), axis=0)
    count = finite.sum(0)[None]
    last = len(values) - 1
    low = np.take_along_axis(ordered, np.clip((count - 1) // 2, 0, last), 0)[0]
    high = np.take_along_axis(ordered, np.clip(count // 2, 0, last), 0)[0]
    known = count[0] > 0
    middle = np.full(known.shape, np.nan)
    middle[known] = (low[known] + high[known]) / 2.0
    return middle


def _measure_steps(position: Floats, before: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return the displacement of each animal since the frame before; NaN where unknown.

    It is the median over the keypoints found in both frames: keypoints that come and go and single
    false keypoints do not look like motion.
    """
    earlier = np.concatenate([np.full_like(position[:1], np.nan), position[:-1]])
    earlier = np.take_along_axis(earlier, np.maximum(before, 0)[..., None, None], axis=1)
    way = np.where((before >= 0)[..., None, None], position - earlier, np.nan)
    return median_finite(np.moveaxis(way, -2, 0))


def _tabulate_weights() -> list[NDArray[np.float64]]:
    """Return the weights of offset and velocity as tables (known steps, age), 0 if unknown."""
    tables = [np.zeros((MEMORY + 1, MEMORY)) for _ in range(2)]
    for steps in range(1, MEMORY + 1):
        for table, weights in zip(tables, kalman_weights(steps), strict=True):
            table[steps, :steps] = weights
    return tables
