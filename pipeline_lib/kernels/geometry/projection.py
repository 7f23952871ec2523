"""Project points of the world into cameras, and measure reprojection errors."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Camera
from pipeline_lib.kernels.geometry.lenses import find_rays, project_local

Floats = NDArray[np.float64]


def project(camera: Camera, points: Floats) -> Floats:
    """Project points into a camera.

    Parameters
    ----------
    camera
        Of any model.
    points
        Shape (..., 3), in the unit of the calibration.

    Returns
    -------
    NDArray[np.float64]
        Shape (..., 2), in px; NaN behind a pinhole camera, and where the point is NaN. It may
        lie outside the image.
    """
    local = points @ camera.rotation.T + camera.translation
    return np.stack(project_local(camera, local[..., 0], local[..., 1], local[..., 2]), axis=-1)


def project_all(cameras: Sequence[Camera], points: Floats) -> Floats:
    """Project points into every camera.

    Parameters
    ----------
    cameras
        In the order of the second axis of the result.
    points
        Shape (frame, ..., 3).

    Returns
    -------
    NDArray[np.float64]
        Shape (frame, camera, ..., 2), in px; see `project`.
    """
    return np.stack([project(camera, points) for camera in cameras], axis=1)


def unproject(camera: Camera, pixels: Floats) -> Floats:
    """Return the direction in the world that each pixel sees.

    Parameters
    ----------
    camera
        Of any model.
    pixels
        Shape (..., 2).

    Returns
    -------
    NDArray[np.float64]
        Shape (..., 3), of length 1; NaN where no ray reaches this pixel.
    """
    local = np.stack(find_rays(camera, pixels[..., 0], pixels[..., 1]), axis=-1)
    direction: Floats = local @ camera.rotation
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    return direction


def undistort(camera: Camera, pixels: Floats) -> Floats:
    """Return the pixels in which the same camera without distortion would see the same rays.

    Parameters
    ----------
    camera
        Of any model.
    pixels
        Shape (..., 2).

    Returns
    -------
    NDArray[np.float64]
        Shape (..., 2), in px; NaN where no ray reaches the pixel, or the ray is 90 degrees or
        more from the axis, where a pinhole camera sees nothing.
    """
    x, y, z = find_rays(camera, pixels[..., 0], pixels[..., 1])
    with np.errstate(all="ignore"):
        depth = np.where(z > 0, z, np.nan)
        flat = np.stack([x / depth, y / depth], axis=-1)
    moved: Floats = flat @ camera.matrix[:2, :2].T + camera.matrix[:2, 2]
    return moved


def measure_errors(cameras: Sequence[Camera], points: Floats, pixels: Floats) -> Floats:
    """Measure the distance between projected points and the pixels in which each camera saw them.

    Parameters
    ----------
    cameras
        In the order of the second axis of `pixels`.
    points
        Shape (frame, ..., 3).
    pixels
        Shape (frame, camera, ..., 2); NaN: not seen.

    Returns
    -------
    NDArray[np.float64]
        Shape (frame, camera, ...), in px; NaN where either is missing.
    """
    errors = np.empty(pixels.shape[:-1])
    for index, camera in enumerate(cameras):
        off = project(camera, points) - pixels[:, index]
        errors[:, index] = np.hypot(off[..., 0], off[..., 1])
    return errors
