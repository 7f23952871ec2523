"""Read and write stereo_params.pickle of a DeepLabCut 3D project: two cameras.

A pickle is read without running what it names. The first camera's axes are those of the world, in
the file and so in what is written.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Calibration, Camera
from pipeline_lib.core.errors import CalibrationError, StoreError
from pipeline_lib.io.calibrations.building import Builder, require_pair, shorten
from pipeline_lib.io.foreign.restricted_pickle import as_array, load_pickle

_SUFFIXES = (".pickle", ".pkl")
_MOST_NUMBERS = 64


def is_format(path: Path) -> bool:
    """Tell by its name whether a file is a pickle."""
    return path.suffix.lower() in _SUFFIXES


def read(path: Path) -> Calibration:
    """Read a calibration; see `pipeline_lib.io.calibrations.files.CalibrationIO`."""
    try:
        pairs = load_pickle(path, small=True)
    except StoreError as error:
        raise CalibrationError(str(path), [str(error).removeprefix(f"{path}: ")]) from None
    if not isinstance(pairs, Mapping) or len(pairs) != 1:
        raise CalibrationError(
            str(path),
            ["expected the parameters of one pair of cameras, as stereo_params.pickle has them"],
        )
    key, values = next(iter(pairs.items()))
    if not isinstance(values, Mapping) or "cameraMatrix1" not in values:
        reason = (
            "holds no pair of cameras (`cameraMatrix1`); *_intrinsic_params.pickle has neither "
            "places nor image size: give stereo_params.pickle"
        )
        raise CalibrationError(str(path), [reason])
    builder = Builder(path)
    for number, name in enumerate(_split(str(key))):
        builder.add(name, lambda number=number, name=name: _make(values, number, name))  # type: ignore[misc]
    return builder.finish()


def _split(key: str) -> tuple[str, str]:
    """Return the names of two cameras, which the file joins with a dash."""
    parts = key.split("-")
    half = len(parts) // 2
    if len(parts) % 2 or not all(parts):
        return f"{key}-1", f"{key}-2"
    return "-".join(parts[:half]), "-".join(parts[half:])


def _make(values: Mapping[Any, Any], number: int, name: str) -> Camera:
    sizes = values["image_shape"]
    rotation, translation = np.eye(3), np.zeros(3)
    if number:
        rotation = _numbers(values["R"], "R", 9).reshape(3, 3)
        translation = _numbers(values["T"], "T", 3)
    size = sizes[number] if len(sizes) > number else sizes[0]
    return Camera(
        name,
        (int(size[0]), int(size[1])),
        _numbers(values[f"cameraMatrix{number + 1}"], "cameraMatrix", 9),
        _numbers(values[f"distCoeffs{number + 1}"], "distCoeffs", None),
        "pinhole",
        rotation,
        translation,
    )


def _numbers(value: object, name: str, count: int | None) -> NDArray[np.float64]:
    array = as_array(value)
    if array.dtype.kind not in "iuf" or array.size > _MOST_NUMBERS:
        raise ValueError(f"`{name}` is not a few numbers")
    if count is not None and array.size != count:
        raise ValueError(f"`{name}` has {array.size} numbers, expected {count}")
    return array.astype(np.float64).ravel()


def write(path: Path, calibration: Calibration) -> None:
    """Write a calibration; see `pipeline_lib.io.calibrations.files.CalibrationIO`."""
    first, second = require_pair(path, calibration)
    if first.size != second.size:
        raise CalibrationError(
            str(path), ["this format needs two cameras of one image size; choose another"]
        )
    rotation = second.rotation @ first.rotation.T
    translation = (second.translation - rotation @ first.translation)[:, None]
    distortions = [np.array([shorten(one.distortion, 5)]) for one in (first, second)]
    rectified = cv2.stereoRectify(
        first.matrix,
        distortions[0],
        second.matrix,
        distortions[1],
        first.size,
        rotation,
        translation,
    )
    x, y, z = translation[:, 0].tolist()
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ rotation
    fundamental = np.linalg.inv(second.matrix).T @ essential @ np.linalg.inv(first.matrix)
    values: dict[str, Any] = {
        "cameraMatrix1": first.matrix.copy(),
        "cameraMatrix2": second.matrix.copy(),
        "distCoeffs1": distortions[0],
        "distCoeffs2": distortions[1],
        "R": rotation,
        "T": translation,
        "E": essential,
        "F": fundamental / fundamental[2, 2] if fundamental[2, 2] else fundamental,
        **dict(zip(("R1", "R2", "P1", "P2", "Q", "roi1", "roi2"), rectified, strict=True)),
        "image_shape": [first.size, second.size],
    }
    path.write_bytes(pickle.dumps({f"{first.name}-{second.name}": values}, protocol=4))
