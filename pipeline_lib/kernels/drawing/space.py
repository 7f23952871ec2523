"""Draw poses in space on a picture, as if seen from beside a camera."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Image = NDArray[np.uint8]

# How far the view is turned from the camera's, about the animals: to the side, and up.
_ASIDE, _ABOVE = np.radians(35.0), np.radians(20.0)
# Share of the picture that the animals' places fill.
_FILLED = 0.75
_OUTER = 1.0
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PALE = (200, 200, 200)


@dataclass(frozen=True)
class SpaceView:
    """Hold a parallel projection.

    Attributes
    ----------
    centre
        Point that is shown in the middle, shape (3,).
    axes
        To the right, down and away from who looks, shape (3, 3), a row each, of length 1.
    scale
        Pixels per unit of length.
    size
        Width and height of the picture, px.
    """

    centre: Floats
    axes: Floats
    scale: float
    size: tuple[int, int]

    def project(self, points: Floats) -> Floats:
        """Return the places of points of shape (..., 3) in the picture, shape (..., 2), px."""
        seen = (points - self.centre) @ self.axes[:2].T
        return np.asarray(seen * self.scale + np.array(self.size) / 2)


def choose_view(points: Floats, rotation: Floats, size: tuple[int, int]) -> SpaceView:
    """Return a view in which the points fill most of the picture.

    Parameters
    ----------
    points
        Shape (..., 3); NaN is left out, and so is the outermost percent.
    rotation
        Of a camera, shape (3, 3): from the points' axes to right, down and forward. The view is
        that camera's, turned aside and raised.
    size
        Width and height of the picture, px.
    """
    flat = np.asarray(points, np.float64).reshape(-1, 3)
    flat = flat[np.isfinite(flat).all(axis=1)]
    if not len(flat):
        flat = np.zeros((1, 3))
    low, high = np.percentile(flat, (_OUTER, 100 - _OUTER), axis=0)
    centre = (low + high) / 2
    axes = _tilt(_ABOVE) @ _turn(_ASIDE) @ np.asarray(rotation, np.float64)
    inside = flat[((flat >= low) & (flat <= high)).all(axis=1)]
    spread = np.abs(((inside if len(inside) else flat) - centre) @ axes[:2].T)
    half = spread.max(axis=0)
    room = _FILLED * np.array(size) / 2
    fits = [float(room[axis] / half[axis]) for axis in range(2) if half[axis] > 0]
    return SpaceView(centre, axes, min(fits, default=1.0), size)


def draw_scale(image: Image, view: SpaceView, unit: str) -> None:
    """Draw the axes of the points, and a bar of a round length with its unit."""
    height = image.shape[0]
    origin = np.array([34.0, height - 40.0])
    for name, axis in zip("xyz", view.axes[:2].T, strict=True):
        end = origin + 24 * axis
        cv2.line(image, _round(origin), _round(end), _PALE, 1, cv2.LINE_AA)
        cv2.putText(image, name, _round(end + 2), _FONT, 0.4, _PALE, 1, cv2.LINE_AA)
    length = choose_length(view.size[0] / 4 / view.scale)
    start = np.array([70.0, height - 12.0])
    stop = start + np.array([length * view.scale, 0.0])
    cv2.line(image, _round(start), _round(stop), _PALE, 2, cv2.LINE_AA)
    text = f"{length:g} {unit}".rstrip()
    cv2.putText(image, text, _round(start - [0, 6]), _FONT, 0.4, _PALE, 1, cv2.LINE_AA)


def choose_length(most: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20 ... (and 0.5, 0.2 ...) that is not above a length."""
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(step for step in (1, 2, 5) if step * power <= most * (1 + 1e-9)) * power)


def _turn(angle: float) -> Floats:
    """Return a turn about the vertical of the picture."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def _tilt(angle: float) -> Floats:
    """Return a turn about the horizontal of the picture."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])


def _round(point: Floats) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
