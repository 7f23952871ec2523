"""Smooth points in space by a Kalman smoother that knows the covariance of each observation.

A point is a random walk whose steps have the same variance in every direction; a triangulated
point is an observation of it, uncertain along the direction in which the cameras see little. This
is the ensemble Kalman smoother of calibrated cameras if the covariances come from the variance
between the members of an ensemble in each view.

References
----------
Biderman, Whiteway et al. (2024), Nature Methods 21, doi:10.1038/s41592-024-02319-1: the ensemble
Kalman smoother. Rauch, Tung & Striebel (1965), AIAA Journal 3(8): the smoother.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Variances of a step that are tried, as multiples of the mean squared difference of neighbours.
_CANDIDATES = np.logspace(-5, 1, 25)
# Moments at the start of a session from which the variance of steps is estimated.
_CHOICE_MOMENTS = 5000


class Path(NamedTuple):
    """Hold points with their covariances.

    Attributes
    ----------
    mean
        Shape (moment, ..., 3).
    covariance
        Shape (moment, ..., 3, 3).
    """

    mean: Floats
    covariance: Floats


class _Forward(NamedTuple):
    path: Path
    surprise: Floats


def smooth_walk(points: Floats, covariance: Floats, motion: Floats | None = None) -> Path:
    """Smooth the points of one individual.

    Parameters
    ----------
    points
        Shape (moment, keypoint, 3); NaN: not observed.
    covariance
        Shape (moment, keypoint, 3, 3): of each observation, positive definite; NaN: the point
        does not count.
    motion
        Shape (keypoint,): variance of a step along each axis; None: that with the largest
        likelihood, see `choose_motion`.

    Returns
    -------
    Path
        Of all moments, given all moments; NaN for a keypoint that is never observed.
    """
    known = _find_known(points, covariance)
    motion = choose_motion(points, covariance) if motion is None else motion
    # Where nothing tells how it moves, neighbours hardly count.
    variance = np.trace(np.where(known[..., None, None], covariance, 0.0), axis1=-2, axis2=-1)
    usual = variance.sum(axis=0) / (3 * np.maximum(known.sum(axis=0), 1))
    fallback = np.where(usual > 0, usual, 1.0)
    steps = np.where(np.isfinite(motion), motion, fallback)[:, None, None] * np.eye(3)
    forward = _filter(points, covariance, known, steps, _make_prior(points, known)).path
    mean, spread = forward.mean.copy(), forward.covariance.copy()
    for row in range(len(mean) - 2, -1, -1):
        ahead = forward.covariance[row] + steps
        gain = np.swapaxes(np.linalg.solve(ahead, forward.covariance[row]), -1, -2)
        mean[row] += _multiply(gain, mean[row + 1] - forward.mean[row])
        spread[row] += gain @ (spread[row + 1] - ahead) @ np.swapaxes(gain, -1, -2)
    never = ~known.any(axis=0)
    mean[:, never], spread[:, never] = np.nan, np.nan
    return Path(mean, spread)


def choose_motion(points: Floats, covariance: Floats) -> Floats:
    """Return the variance of steps with the largest likelihood, shape (keypoint,).

    Parameters
    ----------
    points, covariance
        As for `smooth_walk`; only the first thousands of moments are used.

    Returns
    -------
    NDArray[np.float64]
        NaN for a keypoint that is not observed at two neighbouring moments.
    """
    points, covariance = points[:_CHOICE_MOMENTS], covariance[:_CHOICE_MOMENTS]
    known = _find_known(points, covariance)
    path = np.where(known[..., None], points, np.nan)
    square = (np.diff(path, axis=0) ** 2).sum(axis=-1) / 3
    usual = np.full(points.shape[1], np.nan)
    some = np.isfinite(square).any(axis=0)
    if not some.any():
        return usual
    usual[some] = np.nanmean(square[:, some], axis=0)
    usual[~(usual > 0)] = np.nan
    tried = _CANDIDATES[:, None] * np.where(np.isfinite(usual), usual, 1.0)
    steps = tried[..., None, None] * np.eye(3)
    surprise = _filter(points, covariance, known, steps, _make_prior(points, known)).surprise
    best = np.take_along_axis(tried, surprise.argmin(axis=0)[None], axis=0)[0]
    return np.where(np.isfinite(usual), best, np.nan)


def _find_known(points: Floats, covariance: Floats) -> NDArray[np.bool_]:
    finite = np.isfinite(points).all(axis=-1) & np.isfinite(covariance).all(axis=(-1, -2))
    return np.asarray(finite)


def _make_prior(points: Floats, known: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return mean and covariance of each keypoint over all moments, shapes (keypoint, 3[, 3])."""
    count = np.maximum(known.sum(axis=0), 1)[:, None]
    value = np.where(known[..., None], points, 0.0)
    mean = value.sum(axis=0) / count
    off = np.where(known[..., None], points - mean, 0.0)
    variance = (off**2).sum(axis=(0, 2)) / count[:, 0]
    return mean, np.where(variance > 0, variance, 1.0)[:, None, None] * np.eye(3)


def _filter(
    points: Floats,
    covariance: Floats,
    known: NDArray[np.bool_],
    steps: Floats,
    prior: tuple[Floats, Floats],
) -> _Forward:
    """Run the Kalman filter; `steps` may have more axes in front, one for each trial."""
    shape = steps.shape[:-2]
    mean = np.broadcast_to(prior[0], (*shape, 3)).copy()
    spread = np.broadcast_to(prior[1], (*shape, 3, 3)).copy()
    value = np.where(known[..., None], points, 0.0)
    error = np.where(known[..., None, None], covariance, np.eye(3))
    means, spreads = np.empty((len(points), *shape, 3)), np.empty((len(points), *shape, 3, 3))
    surprise = np.zeros(shape)
    for row, seen in enumerate(known):
        total = spread + error[row]
        lack = value[row] - mean
        gain = np.swapaxes(np.linalg.solve(total, spread), -1, -2)
        gain = np.where(seen[:, None, None], gain, 0.0)
        unlikely = np.log(np.linalg.det(total)) + (
            lack * np.linalg.solve(total, lack[..., None])[..., 0]
        ).sum(axis=-1)
        surprise += np.where(seen, 0.5 * unlikely, 0.0)
        mean = mean + _multiply(gain, lack)
        spread = spread - gain @ spread
        spread = (spread + np.swapaxes(spread, -1, -2)) / 2
        means[row], spreads[row] = mean, spread
        spread = spread + steps
    return _Forward(Path(means, spreads), surprise)


def _multiply(matrix: Floats, vector: Floats) -> Floats:
    product: Floats = (matrix @ vector[..., None])[..., 0]
    return product
