"""Describe calibrations as plain numbers, which JSON holds, and read them back."""

from collections.abc import Mapping
from typing import Any

from pipeline_lib.core.cameras.calibration import Calibration, Camera

_FIELDS = ("name", "size", "matrix", "distortion", "model", "rotation", "translation")


def describe_calibration(calibration: Calibration) -> dict[str, Any]:
    """Return a calibration as numbers, texts and lists."""
    return {
        "unit": calibration.unit,
        "cameras": [_describe_camera(camera) for camera in calibration.cameras],
        "errors": dict(calibration.errors),
    }


def read_description(record: Mapping[str, Any]) -> Calibration:
    """Return the calibration of a record made by `describe_calibration`.

    Raises
    ------
    ValueError
        If the record describes none.
    """
    cameras = record.get("cameras")
    if not isinstance(cameras, list) or not all(isinstance(one, Mapping) for one in cameras):
        raise ValueError("the record of a calibration has no list of cameras")
    missing = [name for one in cameras for name in _FIELDS if name not in one]
    if missing:
        raise ValueError(f"a camera of the record has no `{missing[0]}`")
    errors = record.get("errors", {})
    if not isinstance(errors, Mapping):
        raise ValueError("the `errors` of the record are no mapping")  # noqa: TRY004
    read = tuple(Camera(**{name: one[name] for name in _FIELDS}) for one in cameras)
    return Calibration(read, record.get("unit"), errors)


def _describe_camera(camera: Camera) -> dict[str, Any]:
    return {
        "name": camera.name,
        "size": list(camera.size),
        "model": camera.model,
        **{
            name: getattr(camera, name).tolist()
            for name in ("matrix", "distortion", "rotation", "translation")
        },
    }
