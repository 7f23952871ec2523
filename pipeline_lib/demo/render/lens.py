"""Give the demo's cameras lenses with distortion: render without, then bend the image."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Camera
from pipeline_lib.demo.render.camera import PinholeCamera
from pipeline_lib.kernels.geometry.lenses import find_rays
from pipeline_lib.kernels.geometry.projection import project

# Radial distortion of a wide lens (barrel), and how far the other parameters of lenses scatter.
_K1, _K2 = (-0.28, -0.18), (0.04, 0.10)
_TANGENTIAL = 0.0015
_OFF_CENTRE = 0.02
# Pixels of the view beyond the outermost ray, for interpolation.
_MARGIN = 3


@dataclass(frozen=True, eq=False)
class Lens:
    """Hold a camera with distortion, and the view without distortion that is bent into its image.

    Attributes
    ----------
    camera
        The camera: its matrix, distortion and pose are the truth.
    view
        Pinhole camera at the same place that sees every ray of the image.
    across, down
        Shape (height, width), float32: x and y in the view, in px, of what each pixel of the
        image sees.
    """

    camera: Camera
    view: PinholeCamera
    across: NDArray[np.float32]
    down: NDArray[np.float32]

    def bend(self, light: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the image, shape (height, width, 3), of a view, shape (rows, columns, 3)."""
        bent: NDArray[np.float32] = cv2.remap(light, self.across, self.down, cv2.INTER_CUBIC)
        return bent

    def locate(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where the image shows points in mm, shape (..., 3); shape (..., 2), px."""
        return project(self.camera, points)

    def contains(self, pixels: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which positions, shape (..., 2), lie on the image; shape (...)."""
        inside = (pixels > -0.5) & (pixels < np.array(self.camera.size) - 0.5)
        return np.asarray(inside.all(axis=-1))


def add_lens(rng: np.random.Generator, pinhole: PinholeCamera, name: str) -> Lens:
    """Give a pinhole camera a lens: barrel distortion, and an axis beside the image's centre.

    Parameters
    ----------
    rng
        Random numbers.
    pinhole
        Where the camera stands, its focal length and the size of its image.
    name
        Name of the camera.
    """
    size = (pinhole.width, pinhole.height)
    matrix = pinhole.matrix.copy()
    # Pixels are nearly square, and no sensor is glued exactly behind its lens.
    matrix[1, 1] *= 1 + 0.002 * rng.uniform(-1, 1)
    matrix[:2, 2] += _OFF_CENTRE * np.array(size) * rng.uniform(-1, 1, 2)
    k1, k2 = rng.uniform(*_K1), rng.uniform(*_K2)
    p1, p2 = rng.uniform(-_TANGENTIAL, _TANGENTIAL, 2)
    camera = Camera(
        name, size, matrix, np.array([k1, k2, p1, p2]), "pinhole",
        pinhole.rotation, pinhole.translation,
    )  # fmt: skip
    return make_lens(camera)


def make_lens(camera: Camera) -> Lens:
    """Return the lens of a camera of any model whose rays all point forwards.

    Raises
    ------
    ValueError
        If a pixel of the image sees no such ray.
    """
    width, height = camera.size
    columns, rows = np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float))
    x, y, z = find_rays(camera, columns, rows)
    if not (z > 0).all() or np.isnan(x).any():
        raise ValueError(f"camera {camera.name}: a pixel of its image sees nothing in front of it")
    focal = float(camera.matrix[0, 0])
    across, down = focal * x / z, focal * y / z
    left, top = np.floor(across.min()) - _MARGIN, np.floor(down.min()) - _MARGIN
    across, down = across - left, down - top
    matrix = np.array([[focal, 0.0, -left], [0.0, focal, -top], [0.0, 0.0, 1.0]])
    view = PinholeCamera(
        matrix,
        camera.rotation,
        camera.translation,
        int(np.ceil(across.max())) + _MARGIN + 1,
        int(np.ceil(down.max())) + _MARGIN + 1,
    )
    return Lens(camera, view, across.astype(np.float32), down.astype(np.float32))
