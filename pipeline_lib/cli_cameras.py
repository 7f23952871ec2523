"""Define the verbs about cameras and sessions, and their options."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pipeline_lib.cli_options import (
    DEFAULT_CONFIG,
    ConfigOption,
    CoresOption,
    FpsOption,
    ShardOption,
)
from pipeline_lib.cli_output import echo, echo_text
from pipeline_lib.cli_running import keep_cores, report_errors, run, run_shards
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


def triangulate(  # noqa: PLR0913 - one for each option
    config: ConfigOption = DEFAULT_CONFIG,
    shard: ShardOption = None,
    cores: CoresOption = None,
    *,
    calibration: SessionCalibrationOption = None,
    poses: SessionPosesOption = None,
    output: SessionOutputOption = None,
    export: SessionExportOption = None,
    fps: FpsOption = None,
    unit: SessionUnitOption = None,
    pcutoff: SessionCutoffOption = None,
    max_error: SessionMaxErrorOption = None,
) -> None:
    """Make poses in space of every session: videos of several cameras (`triangulation`).

    `--calibration`, `--poses` and `--output` triangulate one session whose poses another tool
    found, without a config.
    """
    keep_cores(cores)
    given = (calibration, output, fps, unit, pcutoff, max_error)
    if not poses and not export and all(value is None for value in given):
        run_shards(config, shard, "triangulate")
        return
    if calibration is None or output is None or not poses or shard is not None:
        raise typer.BadParameter("expected --calibration, --poses and --output, and no --shard")
    paths = read_camera_paths(poses)
    from pipeline_lib.core.settings.cameras import TriangulationSettings
    from pipeline_lib.steps.triangulate.existing import ExistingRequest, triangulate_existing

    with report_errors():
        chosen = {} if pcutoff is None else {"pcutoff": pcutoff}
        settings = TriangulationSettings(**chosen)
        request = ExistingRequest(calibration, paths, output, export or (), fps, unit, settings)
        if max_error is not None:
            request = replace(request, max_error=max_error)
        for line in triangulate_existing(request):
            echo(line)


def correct_views(
    config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None, cores: CoresOption = None
) -> None:
    """Fill and correct poses of videos by the other views (`triangulation.corrected_views`)."""
    keep_cores(cores)
    run_shards(config, shard, "correct-views")


def export_sessions(
    config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None, cores: CoresOption = None
) -> None:
    """Write poses in space for other tools: CSV, TRC, C3D, NWB … (`triangulation.exports`)."""
    keep_cores(cores)
    run_shards(config, shard, "export-sessions")


def render_sessions(
    config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None, cores: CoresOption = None
) -> None:
    """Draw the views of every session beside its poses in space (`rendering.sessions`)."""
    keep_cores(cores)
    run_shards(config, shard, "render-sessions")


def calibrate(  # noqa: PLR0913 - one option per setting
    sources: SourcesArgument = None,
    *,
    check: CheckOption = None,
    board: BoardOption = "chessboard",
    squares: SquaresOption = None,
    square_size: SquareSizeOption = None,
    marker_size: MarkerSizeOption = None,
    dictionary: DictionaryOption = "4X4_250",
    unit: UnitOption = None,
    lens: LensOption = "pinhole",
    coefficients: CoefficientsOption = 5,
    every: EveryOption = None,
    max_error: MaxErrorOption = 2.0,
    output: CalibrationOutputOption = None,
    style: CalibrationFormatOption = "aniposelib",
    config: CalibrationsOption = None,
    refine_from: RefineFromOption = None,
    poses: SessionPosesOption = None,
    pcutoff: SessionCutoffOption = None,
    cores: CoresOption = None,
) -> None:
    """Calibrate cameras from images or videos of a board; refuse bad calibrations.

    Folders of images and videos are one camera each. Other images are named by camera and moment:
    left03.jpg and right03.jpg. With `--check`, a calibration of any tool is judged instead, against
    the size of the videos that are named, and written in another format if there is an `--output`.
    With `--config`, every calibration that sessions of a cohort name is read or made. With
    `--refine-from` and `--poses`, a calibration is refined by the animals that its cameras saw.
    """
    keep_cores(cores)
    if refine_from is not None or poses or pcutoff is not None:
        if refine_from is None or not poses or sources or check is not None or config is not None:
            raise typer.BadParameter("expected --refine-from and --poses, and no other source")
        paths = read_camera_paths(poses)
        from pipeline_lib.steps.calibrate.refine import RefinementRequest, run_refinement

        with report_errors():
            asked = RefinementRequest(
                *(refine_from, paths, output or Path("calibration.toml"), style),
                max_error=max_error,
            )
            if pcutoff is not None:
                asked = replace(asked, pcutoff=pcutoff)
            table, warnings = run_refinement(asked)
            echo_text(table)
            for warning in warnings:
                echo(f"warning: {warning.text}", err=True)
        return
    if config is not None:
        if sources or check is not None or output is not None:
            raise typer.BadParameter("--config takes the calibrations of the cohort's sheet alone")
        from pipeline_lib.steps.calibrate.cohort import run_calibrate as run_cohort

        run(config, run_cohort, planned=True)
        return
    from pipeline_lib.steps.calibrate.check import run_check
    from pipeline_lib.steps.calibrate.run import CalibrationRequest, run_calibrate

    with report_errors():
        if check is not None:
            table, warnings = run_check(
                check, sources or [], unit=unit, max_error=max_error, output=output, name=style
            )
        else:
            request = CalibrationRequest(
                make_board(board, squares, square_size, marker_size, dictionary),
                lens,
                coefficients,
                unit or "mm",
                every,
                max_error,
            )
            target = output or Path("calibration.toml")
            table, warnings = run_calibrate(sources or [], request, target, style)
        echo_text(table)
        for warning in warnings:
            echo(f"warning: {warning.text}", err=True)


def board(  # noqa: PLR0913 - one option per setting
    output: Annotated[Path, typer.Argument(help="PDF file to write.")],
    *,
    board: BoardOption = "charuco",
    squares: SquaresOption = None,
    square_size: SquareSizeOption = None,
    marker_size: MarkerSizeOption = None,
    dictionary: DictionaryOption = "4X4_250",
    unit: UnitOption = None,
) -> None:
    """Draw a calibration board in its true size, as a PDF page."""
    from pipeline_lib.steps.calibrate.board_pdf import write_board

    with report_errors():
        made = make_board(board, squares, square_size, marker_size, dictionary)
        write_board(output, made, unit or "mm")
        echo(output)
