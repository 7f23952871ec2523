"""Align a session with the floor and with a known distance."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Camera

Floats = NDArray[np.float64]

_FEWEST = 3
_ROUNDS, _PROPOSALS = 30, 200
# Least extent across the longest direction, as a share of it: less is a line.
_LINE = 0.02


class Alignment(NamedTuple):
    """Hold a similarity: a point X becomes ``factor * rotation @ (X - origin)``."""

    rotation: Floats
    origin: Floats
    factor: float

    def move_points(self, points: Floats) -> Floats:
        """Return points of shape (..., 3) in the new axes."""
        moved: Floats = self.factor * ((points - self.origin) @ self.rotation.T)
        return moved

    def move_camera(self, camera: Camera) -> Camera:
        """Return the camera in the new axes; it sees a moved point in the same pixel as before."""
        rotation = camera.rotation @ self.rotation.T
        centre = self.move_points(camera.centre)
        return replace(camera, rotation=rotation, translation=-rotation @ centre)


def find_floor(points: Floats, cameras: Sequence[Camera]) -> Alignment | None:
    """Fit the floor: the plane z = 0 of new axes.

    z points to the side of the cameras, the origin is the middle of the points, and x is as near as
    possible to the former x.

    Parameters
    ----------
    points
        Shape (point, 3); some may be wrong.
    cameras
        Of the session.

    Returns
    -------
    Alignment or None
        None if there are fewer than three points, or all lie on a line.
    """
    known = points[np.isfinite(points).all(axis=-1)]
    if len(known) < _FEWEST:
        return None
    weights = _weigh(_propose_distances(known), known)
    for _ in range(_ROUNDS):
        middle = (weights[:, None] * known).sum(axis=0) / weights.sum()
        _, sizes, axes = np.linalg.svd(
            np.sqrt(weights)[:, None] * (known - middle), full_matrices=False
        )
        if sizes[1] <= _LINE * sizes[0]:
            return None
        normal = axes[2]
        weights = _weigh(np.abs((known - middle) @ normal), known)
    up = np.mean([camera.centre for camera in cameras], axis=0) - middle
    normal = normal if normal @ up >= 0 else -normal
    forward = np.array([1.0, 0, 0]) if abs(normal[0]) < 0.9 else np.array([0, 1.0, 0])
    aside = forward - (forward @ normal) * normal
    aside /= np.linalg.norm(aside)
    return Alignment(np.stack([aside, np.cross(normal, aside), normal]), middle, 1.0)


def _propose_distances(points: Floats) -> Floats:
    """Return the distances from the best of many planes, each through three of the points."""
    stream = np.random.default_rng(0)
    best = np.zeros(len(points))
    least = np.inf
    for _ in range(_PROPOSALS):
        first, second, third = points[stream.choice(len(points), 3, replace=False)]
        normal = np.cross(second - first, third - first)
        length = np.linalg.norm(normal)
        if length > 0:
            distance = np.abs((points - first) @ (normal / length))
            if distance.sum() < least:
                best, least = distance, float(distance.sum())
    return best


def _weigh(distance: Floats, points: Floats) -> Floats:
    """Return weights that make least squares minimise absolute distances, which tolerates outliers.

    The weight is limited near the plane.
    """
    extent = float(np.abs(points - points.mean(axis=0)).max())
    least = max(1e-9 * extent, 0.1 * float(np.median(distance)), 1e-300)
    weights: Floats = least / np.maximum(distance, least)
    return weights


def find_factor(first: Floats, second: Floats, distance: float) -> float | None:
    """Return the factor that makes the median distance of two points the known one.

    Parameters
    ----------
    first, second
        Shape (..., 3): two points of one individual at the same moments.
    distance
        The known distance.

    Returns
    -------
    float or None
        None if the two points are never found at the same moment.
    """
    found = np.linalg.norm(first - second, axis=-1)
    found = found[np.isfinite(found)]
    middle = float(np.median(found)) if len(found) else 0.0
    return distance / middle if middle > 0 else None
