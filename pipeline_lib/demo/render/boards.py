"""Render images of a calibration board as a camera with a lens sees it."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.boards import Board
from pipeline_lib.demo.render.draw import Sensor, develop_frame
from pipeline_lib.demo.render.lens import Lens
from pipeline_lib.kernels.geometry.boards import draw_board
from pipeline_lib.kernels.geometry.lenses import find_rays

# Rays per pixel along each axis.
_SUPERSAMPLING = 3
# Side of a square in the drawing of the board, in px.
_SQUARE = 48
# Paper around the squares, in px of the drawing.
_MARGIN = _SQUARE // 2
# Points along each side of a board at which its place in the image is computed.
_EDGE_POINTS = 9
# Print on paper is neither black nor white.
_BLACK, _WHITE = 0.07, 0.86
_BACK = (0.55, 0.47, 0.36)


class BoardPose(NamedTuple):
    """Hold where a board is held.

    Attributes
    ----------
    rotation
        Shape (3, 3): columns are the board's x axis (along its columns), y axis (along its rows)
        and their cross product, which points away from its printed side, in world axes.
    origin
        Shape (3,): corner of its first square in the world, mm.
    """

    rotation: NDArray[np.float64]
    origin: NDArray[np.float64]

    def place(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points of the board, shape (..., 3), in the world."""
        placed: NDArray[np.float64] = points @ self.rotation.T + self.origin
        return placed


class BoardPainter:
    """Draw a board into the images of one camera.

    Parameters
    ----------
    lens
        The camera.
    board
        The board; around its squares there is a margin of half a square.
    backdrop
        Shape (height, width, 3), float32, RGB: what the camera sees without a board.
    """

    def __init__(self, lens: Lens, board: Board, backdrop: NDArray[np.float32]) -> None:
        self._lens, self._board, self._backdrop = lens, board, backdrop
        width, height = lens.camera.size
        steps = (np.arange(_SUPERSAMPLING) + 0.5) / _SUPERSAMPLING - 0.5
        columns, rows = np.meshgrid(
            (np.arange(width)[:, None] + steps).ravel(),
            (np.arange(height)[:, None] + steps).ravel(),
        )
        rays = np.stack(find_rays(lens.camera, columns, rows), axis=-1)
        self._rays: NDArray[np.float64] = rays @ lens.camera.rotation
        drawn = np.pad(draw_board(board, _SQUARE), _MARGIN, constant_values=255)
        self._print = (_BLACK + (_WHITE - _BLACK) / 255 * drawn).astype(np.float32)

    def paint(
        self, pose: BoardPose, shade: float, sensor: Sensor, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Return an image of the board.

        Parameters
        ----------
        pose
            Where it is held.
        shade
            Brightness of the light on it; 1 leaves it as printed.
        sensor, rng
            Blur and noise of the camera, and random numbers for the noise.

        Returns
        -------
        NDArray[np.uint8]
            Shape (height, width, 3), RGB.
        """
        light = self._backdrop.copy()
        rows, columns = self._find_window(pose)
        if rows.start < rows.stop and columns.start < columns.stop:
            paper, covered = self._draw(pose, rows, columns)
            light[rows, columns] *= 1 - covered
            light[rows, columns] += np.float32(shade) * paper
        return develop_frame(light, np.ones(light.shape[:2], np.float32), sensor, rng)

    def _find_window(self, pose: BoardPose) -> tuple[slice, slice]:
        """Return the rows and columns of the image that a board may cover."""
        board, width = self._board, _MARGIN / _SQUARE
        x = board.square * np.linspace(-width, board.columns + width, _EDGE_POINTS)
        y = board.square * np.linspace(-width, board.rows + width, _EDGE_POINTS)
        grid = np.stack([*np.meshgrid(x, y), np.zeros((_EDGE_POINTS, _EDGE_POINTS))], axis=-1)
        pixels = self._lens.locate(pose.place(grid))
        size = np.array(self._lens.camera.size)
        if np.isnan(pixels).any():
            # A part of it is beside the camera, or behind it.
            return slice(0, int(size[1])), slice(0, int(size[0]))
        least = np.clip(np.floor(pixels.min(axis=(0, 1))) - 2, 0, size).astype(int).tolist()
        most = np.clip(np.ceil(pixels.max(axis=(0, 1))) + 3, 0, size).astype(int).tolist()
        return slice(least[1], most[1]), slice(least[0], most[0])

    def _draw(
        self, pose: BoardPose, rows: slice, columns: slice
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the light from the board, and the share of each pixel that it covers."""
        fine = [
            slice(one.start * _SUPERSAMPLING, one.stop * _SUPERSAMPLING) for one in (rows, columns)
        ]
        rays = self._rays[fine[0], fine[1]]
        towards = self._lens.camera.centre - pose.origin
        along, down, normal = (rays @ pose.rotation).transpose(2, 0, 1)
        start = towards @ pose.rotation
        with np.errstate(all="ignore"):
            distance = -start[2] / normal
            distance[~(distance > 0)] = np.nan
            scale = _SQUARE / self._board.square
            # (0, 0) is the centre of the drawing's first pixel, the board's origin its corner.
            x = (start[0] + distance * along) * scale + (_MARGIN - 0.5)
            y = (start[1] + distance * down) * scale + (_MARGIN - 0.5)
            height, width = self._print.shape
            inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
        covered = inside.astype(np.float32)
        if start[2] < 0:
            x, y = (np.where(inside, one, 0.0).astype(np.float32) for one in (x, y))
            drawn = cv2.remap(self._print, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            colour = np.ones(3, np.float32)
        else:
            drawn, colour = covered, np.array(_BACK, np.float32)
        share = _average(covered)[..., None]
        return _average(drawn * covered)[..., None] * colour, share


def _average(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average the rays of each pixel; shape (height, width)."""
    rows, columns = samples.shape[0] // _SUPERSAMPLING, samples.shape[1] // _SUPERSAMPLING
    mean: NDArray[np.float32] = cv2.resize(samples, (columns, rows), interpolation=cv2.INTER_AREA)
    return mean
