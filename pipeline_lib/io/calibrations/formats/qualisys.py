"""Read and write calibrations of Qualisys Track Manager: XML, places in mm, lenses in 1/64 px.

Its cameras look along -z with y up, and `transform` is from camera to world (rows are the camera's
axes). Coefficients of distortion are those of normalised coordinates, without a unit; Pose2Sim's
converter divides them by 64, too. Its average residuals are lengths, not reprojection errors.
"""

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np

from pipeline_lib.core.cameras.calibration import Calibration, Camera
from pipeline_lib.core.errors import CalibrationError
from pipeline_lib.io.calibrations.building import Builder, read_text, refuse_fisheyes
from pipeline_lib.io.calibrations.formats.pose2sim import in_metres

_SUBPIXELS = 64.0
# From Qualisys' camera axes to OpenCV's.
_TURN = np.diag([1.0, -1.0, -1.0])
_RADIAL = ("radialDistortion1", "radialDistortion2", "radialDistortion3")
# Misspelt in the format itself.
_TANGENTIAL = ("tangentalDistortion1", "tangentalDistortion2")


def is_format(path: Path) -> bool:
    """Tell whether a file is XML whose root is a calibration."""
    if path.suffix.lower() not in (".txt", ".xml", ".qca"):
        return False
    try:
        return _parse(path).tag == "calibration"
    except CalibrationError:
        return False


def _parse(path: Path) -> ET.Element:
    text = read_text(path)
    # Entities may refer to each other and grow without bound, or name other files.
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise CalibrationError(str(path), ["declares entities, which are not read"])
    try:
        return ET.fromstring(text.encode())  # noqa: S314 - without entities, and bounded
    except (ET.ParseError, ValueError, LookupError, RecursionError) as error:
        raise CalibrationError(str(path), [f"is not XML: {error}"]) from None


def read(path: Path) -> Calibration:
    """Read a calibration; see `pipeline_lib.io.calibrations.files.CalibrationIO`."""
    builder = Builder(path)
    for number, element in enumerate(_parse(path).iter("camera")):
        name = element.get("serial") or str(number)
        builder.add(name, lambda element=element, name=name: _make(element, name))  # type: ignore[misc]
    return builder.finish("mm")


def _make(element: ET.Element, name: str) -> Camera:
    lens, place = _require(element, "intrinsic"), _require(element, "transform")
    view = element.find("fov_video")
    left, top, right, bottom = (
        (_number(view.attrib, side) for side in ("left", "top", "right", "bottom"))
        if view is not None
        else (
            0.0,
            0.0,
            (_number(lens, "sensorMaxU") + 1) / _SUBPIXELS - 1,
            (_number(lens, "sensorMaxV") + 1) / _SUBPIXELS - 1,
        )
    )
    matrix = np.eye(3)
    matrix[0, 0] = _number(lens, "focalLengthU") / _SUBPIXELS
    matrix[1, 1] = _number(lens, "focalLengthV") / _SUBPIXELS
    matrix[0, 1] = _number(lens, "skew", 0.0) / _SUBPIXELS
    matrix[0, 2] = _number(lens, "centerPointU") / _SUBPIXELS - left
    matrix[1, 2] = _number(lens, "centerPointV") / _SUBPIXELS - top
    radial = [_number(lens, key, 0.0) for key in _RADIAL]
    tangential = [_number(lens, key, 0.0) for key in _TANGENTIAL]
    axes = [[_number(place, f"r{row}{column}") for column in (1, 2, 3)] for row in (1, 2, 3)]
    rotation = _TURN @ np.array(axes)
    centre = np.array([_number(place, axis) for axis in "xyz"])
    return Camera(
        name,
        (round(right - left) + 1, round(bottom - top) + 1),
        matrix,
        np.array([*radial[:2], *tangential, radial[2]]),
        "pinhole",
        rotation,
        -rotation @ centre,
    )


def _require(element: ET.Element, tag: str) -> Mapping[str, str]:
    found = element.find(tag)
    if found is None:
        raise ValueError(f"has no element `{tag}`")
    return found.attrib


def _number(values: Mapping[str, str], key: str, default: float | None = None) -> float:
    if key not in values and default is not None:
        return default
    if key not in values:
        raise ValueError(f"has no `{key}`")
    try:
        number = float(values[key])
    except ValueError:
        raise ValueError(f"`{key}` is {values[key]!r}, no number") from None
    if not np.isfinite(number):
        raise ValueError(f"`{key}` is {number}, expected a finite number")
    return number


def write(path: Path, calibration: Calibration) -> None:
    """Write a calibration; see `pipeline_lib.io.calibrations.files.CalibrationIO`."""
    refuse_fisheyes(path, calibration)
    root = ET.Element("calibration", {"source": "cohortpose", "type": "regular"})
    cameras = ET.SubElement(root, "cameras")
    for camera in in_metres(path, calibration, "mm").cameras:
        if camera.distortion[5:].any():
            raise CalibrationError(
                str(path),
                [f"camera {camera.name}: this format holds 5 coefficients of distortion"],
            )
        values = {"active": "1", "serial": camera.name, "viewrotation": "0"}
        element = ET.SubElement(cameras, "camera", values)
        width, height = camera.size
        box = {"left": "0", "top": "0", "right": str(width - 1), "bottom": str(height - 1)}
        for tag in ("fov_marker", "fov_marker_max", "fov_video", "fov_video_max"):
            ET.SubElement(element, tag, box)
        axes = _TURN @ camera.rotation
        place = dict(zip("xyz", camera.centre.tolist(), strict=True))
        place |= {
            f"r{row + 1}{column + 1}": axes[row, column] for row in range(3) for column in range(3)
        }
        ET.SubElement(element, "transform", _texts(place))
        ET.SubElement(element, "intrinsic", _texts(_describe_lens(camera)))
    ET.indent(root)
    path.write_text(f"{ET.tostring(root, encoding='unicode')}\n", encoding="utf-8")


def _describe_lens(camera: Camera) -> dict[str, float]:
    k1, k2, p1, p2, k3 = camera.distortion[:5].tolist()
    matrix = camera.matrix * _SUBPIXELS
    return {
        "focalLengthU": matrix[0, 0],
        "focalLengthV": matrix[1, 1],
        "skew": matrix[0, 1],
        "centerPointU": matrix[0, 2],
        "centerPointV": matrix[1, 2],
        "sensorMinU": 0.0,
        "sensorMinV": 0.0,
        "sensorMaxU": camera.size[0] * _SUBPIXELS - 1,
        "sensorMaxV": camera.size[1] * _SUBPIXELS - 1,
        **dict(zip((*_RADIAL, *_TANGENTIAL), (k1, k2, k3, p1, p2), strict=True)),
    }


def _texts(values: Mapping[str, float]) -> dict[str, str]:
    return {key: repr(float(value)) for key, value in values.items()}
