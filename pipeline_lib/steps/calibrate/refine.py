"""Refine a calibration by the animals that its cameras saw: Anipose's second step."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline_lib.core.cameras.basics import find_alike
from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.errors import CalibrationError
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.settings.cameras import TriangulationSettings
from pipeline_lib.io.calibrations.files import read_calibration, write_calibration
from pipeline_lib.io.foreign_poses.files import read_foreign_poses
from pipeline_lib.kernels.geometry.sessions.moments import Moments
from pipeline_lib.steps.calibrate.check import describe_cameras
from pipeline_lib.steps.calibrate.judge import Finding, judge_calibration, warn
from pipeline_lib.steps.triangulate.cameras import (
    FARTHEST,
    explain_shift,
    find_shift,
    refine_rig,
)
from pipeline_lib.steps.triangulate.individuals import match_individuals
from pipeline_lib.steps.triangulate.points import find_scale
from pipeline_lib.steps.triangulate.run import list_doubts
from pipeline_lib.steps.triangulate.synchronise import synchronise
from pipeline_lib.steps.triangulate.views import Rig, View, arrange_views

# Errors of a calibration that is off hide wrong points; each round finds more of them.
_ROUNDS, _GAIN = 4, 0.02


@dataclass(frozen=True)
class RefinementRequest:
    """Hold the options of a refinement.

    Attributes
    ----------
    calibration
        File of any known format.
    poses
        Poses of each camera, by its name, in any format of
        `pipeline_lib.core.formats.foreign_poses`; frames of one number show the same moment.
    output, style
        File to write, and its format.
    pcutoff
        Keypoints below this confidence are not used.
    max_error
        Reprojection error in px that refuses the refined calibration.
    """

    calibration: Path
    poses: Mapping[str, Path]
    output: Path
    style: str = "aniposelib"
    pcutoff: float = 0.3
    max_error: float = 2.0


def run_refinement(request: RefinementRequest) -> tuple[str, list[Finding]]:
    """Refine a calibration, and write it if points that were not used agree better.

    Positions and directions of cameras change, and focal lengths where that helps more; the first
    camera and the mean distance between cameras stay as they are, because points alone determine
    neither. Cameras without poses are left as they are.

    Returns
    -------
    tuple
        A table of the cameras with the error before and after; warnings.

    Raises
    ------
    CalibrationError
        If files cannot be used, or the calibration is not refined, with the reason; nothing is
        written then.
    """
    given = read_calibration(request.calibration)
    views = [
        View(_find_camera(request, given, name), read_foreign_poses(path))
        for name, path in request.poses.items()
    ]
    rig = arrange_views(views, given)
    settings = TriangulationSettings(pcutoff=request.pcutoff)
    moments, _, _, report = synchronise(rig.views, settings.synchronisation)
    doubts = list_doubts({"synchronisation": report})
    rig, told = _refine(rig, moments, settings)
    if told["refused"] is not None:
        reason = (
            f"the animals do not refine it: {told['refused']} (median error "
            f"{told.get('error_before_px', np.nan):.2f} px)"
        )
        raise CalibrationError(str(request.calibration), [reason, *doubts])
    refined = {camera.name: camera for camera in rig.calibration.cameras}
    cameras = tuple(refined.get(camera.name, camera) for camera in given.cameras)
    # Its errors were those of the board.
    left = {name: error for name, error in given.errors.items() if name not in refined}
    calibration = Calibration(cameras, given.unit, left)
    findings = judge_calibration(calibration, {}, request.max_error)
    refusals = [finding.text for finding in findings if finding.refuses]
    if refusals:
        raise CalibrationError(f"{request.calibration}, refined", refusals)
    write_calibration(request.output, calibration, request.style)
    line = (
        f"median error of {told['points']:,} points: {told['error_before_px']:.3f} px before, "
        f"{told['error_after_px']:.3f} px after\n"
    )
    return describe_cameras(calibration) + line, [*findings, *map(warn, doubts)]


def _find_camera(request: RefinementRequest, calibration: Calibration, name: str) -> str:
    found = find_alike(name, calibration.names)
    if found is None:
        raise CalibrationError(
            str(request.calibration),
            [f"has no camera {name!r}; it has {', '.join(calibration.names)}"],
        )
    return found


def _refine(
    rig: Rig, moments: Moments, settings: TriangulationSettings
) -> tuple[Rig, dict[str, object]]:
    """Refine in rounds, each with the points that the last one found to agree."""
    matched = match_individuals(rig, moments, by_name=False, cut=settings.pcutoff)
    given = rig.calibration.cameras
    first: dict[str, object] | None = None
    for _ in range(_ROUNDS):
        gate, _ = find_scale(rig, moments, matched.slots, settings, count_cores())
        rig, told = refine_rig(rig, moments, matched.slots, settings, gate, focal=True)
        if told["refused"] is not None:
            break
        first = {**told, "error_before_px": (first or told)["error_before_px"]}
        if told["error_after_px"] > (1 - _GAIN) * told["error_before_px"]:
            break
    shift = find_shift(given, rig.calibration.cameras)
    if first is not None and shift > FARTHEST:
        # No round moved one so far, but all of them together did.
        first["refused"] = explain_shift(shift)
    return rig, first or told
