"""Read and write Calib_Results.mat of Bouguet's Camera Calibration Toolbox for MATLAB.

One camera (fc, cc, kc, alpha_c, nx, ny) or a stereo pair (Calib_Results_stereo.mat). Only the few
small arrays of numbers that are needed reach SciPy: anything else, and what unpacks to more than a
megabyte, is passed over before.
"""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from pipeline_lib.core.cameras.calibration import Calibration, Camera
from pipeline_lib.core.errors import CalibrationError
from pipeline_lib.io.calibrations.building import Builder, check_file, refuse_fisheyes

_HEADER = 128
_PACKED = 15  # a variable that zlib packed
_ARRAY = 14
_NUMBERS = range(
    6, 16
)  # classes of arrays: of texts, cells and the like, SciPy believes the length
_MOST_UNPACKED = 2**20
_SIDES = ("left", "right")
_VARIABLES = ("fc", "cc", "kc", "alpha_c")
_COEFFICIENTS = 5


def is_format(path: Path) -> bool:
    """Tell by its name whether a file is of MATLAB."""
    return path.suffix.lower() == ".mat"


def read(path: Path) -> Calibration:
    """Read a calibration; see `pipeline_lib.io.calibrations.files.CalibrationIO`."""
    names = [f"{one}_{side}" for one in _VARIABLES for side in _SIDES]
    values = _load(path, {*_VARIABLES, *names, "nx", "ny", "R", "T"})
    builder = Builder(path)
    if "fc_left" not in values:
        builder.add(path.stem, lambda: _make(values, path.stem, "", placed=False))
        return builder.finish()
    for side in _SIDES:
        make = lambda side=side: _make(values, side, f"_{side}", placed=side == "right")  # noqa: E731
        builder.add(side, make)
    return builder.finish()


def _load(path: Path, wanted: set[str]) -> dict[str, Any]:
    check_file(path)
    try:
        small = _keep_small(path.read_bytes())
        loaded: dict[str, Any] = loadmat(io.BytesIO(small), variable_names=sorted(wanted))
    except OSError as error:
        raise CalibrationError(str(path), [f"cannot be read: {error.strerror}"]) from None
    except Exception as error:  # noqa: BLE001 - damaged files raise nearly everything
        reason = " ".join(str(error).split())
        raise CalibrationError(
            str(path), [f"is no MATLAB file (version 5 to 7): {reason}"]
        ) from None
    return loaded


def _keep_small(data: bytes) -> bytes:
    """Return a file with those of its variables that are arrays of numbers, up to a megabyte."""
    if data[126:128] not in (b"IM", b"MI") or len(data) < _HEADER:
        raise ValueError("its header is another (version 7.3 is HDF5: save it with -v7)")
    order = "<" if data[126:128] == b"IM" else ">"
    kept, place = [data[:_HEADER]], _HEADER
    while place + 8 <= len(data):
        kind, length = struct.unpack(f"{order}II", data[place : place + 8])
        end = place + 8 + length
        if end > len(data):
            raise ValueError("it is cut short")
        if length <= _MOST_UNPACKED:
            whole = data[place:end] if kind != _PACKED else _unpack(data[place + 8 : end])
            if _holds_numbers(whole, order):
                kept.append(whole)
        place = end
    return b"".join(kept)


def _unpack(packed: bytes) -> bytes:
    """Return a variable; nothing if it is larger than a megabyte."""
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(packed, _MOST_UNPACKED)
    return b"" if unpacker.unconsumed_tail else unpacked


def _holds_numbers(variable: bytes, order: str) -> bool:
    """Tell by its header whether a variable is one whole array of numbers."""
    if len(variable) < 24:
        return False
    kind, length, _, _, flags = struct.unpack_from(f"{order}5I", variable)
    return kind == _ARRAY and len(variable) >= length + 8 and flags & 0xFF in _NUMBERS


def _make(values: dict[str, Any], name: str, ending: str, *, placed: bool) -> Camera:
    focal, centre = _numbers(values, f"fc{ending}", 2), _numbers(values, f"cc{ending}", 2)
    kc = _numbers(values, f"kc{ending}", None)
    skew = _numbers(values, f"alpha_c{ending}", 1)[0] if f"alpha_c{ending}" in values else 0.0
    matrix = np.array(
        [[focal[0], skew * focal[0], centre[0]], [0, focal[1], centre[1]], [0, 0, 1.0]]
    )
    return Camera(
        name,
        (int(_numbers(values, "nx", 1)[0]), int(_numbers(values, "ny", 1)[0])),
        matrix,
        kc,
        "pinhole",
        _numbers(values, "R", 9).reshape(3, 3) if placed else np.eye(3),
        _numbers(values, "T", 3) if placed else np.zeros(3),
    )


def _numbers(values: dict[str, Any], name: str, count: int | None) -> NDArray[np.float64]:
    if name not in values:
        raise ValueError(f"has no variable `{name}`")
    array = np.asarray(values[name])
    if array.dtype.kind not in "iuf" or not 1 <= array.size <= 14:
        raise ValueError(f"`{name}` is not a few numbers")
    if count is not None and array.size != count:
        raise ValueError(f"`{name}` has {array.size} numbers, expected {count}")
    flat: NDArray[np.float64] = array.astype(np.float64).reshape(array.shape).ravel()
    return flat


def write(path: Path, calibration: Calibration) -> None:
    """Write a calibration; see `pipeline_lib.io.calibrations.files.CalibrationIO`.

    Of a pair the first camera is ``left`` and the world has its axes.
    """
    refuse_fisheyes(path, calibration)
    cameras = calibration.cameras
    if len(cameras) > len(_SIDES):
        raise CalibrationError(
            str(path), [f"this format holds one camera or two, not {len(cameras)}"]
        )
    if len({camera.size for camera in cameras}) > 1:
        raise CalibrationError(str(path), ["this format holds one image size for both cameras"])
    values: dict[str, Any] = {"nx": float(cameras[0].size[0]), "ny": float(cameras[0].size[1])}
    endings = [""] if len(cameras) == 1 else [f"_{side}" for side in _SIDES]
    for camera, ending in zip(cameras, endings, strict=True):
        if camera.distortion[_COEFFICIENTS:].any():
            raise CalibrationError(
                str(path),
                [f"camera {camera.name}: this format holds 5 coefficients of distortion"],
            )
        values[f"fc{ending}"] = np.diag(camera.matrix)[:2, None]
        values[f"cc{ending}"] = camera.matrix[:2, 2:]
        values[f"kc{ending}"] = camera.distortion[:_COEFFICIENTS, None]
        values[f"alpha_c{ending}"] = camera.matrix[0, 1] / camera.matrix[0, 0]
    if len(cameras) == 2:
        rotation = cameras[1].rotation @ cameras[0].rotation.T
        values["R"] = rotation
        values["T"] = (cameras[1].translation - rotation @ cameras[0].translation)[:, None]
    # Into memory: SciPy would add a suffix to the name of an unfinished file.
    buffer = io.BytesIO()
    savemat(buffer, values, do_compression=True)
    path.write_bytes(buffer.getvalue())
