"""Check a calibration against lengths that it was not fitted to: triangulated sides of squares."""

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.boards import Board
from pipeline_lib.core.process import count_cores
from pipeline_lib.kernels.geometry.adjustment import Bundle
from pipeline_lib.kernels.geometry.triangulation import MOST_CHOSEN, find_gate, triangulate


def measure_sides(bundle: Bundle, board: Board) -> float:
    """Measure how far sides of squares are from their true length, when corners are triangulated.

    Each corner is triangulated from the cameras that saw it at the same moment, without knowing
    that it lies on a board.

    Parameters
    ----------
    bundle
        Adjusted cameras and what they saw.
    board
        Whose corners were seen.

    Returns
    -------
    float
        Median of the difference as a share of the side; NaN if no two cameras saw a side.
    """
    columns, rows = board.corners
    pixels = np.full((len(bundle.poses), len(bundle.cameras), rows, columns, 2), np.nan)
    for view in bundle.views:
        column, row = np.round(view.points[:, :2] / board.square).astype(int).T - 1
        pixels[view.frame, view.camera, row, column] = view.pixels
    weights, threads = np.ones(pixels.shape[:-1]), count_cores()
    gate = None
    if len(bundle.cameras) <= MOST_CHOSEN:
        gate = find_gate(bundle.cameras, pixels, weights, threads=threads)
    found = triangulate(
        bundle.cameras, pixels, weights, gate=gate, noise=1.0, threads=threads
    ).points
    sides = np.concatenate([_find_lengths(found, axis) for axis in (1, 2)])
    sides = sides[np.isfinite(sides)]
    return float(np.median(np.abs(sides / board.square - 1))) if sides.size else np.nan


def _find_lengths(points: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.linalg.norm(np.diff(points, axis=axis), axis=-1).ravel()
    return lengths
