"""Read and write Calib.toml of Pose2Sim: aniposelib's tables, named as cameras, in metres."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline_lib.core.cameras.calibration import UNITS, Calibration
from pipeline_lib.core.errors import CalibrationError
from pipeline_lib.io.calibrations.building import has_cameras
from pipeline_lib.io.calibrations.formats import aniposelib
from pipeline_lib.io.calibrations.toml_text import format_toml, quote_key

_UNIT = "m"
_COEFFICIENTS = 4


def is_format(path: Path) -> bool:
    """Tell whether each table is named as its camera, and says whether it is a fisheye."""
    return has_cameras(path, _is_named)


def _is_named(tables: dict[str, Any]) -> bool:
    cameras = {key: one for key, one in tables.items() if key != aniposelib.METADATA}
    return bool(cameras) and all(
        isinstance(one, dict) and one.get("name") == key and "fisheye" in one and "matrix" in one
        for key, one in cameras.items()
    )


def read(path: Path) -> Calibration:
    """Read a calibration; see `pipeline_lib.io.calibrations.files.CalibrationIO`."""
    return aniposelib.read_tables(path, _UNIT)


def write(path: Path, calibration: Calibration) -> None:
    """Write a calibration; see `pipeline_lib.io.calibrations.files.CalibrationIO`.

    Pose2Sim takes four coefficients of distortion.
    """
    if aniposelib.METADATA in calibration.names:
        raise CalibrationError(str(path), [f"a camera cannot be named {aniposelib.METADATA!r}"])
    tables: dict[str, dict[str, Any]] = {}
    for camera in in_metres(path, calibration).cameras:
        if camera.distortion[_COEFFICIENTS:].any():
            raise CalibrationError(
                str(path),
                [f"camera {camera.name}: this format holds 4 coefficients of distortion, not more"],
            )
        values = aniposelib.describe(camera)
        values["size"] = [float(side) for side in camera.size]
        values["distortions"] = camera.distortion[:_COEFFICIENTS].tolist()
        values["fisheye"] = camera.model == "fisheye"
        tables[quote_key(camera.name)] = values
    errors = list(calibration.errors.values())
    tables[aniposelib.METADATA] = {
        "adjusted": False,
        "error": sum(errors) / len(errors) if errors else 0.0,
    }
    path.write_text(format_toml(tables), encoding="utf-8")


def in_metres(path: Path, calibration: Calibration, unit: str = _UNIT) -> Calibration:
    """Return the calibration in the one unit of a format.

    Raises
    ------
    CalibrationError
        If its own unit is not known.
    """
    if calibration.unit is None:
        raise CalibrationError(
            str(path), [f"this format is in {unit}, and the unit is not known: tell it (--unit)"]
        )
    factor = UNITS[calibration.unit] / UNITS[unit]
    cameras = tuple(
        replace(camera, translation=camera.translation * factor) for camera in calibration.cameras
    )
    return Calibration(cameras, unit, calibration.errors)
