"""Calibrate cameras from images of a board, and measure the quality of the calibration."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.basics import UNITS
from pipeline_lib.core.cameras.boards import Board
from pipeline_lib.core.cameras.calibration import Calibration, Camera, Model
from pipeline_lib.core.errors import CalibrationError, RefusedCalibrationError
from pipeline_lib.io.calibrations.files import write_calibration
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.stage_tables import format_table
from pipeline_lib.kernels.geometry.adjustment import Adjusted, BoardView, Bundle, Pose, adjust
from pipeline_lib.kernels.geometry.boards import list_corners
from pipeline_lib.kernels.geometry.start import estimate_lens, find_groups, place_cameras
from pipeline_lib.steps.calibrate.judge import Finding, judge_calibration, refuse, warn
from pipeline_lib.steps.calibrate.sources import Seen, find_boards, list_sources
from pipeline_lib.steps.calibrate.squares import measure_sides

_log = logging.getLogger(__name__)

# Reprojection error in px beyond which a corner counts linearly.
_ROBUST = 1.0
# Once cameras are known roughly: this many times the usual error, and at least so many px.
_ROBUST_TIMES, _LEAST_ROBUST = 2.0, 0.02
_STEPS = 100
# Views of the board that a camera must have, and that it should have.
_FEWEST_VIEWS, _FEW_VIEWS = 3, 10
_FEWEST_SHARED = 2
# A view is left out if its median error exceeds both this multiple of the median of all views
# and this many px.
_OUTLIER, _OUTLIER_PX = 6.0, 1.5
_COVERAGE_GRID = (8, 6)
# Metres that a side of a square of a board measures.
_SMALLEST_SIDE, _LARGEST_SIDE = 0.0001, 0.5
# Median difference of triangulated sides of squares, as a share.
_DOUBTFUL_SIDES = 0.02


@dataclass(frozen=True)
class CalibrationRequest:
    """Hold the options of a calibration.

    Attributes
    ----------
    board
        The board that was filmed.
    model
        Lens model of all cameras.
    coefficients
        Number of coefficients of distortion that are estimated, in OpenCV's order.
    unit
        Unit of the board's squares, a key of `pipeline_lib.core.cameras.calibration.UNITS`.
    step
        Read every Nth frame of videos; None: at most 300 frames.
    max_error
        Reprojection error in px that refuses a calibration.
    """

    board: Board
    model: Model
    coefficients: int
    unit: str
    step: int | None
    max_error: float


class Quality(NamedTuple):
    """Hold how well one camera is calibrated; lengths in the unit of the board, errors in px."""

    camera: str
    images: int
    views: int
    left_out: int
    corners: int
    rms_error: float
    median_error: float
    coverage: float
    nearest: float
    farthest: float
    focal_deviation: float


def calibrate(
    paths: list[Path], request: CalibrationRequest
) -> tuple[Calibration, list[Quality], list[Finding]]:
    """Calibrate the cameras that filmed a board.

    Returns
    -------
    tuple
        Calibration in the axes of the first camera; quality of each camera; findings, refusals
        first.

    Raises
    ------
    CalibrationError
        If images show no board, or too little of it to calibrate at all.
    """
    sources = list_sources(paths)
    if not sources:
        raise CalibrationError("board images", ["none are given: name images, folders or videos"])
    if len(sources) > 1 and request.board.is_ambiguous:
        reason = (
            f"a {request.board.describe()} looks the same after half a turn, so that two cameras "
            "may order its corners differently: use a board with an odd number of squares one way "
            "and an even number the other way, or a ChArUco board; if that is not the board, "
            "correct the numbers of its squares (not corners)"
        )
        raise RefusedCalibrationError("board", [reason])
    seen = find_boards(sources, request.board, request.step)
    names = [source.camera for source in sources]
    _require_views(names, seen)
    views, moments = _list_views(names, seen, request.board)
    _require_links(names, views)
    bundle = _start(names, seen, views, request)
    adjusted, left_out = _adjust(bundle)
    qualities = _measure_quality(adjusted, left_out, seen)
    errors = {one.camera: one.rms_error for one in qualities}
    calibration = Calibration(adjusted.bundle.cameras, request.unit, errors)
    findings = judge_calibration(calibration, {}, request.max_error)
    if not adjusted.converged:
        findings.append(refuse(f"the adjustment did not end within {_STEPS} steps"))
    findings += _judge_unit(request)
    findings += _judge_views(qualities, calibration)
    if len(names) > 1:
        findings += _judge_sides(measure_sides(adjusted.bundle, request.board))
    _log.info("adjusted %d cameras in %d moments", len(names), len(moments))
    return calibration, qualities, sorted(findings, key=lambda one: not one.refuses)


def _require_views(names: Sequence[str], seen: dict[str, Seen]) -> None:
    problems = [
        f"camera {name}: shows the board in {len(seen[name].boards)} of {seen[name].looked_at} "
        f"images; at least {_FEWEST_VIEWS} are needed, from different sides, {_FEW_VIEWS} or more "
        "are better"
        for name in names
        if len(seen[name].boards) < _FEWEST_VIEWS
    ]
    problems += [
        f"cameras {first} and {second} have identical images: one was copied from the other"
        for first, second in combinations(names, 2)
        if _are_same(seen[first], seen[second])
    ]
    if problems:
        raise RefusedCalibrationError("board images", problems)


def _are_same(first: Seen, second: Seen) -> bool:
    shared = first.boards.keys() & second.boards.keys()
    return bool(shared) and all(
        np.array_equal(first.boards[moment].pixels, second.boards[moment].pixels)
        for moment in shared
    )


def _list_views(
    names: Sequence[str], seen: dict[str, Seen], board: Board
) -> tuple[list[BoardView], list[int]]:
    points = list_corners(board)
    moments = sorted({moment for one in seen.values() for moment in one.boards})
    frames = {moment: frame for frame, moment in enumerate(moments)}
    views = [
        BoardView(number, frames[moment], points[corners.numbers], corners.pixels)
        for number, name in enumerate(names)
        for moment, corners in sorted(seen[name].boards.items())
    ]
    return views, moments


def _require_links(names: Sequence[str], views: list[BoardView]) -> None:
    groups = find_groups(len(names), views, _FEWEST_SHARED)
    if len(groups) > 1:
        told = "; ".join(", ".join(names[one] for one in group) for group in groups)
        reason = (
            f"no two cameras of these groups saw the board at the same {_FEWEST_SHARED} moments: "
            f"{told}. Show the board to both at once; images of one moment have the same number"
        )
        raise RefusedCalibrationError("board images", [reason])


def _start(
    names: Sequence[str], seen: dict[str, Seen], views: list[BoardView], request: CalibrationRequest
) -> Bundle:
    most = 4 if request.model == "fisheye" else 12
    free = tuple(range(min(request.coefficients, most)))
    cameras, problems = [], []
    for number, name in enumerate(names):
        own = [view for view in views if view.camera == number]
        try:
            cameras.append(estimate_lens(name, seen[name].size, request.model, own, free))
        except ValueError as error:
            problems.append(f"camera {name}: {error}; check the board and the model of the lens")
    if problems:
        raise RefusedCalibrationError("board images", problems)
    try:
        placed, poses = place_cameras(cameras, views)
    except ValueError as error:
        raise RefusedCalibrationError("board images", [str(error)]) from None
    kept = [view for view in views if view.frame in poses]
    return _pack(placed, kept, {frame: Pose(*one) for frame, one in poses.items()}, free)


def _pack(
    cameras: Sequence[Camera],
    views: list[BoardView],
    poses: Mapping[int, Pose],
    free: tuple[int, ...],
) -> Bundle:
    """Return a bundle whose frames are numbered without gaps."""
    frames = {frame: place for place, frame in enumerate(sorted({view.frame for view in views}))}
    packed = tuple(poses[frame] for frame in frames)
    renumbered = tuple(
        BoardView(view.camera, frames[view.frame], view.points, view.pixels) for view in views
    )
    return Bundle(tuple(cameras), packed, renumbered, (free,) * len(cameras))


def _adjust(bundle: Bundle) -> tuple[Adjusted, list[int]]:
    """Adjust, leave out views that are far off, and adjust again with a finer robust scale.

    Returns
    -------
    tuple
        The result, and for each camera the number of views that were left out.
    """
    try:
        adjusted = adjust(bundle, scale=_ROBUST, most_steps=_STEPS)
    except ValueError as error:
        raise RefusedCalibrationError(
            "board images", [f"{error}: the views contradict each other"]
        ) from None
    medians = np.array([np.median(one) for one in adjusted.errors])
    limit = max(_OUTLIER * float(np.median(medians)), _OUTLIER_PX)
    left_out = [0] * len(bundle.cameras)
    kept = []
    for view, median in zip(adjusted.bundle.views, medians, strict=True):
        if median > limit:
            left_out[view.camera] += 1
        else:
            kept.append(view)
    counts = np.bincount([view.camera for view in kept], minlength=len(bundle.cameras))
    groups = find_groups(len(bundle.cameras), kept, 1) if kept else []
    if not any(left_out) or counts.min() < _FEWEST_VIEWS or len(groups) > 1:
        kept, left_out = list(adjusted.bundle.views), [0] * len(bundle.cameras)
    poses = dict(enumerate(adjusted.bundle.poses))
    again = _pack(adjusted.bundle.cameras, kept, poses, bundle.free[0])
    return adjust(again, scale=_find_scale(adjusted), most_steps=_STEPS), left_out


def _find_scale(adjusted: Adjusted) -> float:
    """Return the error in px beyond which a corner counts linearly, from the usual error.

    A few of the corners that are found in small squares are off by ten times the usual error,
    and still by less than a pixel.
    """
    usual = float(np.median(np.concatenate(adjusted.errors)))
    return float(np.clip(_ROBUST_TIMES * usual, _LEAST_ROBUST, _ROBUST))


def _measure_quality(
    adjusted: Adjusted, left_out: list[int], seen: dict[str, Seen]
) -> list[Quality]:
    bundle = adjusted.bundle
    qualities = []
    for number, camera in enumerate(bundle.cameras):
        places = [place for place, view in enumerate(bundle.views) if view.camera == number]
        errors = np.concatenate([adjusted.errors[place] for place in places])
        views = [bundle.views[place] for place in places]
        pixels = np.concatenate([view.pixels for view in views])
        depths = np.concatenate([_find_depths(camera, bundle, view) for view in views])
        qualities.append(
            Quality(
                camera.name,
                seen[camera.name].looked_at,
                len(views),
                left_out[number],
                len(errors),
                float(np.sqrt((errors**2).mean())),
                float(np.median(errors)),
                _measure_coverage(pixels, camera.size),
                float(depths.min()),
                float(depths.max()),
                float(adjusted.deviations[number][:2].max()),
            )
        )
    return qualities


def _find_depths(camera: Camera, bundle: Bundle, view: BoardView) -> NDArray[np.float64]:
    """Return the distance of a view's corners from the camera."""
    pose = bundle.poses[view.frame]
    world = view.points @ pose.rotation.T + pose.translation
    distance: NDArray[np.float64] = np.linalg.norm(world - camera.centre, axis=1)
    return distance


def _measure_coverage(pixels: NDArray[np.float64], size: tuple[int, int]) -> float:
    """Return the share of the image's 8 x 6 cells that hold a corner."""
    cells = np.floor((pixels + 0.5) / np.array(size) * _COVERAGE_GRID).astype(int)
    cells = np.clip(cells, 0, np.array(_COVERAGE_GRID) - 1)
    return len({tuple(cell) for cell in cells.tolist()}) / (_COVERAGE_GRID[0] * _COVERAGE_GRID[1])


def _judge_views(qualities: Sequence[Quality], calibration: Calibration) -> list[Finding]:
    findings = []
    for one in qualities:
        where = f"camera {one.camera}: "
        focal = float(calibration.find(one.camera).matrix[0, 0])
        share = one.focal_deviation / focal
        if not share <= 0.05:
            findings.append(
                refuse(
                    f"{where}the views do not determine its focal length (standard error "
                    f"{100 * share:.0f} %): tilt the board, and show it near and far",
                )
            )
        elif share > 0.005:
            findings.append(
                warn(
                    f"{where}the standard error of its focal length is {100 * share:.1f} %; tilted "
                    "boards make it smaller",
                )
            )
        if one.views < _FEW_VIEWS:
            findings.append(
                warn(f"{where}{one.views} views are few; {_FEW_VIEWS} or more are better")
            )
        if one.left_out:
            findings.append(
                warn(
                    f"{where}{one.left_out} of {one.views + one.left_out} views are far off and "
                    "were left out: blurred, wrongly found, or not of the same moment",
                )
            )
        if one.coverage < 0.3:
            findings.append(
                warn(
                    f"{where}corners cover {100 * one.coverage:.0f} % of the image; outside, the "
                    "distortion is a guess",
                )
            )
        if one.farthest < 1.2 * one.nearest:
            findings.append(
                warn(f"{where}all boards are equally far away: show it near and far, too")
            )
    return findings


def _judge_unit(request: CalibrationRequest) -> list[Finding]:
    side = request.board.square
    if _SMALLEST_SIDE <= side * UNITS[request.unit] <= _LARGEST_SIDE:
        return []
    return [
        warn(f"squares of the board have sides of {side:g} {request.unit}: is another unit meant?")
    ]


def _judge_sides(off: float) -> list[Finding]:
    _log.info("sides of squares, triangulated, are off by %.2f %% (median)", 100 * off)
    if not off > _DOUBTFUL_SIDES:
        return []
    return [
        warn(
            f"sides of squares, triangulated, are off by {100 * off:.1f} % (median): the cameras' "
            "places are not exact"
        )
    ]


def format_qualities(qualities: Sequence[Quality]) -> str:
    """Return the quality of each camera as a table with tabs."""
    rows = [
        {
            name: f"{value:.4g}" if isinstance(value, float) else str(value)
            for name, value in one._asdict().items()
        }
        for one in qualities
    ]
    return format_table(Quality._fields, rows)


def run_calibrate(
    paths: list[Path], request: CalibrationRequest, output: Path, name: str
) -> tuple[str, list[Finding]]:
    """Calibrate, write the calibration and a table of quality beside it.

    Parameters
    ----------
    paths
        Images, folders or videos of the board.
    request
        Options of the calibration.
    output
        File to write; a refused calibration is not written.
    name
        Name of the output format.

    Returns
    -------
    tuple
        The table of quality, and the warnings.

    Raises
    ------
    CalibrationError
        If the cameras cannot be calibrated, or the calibration is refused.
    """
    calibration, qualities, findings = calibrate(paths, request)
    table = format_qualities(qualities)
    refusals = [finding.text for finding in findings if finding.refuses]
    if refusals:
        raise RefusedCalibrationError("calibration refused", refusals)
    write_calibration(output, calibration, name)
    publish_text(output.with_name(f"{output.name.split('.')[0]}.quality.tsv"), table)
    return table, findings
