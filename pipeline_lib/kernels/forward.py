"""Predict where points will be in some milliseconds, by a Kalman filter of constant velocity.

Unlike `pipeline_lib.kernels.tracking.motion`, whose steps are whole frames of a video, time may
pass by any amount between observations, and each point has a state of its own.

References
----------
Kalman (1960), Journal of Basic Engineering 82(1), doi:10.1115/1.3662552; the noise of a constant
acceleration between two observations: Bar-Shalom, Li & Kirubarajan (2001), Estimation with
Applications to Tracking and Navigation, section 6.3.2.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]


class Motion(NamedTuple):
    """Hold what is believed of points at one time.

    Attributes
    ----------
    position, velocity
        Shape (..., 2), px and px/s; NaN for points that were never seen.
    spread
        Shape (..., 3): variance of the position along an axis (px^2), its covariance with the
        velocity (px^2/s), and the variance of the velocity (px^2/s^2); the same along both axes.
    """

    position: Doubles
    velocity: Doubles
    spread: Doubles

    @classmethod
    def unknown(cls, shape: tuple[int, ...]) -> "Motion":
        """Return the state of points that were never seen; `shape` is without x and y."""
        return cls(
            np.full((*shape, 2), np.nan), np.full((*shape, 2), np.nan), np.zeros((*shape, 3))
        )


def advance(motion: Motion, seconds: float, acceleration: float) -> Motion:
    """Return the state some time later, without an observation.

    Parameters
    ----------
    motion
        The state now.
    seconds
        Time that passes, at least 0.
    acceleration
        px/s^2, standard deviation of an acceleration that lasts for this time.
    """
    variance, shared, speed = np.moveaxis(motion.spread, -1, 0)
    noise = acceleration * acceleration
    spread = np.stack(
        [
            variance + 2 * seconds * shared + seconds**2 * speed + noise * seconds**4 / 4,
            shared + seconds * speed + noise * seconds**3 / 2,
            speed + noise * seconds**2,
        ],
        axis=-1,
    )
    return Motion(motion.position + seconds * motion.velocity, motion.velocity, spread)


def observe(motion: Motion, position: Floats, noise: float, speed: float) -> Motion:
    """Return the state after an observation at the same time.

    Parameters
    ----------
    motion
        The state before.
    position
        Shape (..., 2), px; NaN: the point was not seen, and its state stays.
    noise
        px, standard deviation of the observations.
    speed
        px/s, standard deviation of the velocity of a point that is seen for the first time.
    """
    seen: NDArray[np.bool_] = np.asarray(np.isfinite(position).all(axis=-1))
    known: NDArray[np.bool_] = np.asarray(np.isfinite(motion.position).all(axis=-1))
    variance, shared, fast = np.moveaxis(motion.spread, -1, 0)
    total = variance + noise * noise
    of_position, of_velocity = variance / total, shared / total
    lack = np.where((seen & known)[..., None], position - motion.position, 0.0)
    updated = Motion(
        motion.position + of_position[..., None] * lack,
        motion.velocity + of_velocity[..., None] * lack,
        np.stack(
            [(1 - of_position) * variance, (1 - of_position) * shared, fast - of_velocity * shared],
            axis=-1,
        ),
    )
    first = Motion(
        np.asarray(position, np.float64),
        np.zeros(position.shape),
        np.broadcast_to([noise * noise, 0.0, speed * speed], motion.spread.shape),
    )
    return choose(seen & known, updated, choose(seen & ~known, first, motion))


def choose(where: NDArray[np.bool_], one: Motion, other: Motion) -> Motion:
    """Return the states of one where a condition holds, and of the other elsewhere."""
    return Motion(*(np.where(where[..., None], a, b) for a, b in zip(one, other, strict=True)))
