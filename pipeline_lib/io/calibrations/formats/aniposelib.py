"""Read and write calibration.toml of aniposelib, which Anipose and SLEAP use.

A table per camera with name, size, matrix, distortions, rotation (a vector) and translation;
``fisheye = true`` for OpenCV's fisheye. The file has no unit: our own stands in its metadata, which
aniposelib keeps without reading it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scipy.spatial.transform import Rotation

from pipeline_lib.core.cameras.calibration import Calibration, Camera
from pipeline_lib.io.calibrations.building import (
    Builder,
    has_cameras,
    read_toml,
    require_flag,
    require_table,
    shorten,
    take_rotation,
)
from pipeline_lib.io.calibrations.toml_text import format_toml

METADATA = "metadata"


def is_format(path: Path) -> bool:
    """Tell whether a file has tables of cameras."""
    return has_cameras(
        path,
        lambda tables: any(
            isinstance(one, dict) and "matrix" in one and "distortions" in one
            for one in tables.values()
        ),
    )


def read(path: Path) -> Calibration:
    """Read a calibration; see `pipeline_lib.io.calibrations.files.CalibrationIO`."""
    return read_tables(path, None)


def read_tables(path: Path, unit: str | None) -> Calibration:
    """Read a table per camera.

    Parameters
    ----------
    path
        TOML.
    unit
        Of files that do not tell their own.
    """
    tables = read_toml(path)
    metadata = tables.pop(METADATA, {})
    known = metadata if isinstance(metadata, dict) else {}
    errors = known.get("errors", {})
    # aniposelib stores one error of all cameras; 0 stands for none.
    together = known.get("error") or None
    builder = Builder(path)
    for key in tables:
        name = _find_name(tables[key], key)
        own = errors.get(name) if isinstance(errors, dict) and isinstance(name, str) else None
        error = together if own is None and not errors else own
        builder.add(key, lambda key=key: _make(require_table(tables[key]), key), error)  # type: ignore[misc]
    return builder.finish(known.get("unit", unit))


def _find_name(table: object, key: str) -> Any:  # noqa: ANN401 - as it stands there
    return table.get("name", key) if isinstance(table, dict) else key


def _make(table: Mapping[str, Any], key: str) -> Camera:
    wide = require_flag(table.get("fisheye", False), "fisheye")
    return Camera(
        _find_name(table, key),
        table["size"],
        table["matrix"],
        table["distortions"],
        "fisheye" if wide else "pinhole",
        take_rotation(table["rotation"]),
        table["translation"],
    )


def describe(camera: Camera) -> dict[str, Any]:
    """Return a camera as the values of its table."""
    return {
        "name": camera.name,
        "size": list(camera.size),
        "matrix": camera.matrix.tolist(),
        "distortions": camera.distortion.tolist()
        if camera.model == "fisheye"
        else shorten(camera.distortion, 5),
        "rotation": Rotation.from_matrix(camera.rotation).as_rotvec().tolist(),
        "translation": camera.translation.tolist(),
    }


def write(path: Path, calibration: Calibration) -> None:
    """Write a calibration; see `pipeline_lib.io.calibrations.files.CalibrationIO`."""
    # aniposelib takes the tables in the order of their names.
    digits = len(str(len(calibration.cameras) - 1))
    tables: dict[str, dict[str, Any]] = {}
    for number, camera in enumerate(calibration.cameras):
        values = describe(camera)
        if camera.model == "fisheye":
            values["fisheye"] = True
        tables[f"cam_{number:0{digits}}"] = values
    errors = list(calibration.errors.values())
    metadata: dict[str, Any] = {"adjusted": bool(errors)}
    metadata["error"] = sum(errors) / len(errors) if errors else 0.0
    if calibration.unit is not None:
        metadata["unit"] = calibration.unit
    tables[METADATA] = metadata
    if errors:
        tables[f"{METADATA}.errors"] = dict(calibration.errors)
    path.write_text(format_toml(tables), encoding="utf-8")
