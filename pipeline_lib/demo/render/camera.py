"""Project points of the demo scenes with pinhole cameras."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class PinholeCamera:
    """Describe a camera without distortion, in OpenCV's axes: x right, y down, z forward.

    Attributes
    ----------
    matrix
        Shape (3, 3), float64, intrinsic matrix in px; (0, 0) is the centre of the top-left pixel.
    rotation
        Shape (3, 3), float64, from world to camera axes.
    translation
        Shape (3,), float64, mm: ``camera = rotation @ world + translation``.
    width, height
        Image size in px.
    """

    matrix: NDArray[np.float64]
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]
    width: int
    height: int

    @property
    def focal(self) -> float:
        """Return the focal length in px, equal for both axes."""
        return float(self.matrix[0, 0])

    @property
    def position(self) -> NDArray[np.float64]:
        """Return the optical centre in world coordinates, shape (3,), mm."""
        centre: NDArray[np.float64] = -self.rotation.T @ self.translation
        return centre

    def project(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Project world points onto the image.

        Parameters
        ----------
        points
            Shape (..., 3), mm.

        Returns
        -------
        pixels
            Shape (..., 2), float64, x and y in px; points may lie outside the image.
        depth
            Shape (...), float64, mm along the optical axis; negative behind the camera.
        """
        local = self.turn(points) + self.translation
        depth = local[..., 2]
        centre = self.matrix[:2, 2]
        pixels = self.focal * local[..., :2] / depth[..., None] + centre
        return pixels, depth

    def turn(self, vectors: ArrayLike) -> NDArray[np.float64]:
        """Rotate world directions, shape (..., 3), into camera axes."""
        turned: NDArray[np.float64] = np.asarray(vectors, np.float64) @ self.rotation.T
        return turned

    def cast_rays(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Return the world direction per mm of depth through image points.

        ``position + depth * direction`` is the point that projects to (x, y) at that depth.

        Parameters
        ----------
        x, y
            Shape (...), px.

        Returns
        -------
        ndarray
            Shape (..., 3), float64.
        """
        x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
        local = np.stack(
            [
                (x - self.matrix[0, 2]) / self.focal,
                (y - self.matrix[1, 2]) / self.focal,
                np.ones_like(x),
            ],
            axis=-1,
        )
        rays: NDArray[np.float64] = local @ self.rotation
        return rays


def aim_camera(
    position: ArrayLike,
    target: ArrayLike,
    contents: ArrayLike,
    size: tuple[int, int],
    roll: float = 0.0,
) -> PinholeCamera:
    """Place and aim a camera, and choose the focal length so that the contents fill the image.

    Parameters
    ----------
    position, target
        Shape (3,), mm: position of the camera, and a point on its optical axis.
    contents
        Shape (points, 3), mm: points that must be inside the image.
    size
        Width and height in px.
    roll
        Rotation about the optical axis in radians.

    Returns
    -------
    PinholeCamera
        Camera with its principal point in the middle of the image.
    """
    position = np.asarray(position, np.float64)
    forward = np.asarray(target, np.float64) - position
    forward /= np.linalg.norm(forward)
    # A camera that looks straight down has no horizon: the world's y points up in its image.
    up = (0.0, 1.0, 0.0) if abs(forward[2]) > 0.9 else (0.0, 0.0, 1.0)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    cos, sin = np.cos(roll), np.sin(roll)
    rotation = np.stack([cos * right + sin * down, cos * down - sin * right, forward])
    translation = -rotation @ position

    local = np.asarray(contents, np.float64) @ rotation.T + translation
    reach = np.abs(local[:, :2] / local[:, 2:]).max(axis=0)
    width, height = size
    focal = float(min((width / 2 - 1) / reach[0], (height / 2 - 1) / reach[1]))
    matrix = np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0, 0, 1.0]])
    return PinholeCamera(matrix, rotation, translation, width, height)
