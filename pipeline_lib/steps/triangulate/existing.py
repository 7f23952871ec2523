"""Triangulate one session from poses that other tools found, without config and cohort."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline_lib.core import versions
from pipeline_lib.core.cameras.basics import find_alike
from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.core.errors import CalibrationError, SessionError, StoreError
from pipeline_lib.core.formats.session_exports import find_format
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.settings.cameras import TriangulationSettings
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.io.calibrations.files import read_calibration
from pipeline_lib.io.checksums import hash_path
from pipeline_lib.io.exports.sessions.registry import check_unit, write_session_export
from pipeline_lib.io.exports.sessions.source import SessionSource
from pipeline_lib.io.foreign_poses.files import read_foreign_poses
from pipeline_lib.io.poses.session import write_session_poses
from pipeline_lib.steps.calibrate.judge import MAX_ERROR, judge_calibration
from pipeline_lib.steps.triangulate.run import SUMMARY, list_doubts, summarise
from pipeline_lib.steps.triangulate.session import View, triangulate_session

_ENDINGS = (".zarr.zip", ".zarr")


@dataclass(frozen=True)
class ExistingRequest:
    """Name the files of one session.

    Attributes
    ----------
    calibration
        Of its cameras, in any format of `pipeline_lib.core.formats.calibrations`.
    poses
        File or folder of the poses of each camera, by its name in the calibration, in any format
        of `pipeline_lib.core.formats.foreign_poses`.
    output
        Pose file to write, ``SESSION.zarr.zip``.
    exports
        Formats of `pipeline_lib.core.formats.session_exports`, written beside it.
    fps
        Frames per second; None: as the pose files say, else one.
    unit
        Of the calibration; None: as it says.
    settings
        Section `triangulation`.
    max_error
        Reprojection error in px that refuses the calibration.
    """

    calibration: Path
    poses: Mapping[str, Path]
    output: Path
    exports: Sequence[str] = ()
    fps: float | None = None
    unit: str | None = None
    settings: TriangulationSettings = field(default_factory=TriangulationSettings)
    max_error: float = MAX_ERROR


def triangulate_existing(request: ExistingRequest) -> list[str]:
    """Triangulate a session, and write its poses and exports.

    Returns
    -------
    list of str
        Lines for people: what was written, how good it is, and what may be wrong.

    Raises
    ------
    CalibrationError, SessionError, StoreError
        If the files cannot be used, the calibration is bad, or a format cannot hold the poses.
    """
    session = _name_session(request.output)
    given = _read_calibration(request)
    for name in request.exports:
        check_unit(name, given.unit, str(request.calibration))
    paths = _find_cameras(request, given)
    calibration = given.choose(paths)
    warnings = _judge(request, calibration)
    views = [
        View(camera, read_foreign_poses(path, fps=request.fps)) for camera, path in paths.items()
    ]
    poses = triangulate_session(views, calibration, (), request.settings, count_cores())
    key = _make_key(request)
    summary = summarise(poses)
    attributes = {
        **poses.attributes,
        "session": session,
        "key": key,
        "sources": {view.camera: view.poses.attributes["source"] for view in views},
        "triangulation": request.settings.result_settings(),
        "versions": {**poses.attributes.get("versions", {}), "triangulate": versions.TRIANGULATE},
        SUMMARY: summary,
    }
    write_session_poses(request.output, replace(poses, attributes=attributes))
    lines = [f"{request.output}: {_describe(poses)}"]
    source = SessionSource(request.output, key=key)
    for name in request.exports:
        path = request.output.with_name(f"{session}.{find_format(name).suffix}")
        write_session_export(name, path, source)
        lines.append(str(path))
    return [*lines, *(f"in doubt: {doubt}" for doubt in [*warnings, *list_doubts(attributes)])]


def _name_session(output: Path) -> str:
    ending = next((one for one in _ENDINGS if output.name.endswith(one)), None)
    if ending is None or output.name == ending:
        raise StoreError(f"{output}: expected a name that ends in {' or '.join(_ENDINGS)}")
    return output.name.removesuffix(ending)


def _find_cameras(request: ExistingRequest, calibration: Calibration) -> dict[str, Path]:
    """Return the path of each camera, by its name and in the order of the calibration."""
    paths: dict[str, Path] = {}
    for name, path in request.poses.items():
        camera = find_alike(name, calibration.names)
        if camera is None:
            raise SessionError(
                f"the calibration {request.calibration} has no camera {name!r}; it has "
                f"{', '.join(calibration.names)}"
            )
        if camera in paths:
            raise SessionError(f"{paths[camera]} and {path} are both of camera {camera}")
        paths[camera] = path
    return {camera: paths[camera] for camera in calibration.names if camera in paths}


def _read_calibration(request: ExistingRequest) -> Calibration:
    calibration = read_calibration(request.calibration)
    if request.unit is None:
        return calibration
    if calibration.unit not in (None, request.unit):
        raise CalibrationError(
            str(request.calibration),
            [f"says that its unit is {calibration.unit}, not {request.unit}: leave out --unit"],
        )
    return Calibration(calibration.cameras, request.unit, calibration.errors)


def _judge(request: ExistingRequest, calibration: Calibration) -> list[str]:
    """Return the warnings about the cameras that are used.

    Raises
    ------
    CalibrationError
        If they are refused.
    """
    findings = judge_calibration(calibration, {}, request.max_error)
    refusals = [finding.text for finding in findings if finding.refuses]
    if refusals:
        raise CalibrationError(f"{request.calibration} refused", refusals)
    return [finding.text for finding in findings]


def _make_key(request: ExistingRequest) -> str:
    """Return the hash of all that the poses depend on."""
    sources = {camera: hash_path(path) for camera, path in sorted(request.poses.items())}
    return hash_settings(
        hash_path(request.calibration),
        str(sources),
        str(request.settings.result_settings()),
        f"{request.fps} {request.unit}",
        versions.TRIANGULATE,
    )


def _describe(poses: SessionPoses) -> str:
    """Return how many points were found, and how well."""
    numbers = summarise(poses)
    unit = poses.unit or "units of the calibration"
    told = [f"{numbers['moments']:,} moments from {', '.join(poses.cameras)}"]
    told.append(f"{numbers['found']:.1%} of the points found")
    if numbers["error"] is not None:
        told.append(f"median error {numbers['error']:.2f} px")
    if numbers["uncertainty"] is not None:
        told.append(f"median uncertainty {numbers['uncertainty']:.3g} {unit}")
    return "; ".join(told)
