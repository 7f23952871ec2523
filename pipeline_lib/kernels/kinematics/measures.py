"""Measure places, directions, angles and distances of points in each frame."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]


def find_centre(position: Floats) -> tuple[Doubles, Doubles]:
    """Return the mean of the bodyparts that were found.

    Parameters
    ----------
    position
        Shape (time, individual, keypoint, 2).

    Returns
    -------
    centre
        Shape (time, individual, 2); NaN where no bodypart was found.
    found
        Shape (time, individual), share of the bodyparts that were found, 0..1.
    """
    known = np.asarray(~np.isnan(position).any(axis=-1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        centre = np.where(known[..., None], position, np.nan)
        mean = np.asarray(np.nanmean(centre, axis=2, dtype=np.float64))
    return mean, known.mean(axis=2)


def measure_heading(back: Floats, front: Floats) -> Doubles:
    """Return the direction from one point to another.

    Parameters
    ----------
    back, front
        Shape (..., 2).

    Returns
    -------
    Array of shape (...)
        Degrees, -180..180: 0 along x, 90 along y. NaN where a point is, or both are at one place.
    """
    x, y = np.moveaxis(front - back, -1, 0)
    angle = np.degrees(np.arctan2(y, x))
    return np.asarray(np.where((x == 0) & (y == 0), np.nan, angle), np.float64)


def unwrap_degrees(angle: Floats) -> Doubles:
    """Add whole turns so that consecutive known angles never differ by more than half a turn.

    Parameters
    ----------
    angle
        Shape (time, ...), degrees; NaN is a gap, and stays one.
    """
    result = np.asarray(angle, np.float64).copy()
    for place in np.ndindex(result.shape[1:]):
        column = result[(slice(None), *place)]
        known = ~np.isnan(column)
        column[known] = np.unwrap(column[known], period=360.0)
    return result


def measure_distance(first: Floats, second: Floats) -> Doubles:
    """Return the distance between points; NaN where one of them is.

    Parameters
    ----------
    first, second
        Shape (..., 2).
    """
    x, y = np.moveaxis(np.asarray(first - second, np.float64), -1, 0)
    return np.asarray(np.hypot(x, y))


def measure_angle(first: Floats, joint: Floats, second: Floats) -> Doubles:
    """Return the angle at a joint between the directions to two other points.

    Parameters
    ----------
    first, joint, second
        Shape (..., 2) or (..., 3).

    Returns
    -------
    Array of shape (...)
        Degrees, 0..180. NaN where a point is, or where one of the others is at the joint.
    """
    one, other = first - joint, second - joint
    lengths = (
        np.linalg.norm(one, axis=-1, keepdims=True),
        np.linalg.norm(other, axis=-1, keepdims=True),
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = one / lengths[0], other / lengths[1]
    # Exact for small and flat angles, unlike the arc cosine (Kahan).
    half = np.arctan2(np.linalg.norm(one - other, axis=-1), np.linalg.norm(one + other, axis=-1))
    angle: Doubles = np.degrees(2 * half)
    return angle


def find_nearest(centre: Floats) -> tuple[NDArray[np.intp], Doubles]:
    """Find the nearest other individual of each individual.

    Parameters
    ----------
    centre
        Shape (time, individual, 2).

    Returns
    -------
    nearest
        Shape (time, individual): its index; -1 where there is none.
    distance
        Shape (time, individual): NaN where there is none.
    """
    distance = measure_distance(centre[:, :, None], centre[:, None])
    distance[:, np.arange(centre.shape[1]), np.arange(centre.shape[1])] = np.nan
    if not centre.shape[1]:
        return np.zeros(centre.shape[:2], np.intp), np.zeros(centre.shape[:2])
    far = np.where(np.isnan(distance), np.inf, distance)
    nearest = far.argmin(axis=2)
    least = np.take_along_axis(far, nearest[:, :, None], axis=2)[:, :, 0]
    there = np.isfinite(least)
    return np.where(there, nearest, -1), np.where(there, least, np.nan)
