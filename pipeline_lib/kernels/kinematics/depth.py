"""Measure how deep points lie inside of a polygon."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.kinematics.regions import INSIDE, find_inside

Floats = NDArray[np.floating[Any]]


def measure_depth(points: Floats, corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of points from the outline of a polygon, positive inside.

    Parameters
    ----------
    points
        Shape (..., 2), px; NaN: unknown.
    corners
        Shape (corner, 2), px, 3 or more.

    Returns
    -------
    ndarray
        Shape (...), px: above 0 inside, below 0 outside, 0 on the outline; NaN where unknown.
    """
    points = np.asarray(points, np.float64)
    along = np.roll(corners, -1, axis=0) - corners
    length = (along**2).sum(axis=-1)
    offset = points[..., None, :] - corners
    share = (offset * along).sum(axis=-1) / np.where(length > 0, length, 1.0)
    nearest = corners + np.clip(share, 0.0, 1.0)[..., None] * along
    distance = np.sqrt(((points[..., None, :] - nearest) ** 2).sum(axis=-1)).min(axis=-1)
    inside = find_inside(points, [corners]) == INSIDE
    return np.asarray(np.where(inside, distance, -distance))
