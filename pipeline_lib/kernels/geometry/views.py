"""Prepare the observations of each camera for triangulation: linear equations and weights.

A point X on the ray of a pixel fulfils two equations ``rows @ (X, 1) = 0``. Their left sides,
divided by the depth ``depth @ (X, 1)``, are coordinates in a plane perpendicular to the axis
(pinhole) or to the ray (fisheye); the derivative of the lens turns them into px. All arrays have
one value per point, so that NumPy works on long contiguous runs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Camera
from pipeline_lib.kernels.geometry.lenses import differentiate_distort, distort_angle, find_rays

Floats = NDArray[np.float64]
Number = Floats | float


class View(NamedTuple):
    """Hold what one camera contributes to some points.

    Attributes
    ----------
    rows
        Two rows of four: numbers or arrays (points,).
    depth
        Row of four: numbers or arrays (points,).
    metric
        Three arrays (points,): the symmetric matrix, xx xy yy, that turns a squared distance in
        the plane into px² times the weight.
    weight
        Shape (points,); 0: not seen.
    """

    rows: tuple[tuple[Floats, ...], tuple[Floats, ...]]
    depth: tuple[Number, ...]
    metric: tuple[Floats, Floats, Floats]
    weight: Floats

    def keep(self, which: NDArray[np.bool_]) -> "View":
        """Return the view with weight 0 where a flag, shape (points,), is not set."""
        if which.all():
            return self
        xx, xy, yy = (np.where(which, one, 0.0) for one in self.metric)
        return self._replace(metric=(xx, xy, yy), weight=np.where(which, self.weight, 0.0))

    def take(self, which: NDArray[np.intp]) -> "View":
        """Return the view of some points, by index."""
        return View(
            (_take(self.rows[0], which), _take(self.rows[1], which)),
            tuple(one if isinstance(one, float) else one[which] for one in self.depth),
            (self.metric[0][which], self.metric[1][which], self.metric[2][which]),
            self.weight[which],
        )


def _take(values: tuple[Floats, ...], which: NDArray[np.intp]) -> tuple[Floats, ...]:
    return tuple(one[which] for one in values)


def prepare_views(cameras: Sequence[Camera], pixels: Floats, weights: Floats) -> list[View]:
    """Prepare the views of all cameras.

    Parameters
    ----------
    cameras
        In the order of the first axis of `pixels`.
    pixels
        Shape (camera, 2, points), in px; NaN: not seen.
    weights
        Shape (camera, points); what is neither positive nor finite counts as not seen.
    """
    return [
        _prepare(camera, pixels[index, 0], pixels[index, 1], weights[index])
        for index, camera in enumerate(cameras)
    ]


def _prepare(camera: Camera, x: Floats, y: Floats, weight: Floats) -> View:
    ray_x, ray_y, ray_z = find_rays(camera, x, y)
    seen = np.isfinite(ray_x) & np.isfinite(ray_y) & np.isfinite(weight) & (weight > 0)
    if not seen.all():
        # Any ray will do, since its weight is 0.
        ray_x, ray_y = np.where(seen, ray_x, 0.0), np.where(seen, ray_y, 0.0)
        ray_z = np.where(seen, ray_z, 1.0)
    seen_weight = np.where(seen, weight, 0.0)
    if camera.model == "pinhole":
        return _prepare_pinhole(camera, ray_x, ray_y, seen_weight)
    return _prepare_fisheye(camera, (ray_x, ray_y, ray_z), seen_weight)


def _prepare_pinhole(camera: Camera, x: Floats, y: Floats, weight: Floats) -> View:
    first, second, third = _list_rows(camera)
    rows = (
        tuple(one - x * other for one, other in zip(first, third, strict=True)),
        tuple(one - y * other for one, other in zip(second, third, strict=True)),
    )
    distorted = differentiate_distort(x, y, camera.distortion)
    (focal_x, skew, _), (_, focal_y, _) = camera.matrix[:2].tolist()
    by_x = (focal_x * distorted.xx + skew * distorted.yx, focal_y * distorted.yx)
    by_y = (focal_x * distorted.xy + skew * distorted.yy, focal_y * distorted.yy)
    return View(rows, third, _square(by_x, by_y, weight), weight)


def _prepare_fisheye(camera: Camera, ray: tuple[Floats, Floats, Floats], weight: Floats) -> View:
    """Span the plane perpendicular to each ray, by directions away from the axis and around it."""
    x, y, z = ray
    side = np.hypot(x, y)
    central = side < 1e-12
    with np.errstate(all="ignore"):
        cosine, sine = np.where(central, 1.0, x / side), np.where(central, 0.0, y / side)
        distance, slope = distort_angle(np.arctan2(side, z), camera.distortion)
        around = np.where(central, 1.0, distance / side)
    matrix = _list_rows(camera)
    outwards = (z * cosine, z * sine, -side)
    sideways = (-sine, cosine, np.zeros_like(x))
    rows = (_combine(outwards, matrix), _combine(sideways, matrix))
    (focal_x, skew, _), (_, focal_y, _) = camera.matrix[:2].tolist()
    by_outwards = (slope * (focal_x * cosine + skew * sine), slope * focal_y * sine)
    by_sideways = (around * (skew * cosine - focal_x * sine), around * focal_y * cosine)
    return View(rows, _combine(ray, matrix), _square(by_outwards, by_sideways, weight), weight)


def _list_rows(camera: Camera) -> list[tuple[float, ...]]:
    placed = np.column_stack([camera.rotation, camera.translation])
    return [tuple(row) for row in placed.tolist()]


def _combine(
    vector: tuple[Floats, Floats, Floats], matrix: list[tuple[float, ...]]
) -> tuple[Floats, ...]:
    x, y, z = vector
    return tuple(
        x * first + y * second + z * third for first, second, third in zip(*matrix, strict=True)
    )


def _square(
    first: tuple[Floats, Floats], second: tuple[Floats, Floats], weight: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return the products of the columns of a derivative, times the weight."""
    heavy = (weight * first[0], weight * first[1])
    return (
        heavy[0] * first[0] + heavy[1] * first[1],
        heavy[0] * second[0] + heavy[1] * second[1],
        weight * (second[0] * second[0] + second[1] * second[1]),
    )
