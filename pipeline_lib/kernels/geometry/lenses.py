"""Model lenses: distort and undistort coordinates, for pinhole cameras and fisheyes.

The models are those of OpenCV. Pinhole: Brown's radial and tangential distortion, its rational
extension and thin prisms (Brown 1971; Claus and Fitzgibbon 2005; Weng et al. 1992). Fisheye: the
equidistant projection with an odd polynomial of the angle (Kannala and Brandt 2006).

All functions take and return plain arrays of one shape per coordinate, which is several times as
fast as arrays whose last axis is x and y.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Camera

Floats = NDArray[np.float64]

# Newton's method doubles the correct digits at each step.
_STEPS = 20
_TOLERANCE = 1e-12
_ACCEPTED = 1e-8


class Distorted(NamedTuple):
    """Hold distorted coordinates and their derivatives.

    Attributes
    ----------
    x, y
        Distorted coordinates in the plane at distance 1.
    xx, xy, yx, yy
        Derivatives of x and y by undistorted x and y.
    """

    x: Floats
    y: Floats
    xx: Floats
    xy: Floats
    yx: Floats
    yy: Floats


def distort(x: Floats, y: Floats, distortion: Floats) -> tuple[Floats, Floats]:
    """Distort normalised coordinates as a pinhole camera does.

    Parameters
    ----------
    x, y
        Of one shape: coordinates in the plane at distance 1.
    distortion
        Shape (12,): k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4.
    """
    if not distortion.any():
        return x, y
    _, _, p1, p2, _, _, _, _, s1, s2, s3, s4 = distortion.tolist()
    square = x * x + y * y
    top, bottom = _radial(square, distortion)
    radial = top if bottom is None else top / bottom
    product = 2 * x * y
    distorted_x = x * radial + p1 * product + p2 * (square + 2 * x * x)
    distorted_y = y * radial + p1 * (square + 2 * y * y) + p2 * product
    if s1 or s2 or s3 or s4:
        distorted_x = distorted_x + square * (s1 + s2 * square)
        distorted_y = distorted_y + square * (s3 + s4 * square)
    return distorted_x, distorted_y


def differentiate_distort(x: Floats, y: Floats, distortion: Floats) -> Distorted:
    """Distort normalised coordinates of a pinhole camera, with derivatives; see `distort`."""
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = distortion.tolist()
    square = x * x + y * y
    top, bottom = _radial(square, distortion)
    slope = k1 + square * (2 * k2 + 3 * k3 * square)
    radial = top
    if bottom is not None:
        radial = top / bottom
        slope = (slope - radial * (k4 + square * (2 * k5 + 3 * k6 * square))) / bottom
    product, double_x, double_y = 2 * x * y, 2 * x, 2 * y
    distorted_x = x * radial + p1 * product + p2 * (square + double_x * x)
    distorted_y = y * radial + p1 * (square + double_y * y) + p2 * product
    by_xx = radial + double_x * x * slope + p1 * double_y + (3 * p2) * double_x
    by_yy = radial + double_y * y * slope + (3 * p1) * double_y + p2 * double_x
    by_xy = by_yx = product * slope + p1 * double_x + p2 * double_y
    if s1 or s2 or s3 or s4:
        distorted_x = distorted_x + square * (s1 + s2 * square)
        distorted_y = distorted_y + square * (s3 + s4 * square)
        first, second = s1 + 2 * s2 * square, s3 + 2 * s4 * square
        by_xx, by_xy = by_xx + double_x * first, by_xy + double_y * first
        by_yx, by_yy = by_yx + double_x * second, by_yy + double_y * second
    return Distorted(distorted_x, distorted_y, by_xx, by_xy, by_yx, by_yy)


def differentiate_by_coefficients(x: Floats, y: Floats, distortion: Floats) -> Floats:
    """Return the derivatives of distorted coordinates by the coefficients; shape (..., 2, 12)."""
    square = x * x + y * y
    top, bottom = _radial(square, distortion)
    below = np.ones_like(x) if bottom is None else bottom
    powers = np.stack([square, square**2, square**3], axis=-1)
    upper = powers / below[..., None]
    lower = -powers * (top / below**2)[..., None]
    result = np.zeros((*x.shape, 2, 12))
    for axis, coordinate in enumerate((x, y)):
        result[..., axis, [0, 1, 4]] = coordinate[..., None] * upper
        result[..., axis, 5:8] = coordinate[..., None] * lower
        result[..., axis, 8 + 2 * axis : 10 + 2 * axis] = powers[..., :2]
    result[..., 0, 2] = result[..., 1, 3] = 2 * x * y
    result[..., 0, 3] = square + 2 * x * x
    result[..., 1, 2] = square + 2 * y * y
    return result


def undistort_normalised(x: Floats, y: Floats, distortion: Floats) -> tuple[Floats, Floats]:
    """Undo `distort` by Newton's method.

    Returns
    -------
    tuple
        Undistorted x and y; NaN where the model has no inverse: a strong distortion folds the
        image beyond some radius, and no ray reaches pixels outside it.
    """
    if not distortion.any():
        return x, y
    found_x, found_y = x, y
    with np.errstate(all="ignore"):
        for step in range(_STEPS + 1):
            distorted = differentiate_distort(found_x, found_y, distortion)
            off_x, off_y = distorted.x - x, distorted.y - y
            off = np.maximum(np.abs(off_x), np.abs(off_y))
            if step == _STEPS or not (off > _TOLERANCE).any():
                break
            inverse = 1 / (distorted.xx * distorted.yy - distorted.xy * distorted.yx)
            found_x = found_x - (distorted.yy * off_x - distorted.xy * off_y) * inverse
            found_y = found_y - (distorted.xx * off_y - distorted.yx * off_x) * inverse
        # Beyond a fold the mapping reverses its orientation.
        good = (
            (off < _ACCEPTED)
            & (distorted.xx * distorted.yy > distorted.xy * distorted.yx)
            & (distorted.xx > 0)
        )
    return np.where(good, found_x, np.nan), np.where(good, found_y, np.nan)


def distort_angle(angle: Floats, distortion: Floats) -> tuple[Floats, Floats]:
    """Return the radius at which a fisheye images an angle, and its derivative by the angle.

    Parameters
    ----------
    angle
        Between a ray and the optical axis, in radians.
    distortion
        Shape (4,): k1 k2 k3 k4.
    """
    k1, k2, k3, k4 = distortion.tolist()
    square = angle * angle
    distance = angle * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))
    slope = 1 + square * (3 * k1 + square * (5 * k2 + square * (7 * k3 + square * 9 * k4)))
    return distance, slope


def undistort_angle(distance: Floats, distortion: Floats) -> Floats:
    """Undo `distort_angle` by Newton's method; NaN where no angle up to pi has this distance."""
    angle = np.minimum(distance, np.pi)
    with np.errstate(all="ignore"):
        for _ in range(_STEPS):
            found, slope = distort_angle(angle, distortion)
            angle = angle - (found - distance) / slope
            if not (np.abs(found - distance) > _TOLERANCE).any():
                break
        found, slope = distort_angle(angle, distortion)
        good = (np.abs(found - distance) < _ACCEPTED) & (slope > 0) & (angle <= np.pi)
        good &= angle >= 0
    return np.where(good, angle, np.nan)


def find_rays(camera: Camera, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the ray of each pixel, in the camera's axes.

    Parameters
    ----------
    camera
        Only its lens matters.
    x, y
        Of one shape, in px.

    Returns
    -------
    tuple
        x, y and z of the rays: z is 1 for a pinhole camera, the length is 1 for a fisheye. NaN
        where no ray reaches this pixel.
    """
    (focal_x, skew, centre_x), (_, focal_y, centre_y) = camera.matrix[:2].tolist()
    flat_y = (y - centre_y) / focal_y
    flat_x = (x - centre_x - skew * flat_y) / focal_x
    if camera.model == "pinhole":
        flat_x, flat_y = undistort_normalised(flat_x, flat_y, camera.distortion)
        return flat_x, flat_y, np.ones_like(flat_x)
    distance = np.hypot(flat_x, flat_y)
    angle = undistort_angle(distance, camera.distortion)
    with np.errstate(all="ignore"):
        scale = np.where(distance > 0, np.sin(angle) / distance, 1.0)
    return flat_x * scale, flat_y * scale, np.cos(angle)


def project_local(camera: Camera, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats]:
    """Project points in the camera's own axes to pixels.

    Returns
    -------
    tuple
        x and y in px; NaN for a pinhole camera where z is not positive.
    """
    with np.errstate(all="ignore"):
        if camera.model == "pinhole":
            depth = np.where(z > 0, z, np.nan)
            flat_x, flat_y = distort(x / depth, y / depth, camera.distortion)
        else:
            side = np.hypot(x, y)
            distance, _ = distort_angle(np.arctan2(side, z), camera.distortion)
            scale = np.where(side > 0, distance / side, np.where(z > 0, 1 / z, np.nan))
            flat_x, flat_y = x * scale, y * scale
    (focal_x, skew, centre_x), (_, focal_y, centre_y) = camera.matrix[:2].tolist()
    return focal_x * flat_x + skew * flat_y + centre_x, focal_y * flat_y + centre_y


def differentiate_projection(
    camera: Camera, x: Floats, y: Floats, z: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Project points in the camera's own axes, with derivatives by the point and the lens.

    Parameters
    ----------
    camera
        Only its lens matters.
    x, y, z
        Of one shape: points in the camera's axes.

    Returns
    -------
    tuple
        Pixels, shape (..., 2); derivatives by the point, (..., 2, 3); by fx, fy, cx, cy, shape
        (..., 2, 4); by the coefficients of distortion, (..., 2, 12 or 4).
    """
    if camera.model == "pinhole":
        flat, by_point, by_distortion = _differentiate_pinhole(camera, x, y, z)
    else:
        flat, by_point, by_distortion = _differentiate_fisheye(camera, x, y, z)
    matrix = camera.matrix[:2, :2]
    by_matrix = np.zeros((*x.shape, 2, 4))
    by_matrix[..., 0, 0], by_matrix[..., 1, 1] = flat[..., 0], flat[..., 1]
    by_matrix[..., 0, 2] = by_matrix[..., 1, 3] = 1
    pixels = flat @ matrix.T + camera.matrix[:2, 2]
    return pixels, matrix @ by_point, by_matrix, matrix @ by_distortion


def _differentiate_pinhole(
    camera: Camera, x: Floats, y: Floats, z: Floats
) -> tuple[Floats, Floats, Floats]:
    with np.errstate(all="ignore"):
        depth = np.where(z > 0, z, np.nan)
        flat_x, flat_y = x / depth, y / depth
        distorted = differentiate_distort(flat_x, flat_y, camera.distortion)
        by_point = np.empty((*x.shape, 2, 3))
        for row, (by_x, by_y) in enumerate(
            ((distorted.xx, distorted.xy), (distorted.yx, distorted.yy))
        ):
            by_point[..., row, 0] = by_x / depth
            by_point[..., row, 1] = by_y / depth
            by_point[..., row, 2] = -(by_x * flat_x + by_y * flat_y) / depth
    by_distortion = differentiate_by_coefficients(flat_x, flat_y, camera.distortion)
    return np.stack([distorted.x, distorted.y], axis=-1), by_point, by_distortion


def _differentiate_fisheye(
    camera: Camera, x: Floats, y: Floats, z: Floats
) -> tuple[Floats, Floats, Floats]:
    side = np.hypot(x, y)
    angle = np.arctan2(side, z)
    distance, slope = distort_angle(angle, camera.distortion)
    # On the axis directions are undefined, and distance / side has the limit 1 / z.
    central = side <= 1e-12 * np.abs(z)
    with np.errstate(all="ignore"):
        cosine = np.where(central, 1.0, x / side)
        sine = np.where(central, 0.0, y / side)
        scale = np.where(central, 1 / z, distance / side)
    square = side * side + z * z
    outward, along = slope * z / square, -slope * side / square
    by_point = np.empty((*x.shape, 2, 3))
    by_point[..., 0, 0] = outward * cosine**2 + scale * sine**2
    by_point[..., 0, 1] = by_point[..., 1, 0] = (outward - scale) * cosine * sine
    by_point[..., 1, 1] = outward * sine**2 + scale * cosine**2
    by_point[..., 0, 2], by_point[..., 1, 2] = along * cosine, along * sine
    direction = np.stack([cosine, sine], axis=-1)
    powers = angle[..., None] ** np.array([3, 5, 7, 9])
    flat = np.stack([x * scale, y * scale], axis=-1)
    return flat, by_point, direction[..., :, None] * powers[..., None, :]


def _radial(square: Floats, distortion: Floats) -> tuple[Floats, Floats | None]:
    """Return the polynomials above and below the fraction of radial distortion."""
    k1, k2, _, _, k3, k4, k5, k6 = distortion[:8].tolist()
    top = 1 + square * (k1 + square * (k2 + square * k3))
    if not (k4 or k5 or k6):
        return top, None
    return top, 1 + square * (k4 + square * (k5 + square * k6))
