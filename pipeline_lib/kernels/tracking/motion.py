"""Where an animal is expected next: a Kalman filter that remembers a few frames only.

What it says of a frame depends on that frame and the few before. So a video can be cut anywhere,
and its parts be worked on at once, without a difference.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Places = NDArray[np.integer[Any]]

# Steps that the filter remembers.
MEMORY = 4


@dataclass(frozen=True)
class Courses:
    """Where animals are and how they move.

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

    def expect(self, frame: Places, place: Places | slice, step: Places | int) -> Floats:
        """Return poses as they are expected so many frames later: one for each index."""
        way = self.offset[frame, place] + np.asarray(step)[..., None] * self.velocity[frame, place]
        expected: Floats = self.position[frame, place] + way[..., None, :]
        return expected


@cache
def kalman_weights(steps: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return how a Kalman filter weighs an animal's last steps.

    The model is a constant velocity that white noise changes by about as much per frame as
    positions are uncertain; it starts, knowing nothing, with the oldest two positions. The
    filter being linear, its state is a weighted sum of the steps.

    Parameters
    ----------
    steps
        How many steps are known; a step is the way between two frames.

    Returns
    -------
    offset, velocity
        `steps` weights each, of the latest step first: of the estimated position, from the last
        one that was measured, and of the estimated velocity per frame.

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
    """Estimate how each animal moves in each frame from its last steps.

    Parameters
    ----------
    position
        Shape (frame, individual, keypoint, 2), px; NaN where missing.
    before
        Shape (frame, individual): the animal's place on the individual axis in the frame before;
        -1 where it is not known.

    Returns
    -------
    offset, velocity
        Shape (frame, individual, 2), float64: px from the measured position to the estimated one,
        and px per frame; 0 where nothing is known.
    """
    step = _measure_steps(position, before)
    frames, individuals = before.shape
    weights = _tabulate_weights()
    latest = np.zeros((MEMORY, frames, individuals, 2))
    known = np.zeros((frames, individuals), np.intp)
    place = np.broadcast_to(np.arange(individuals), before.shape)
    goes_on = np.ones(before.shape, bool)
    frame = np.arange(frames)[:, None]
    for age in range(MEMORY):
        past = np.maximum(frame - age, 0)
        goes_on = goes_on & (frame >= age) & np.isfinite(step[past, place, 0])
        latest[age] = np.where(goes_on[..., None], step[past, place], 0.0)
        known += goes_on
        place = np.where(goes_on, before[past, place], place)
    offset, velocity = (np.einsum("fia,afid->fid", table[known], latest) for table in weights)
    return offset, velocity


def median_finite(values: Floats) -> NDArray[np.float64]:
    """Return the median of what is finite along the first axis; NaN where nothing is."""
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
    """Return each animal's way from the frame before; NaN where it is not known.

    The median over the keypoints that both frames have: neither those that come and go nor a
    false one are taken for motion.
    """
    earlier = np.concatenate([np.full_like(position[:1], np.nan), position[:-1]])
    earlier = np.take_along_axis(earlier, np.maximum(before, 0)[..., None, None], axis=1)
    way = np.where((before >= 0)[..., None, None], position - earlier, np.nan)
    return median_finite(np.moveaxis(way, -2, 0))


def _tabulate_weights() -> list[NDArray[np.float64]]:
    """Return both weights as tables (known steps, age), 0 for what is not known."""
    tables = [np.zeros((MEMORY + 1, MEMORY)) for _ in range(2)]
    for steps in range(1, MEMORY + 1):
        for table, weights in zip(tables, kalman_weights(steps), strict=True):
            table[steps, :steps] = weights
    return tables
