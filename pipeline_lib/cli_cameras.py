"""Define the options of the verbs about cameras, and build boards from them."""

import re
from pathlib import Path
from typing import Annotated

import typer

from pipeline_lib.core.cameras.boards import DICTIONARIES, KINDS, Board, Kind
from pipeline_lib.core.cameras.calibration import UNITS, Model
from pipeline_lib.core.formats.calibrations import FORMATS
from pipeline_lib.core.formats.foreign_poses import FORMATS as POSES
from pipeline_lib.core.formats.session_exports import FORMATS as EXPORTS

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
RefineFromOption = Annotated[
    Path | None,
    typer.Option(
        help="Refine this calibration by the animals that its cameras saw (`--poses`), instead of "
        "making one from a board.",
    ),
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
    typer.Option(min=1, help="Use every Nth frame of videos; without it, at most 300 frames."),
]
MaxErrorOption = Annotated[
    float,
    typer.Option(min=0, help="Reprojection error in px above which a calibration is refused."),
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


# Options of `triangulate --calibration`.
SessionCalibrationOption = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        help="Triangulate one session with this calibration, of any tool, instead of the sessions "
        "of a config.",
    ),
]
SessionPosesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--poses",
        metavar="CAMERA=PATH",
        help="Poses that a camera of the calibration saw; once for each camera. Formats: "
        + "; ".join(one.about for one in POSES.values())
        + ".",
        show_default=False,
    ),
]
SessionOutputOption = Annotated[
    Path | None, typer.Option("--output", help="Pose file to write, SESSION.zarr.zip.")
]
SessionExportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--export",
        help=f"Format to write beside it, also several times: {', '.join(EXPORTS)}.",
        callback=lambda names: [_check_choice(tuple(EXPORTS), name) for name in names or []],
        show_default=False,
    ),
]
SessionUnitOption = Annotated[
    str | None,
    typer.Option(
        help=f"Unit of a calibration whose file has none: {', '.join(UNITS)}.",
        callback=lambda value: _check_choice(tuple(UNITS), value),
    ),
]
SessionCutoffOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Lowest confidence of a keypoint that is used; without it, 0.3.",
    ),
]
SessionMaxErrorOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Reprojection error in px above which the calibration is refused; without it, 2.",
    ),
]


def read_camera_paths(given: list[str]) -> dict[str, Path]:
    """Return the path of each camera of `--poses`.

    Raises
    ------
    typer.BadParameter
        If one is not CAMERA=PATH, or a camera repeats.
    """
    paths: dict[str, Path] = {}
    for text in given:
        camera, equals, path = text.partition("=")
        if not (camera and equals and path):
            raise typer.BadParameter(f"--poses {text!r}: expected CAMERA=PATH")
        if camera in paths:
            raise typer.BadParameter(f"--poses {text!r}: camera {camera!r} is given twice")
        paths[camera] = Path(path)
    return paths


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
