"""Find the corners of calibration boards in images, always in the same order; draw boards."""

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.boards import Board

Gray = NDArray[np.uint8]
Floats = NDArray[np.float64]

# Larger images are searched at this size; corners are then refined in the full image.
_LONGEST = 1280
_FEWEST = 6
_REFINE = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 60, 1e-4)


class Corners(NamedTuple):
    """Hold corners that were found: `numbers` (corner,), row by row, and `pixels` (corner, 2)."""

    numbers: NDArray[np.intp]
    pixels: Floats


def list_corners(board: Board) -> Floats:
    """Return the corners on the board, row by row; shape (corner, 3), in its unit, z = 0."""
    columns, rows = board.corners
    x, y = np.meshgrid(np.arange(1, columns + 1), np.arange(1, rows + 1))
    flat = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
    points: Floats = flat.astype(np.float64) * board.square
    return points


def find_corners(image: Gray, board: Board) -> Corners | None:
    """Find a board in an image.

    Corners of a chessboard are ordered by rows and columns as seen from the front, starting at a
    dark square. For a board with an odd number of squares in one direction and an even number in
    the other, this order is unique however the board is turned.

    Parameters
    ----------
    image
        Shape (height, width), gray.
    board
        What to look for.

    Returns
    -------
    Corners or None
        None: not found. A chessboard is found completely or not at all; a ChArUco board is found
        if six corners or more that are not in one row are seen.
    """
    if board.kind == "charuco":
        return _find_charuco(image, board)
    found = _find_chessboard(image, board.corners)
    if found is None:
        return None
    grid = _orient(image, found.reshape(board.rows - 1, board.columns - 1, 2))
    return Corners(np.arange(grid.shape[0] * grid.shape[1]), grid.reshape(-1, 2))


def _find_chessboard(image: Gray, corners: tuple[int, int]) -> Floats | None:
    scale = min(1.0, _LONGEST / max(image.shape))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    flags = cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_FAST_CHECK
    good, pixels = cv2.findChessboardCorners(small if scale < 1 else image, corners, flags=flags)
    if not good:
        return None
    found = (pixels.reshape(-1, 2).astype(np.float64) + 0.5) / scale - 0.5
    return _refine(image, found, corners)


def _refine(image: Gray, pixels: Floats, corners: tuple[int, int]) -> Floats:
    """Refine each corner in a window that holds no other corner."""
    grid = pixels.reshape(corners[1], corners[0], 2)
    steps = np.concatenate(
        [np.linalg.norm(np.diff(grid, axis=axis), axis=-1).ravel() for axis in (0, 1)]
    )
    half = int(np.clip(np.percentile(steps, 5) * 0.4, 2, 11))
    start = np.ascontiguousarray(pixels, dtype=np.float32).reshape(-1, 1, 2)
    refined = cv2.cornerSubPix(image, start, (half, half), (-1, -1), _REFINE)
    moved: Floats = refined.reshape(-1, 2).astype(np.float64)
    return moved


def _orient(image: Gray, grid: Floats) -> Floats:
    """Return a grid of corners in the one order that shows the board's front, dark square first."""
    along = (grid[:, 1:] - grid[:, :-1]).mean(axis=(0, 1))
    down = (grid[1:] - grid[:-1]).mean(axis=(0, 1))
    if along[0] * down[1] - along[1] * down[0] < 0:
        grid = grid[:, ::-1]
    if not _is_first_dark(image, grid):
        turned = grid[::-1, ::-1]
        # Turning a symmetric board changes nothing.
        return turned if _is_first_dark(image, turned) else grid
    return grid


def _is_first_dark(image: Gray, grid: Floats) -> bool:
    middle = (grid[1:, 1:] + grid[:-1, 1:] + grid[1:, :-1] + grid[:-1, :-1]) / 4
    column, row = np.round(middle).astype(int).reshape(-1, 2).T
    height, width = image.shape
    light = image[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    even = (np.add.outer(np.arange(middle.shape[0]), np.arange(middle.shape[1])) % 2 == 0).ravel()
    return bool(light[even].mean() < light[~even].mean())


def _find_charuco(image: Gray, board: Board) -> Corners | None:
    best: Corners | None = None
    # Boards of OpenCV before 4.6 with an even number of rows start with a light square.
    for is_legacy in (False, True) if board.rows % 2 == 0 else (False,):
        detector = cv2.aruco.CharucoDetector(_make_charuco(board, is_legacy=is_legacy))
        pixels, numbers, _, _ = detector.detectBoard(image)
        if numbers is None or len(numbers) < _FEWEST:
            continue
        found = Corners(
            np.asarray(numbers).ravel().astype(np.intp),
            np.asarray(pixels, dtype=np.float64).reshape(-1, 2),
        )
        if best is None or len(found.numbers) > len(best.numbers):
            best = found
    if best is None:
        return None
    rows, columns = np.divmod(best.numbers, board.columns - 1)
    return best if min(len(set(rows)), len(set(columns))) > 1 else None


def _make_charuco(board: Board, *, is_legacy: bool = False) -> "cv2.aruco.CharucoBoard":
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_{board.dictionary}"))
    made = cv2.aruco.CharucoBoard(
        (board.columns, board.rows), float(board.square), float(board.marker), dictionary
    )
    made.setLegacyPattern(is_legacy)
    return made


def draw_board(board: Board, pixels: int) -> Gray:
    """Draw a board without margin.

    Parameters
    ----------
    board
        What to draw.
    pixels
        Side of a square in px.

    Returns
    -------
    NDArray[np.uint8]
        Shape (rows * pixels, columns * pixels): 0 and 255.
    """
    if board.kind == "charuco":
        size = (board.columns * pixels, board.rows * pixels)
        drawn: Gray = _make_charuco(board).generateImage(size, marginSize=0, borderBits=1)
        return drawn
    light = np.add.outer(np.arange(board.rows), np.arange(board.columns)) % 2
    tile = np.ones((pixels, pixels), dtype=np.uint8)
    return np.kron(light.astype(np.uint8) * 255, tile)


def guess_squares(image: Gray, board: Board) -> tuple[int, int] | None:
    """Return the squares of the board that an image shows, if they are nearly those given.

    The chessboards tried have one square more or fewer, or as many corners as squares were given;
    rows and columns may be exchanged. The ChArUco boards tried have rows and columns exchanged, or
    up to two columns more or fewer, because the numbers of their markers follow from the columns.
    """
    columns, rows = board.columns, board.rows
    if board.kind == "charuco":
        return _guess_charuco(image, board)
    tried = [(columns + 1, rows + 1), (columns - 1, rows - 1)]
    tried += [(columns + 1, rows), (columns - 1, rows), (columns, rows + 1), (columns, rows - 1)]
    for one in tried:
        if min(one) > 3 and _find_chessboard(image, (one[0] - 1, one[1] - 1)) is not None:
            return one
    return None


def _guess_charuco(image: Gray, board: Board) -> tuple[int, int] | None:
    """Return the squares of the board of which most corners are found; None if there is none."""
    columns, rows = board.columns, board.rows
    tried = [(rows, columns), *((columns + more, rows) for more in (1, -1, 2, -2))]
    best, most = None, 0
    for one in tried:
        try:
            found = find_corners(image, replace(board, columns=one[0], rows=one[1]))
        except ValueError:
            # No board: too few squares, or too few markers in the dictionary.
            continue
        if found is not None and len(found.numbers) > most:
            best, most = one, len(found.numbers)
    return best


def is_mirrored(image: Gray, board: Board) -> bool:
    """Tell whether a ChArUco board is found only when an image is mirrored."""
    if board.kind != "charuco":
        return False
    flipped = np.ascontiguousarray(image[:, ::-1])
    return find_corners(image, board) is None and find_corners(flipped, board) is not None
