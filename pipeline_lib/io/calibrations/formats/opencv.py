"""Read and write YAML as OpenCV's FileStorage does.

Read are our own files of any number of cameras; the file of one camera that OpenCV's calibration
sample and ROS' camera_info write; and the pair of its stereo sample (``M1 D1 M2 D2 R T``, with the
places in the same file or in ``extrinsics.yml`` beside it).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Calibration, Camera
from pipeline_lib.core.errors import CalibrationError
from pipeline_lib.core.untrusted.yaml_files import YamlError, load_yaml
from pipeline_lib.io.calibrations.building import (
    Builder,
    read_text,
    require_flag,
    require_table,
    shorten,
    take_rotation,
)

_MATRIX = ("camera_matrix", "Camera_Matrix", "cameraMatrix", "K")
_DISTORTION = (
    "distortion_coefficients",
    "Distortion_Coefficients",
    "dist_coeffs",
    "distCoeffs",
    "D",
)
# Of the two cameras of a pair.
_PAIR = (
    (("M1", "K1", "cameraMatrix1"), ("D1", "distCoeffs1")),
    (("M2", "K2", "cameraMatrix2"), ("D2", "distCoeffs2")),
)
_SIZES = ("image_size", "imageSize", "size", "img_size")
_ERRORS = ("avg_reprojection_error", "Avg_Reprojection_Error")
_EXTRINSICS = "extrinsics"


def is_format(path: Path) -> bool:
    """Tell whether a file is YAML with a camera matrix."""
    if path.suffix.lower() not in (".yml", ".yaml"):
        return False
    try:
        values = _load(path)
    except CalibrationError:
        return False
    keys = {*_MATRIX, *_PAIR[0][0], "cameras"}
    return any(key in values for key in keys)


def _load(path: Path) -> Mapping[str, Any]:
    text = read_text(path)
    # FileStorage's first line and tags are none of YAML's.
    text = re.sub(r"\A\s*%YAML[:\s][^\n]*\n(---\s*\n)?", "", text)
    text = re.sub(r"!!opencv-(nd-)?matrix", "", text)
    try:
        values = load_yaml(text)
    except YamlError as error:
        raise CalibrationError(str(path), [str(error)]) from None
    if not isinstance(values, Mapping):
        raise CalibrationError(str(path), ["is no mapping of names to values"])
    return values


def read(path: Path) -> Calibration:
    """Read a calibration; see `pipeline_lib.io.calibrations.files.CalibrationIO`."""
    values = _load(path)
    builder = Builder(path)
    if "cameras" in values:
        cameras = values["cameras"]
        if not isinstance(cameras, list):
            raise CalibrationError(str(path), ["`cameras` is no list"])
        for number, one in enumerate(cameras):
            table = one if isinstance(one, Mapping) else {}
            name = str(table.get("name", number))
            make = lambda one=one, name=name: _make(require_table(one), name)  # noqa: E731
            builder.add(name, make, _find(table, _ERRORS))
        return builder.finish(values.get("unit"))
    if _find(values, _PAIR[0][0]) is not None:
        _add_pair(builder, path, values)
        return builder.finish(values.get("unit"))
    name = str(values.get("camera_name", path.stem))
    builder.add(name, lambda: _make(values, name), _find(values, _ERRORS))
    return builder.finish(values.get("unit"))


def _add_pair(builder: Builder, path: Path, values: Mapping[str, Any]) -> None:
    places = values
    beside = path.with_name(f"{_EXTRINSICS}{path.suffix}")
    if "R" not in values and beside.exists():
        places = _load(beside)
    names = ("1", "2")
    sized = values if _has_size(values) else places
    for number, (matrix, distortion) in enumerate(_PAIR):

        def make(
            number: int = number,
            matrix: tuple[str, ...] = matrix,
            distortion: tuple[str, ...] = distortion,
        ) -> Camera:
            rotation, translation = np.eye(3), np.zeros(3)
            if number:
                rotation = take_rotation(_numbers(places, ("R",)))
                translation = _numbers(places, ("T",))
            return Camera(
                names[number],
                _find_size(sized),
                _numbers(values, matrix),
                _numbers(values, distortion),
                "pinhole",
                rotation,
                translation,
            )

        builder.add(names[number], make)


def _make(values: Mapping[str, Any], name: str) -> Camera:
    wide = require_flag(values.get("fisheye_model", False), "fisheye_model")
    wide = wide or values.get("distortion_model") in ("equidistant", "fisheye")
    placed = "rotation" in values or "translation" in values
    return Camera(
        name,
        _find_size(values),
        _numbers(values, _MATRIX),
        _numbers(values, _DISTORTION),
        "fisheye" if wide else "pinhole",
        take_rotation(_numbers(values, ("rotation",))) if placed else np.eye(3),
        _numbers(values, ("translation",)) if placed else np.zeros(3),
    )


def _find(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:  # noqa: ANN401
    return next((values[name] for name in names if name in values), None)


def _has_size(values: Mapping[str, Any]) -> bool:
    return ("image_width" in values and "image_height" in values) or any(
        key in values for key in _SIZES
    )


def _find_size(values: Mapping[str, Any]) -> tuple[Any, Any]:
    if "image_width" in values and "image_height" in values:
        return values["image_width"], values["image_height"]
    size = _find(values, _SIZES)
    if not isinstance(size, list) or len(size) != 2:
        raise ValueError("has no image size: add `image_width` and `image_height` to the file")
    return size[0], size[1]


def _numbers(values: Mapping[str, Any], names: tuple[str, ...]) -> NDArray[np.float64]:
    value = _find(values, names)
    if value is None:
        raise ValueError(f"has no {' or '.join(f'`{name}`' for name in names)}")
    data = value.get("data") if isinstance(value, Mapping) else value
    try:
        return np.array(data, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"`{names[0]}` is not made of numbers") from None


def write(path: Path, calibration: Calibration) -> None:
    """Write a calibration; see `pipeline_lib.io.calibrations.files.CalibrationIO`."""
    storage = cv2.FileStorage(".yml", cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY)
    if calibration.unit is not None:
        storage.write("unit", calibration.unit)
    storage.startWriteStruct("cameras", cv2.FILE_NODE_SEQ)
    for camera in calibration.cameras:
        storage.startWriteStruct("", cv2.FILE_NODE_MAP)
        storage.write("name", camera.name)
        storage.write("image_width", camera.size[0])
        storage.write("image_height", camera.size[1])
        storage.write("fisheye_model", int(camera.model == "fisheye"))
        storage.write("camera_matrix", camera.matrix)
        used = (
            camera.distortion
            if camera.model == "fisheye"
            else np.array(shorten(camera.distortion, 5))
        )
        storage.write("distortion_coefficients", used[:, None])
        storage.write("rotation", camera.rotation)
        storage.write("translation", camera.translation[:, None])
        if camera.name in calibration.errors:
            storage.write("avg_reprojection_error", calibration.errors[camera.name])
        storage.endWriteStruct()
    storage.endWriteStruct()
    path.write_text(storage.releaseAndGetString(), encoding="utf-8")
