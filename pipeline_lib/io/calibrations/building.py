"""Build cameras from what files hold, collecting every problem; bound what is read."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline_lib.core.cameras.calibration import MOST_CAMERAS, Calibration, Camera
from pipeline_lib.core.errors import CalibrationError
from pipeline_lib.core.untrusted.regular_files import describe_encoding, require_regular_file

# A camera takes one kilobyte; Bouguet's files also hold the corners, DeepLabCut's the images' size.
MOST_BYTES = 64 * 2**20
_MOST_TEXT = 16 * 2**20
# Of each line the square of its dots, all lines together; ten thousand cameras have a tenth.
_MOST_DOTS = 2 * 10**7


def check_file(path: Path) -> None:
    """Refuse a path that is no regular file, or a larger one than any calibration.

    Raises
    ------
    CalibrationError
        With the reason.
    """
    try:
        require_regular_file(path)
        size = path.stat().st_size
    except FileNotFoundError:
        raise CalibrationError(str(path), ["no such file"]) from None
    except OSError as error:
        raise CalibrationError(str(path), [f"cannot be read: {error.strerror}"]) from None
    if size > MOST_BYTES:
        raise CalibrationError(
            str(path), [f"is larger than {MOST_BYTES // 2**20} MiB, which no calibration is"]
        )


def read_text(path: Path) -> str:
    """Read a text in UTF-8.

    Raises
    ------
    CalibrationError
        If it cannot be read, is too large or no text.
    """
    check_file(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CalibrationError(str(path), [f"cannot be read: {error.strerror}"]) from None
    if len(data) > _MOST_TEXT:
        raise CalibrationError(str(path), [f"is larger than {_MOST_TEXT // 2**20} MiB"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CalibrationError(str(path), [describe_encoding(data, error)]) from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    CalibrationError
        If it cannot be read, or is none.
    """
    text = read_text(path)
    # A key of many parts takes the square of their number: a few kilobytes take hours.
    if sum(line.count(".") ** 2 for line in text.split("\n")) > _MOST_DOTS:
        raise CalibrationError(
            str(path), ["has lines with too many dots for a calibration: it is not read"]
        )
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CalibrationError(str(path), [f"is not TOML: {reason}"]) from None


def has_cameras(path: Path, check: Callable[[dict[str, Any]], bool]) -> bool:
    """Tell whether a file is TOML whose tables pass a check."""
    if path.suffix.lower() != ".toml":
        return False
    try:
        return check(read_toml(path))
    except CalibrationError:
        return False


class Builder:
    """Collect cameras and problems of one file.

    Parameters
    ----------
    path
        For messages.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []
        self.cameras: list[Camera] = []
        self.errors: dict[str, float] = {}

    def add(self, where: str, make: Callable[[], Camera], error: Any = None) -> None:  # noqa: ANN401
        """Add a camera that a function makes; what it raises is a problem of that camera.

        Parameters
        ----------
        where
            What the file calls it.
        make
            May raise `ValueError`, `TypeError`, `KeyError` or `LookupError`.
        error
            Of reprojection, in px; anything but a finite number is not kept.
        """
        if len(self.cameras) + len(self.problems) >= MOST_CAMERAS:
            raise CalibrationError(str(self.path), [f"has more than {MOST_CAMERAS:,} cameras"])
        try:
            camera = make()
        except KeyError as missing:
            self.problems.append(f"camera {where}: has no {missing}")
        except (ValueError, TypeError, LookupError, ArithmeticError) as problem:
            self.problems.append(f"camera {where}: {' '.join(str(problem).split())}")
        else:
            self.cameras.append(camera)
            number = isinstance(error, float) or type(error) is int
            if number and 0 <= error < np.inf:
                self.errors[camera.name] = float(error)

    def finish(self, unit: object = None) -> Calibration:
        """Return the calibration.

        Raises
        ------
        CalibrationError
            With all problems.
        """
        if not self.problems:
            try:
                known = unit if isinstance(unit, str) or unit is None else str(unit)
                return Calibration(tuple(self.cameras), known, self.errors)
            except ValueError as error:
                self.problems.append(str(error))
        raise CalibrationError(str(self.path), self.problems)


def require_table(value: object) -> Mapping[str, Any]:
    """Return a table of a file.

    Raises
    ------
    ValueError
        If it is none.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a table of values, found {type(value).__name__}")  # noqa: TRY004
    return value


def take_rotation(value: object) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a rotation matrix, from one or from a rotation vector (Rodrigues).

    Raises
    ------
    ValueError
        If it is neither.
    """
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError("`rotation` is not made of numbers") from None
    if not np.isfinite(array).all():
        raise ValueError("`rotation` has numbers that are not finite")
    if array.size == 3:
        matrix: np.ndarray[Any, np.dtype[np.float64]] = Rotation.from_rotvec(
            array.ravel()
        ).as_matrix()
        return matrix
    if array.size != 9:
        raise ValueError(f"`rotation` has {array.size} numbers, expected 3 or 9")
    return array.reshape(3, 3)


def require_flag(value: object, name: str) -> bool:
    """Return a truth value of a file.

    Raises
    ------
    ValueError
        If it is none.
    """
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise ValueError(f"`{name}` is {value!r}, expected true or false")


def require_pair(path: Path, calibration: Calibration) -> tuple[Camera, Camera]:
    """Return the two cameras of a format that holds pairs.

    Raises
    ------
    CalibrationError
        If there are not two, or one is a fisheye.
    """
    if len(calibration.cameras) != 2:
        raise CalibrationError(
            str(path),
            [f"this format holds two cameras, not {len(calibration.cameras)}; choose another"],
        )
    first, second = calibration.cameras
    refuse_fisheyes(path, calibration)
    return first, second


def refuse_fisheyes(path: Path, calibration: Calibration) -> None:
    """Refuse fisheyes, for formats that have none.

    Raises
    ------
    CalibrationError
        If there is one.
    """
    wide = [camera.name for camera in calibration.cameras if camera.model == "fisheye"]
    if wide:
        raise CalibrationError(
            str(path), [f"this format has no fisheyes, which {', '.join(wide)} are"]
        )


def shorten(distortion: np.ndarray[Any, np.dtype[np.float64]], least: int) -> list[float]:
    """Return coefficients without the zeros at their end, in a number that OpenCV takes."""
    used = int(np.max(np.flatnonzero(distortion), initial=-1)) + 1
    count = next(size for size in (4, 5, 8, 12) if size >= max(used, least))
    numbers: list[float] = distortion[:count].tolist()
    return numbers
