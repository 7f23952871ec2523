"""Define the options of the verbs about cameras, and build boards from them."""

import re
from pathlib import Path
from typing import Annotated

import typer

from pipeline_lib.core.boards import DICTIONARIES, KINDS, Board, Kind
from pipeline_lib.core.cameras import UNITS, Model
from pipeline_lib.core.formats.calibrations import FORMATS

# Default side of a marker, as a share of the side of a square.
_MARKER_SHARE = 0.75
_DEFAULT_SQUARES = "10x7"
_DEFAULT_SIDE = 25.0


def _check_choice(names: "tuple[str, ...]", value: str | None) -> str | None:
    if value is not None and value not in names:
        raise typer.BadParameter(f"{value!r}: expected one of {', '.join(names)}")
    return value


CalibrationsOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Config file of a run: make the calibrations of its sessions, with its settings.",
    ),
]
SourcesArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Images, folders or videos of the board; with --check, videos or images whose size is "
        "compared.",
        show_default=False,
    ),
]
CheckOption = Annotated[
    Path | None, typer.Option(help="Judge this calibration instead of making one.")
]
BoardOption = Annotated[Kind, typer.Option("--board", help="Kind of board.")]
SquaresOption = Annotated[
    str | None,
    typer.Option(
        help=f"Squares (not corners) of the board each way; without it, {_DEFAULT_SQUARES}."
    ),
]
SquareSizeOption = Annotated[
    float | None,
    typer.Option(help=f"Side of a square as measured; without it, {_DEFAULT_SIDE:g}."),
]
MarkerSizeOption = Annotated[
    float | None,
    typer.Option(
        help="Side of a marker of a ChArUco board; without it, three quarters of a square."
    ),
]
DictionaryOption = Annotated[
    str,
    typer.Option(
        help="Markers of a ChArUco board: bits and number, as OpenCV's DICT_4X4_250.",
        callback=lambda value: _check_choice(DICTIONARIES, value),
    ),
]
UnitOption = Annotated[
    str | None,
    typer.Option(
        help=f"Unit of lengths: {', '.join(UNITS)}; of a board without it, mm.",
        callback=lambda value: _check_choice(tuple(UNITS), value),
    ),
]
LensOption = Annotated[Model, typer.Option(help="Model of the lenses.")]
CoefficientsOption = Annotated[
    int,
    typer.Option(
        min=0,
        max=12,
        help="Coefficients of distortion to estimate, in OpenCV's order; a fisheye has at most 4.",
    ),
]
EveryOption = Annotated[
    int | None,
    typer.Option(min=1, help="Look at every Nth frame of videos; without it, at most 300 frames."),
]
MaxErrorOption = Annotated[
    float, typer.Option(min=0, help="Reprojection error in px that refuses a calibration.")
]
CalibrationOutputOption = Annotated[
    Path | None, typer.Option(help="File to write; without it, calibration.toml.")
]
CalibrationFormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        help=f"Format to write: {', '.join(FORMATS)}.",
        callback=lambda value: _check_choice(tuple(FORMATS), value),
    ),
]


def make_board(
    kind: Kind, squares: str | None, side: float | None, marker: float | None, dictionary: str
) -> Board:
    """Return the board that options describe.

    Raises
    ------
    typer.BadParameter
        If they describe none.
    """
    found = re.fullmatch(r"\s*(\d{1,3})\s*[xX,]\s*(\d{1,3})\s*", squares or _DEFAULT_SQUARES)
    if found is None:
        raise typer.BadParameter(f"{squares!r}: expected {_DEFAULT_SQUARES} or the like")
    if kind not in KINDS:
        raise typer.BadParameter(f"{kind!r}: expected one of {', '.join(KINDS)}")
    square = _DEFAULT_SIDE if side is None else side
    markers = square * _MARKER_SHARE if marker is None else marker
    try:
        return Board(
            kind,
            int(found[1]),
            int(found[2]),
            square,
            markers if kind == "charuco" else 0.0,
            dictionary,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
