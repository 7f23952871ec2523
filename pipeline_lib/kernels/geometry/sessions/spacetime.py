"""Optimise the points of one individual over space and time.

Least squares of three terms: the distance to each triangulated point, measured by its covariance
(which is the reprojection error to second order); the second differences of its path; and the
deviation of distances between joined keypoints from constant lengths. Each term is divided by its
own variance, which is estimated from the data after the noise of the points is subtracted. Exact
points are therefore hardly moved, and noisy ones are smoothed as much as their noise demands.

The normal equations are banded and solved directly. The influence of a point fades exponentially
with time, so that overlapping windows give the result of one (see `find_overlap`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Longest gap in moments that a path bridges.
_GAP = 10
# Least deviation of paths as a share of the noise, and of lengths as a share of the length.
_SLOWEST, _STIFFEST = 0.05, 0.005
# Lags in moments at which second differences are compared with the noise.
_LAGS = (1, 2, 4, 8)
_LEAST_SHARE = 1e-6
# Share of the largest second differences that do not count: jumps of wrong points.
_JUMPS = 0.005
_STEPS, _TOLERANCE = 12, 1e-8
# Share of the variance from which all of it may be noise: estimates of it are so uncertain.
_ALL_NOISE = 0.75
# Overlap of windows, in lengths over which the influence of a point fades by a factor of e.
_FADING, _LEAST_OVERLAP = 40.0, 60
_MAD = 1.4826


@dataclass(frozen=True)
class Motion:
    """Hold how an individual moves and what stays constant.

    Attributes
    ----------
    acceleration
        Shape (keypoint,): standard deviation of a coordinate's second differences; NaN: unknown.
    noise
        Shape (keypoint,): usual standard deviation of a coordinate from one moment to the next.
    share
        Shape (keypoint,), 0..1: share of the variance of points that changes from moment to
        moment. The rest, for instance from a slightly wrong calibration, is not noise and
        smoothing does not remove it.
    lengths, deviations
        Shape (edge,): distance between joined keypoints, and its standard deviation; NaN: unknown.
    """

    acceleration: Floats
    noise: Floats
    share: Floats
    lengths: Floats
    deviations: Floats


@dataclass(frozen=True)
class Weights:
    """Hold the weights of both assumptions; 0: none, 1: as the data say."""

    smoothness: float
    bone_length: float


def estimate_motion(
    points: NDArray[np.floating],
    uncertainty: NDArray[np.floating],
    edges: Sequence[tuple[int, int]],
) -> Motion:
    """Estimate how an individual moves.

    Parameters
    ----------
    points
        Shape (moment, keypoint, 3); NaN: none.
    uncertainty
        Shape (moment, keypoint): root of the mean squared distance from the true point.
    edges
        Pairs of keypoints.
    """
    keypoints = points.shape[1]
    variance = np.asarray(uncertainty, np.float64) ** 2 / 3
    acceleration = np.full(keypoints, np.nan)
    noise, share = np.full(keypoints, np.nan), np.ones(keypoints)
    for keypoint in range(keypoints):
        path, own = points[:, keypoint].astype(np.float64), variance[:, keypoint]
        known = own[np.isfinite(own)]
        if not len(known):
            continue
        share[keypoint] = _estimate_share(path, own)
        usual = float(np.median(known)) * share[keypoint]
        noise[keypoint] = np.sqrt(usual)
        # The largest estimate smooths least.
        moved = max(_estimate_square(path, share[keypoint] * own, lag) for lag in _LAGS)
        if np.isfinite(moved):
            acceleration[keypoint] = np.sqrt(max(moved, _SLOWEST**2 * usual, 1e-300))
    lengths, deviations = np.full(len(edges), np.nan), np.full(len(edges), np.nan)
    for index, (first, second_end) in enumerate(edges):
        distance = np.linalg.norm(
            points[:, first].astype(np.float64) - points[:, second_end], axis=-1
        )
        known = np.isfinite(distance)
        if not known.any():
            continue
        ends = share[first] * variance[:, first] + share[second_end] * variance[:, second_end]
        noisy = float(np.median(ends[known]))
        middle = float(np.median(distance[known]))
        # Noise across the edge lengthens it.
        length = np.sqrt(max(middle**2 - 2 * noisy, (middle / 2) ** 2))
        spread = (_MAD * float(np.median(np.abs(distance[known] - middle)))) ** 2 - noisy
        lengths[index] = length
        deviations[index] = np.sqrt(max(spread, (_STIFFEST * length) ** 2, 1e-300))
    return Motion(acceleration, noise, share, lengths, deviations)


def _estimate_square(path: Floats, variance: Floats, lag: int) -> float:
    """Estimate the variance of second differences from those of a lag; -inf: unknown.

    A path whose second differences are white noise of variance 1 has second differences of
    variance (2 m³ + m) / 3 at lag m, while the noise of points does not grow with the lag.
    """
    means = _compare_differences(path, variance, lag)
    return -np.inf if means is None else (means[0] - means[1]) * 3 / (2 * lag**3 + lag)


def _estimate_share(path: Floats, variance: Floats) -> float:
    """Return the share of the variance of points that second differences allow."""
    means = _compare_differences(path, variance, 1)
    if means is None or not means[1] > 0:
        return 1.0
    return float(np.clip(means[0] / means[1], _LEAST_SHARE, 1.0))


def _compare_differences(path: Floats, variance: Floats, lag: int) -> tuple[float, float] | None:
    """Return the mean square of second differences, and that which noise explains."""
    if len(path) <= 2 * lag:
        return None
    start, middle, end = path[: -2 * lag], path[lag:-lag], path[2 * lag :]
    square = ((start - 2 * middle + end) ** 2).sum(-1) / 3
    # White noise contributes 1 + 4 + 1 times its variance.
    expected = variance[: -2 * lag] + 4 * variance[lag:-lag] + variance[2 * lag :]
    known = np.flatnonzero(np.isfinite(square) & np.isfinite(expected))
    if not len(known):
        return None
    order = known[np.argsort(square[known], kind="stable")]
    kept = order[: max(1, int(np.ceil(len(order) * (1 - _JUMPS))))]
    return float(square[kept].mean()), float(expected[kept].mean())


def find_overlap(motion: Motion, weights: Weights) -> int:
    """Return how many moments windows must overlap to agree to 1e-6 and better."""
    with np.errstate(all="ignore"):
        ratio = np.sqrt(weights.smoothness) * motion.noise / motion.acceleration
    known = ratio[np.isfinite(ratio)]
    # The fourth-order equation of a smoothing spline fades over sqrt(2) (ratio)^(1/2) moments.
    length = np.sqrt(2) * np.sqrt(max(float(known.max()) if len(known) else 0.0, 1.0))
    return max(_LEAST_OVERLAP, int(np.ceil(_FADING * length)) + _GAP)


def optimise_points(
    points: Floats,
    information: Floats,
    edges: Sequence[tuple[int, int]],
    motion: Motion,
    weights: Weights,
) -> tuple[Floats, Floats]:
    """Optimise the points of one individual in one window.

    Parameters
    ----------
    points
        Shape (moment, keypoint, 3); NaN: none.
    information
        Shape (moment, keypoint, 3, 3): inverse covariance of each point.
    edges
        Pairs of keypoints.
    motion, weights
        What is assumed.

    Returns
    -------
    tuple
        Points, of the shape of `points`; NaN where there was none. Their uncertainty, shape
        (moment, keypoint): root of the expected squared distance from the true point, from the
        curvature of what was minimised, and from the errors that stay.
    """
    known: Flags = np.asarray(np.isfinite(points).all(-1))
    known = known & np.asarray(np.isfinite(information).all(axis=(-1, -2)))
    if not known.any():
        return points.copy(), np.full(points.shape[:2], np.nan)
    given = np.where(known[..., None, None], information, 0) / motion.share[:, None, None]
    problem = _Problem(points, given, known)
    problem.add_paths(weights.smoothness, motion.acceleration)
    problem.add_edges(edges, weights.bone_length, motion)
    size = float(np.nanmax(motion.lengths)) if np.isfinite(motion.lengths).any() else 1.0
    size = max(size, float(np.nanmax(motion.noise, initial=0.0)))
    here = problem.start.copy()
    for _ in range(_STEPS):
        step = problem.solve(here)
        here = here + step
        if np.abs(step).max() <= _TOLERANCE * size:
            break
    with np.errstate(all="ignore"):
        # Errors that stay from moment to moment are as large as before.
        before = np.trace(np.linalg.pinv(np.where(known[..., None, None], information, 0)),
                          axis1=-2, axis2=-1)  # fmt: skip
        staying = np.maximum(0.0, 1 - motion.share / _ALL_NOISE)
        square = problem.find_variance(here) + staying * before
        uncertainty = np.where(known, np.sqrt(square), np.nan)
    return np.where(known[..., None], here, points), uncertainty


class _Problem:
    """Hold the normal equations of one window."""

    def __init__(self, points: Floats, information: Floats, known: Flags) -> None:
        self._information = information
        self.start, bridged = _bridge(points, known)
        self._known, self._active = known, bridged
        self._paths = np.zeros(points.shape[:2])
        self._edges: list[tuple[int, int, float, Floats]] = []

    def add_paths(self, weight: float, acceleration: Floats) -> None:
        """Add second differences where three moments in a row are active."""
        with np.errstate(all="ignore"):
            scale = np.where(np.isfinite(acceleration), weight / acceleration**2, 0.0)
        if weight == 0:
            self._active = self._known
        inner = self._active[:-2] & self._active[1:-1] & self._active[2:]
        self._paths[1:-1] = inner * scale

    def add_edges(self, edges: Sequence[tuple[int, int]], weight: float, motion: Motion) -> None:
        """Add lengths of edges where both ends are active."""
        for index, (first, second) in enumerate(edges):
            if weight > 0 and np.isfinite(motion.lengths[index]):
                both = self._active[:, first] & self._active[:, second]
                own = both * weight / motion.deviations[index] ** 2
                self._edges.append((first, second, float(motion.lengths[index]), own))

    def solve(self, here: Floats) -> Floats:
        """Return a Gauss-Newton step."""
        gradient = np.einsum("tkij,tkj->tki", self._information, here - self.start)
        gradient += self._apply_paths(here)
        directions = []
        for first, second, length, weight in self._edges:
            off = here[:, first] - here[:, second]
            distance = np.linalg.norm(off, axis=-1)
            unit = off / np.maximum(distance, 1e-300)[:, None]
            pull = (weight * (distance - length))[:, None] * unit
            gradient[:, first] += pull
            gradient[:, second] -= pull
            directions.append(unit)
        gradient[~self._active] = 0
        band = self._make_band(directions)
        step: Floats = solveh_banded(
            *(band, -gradient.ravel()), lower=True, overwrite_ab=True, check_finite=False
        )
        return step.reshape(here.shape)

    def find_variance(self, here: Floats) -> Floats:
        """Return the expected squared distance of each point, shape (moment, keypoint).

        It is the trace of its block of the inverse of the normal equations. Pairs of moments make
        these block-tridiagonal, and the blocks of the inverse on the diagonal follow from one
        elimination forwards and one backwards.
        """
        directions = []
        for first, second, _, _ in self._edges:
            off = here[:, first] - here[:, second]
            directions.append(off / np.maximum(np.linalg.norm(off, axis=-1), 1e-300)[:, None])
        band = self._make_band(directions)
        size = len(band) - 1
        missing = -band.shape[1] % size
        band = np.pad(band, ((0, 0), (0, missing)))
        band[0, band.shape[1] - missing :] = 1.0
        blocks = band.reshape(size + 1, -1, size)
        row, column = np.indices((size, size))
        below = np.maximum(row - column, 0)
        lower = np.where(row >= column, blocks[below, :, column].transpose(2, 0, 1), 0.0)
        own = lower + np.tril(lower, -1).transpose(0, 2, 1)
        beside = np.where(
            row <= column,
            blocks[np.minimum(size + row - column, size), :, column].transpose(2, 0, 1),
            0.0,
        )
        inverses = np.empty_like(own)
        carried = np.zeros((size, size))
        for place in range(len(own)):
            inverses[place] = np.linalg.inv(own[place] - carried)
            carried = beside[place] @ inverses[place] @ beside[place].T
        variance = np.empty((len(own), size))
        after = np.zeros((size, size))
        for place in range(len(own) - 1, -1, -1):
            moved = inverses[place] @ beside[place].T
            after = inverses[place] + moved @ after @ moved.T
            variance[place] = np.diag(after)
        moments, keypoints = self._active.shape
        flat: Floats = variance.ravel()[: moments * keypoints * 3]
        square: Floats = flat.reshape(moments, keypoints, 3).sum(axis=-1).clip(min=0.0)
        return square

    def _apply_paths(self, values: Floats) -> Floats:
        result = np.zeros_like(values)
        second = values[2:] - 2 * values[1:-1] + values[:-2]
        second *= self._paths[1:-1, :, None]
        result[2:] += second
        result[1:-1] -= 2 * second
        result[:-2] += second
        return result

    def _make_band(self, directions: Sequence[Floats]) -> Floats:
        """Return the normal equations as a lower band; unknowns in order of moments."""
        moments, keypoints = self._active.shape
        path, far = self._paths, 3 * keypoints
        before = np.concatenate([np.zeros((1, keypoints)), path[:-1]])
        after = np.concatenate([path[1:], np.zeros((1, keypoints))])
        largest = np.trace(self._information, axis1=-2, axis2=-1).max(axis=0) + path.max(axis=0)
        # Rounding must not make points singular that only smoothness determines.
        diagonal = 4 * path + before + after + 1e-12 * largest + np.where(self._active, 0.0, 1.0)
        blocks = self._information + diagonal[..., None, None] * np.eye(3)
        band = np.zeros((2 * far + 1, moments, keypoints, 3))
        for (first, second, _, weight), unit in zip(self._edges, directions, strict=True):
            own = weight[:, None, None] * unit[:, :, None] * unit[:, None, :]
            blocks[:, first] += own
            blocks[:, second] += own
            low, high = min(first, second), max(first, second)
            for row in range(3):
                for column in range(3):
                    offset = 3 * (high - low) + row - column
                    band[offset, :, low, column] -= own[:, row, column]
        for column in range(3):
            for row in range(column, 3):
                band[row - column, :, :, column] = blocks[:, :, row, column]
        band[far, :-1] -= 2 * (path[:-1] + path[1:])[..., None]
        band[2 * far, :-2] += path[1:-1][..., None]
        return band.reshape(2 * far + 1, -1)


def _bridge(points: Floats, known: Flags) -> tuple[Floats, Flags]:
    """Interpolate short gaps; return points without NaN, and which of them are part of a path."""
    moments = np.arange(len(points))
    filled, active = np.zeros_like(points), known.copy()
    for keypoint in range(points.shape[1]):
        own = np.flatnonzero(known[:, keypoint])
        if not len(own):
            continue
        for axis in range(3):
            filled[:, keypoint, axis] = np.interp(moments, own, points[own, keypoint, axis])
        for start, end in zip(own[:-1].tolist(), own[1:].tolist(), strict=True):
            if 1 < end - start <= _GAP:
                active[start:end, keypoint] = True
    return filled, active
