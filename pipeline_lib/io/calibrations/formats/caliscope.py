"""Read and write caliscope's camera_array.toml, in metres; older files have a table per port."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline_lib.core.cameras.calibration import Calibration, Camera
from pipeline_lib.io.calibrations.building import (
    Builder,
    has_cameras,
    read_toml,
    require_flag,
    require_table,
    take_rotation,
)
from pipeline_lib.io.calibrations.formats import aniposelib
from pipeline_lib.io.calibrations.formats.pose2sim import in_metres
from pipeline_lib.io.calibrations.toml_text import format_toml

_CAMERAS = "cameras"
# How its writer stores a value that is missing.
_NULL = ("null", "")


def is_format(path: Path) -> bool:
    """Tell whether a file has caliscope's table of cameras, or tables with a port."""
    return has_cameras(path, lambda tables: bool(_find_cameras(tables)))


def _find_cameras(tables: Mapping[str, Any]) -> dict[str, Any]:
    cameras = tables.get(_CAMERAS)
    if isinstance(cameras, dict):
        return cameras
    return {
        key: one
        for key, one in tables.items()
        if key.startswith("cam_") and isinstance(one, dict) and "port" in one
    }


def read(path: Path) -> Calibration:
    """Read a calibration; see `pipeline_lib.io.calibrations.files.CalibrationIO`."""
    builder = Builder(path)
    for key, table in _find_cameras(read_toml(path)).items():
        values = table if isinstance(table, dict) else {}
        if values.get("ignore") is True:
            continue
        make = lambda table=table, key=key: _make(require_table(table), key)  # noqa: E731
        builder.add(key, make, values.get("error"))
    return builder.finish("m")


def _make(table: Mapping[str, Any], key: str) -> Camera:
    known = {name: value for name, value in table.items() if value not in _NULL}
    if "rotation" not in known or "translation" not in known:
        raise ValueError("has no place (rotation and translation): it was not calibrated")
    number = known.get("cam_id", known.get("port", key.removeprefix("cam_")))
    wide = require_flag(known.get("fisheye", False), "fisheye")
    return Camera(
        str(known["name"]) if "name" in known else f"cam_{number}",
        known["size"],
        known["matrix"],
        known["distortions"],
        "fisheye" if wide else "pinhole",
        take_rotation(known["rotation"]),
        known["translation"],
    )


def write(path: Path, calibration: Calibration) -> None:
    """Write a calibration; see `pipeline_lib.io.calibrations.files.CalibrationIO`.

    Caliscope knows cameras by number; our names stand beside it.
    """
    tables: dict[str, dict[str, Any]] = {}
    for number, camera in enumerate(in_metres(path, calibration).cameras):
        values = aniposelib.describe(camera)
        tables[f"{_CAMERAS}.{number}"] = {
            "cam_id": number,
            **values,
            "rotation_count": 0,
            "error": calibration.errors.get(camera.name, "null"),
            "exposure": "null",
            "grid_count": "null",
            "ignore": False,
            "fisheye": camera.model == "fisheye",
        }
    path.write_text(format_toml(tables), encoding="utf-8")
