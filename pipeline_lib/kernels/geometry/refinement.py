"""Refine points: minimise their weighted squared reprojection error.

The method is that of Levenberg (1944) and Marquardt (1963), for all points at once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.geometry.views import View

Floats = NDArray[np.float64]

_STEPS = 30
# Of the distance from the nearest camera. Each step divides the error by a thousand or more.
_TOLERANCE = 1e-8
# Relative difference of costs that rounding alone explains.
_ROUNDING = 1e-12
_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


class Refined(NamedTuple):
    """Hold refined points.

    Attributes
    ----------
    points
        Shape (3, points); NaN where a point is behind a camera that saw it.
    cost
        Shape (points,): the sum over views of weight times squared error, in px².
    information
        Six arrays (points,): the matrix xx xy xz yy yz zz whose inverse, times the variance of a
        coordinate in px, is the covariance of the point.
    """

    points: Floats
    cost: Floats
    information: list[Floats]


class _State(NamedTuple):
    points: Floats
    cost: Floats
    information: list[Floats]
    gradient: list[Floats]

    def take(self, which: NDArray[np.intp]) -> "_State":
        return _State(
            self.points[:, which],
            self.cost[which],
            [one[which] for one in self.information],
            [one[which] for one in self.gradient],
        )

    def put(self, which: NDArray[np.intp], other: "_State") -> None:
        self.points[:, which] = other.points
        self.cost[which] = other.cost
        for mine, its in zip(
            self.information + self.gradient, other.information + other.gradient, strict=True
        ):
            mine[which] = its


def refine_points(views: Sequence[View], start: Floats) -> Refined:
    """Minimise the weighted squared reprojection error of each point.

    The error of a fisheye is linearised at the observed pixel. This is exact for an error of 0 and
    wrong by the square of the error otherwise. The error of a pinhole camera without distortion is
    exact everywhere.

    Parameters
    ----------
    views
        Of the same points; those of weight 0 do not count.
    start
        Shape (3, points), from `pipeline_lib.kernels.geometry.linear.triangulate_linearly`.
    """
    with np.errstate(all="ignore"):
        state = _evaluate(views, start)
        damping = np.full(start.shape[1], 1e-6)
        active = np.flatnonzero(np.isfinite(state.cost))
        here, seen = state.take(active), [view.take(active) for view in views]
        damping = damping[active]
        for _ in range(_STEPS if len(active) else 0):
            step = _solve(here.information, here.gradient, damping)
            trial = _evaluate(seen, here.points - step)
            better = trial.cost <= here.cost * (1 + _ROUNDING) + _ROUNDING
            size = np.sqrt((step * step).sum(axis=0))
            done = size <= _TOLERANCE * _measure_depth(seen, here.points)
            here = _choose(better, trial, here)
            damping = np.where(better, damping * 0.1, damping * 10)
            # No step lowers the cost: this is the minimum, to numerical precision.
            done |= damping > 1e8
            if done.all():
                break
            # Copying the remaining points costs more than computing a few finished ones again.
            if done.mean() > 0.5:
                state.put(active, here)
                left = np.flatnonzero(~done)
                active, damping = active[left], damping[left]
                here, seen = here.take(left), [view.take(left) for view in seen]
        state.put(active, here)
    points = np.where(np.isfinite(state.cost), state.points, np.nan)
    return Refined(points, state.cost, state.information)


def measure_information(views: Sequence[View], points: Floats) -> tuple[list[Floats], Floats]:
    """Return information and cost of points without moving them; see `Refined`.

    Parameters
    ----------
    views
        Of the same points; those of weight 0 do not count.
    points
        Shape (3, points).
    """
    with np.errstate(all="ignore"):
        state = _evaluate(views, points)
    return state.information, state.cost


def invert_information(information: list[Floats]) -> Floats:
    """Return the trace of the inverse of symmetric 3 x 3 matrices, given as xx xy xz yy yz zz."""
    xx, xy, xz, yy, yz, zz = information
    with np.errstate(all="ignore"):
        first, second, third = yy * zz - yz * yz, xx * zz - xz * xz, xx * yy - xy * xy
        determinant = xx * first - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
        trace: Floats = (first + second + third) / determinant
    return np.where(determinant > 0, trace, np.inf)


def _measure_depth(views: Sequence[View], points: Floats) -> Floats:
    nearest = np.full(points.shape[1], np.inf)
    for view in views:
        depth = _apply(view.depth, points)
        nearest = np.where(view.weight > 0, np.minimum(nearest, depth), nearest)
    return nearest


def _apply(row: Sequence[Floats | float], points: Floats) -> Floats:
    value: Floats = row[0] * points[0] + row[1] * points[1] + row[2] * points[2] + row[3]
    return value


def _evaluate(views: Sequence[View], points: Floats) -> _State:
    """Return cost, gradient and information; the cost is infinite behind a camera."""
    shape = points.shape[1]
    cost = np.zeros(shape)
    information = [np.zeros(shape) for _ in _PAIRS]
    gradient = [np.zeros(shape) for _ in range(3)]
    for view in views:
        depth = _apply(view.depth, points)
        behind = ~(depth > 0)
        if behind.any():
            cost[behind & (view.weight > 0)] = np.inf
            # A camera that did not see the point contributes nothing.
            depth = np.where(behind, 1.0, depth)
        inverse = 1 / depth
        off_x = _apply(view.rows[0], points) * inverse
        off_y = _apply(view.rows[1], points) * inverse
        xx, xy, yy = view.metric
        pull_x, pull_y = xx * off_x + xy * off_y, xy * off_x + yy * off_y
        cost += off_x * pull_x + off_y * pull_y
        by_x = [(view.rows[0][axis] - off_x * view.depth[axis]) * inverse for axis in range(3)]
        by_y = [(view.rows[1][axis] - off_y * view.depth[axis]) * inverse for axis in range(3)]
        heavy_x = [xx * one + xy * other for one, other in zip(by_x, by_y, strict=True)]
        heavy_y = [xy * one + yy * other for one, other in zip(by_x, by_y, strict=True)]
        for axis in range(3):
            gradient[axis] += by_x[axis] * pull_x + by_y[axis] * pull_y
        for index, (first, second) in enumerate(_PAIRS):
            information[index] += by_x[first] * heavy_x[second] + by_y[first] * heavy_y[second]
    cost[np.isnan(cost)] = np.inf
    return _State(points, cost, information, gradient)


def _choose(better: NDArray[np.bool_], new: _State, old: _State) -> _State:
    if better.all():
        return new
    return _State(
        np.where(better, new.points, old.points),
        np.where(better, new.cost, old.cost),
        [np.where(better, one, other) for one, other in zip(new[2], old[2], strict=True)],
        [np.where(better, one, other) for one, other in zip(new[3], old[3], strict=True)],
    )


def _solve(information: list[Floats], gradient: list[Floats], damping: Floats) -> Floats:
    """Solve the damped normal equations by Cramer's rule."""
    xx, xy, xz, yy, yz, zz = information
    # A share of the trace, not of each diagonal entry, so that no rotation of the world matters.
    extra = damping * (xx + yy + zz)
    xx, yy, zz = xx + extra, yy + extra, zz + extra
    first, second, third = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    determinant = xx * first + xy * second + xz * third
    fourth, fifth, sixth = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    x, y, z = gradient
    step = np.stack(
        [
            first * x + second * y + third * z,
            second * x + fourth * y + fifth * z,
            third * x + fifth * y + sixth * z,
        ]
    )
    step /= determinant
    return np.where(np.isfinite(step), step, 0.0)
