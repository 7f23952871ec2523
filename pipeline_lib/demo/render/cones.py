"""Project round cones onto an image, and compute the visible surface of each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.demo.render.animal import Body
from pipeline_lib.demo.render.camera import PinholeCamera


@dataclass(frozen=True)
class ProjectedBody:
    """Hold the projection of a body into one camera.

    Attributes
    ----------
    starts, ends
        Shape (step, cone, 3), float64: x, y in px and depth in mm of the spheres' centres.
    radii
        Shape (step, cone, 2), float64, px at the start and at the end.
    lefts
        Shape (step, cone, 3), float64, unit vectors to the animal's left in camera axes.
    bodyparts
        Shape (step, bodypart, 3), float64: x, y in px and depth in mm.
    body
        The projected body.
    """

    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    radii: NDArray[np.float64]
    lefts: NDArray[np.float64]
    bodyparts: NDArray[np.float64]
    body: Body


@dataclass(frozen=True)
class ConePatch:
    """Hold the visible surface of one cone, over the pixels that it may cover.

    Attributes
    ----------
    window
        Rows and columns in the image.
    normal_x, normal_y
        Shape (row, column), float32, the surface normal in camera axes.
    facing
        Shape (row, column), float32 in 0..1, the normal's component towards the camera.
    along
        Shape (row, column), float32 in 0..1, position between start and end.
    inside
        Shape (row, column), float32, distance in px to the outline; negative outside of it.
    depth
        Shape (row, column), float32, mm.
    """

    window: tuple[slice, slice]
    normal_x: NDArray[np.float32]
    normal_y: NDArray[np.float32]
    facing: NDArray[np.float32]
    along: NDArray[np.float32]
    inside: NDArray[np.float32]
    depth: NDArray[np.float32]

    def normal_along(self, direction: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the normal's component, -1..1, along a unit vector in camera axes."""
        x, y, z = direction.tolist()
        component: NDArray[np.float32] = self.normal_x * x + self.normal_y * y - self.facing * z
        return component


def project_points(points: NDArray[np.float64], camera: PinholeCamera) -> NDArray[np.float64]:
    """Return x, y in px and depth in mm, shape (..., 3), of points in mm, shape (..., 3)."""
    pixels, depth = camera.project(points)
    return np.concatenate([pixels, depth[..., None]], axis=-1)


def project_body(body: Body, camera: PinholeCamera) -> ProjectedBody:
    """Project every cone and bodypart of a body.

    Parameters
    ----------
    body
        Cones and bodyparts in world mm.
    camera
        The camera.
    """
    starts, ends = project_points(body.starts, camera), project_points(body.ends, camera)
    return ProjectedBody(
        starts,
        ends,
        body.radii * camera.focal / np.stack([starts[..., 2], ends[..., 2]], axis=-1),
        camera.turn(body.lefts),
        project_points(body.bodyparts, camera),
        body,
    )


def trace_cone(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    radii: NDArray[np.float64],
    thickness: float,
    shape: tuple[int, ...],
) -> ConePatch | None:
    """Return the surface of a cone over its pixels; None if it is outside the image.

    The closest point of the axis is taken as the centre of the sphere visible at a pixel. This is
    exact for spheres and a good approximation for the blunt cones of a body.

    Parameters
    ----------
    start, end
        Shape (3,): x, y in px and depth in mm of the spheres' centres.
    radii
        Shape (2,), px.
    thickness
        Mean radius in mm.
    shape
        Height and width of the image.
    """
    start_x, start_y, start_z = start.tolist()
    end_x, end_y, end_z = end.tolist()
    start_radius, end_radius = radii.tolist()
    reach = max(start_radius, end_radius) + 1.0
    left = max(int(min(start_x, end_x) - reach), 0)
    right = min(int(max(start_x, end_x) + reach) + 2, shape[1])
    top = max(int(min(start_y, end_y) - reach), 0)
    bottom = min(int(max(start_y, end_y) + reach) + 2, shape[0])
    if left >= right or top >= bottom:
        return None
    # Plain numbers keep the arrays in float32; a dozen small arrays take most of the time.
    axis_x, axis_y = end_x - start_x, end_y - start_y
    squared = max(axis_x**2 + axis_y**2, 1e-6)
    x = np.arange(left, right, dtype=np.float32) - start_x
    y = (np.arange(top, bottom, dtype=np.float32) - start_y)[:, None]
    along = np.minimum(np.maximum(x * (axis_x / squared) + y * (axis_y / squared), 0.0), 1.0)
    inverse = 1.0 / (start_radius + along * (end_radius - start_radius))
    normal_x = (x - along * axis_x) * inverse
    normal_y = (y - along * axis_y) * inverse
    distance = normal_x * normal_x + normal_y * normal_y
    facing = np.sqrt(np.maximum(1.0 - distance, 0.0))
    return ConePatch(
        (slice(top, bottom), slice(left, right)),
        normal_x,
        normal_y,
        facing,
        along,
        (1.0 - np.sqrt(distance)) / inverse,
        along * (end_z - start_z) - facing * thickness + start_z,
    )
