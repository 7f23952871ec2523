"""Triangulate points that several cameras saw: linearly, refined, and without outlier views.

Views are chosen by truncated least squares. A view that is used costs its weighted squared error,
which may not exceed `gate`. A view that is left out costs the square of `gate` times the point's
mean weight, whatever its own confidence, since wrong detections may be confident. All subsets of at
least two views are searched, largest first; a subset is skipped only if the views that it leaves
out cost more than the best subset so far. The result is therefore the exact minimum. Beyond
`MOST_CHOSEN` cameras every pair of views proposes a point, as in RANSAC (Fischler and Bolles 1981)
but without random draws; the point of least cost is refined with all views that agree with it.
"""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Camera
from pipeline_lib.kernels.geometry.linear import triangulate_linearly
from pipeline_lib.kernels.geometry.projection import measure_errors
from pipeline_lib.kernels.geometry.refinement import (
    Refined,
    invert_information,
    measure_information,
    refine_points,
)
from pipeline_lib.kernels.geometry.views import View, prepare_views

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Largest number of cameras of which all subsets are searched: 8 cameras have 247.
MOST_CHOSEN = 8
# Number of points processed at a time, so that the data fit in a core's cache.
_POINTS = 8192
# Gate as a multiple of the median error; points to estimate it from; largest number of updates.
_GATE = 4.5
_GATE_POINTS = 20_000
_GATE_STEPS = 8
# Points of the first estimate; median of the length of two normal coordinates.
_START_POINTS = 4_000
_MEDIAN = 1.177
_PAIR = 2
# Weight of the stated noise against a point's own errors, as a number of coordinates.
_PRIOR = 4.0
# A view at the gate may exceed it a little after the last refinement.
_SLACK = 0.1


@dataclass(frozen=True)
class Triangulated:
    """Hold triangulated points.

    Attributes
    ----------
    points
        Shape (frame, ..., 3), in the unit of the calibration; NaN: fewer than two views, or no
        two that agree within the gate.
    errors
        Shape (frame, camera, ...): distance in px between the projected and the observed point,
        also in views that were left out; NaN: not seen, or no point.
    used
        Shape (frame, camera, ...): the views that the point was computed from.
    uncertainty
        Shape (frame, ...): expected distance from the true point (root mean square), in the unit
        of the calibration, from the geometry of the rays and from noise and errors in px; NaN
        where there is no point.
    """

    points: Floats
    errors: Floats
    used: Flags
    uncertainty: Floats


@dataclass(frozen=True)
class _Found:
    points: Floats  # (3, points)
    used: Flags  # (camera, points)
    uncertainty: Floats


def triangulate(  # noqa: PLR0913 - one argument for each choice
    cameras: Sequence[Camera],
    pixels: Floats,
    weights: Floats,
    *,
    gate: float | None,
    noise: float,
    threads: int,
) -> Triangulated:
    """Triangulate points by the least weighted squared reprojection error.

    Parameters
    ----------
    cameras
        In the order of the second axis of `pixels`.
    pixels
        Shape (frame, camera, ..., 2), in px; NaN: not seen.
    weights
        Shape (frame, camera, ...): confidences, or any other weights of squared errors; a view
        without a positive weight is not seen.
    gate
        Largest error in px of a view that is used; the views are chosen, exactly among up to
        `MOST_CHOSEN` cameras. None: all views are used.
    noise
        Expected error of a coordinate of weight 1, in px, for the uncertainty.
    threads
        Number of threads; the result is the same for any.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    _check_shapes(cameras, pixels, weights)
    shape = (pixels.shape[0], *pixels.shape[2:-1])
    pixels = np.where(np.isfinite(pixels), pixels, np.nan).astype(np.float64, copy=False)
    flat = _flatten(pixels)
    flat_weights = np.moveaxis(np.asarray(weights, np.float64), 1, 0).reshape(len(cameras), -1)

    def solve(part: slice) -> _Found:
        views = prepare_views(cameras, flat[:, :, part], flat_weights[:, part])
        if gate is None:
            found = _use_all(views)
        elif len(views) <= MOST_CHOSEN:
            found = _choose_views(views, gate)
        else:
            found = _choose_by_pairs(views, gate)
        return _estimate(views, found, noise)

    parts = list(_divide(flat.shape[2]))
    if threads > 1 and len(parts) > 1:
        with ThreadPoolExecutor(threads) as pool:
            solved = list(pool.map(solve, parts))
    else:
        solved = [solve(part) for part in parts]
    if not solved:
        empty = np.full((*shape, 3), np.nan)
        return Triangulated(
            empty, np.full(weights.shape, np.nan), np.zeros(weights.shape, bool), empty[..., 0]
        )
    points = np.concatenate([one.points for one in solved], axis=1).T.reshape(*shape, 3)
    used = np.concatenate([one.used for one in solved], axis=1)
    uncertainty = np.concatenate([one.uncertainty for one in solved]).reshape(shape)
    used = np.moveaxis(used.reshape(len(cameras), *shape), 0, 1)
    errors = measure_errors(cameras, points, pixels)
    errors[~(np.asarray(weights) > 0)] = np.nan
    return Triangulated(points, errors, used, uncertainty)


def find_gate(cameras: Sequence[Camera], pixels: Floats, weights: Floats, *, threads: int) -> float:
    """Estimate the reprojection error above which a view is an outlier, from all views.

    It is 4.5 times the median error, which is 5.3 standard deviations if errors are normal. It
    follows the data, because the errors of detectors and calibrations differ tenfold, and a gate
    below the usual error would select views that agree by chance. Outliers raise the first median,
    so it is measured again on the chosen views until it changes by less than 1 %. The first
    estimate leaves out the camera without which the noise is lowest: a camera that is always wrong
    would otherwise set a gate that it passes itself.

    Parameters
    ----------
    cameras, pixels, weights
        As for `triangulate`; at most some 20,000 points, evenly spread, are used.
    threads
        Number of threads.

    Returns
    -------
    float
        In px, at least 1; 1 if no point has two views.
    """
    _check_shapes(cameras, pixels, weights)
    shape = (len(pixels), len(cameras), -1)
    flat, flat_weights = pixels.reshape(*shape, 2), weights.reshape(shape)
    step = max(1, flat.shape[0] * flat.shape[2] // _GATE_POINTS)
    flat, flat_weights = flat[::step], flat_weights[::step]
    gate = _start_gate(cameras, flat, flat_weights, threads)
    new = gate or 1.0
    for _ in range(_GATE_STEPS):
        found = triangulate(cameras, flat, flat_weights, gate=gate, noise=1.0, threads=threads)
        errors = found.errors[np.isfinite(found.errors)]
        new = max(1.0, _GATE * float(np.median(errors))) if errors.size else 1.0
        if gate is not None and abs(new - gate) < 0.01 * gate:
            break
        gate = new
    return new


def _start_gate(
    cameras: Sequence[Camera], pixels: Floats, weights: Floats, threads: int
) -> float | None:
    """Estimate the gate without the worst of three or more cameras; None for two."""
    if len(cameras) <= _PAIR:
        return None
    some = slice(None, None, max(1, pixels.shape[0] * pixels.shape[2] // _START_POINTS))
    least = np.inf
    for left_out in range(len(cameras)):
        kept = [index for index in range(len(cameras)) if index != left_out]
        noise = find_noise(
            [cameras[index] for index in kept],
            pixels[some, kept],
            weights[some, kept],
            gate=None,
            threads=threads,
        )
        least = min(least, noise)
    heavy = weights[weights > 0]
    # Errors are smaller than the noise, because the fit of a point takes up three degrees of
    # freedom.
    share = np.sqrt(max(1 - 3 / (2 * len(cameras)), 0.25) / np.mean(heavy)) if heavy.size else 1.0
    return max(1.0, float(_GATE * _MEDIAN * least * share))


def find_noise(
    cameras: Sequence[Camera],
    pixels: Floats,
    weights: Floats,
    *,
    gate: float | None,
    threads: int,
) -> float:
    """Estimate the standard error in px of a coordinate of weight 1 from reprojection errors.

    The weighted squared errors of a point with n views are distributed as chi-squared with
    2 n - 3 degrees of freedom, times the variance. The median over points tolerates outliers.

    Parameters
    ----------
    cameras, pixels, weights, gate, threads
        As for `triangulate`; at most some 20,000 points, evenly spread, are used.

    Returns
    -------
    float
        In px, at least 0.01; 1 if no point has two views.
    """
    _check_shapes(cameras, pixels, weights)
    shape = (len(pixels), len(cameras), -1)
    flat, flat_weights = pixels.reshape(*shape, 2), weights.reshape(shape)
    step = max(1, flat.shape[0] * flat.shape[2] // _GATE_POINTS)
    flat, flat_weights = flat[::step], flat_weights[::step]
    found = triangulate(cameras, flat, flat_weights, gate=gate, noise=1.0, threads=threads)
    square = np.where(found.used, flat_weights * found.errors**2, 0.0).sum(axis=1)
    freedom = 2.0 * found.used.sum(axis=1) - 3
    known = (freedom > 0) & np.isfinite(square)
    if not known.any():
        return 1.0
    # Wilson and Hilferty 1931.
    middle = freedom[known] * (1 - 2 / (9 * freedom[known])) ** 3
    return max(0.01, float(np.sqrt(np.median(square[known] / middle))))


def measure_precision(
    cameras: Sequence[Camera], pixels: Floats, weights: Floats, points: Floats
) -> Floats:
    """Return the inverse covariance of points, for a noise of 1 px in coordinates of weight 1.

    Parameters
    ----------
    cameras, pixels, weights
        As for `triangulate`; a view of weight 0 does not count.
    points
        Shape (frame, ..., 3).

    Returns
    -------
    NDArray[np.float64]
        Shape (frame, ..., 3, 3); NaN where there is no point.
    """
    _check_shapes(cameras, pixels, weights)
    flat = _flatten(pixels)
    flat_weights = np.moveaxis(np.asarray(weights, np.float64), 1, 0).reshape(len(cameras), -1)
    where = points.reshape(-1, 3).T
    result = np.full((flat.shape[2], 3, 3), np.nan)
    for part in _divide(flat.shape[2]):
        views = prepare_views(cameras, flat[:, :, part], flat_weights[:, part])
        xx, xy, xz, yy, yz, zz = measure_information(views, where[:, part])[0]
        rows = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
        result[part] = np.moveaxis(np.array(rows), -1, 0)
    result[~np.isfinite(where).all(axis=0)] = np.nan
    return result.reshape(*points.shape[:-1], 3, 3)


def triangulate_linear(
    cameras: Sequence[Camera], pixels: Floats, weights: Floats | None = None
) -> Floats:
    """Triangulate points by the direct linear transformation alone.

    Parameters
    ----------
    cameras
        In the order of the second axis of `pixels`.
    pixels
        Shape (frame, camera, ..., 2), in px; NaN: not seen.
    weights
        Shape (frame, camera, ...) of squared equations; None: 1.

    Returns
    -------
    NDArray[np.float64]
        Shape (frame, ..., 3); NaN where fewer than two views see a point.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    given = np.ones(pixels.shape[:-1]) if weights is None else weights
    _check_shapes(cameras, pixels, given)
    flat = _flatten(pixels)
    flat_weights = np.moveaxis(given, 1, 0).reshape(len(cameras), -1)
    points = np.empty((3, flat.shape[2]))
    for part in _divide(flat.shape[2]):
        views = prepare_views(cameras, flat[:, :, part], flat_weights[:, part])
        points[:, part] = triangulate_linearly(views, weighted=weights is not None)
    return points.T.reshape(pixels.shape[0], *pixels.shape[2:-1], 3)


def _check_shapes(cameras: Sequence[Camera], pixels: Floats, weights: Floats) -> None:
    if pixels.ndim < 2 or pixels.shape[-1] != 2 or pixels.shape[1] != len(cameras):
        raise ValueError(
            f"expected pixels of shape (frame, {len(cameras)} cameras, ..., 2), found "
            f"{pixels.shape}"
        )
    if weights.shape != pixels.shape[:-1]:
        raise ValueError(f"expected weights of shape {pixels.shape[:-1]}, found {weights.shape}")


def _flatten(pixels: Floats) -> Floats:
    """Return pixels as (camera, 2, points)."""
    moved = np.moveaxis(np.asarray(pixels, np.float64), (1, -1), (0, 1))
    return np.ascontiguousarray(moved).reshape(pixels.shape[1], 2, -1)


def _divide(count: int) -> Iterator[slice]:
    for start in range(0, count, _POINTS):
        yield slice(start, min(start + _POINTS, count))


@dataclass
class _Choice:
    """Hold the best subset of each point so far."""

    points: Floats
    cost: Floats  # with what is left out
    used: Flags
    information: list[Floats] | None = None


def _use_all(views: Sequence[View]) -> _Choice:
    refined = _solve(views)
    used = np.stack([view.weight > 0 for view in views])
    return _Choice(refined.points, refined.cost, used, refined.information)


def _solve(views: Sequence[View]) -> Refined:
    return refine_points(views, triangulate_linearly(views, weighted=True))


def _choose_views(views: Sequence[View], gate: float) -> _Choice:
    weights = np.stack([view.weight for view in views])
    seen = weights > 0
    count = seen.sum(axis=0)
    best = _Choice(
        np.full((3, weights.shape[1]), np.nan),
        np.full(weights.shape[1], np.inf),
        np.zeros_like(seen),
    )
    penalty = gate**2 * weights.sum(axis=0) / np.maximum(count, 1)
    for subset in _list_subsets(len(views)):
        kept = np.zeros(len(views), dtype=bool)
        kept[list(subset)] = True
        # Only points that all views of the subset saw.
        left_out = penalty * (count - len(subset))
        active = np.flatnonzero(seen[kept].all(axis=0) & (left_out < best.cost))
        if not len(active):
            continue
        own = [views[index].take(active) for index in subset]
        refined = _solve(own)
        cost = refined.cost + left_out[active]
        better = (cost < best.cost[active]) & _agree(own, refined.points, gate)
        where = active[better]
        best.points[:, where] = refined.points[:, better]
        best.cost[where] = cost[better]
        best.used[:, where] = kept[:, None]
    return best


def _agree(views: Sequence[View], points: Floats, gate: float) -> Flags:
    """Tell which points have an error within the gate in every view."""
    homogeneous = np.concatenate([points, np.ones((1, points.shape[1]))])
    agrees: Flags = np.isfinite(points[0])
    for view in views:
        square, _ = _measure_square(view, homogeneous)
        agrees = np.logical_and(agrees, square <= view.weight * gate**2)
    return agrees


def _measure_square(view: View, homogeneous: Floats) -> tuple[Floats, Flags]:
    """Return weighted squared errors, and which points are in front of the camera."""
    with np.errstate(all="ignore"):
        depth = sum(one * other for one, other in zip(view.depth, homogeneous, strict=True))
        off_x, off_y = (
            sum(one * other for one, other in zip(row, homogeneous, strict=True)) / depth
            for row in view.rows
        )
        xx, xy, yy = view.metric
        square: Floats = xx * off_x**2 + 2 * xy * off_x * off_y + yy * off_y**2
    return square, np.asarray(depth > 0)


def _choose_by_pairs(views: Sequence[View], gate: float) -> _Choice:
    """Choose views from the best proposal of a pair; see the module."""
    weights = np.stack([view.weight for view in views])
    seen = weights > 0
    limit = gate**2 * weights.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    points = np.full((3, weights.shape[1]), np.nan)
    least = np.full(weights.shape[1], np.inf)
    for pair in itertools.combinations(range(len(views)), 2):
        active = np.flatnonzero(seen[list(pair)].all(axis=0))
        if not len(active):
            continue
        proposed = triangulate_linearly([views[n].take(active) for n in pair], weighted=True)
        square = _measure_all(views, proposed, active)
        cost = np.minimum(square, limit[active])[seen[:, active].nonzero()]
        total = np.bincount(seen[:, active].nonzero()[1], cost, minlength=len(active))
        better = np.isfinite(proposed[0]) & (total < least[active])
        points[:, active[better]] = proposed[:, better]
        least[active[better]] = total[better]
    everything = np.arange(weights.shape[1])
    used = np.zeros_like(seen)
    for last in (False, False, False, True):
        square = _measure_all(views, points, everything)
        agrees = seen & (square <= weights * gate**2)
        # In the end views can only be left out, so that all views that are used agree.
        used = agrees & used if last else agrees
        used &= used.sum(axis=0) > 1
        kept = [view.keep(used[index]) for index, view in enumerate(views)]
        refined = refine_points(kept, points)
        points = np.where(used.any(axis=0), refined.points, np.nan)
    square = _measure_all(views, points, everything)
    good = (~used | (square <= weights * gate**2 * (1 + _SLACK))).all(axis=0) & used.any(axis=0)
    return _Choice(
        np.where(good, points, np.nan),
        np.where(good, refined.cost, np.inf),
        used & good,
    )


def _measure_all(views: Sequence[View], points: Floats, which: NDArray[np.intp]) -> Floats:
    """Return weighted squared errors (camera, point); infinite behind a camera or without point."""
    homogeneous = np.concatenate([points, np.ones((1, points.shape[1]))])
    squares = np.full((len(views), points.shape[1]), np.inf)
    for index, view in enumerate(views):
        square, front = _measure_square(view.take(which), homogeneous)
        squares[index] = np.where(front & np.isfinite(square), square, np.inf)
    return squares


def _list_subsets(count: int) -> Iterator[tuple[int, ...]]:
    for size in range(count, 1, -1):
        yield from itertools.combinations(range(count), size)


def _estimate(views: Sequence[View], choice: _Choice, noise: float) -> _Found:
    """Add the uncertainty of each point."""
    used = choice.used & np.isfinite(choice.points[0])
    information, cost = choice.information, choice.cost
    if information is None:
        kept = [view.keep(used[index]) for index, view in enumerate(views)]
        information, cost = measure_information(kept, choice.points)
    coordinates = 2.0 * used.sum(axis=0) - 3
    variance = (_PRIOR * noise**2 + cost) / (_PRIOR + np.maximum(coordinates, 0))
    with np.errstate(all="ignore"):
        uncertainty = np.sqrt(variance * invert_information(information))
    uncertainty = np.where(coordinates > 0, uncertainty, np.nan)
    points = np.where(coordinates > 0, choice.points, np.nan)
    return _Found(points, used & (coordinates > 0), uncertainty)
