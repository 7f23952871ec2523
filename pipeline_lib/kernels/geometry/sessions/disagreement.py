"""Measure how far what a camera saw is from where the other cameras see the same point."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Camera
from pipeline_lib.kernels.geometry.linear import triangulate_linearly
from pipeline_lib.kernels.geometry.projection import project
from pipeline_lib.kernels.geometry.refinement import refine_points
from pipeline_lib.kernels.geometry.views import View, prepare_views

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Points processed at a time, so that the data fit in a core's cache.
_POINTS = 8192
_PAIR = 2


def measure_disagreement(
    cameras: Sequence[Camera], pixels: Floats, weights: Floats, used: Flags, observed: Floats
) -> Floats:
    """Measure the distance between what each camera saw and the point of the other cameras.

    A point that two or more other cameras agree on is triangulated from these alone and projected.
    Where one other camera is left, the distance is that of the two rays: the sum of the errors in
    both images. Where no two cameras agree, all that saw the point count as agreeing.

    Parameters
    ----------
    cameras
        In the order of the second axis of the arrays.
    pixels
        Shape (frame, camera, ..., 2), in px: from what points are triangulated; NaN: not seen.
    weights
        Shape (frame, camera, ...): confidences; a view without a positive one is not seen.
    used
        Shape (frame, camera, ...): views that agree with the point of the session.
    observed
        Shape (frame, camera, ..., 2), in px: what is judged; often the same as `pixels`.

    Returns
    -------
    NDArray[np.float64]
        Shape (frame, camera, ...), in px; NaN: not observed, or no other camera saw the point.
    """
    count = len(cameras)
    flat = np.moveaxis(pixels, (1, -1), (0, 1)).reshape(count, 2, -1)
    seen = np.moveaxis(observed, (1, -1), (0, 1)).reshape(count, 2, -1)
    heavy = np.moveaxis(weights, 1, 0).reshape(count, -1)
    kept = np.moveaxis(used, 1, 0).reshape(count, -1)
    found = np.full(kept.shape, np.nan)
    for start in range(0, flat.shape[2], _POINTS):
        part = slice(start, start + _POINTS)
        views = prepare_views(cameras, flat[:, :, part], heavy[:, part])
        found[:, part] = _measure(cameras, views, kept[:, part], seen[:, :, part])
    return np.moveaxis(found.reshape(count, pixels.shape[0], *pixels.shape[2:-1]), 0, 1)


def _measure(
    cameras: Sequence[Camera], views: Sequence[View], used: Flags, observed: Floats
) -> Floats:
    there = np.stack([view.weight > 0 for view in views])
    used = used & there
    used = np.where(used.sum(axis=0) >= _PAIR, used, there)
    points = _solve(views, used)
    distances = _project_all(cameras, points, observed)
    number = used.sum(axis=0)
    pair = np.where(used & (number == _PAIR), distances, 0.0).sum(axis=0)
    for place, camera in enumerate(cameras):
        # A camera that was not used does not pull the point towards itself.
        again = np.flatnonzero(used[place] & (number > _PAIR))
        if len(again):
            others = used[:, again].copy()
            others[place] = False
            moved = _solve([view.take(again) for view in views], others, points[:, again])
            distances[place, again] = _distance(camera, moved, observed[place][:, again])
        distances[place] = np.where(used[place] & (number == _PAIR), pair, distances[place])
    return distances


def _solve(views: Sequence[View], used: Flags, start: Floats | None = None) -> Floats:
    """Return the points that some views determine; NaN where these are fewer than two."""
    kept = [view.keep(used[place]) for place, view in enumerate(views)]
    begin = triangulate_linearly(kept, weighted=True) if start is None else start
    points = refine_points(kept, begin).points
    return np.where(used.sum(axis=0) >= _PAIR, points, np.nan)


def _project_all(cameras: Sequence[Camera], points: Floats, observed: Floats) -> Floats:
    return np.stack(
        [_distance(camera, points, seen) for camera, seen in zip(cameras, observed, strict=True)]
    )


def _distance(camera: Camera, points: Floats, observed: Floats) -> Floats:
    """Return distances (points,) between projected points (3, points) and pixels (2, points)."""
    off = project(camera, points.T) - observed.T
    return np.hypot(off[:, 0], off[:, 1])
