"""Draw calibration boards as PDF, to be printed at their true size."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline_lib.core.cameras.boards import Board
from pipeline_lib.core.cameras.calibration import UNITS
from pipeline_lib.core.errors import CalibrationError
from pipeline_lib.io.publish import publish_file
from pipeline_lib.kernels.geometry.boards import draw_board

_INCH = 0.0254
_DPI = 600
# Largest side in px, so that a poster does not take gigabytes.
_LARGEST = 12_000
_SMALLEST_SQUARE = 24
_RULER = 0.1  # metres


def write_board(path: Path, board: Board, unit: str) -> None:
    """Draw a board as a PDF page of its true size, with a margin of one square.

    Below it stand what it is and a line of 100 mm, to be measured after printing.

    Parameters
    ----------
    path
        File to write.
    board
        What to draw.
    unit
        Of its squares.

    Raises
    ------
    CalibrationError
        If the board is too large or too small to draw, or the file cannot be written.
    """
    inches = board.square * UNITS[unit] / _INCH
    pixels = _choose_pixels(path, board, inches)
    height, width = (board.rows + 2) * pixels, (board.columns + 2) * pixels
    page = np.full((height, width), 255, dtype=np.uint8)
    page[pixels:-pixels, pixels:-pixels] = draw_board(board, pixels)
    image = Image.fromarray(page)
    # Whole px per square, so that no square is larger than another.
    resolution = pixels / inches
    _write_caption(image, board, unit, resolution)
    try:
        with publish_file(path) as part:
            image.convert("1", dither=Image.Dither.NONE).save(
                part, format="PDF", resolution=resolution, title=board.describe()
            )
    except OSError as error:
        raise CalibrationError(str(path), [f"cannot be written: {error}"]) from None


def _choose_pixels(path: Path, board: Board, inches: float) -> int:
    most = _LARGEST // (max(board.columns, board.rows) + 2)
    # A marker has at most 9 cells each way, and they are to be equal, too.
    pixels = min(round(inches * _DPI), most)
    if pixels < _SMALLEST_SQUARE:
        raise CalibrationError(
            str(path),
            [f"squares of {inches * _INCH * 1000:.3g} mm are too small to be printed as PDF"],
        )
    return pixels


def _write_caption(image: Image.Image, board: Board, unit: str, resolution: float) -> None:
    """Write what the board is, and draw the line to measure, in the lower margin."""
    margin = image.height // (board.rows + 2)
    draw = ImageDraw.Draw(image)
    text = f"{board.describe()}, square {board.square:g} {unit}"
    if board.kind == "charuco":
        text += f", marker {board.marker:g} {unit}, {board.dictionary}"
    font = ImageFont.load_default(max(8, margin // 6))
    draw.text((margin, image.height - margin * 0.45), f"{text}; print at 100 %", 0, font=font)
    length = _RULER / _INCH * resolution
    if length < image.width - 2 * margin:
        y = round(image.height - margin * 0.65)
        thick = max(2, margin // 60)
        draw.line([(margin, y), (margin + length, y)], 0, thick)
        draw.text((margin + length + thick * 4, y - margin / 10), "100 mm", 0, font=font)
