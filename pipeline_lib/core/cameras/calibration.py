"""Define cameras and calibrations, the value objects of the geometry kernels.

World and camera axes follow OpenCV: a point X of the world is at ``rotation @ X + translation``
in a camera's own axes, x to the right, y down, z forward. Pixels are 0-based, (0, 0) being the
centre of the top-left pixel.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.basics import MODELS, UNITS, Model
from pipeline_lib.core.untrusted.names import find_text_problem, fold_name

__all__ = ["MODELS", "MOST_CAMERAS", "UNITS", "Calibration", "Camera", "Model"]

# Coefficients of each model, in OpenCV's order.
_COUNTS: Mapping[str, int] = MappingProxyType({"pinhole": 12, "fisheye": 4})
_LARGEST_SIDE = 1_000_000
MOST_CAMERAS = 1_000
# Files round to about four digits; a larger deviation means that this is no rotation matrix.
_ROTATION_TOLERANCE = 1e-3
_ROUNDING = 1e-12

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Camera:
    """Describe one camera: its intrinsics and its pose.

    Attributes
    ----------
    name
        Unique within a calibration.
    size
        Width and height of its images in px.
    matrix
        Shape (3, 3): focal lengths, skew and principal point in px.
    distortion
        Of a pinhole camera: k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 (OpenCV's rational model with
        thin prisms), shape (12,); fewer may be given, the others are 0. Of a fisheye: k1 k2 k3 k4.
    model
        ``pinhole`` or ``fisheye`` (OpenCV's equidistant fisheye).
    rotation
        Shape (3, 3): from the axes of the world to those of the camera.
    translation
        Shape (3,): the world's origin in the camera's axes, in the unit of the calibration.

    Raises
    ------
    ValueError
        With what is wrong, in one line that does not name the camera.
    """

    name: str
    size: tuple[int, int]
    matrix: Floats
    distortion: Floats = field(default_factory=lambda: np.zeros(0))
    model: Model = "pinhole"
    rotation: Floats = field(default_factory=lambda: np.eye(3))
    translation: Floats = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self) -> None:
        problem = find_text_problem(self.name) if isinstance(self.name, str) else "is no text"
        if problem:
            raise ValueError(f"its name {problem}")
        if self.model not in MODELS:
            raise ValueError(f"expected the model {' or '.join(MODELS)}, found {self.model!r}")
        _set(self, "size", _check_size(self.size))
        _set(self, "matrix", _check_matrix(self.matrix))
        _set(self, "distortion", _check_distortion(self.distortion, self.model))
        _set(self, "rotation", _check_rotation(self.rotation))
        _set(self, "translation", _take_numbers("translation", self.translation, (3,)))

    @property
    def centre(self) -> Floats:
        """Return the position of the camera in the world; shape (3,), unit of the calibration."""
        centre: Floats = -self.rotation.T @ self.translation
        return centre

    def has_same_parameters(self, other: "Camera") -> bool:
        """Tell whether another camera has the same lens at the same place, whatever its name."""
        mine, theirs = (
            (one.matrix, one.rotation, one.translation, one.distortion) for one in (self, other)
        )
        return self.model == other.model and all(
            first.shape == second.shape and np.allclose(first, second, rtol=1e-9, atol=1e-9)
            for first, second in zip(mine, theirs, strict=True)
        )

    def rename(self, name: str) -> "Camera":
        """Return the same camera under another name."""
        return replace(self, name=name)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Describe the cameras of a recording.

    Attributes
    ----------
    cameras
        In the order of the file; their names differ, also in more than case.
    unit
        Of lengths: a key of `UNITS`; None where a file does not tell.
    errors
        Reprojection error of each camera, root mean square in px, by its name; empty where a
        file does not tell.

    Raises
    ------
    ValueError
        If there is no camera, names repeat, or the unit or an error is none.
    """

    cameras: tuple[Camera, ...]
    unit: str | None = None
    errors: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _set(self, "cameras", tuple(self.cameras))
        if not self.cameras:
            raise ValueError("there is no camera")
        if len(self.cameras) > MOST_CAMERAS:
            raise ValueError(f"there are {len(self.cameras)} cameras, more than {MOST_CAMERAS:,}")
        repeated = _find_repeated(self.names)
        if repeated:
            raise ValueError(f"two cameras have the name {repeated!r}; rename one of them")
        if self.unit is not None and self.unit not in UNITS:
            raise ValueError(f"{self.unit!r} is no unit; there are {', '.join(UNITS)}")
        for name, error in self.errors.items():
            if name not in self.names:
                raise ValueError(f"an error is given for {name!r}, which is none of the cameras")
            if not 0 <= error < np.inf:
                raise ValueError(f"the error of {name!r} is {error}; expected px of at least 0")
        _set(self, "errors", MappingProxyType(dict(self.errors)))

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the cameras in order."""
        return tuple(camera.name for camera in self.cameras)

    def find(self, name: str) -> Camera:
        """Return the camera of a name.

        Raises
        ------
        ValueError
            If there is none.
        """
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise ValueError(f"there is no camera {name!r}; there are {', '.join(self.names)}")

    def choose(self, names: Iterable[str]) -> "Calibration":
        """Return the calibration of some cameras, in the order of the names.

        Raises
        ------
        ValueError
            If a name is none of the cameras, or repeats.
        """
        chosen = tuple(self.find(name) for name in names)
        errors = {one.name: self.errors[one.name] for one in chosen if one.name in self.errors}
        return Calibration(chosen, self.unit, errors)


def _set(target: object, name: str, value: object) -> None:
    object.__setattr__(target, name, value)


def _take_numbers(what: str, value: Any, shape: tuple[int, ...]) -> Floats:  # noqa: ANN401
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"`{what}` is not made of numbers") from None
    if array.size != np.prod(shape):
        raise ValueError(f"`{what}` has {array.size} numbers, expected {int(np.prod(shape))}")
    if not np.isfinite(array).all():
        raise ValueError(f"`{what}` has numbers that are not finite")
    array = array.reshape(shape)
    array.flags.writeable = False
    return array


def _check_size(size: Any) -> tuple[int, int]:  # noqa: ANN401
    width, height = _take_numbers("size", size, (2,)).tolist()
    if not (width.is_integer() and height.is_integer()):
        raise ValueError(f"`size` is {width} x {height}; expected whole px")
    if not (1 <= width <= _LARGEST_SIDE and 1 <= height <= _LARGEST_SIDE):
        raise ValueError(f"`size` is {width:g} x {height:g} px; expected 1 to {_LARGEST_SIDE:,}")
    return int(width), int(height)


def _check_matrix(value: Any) -> Floats:  # noqa: ANN401
    matrix = _take_numbers("matrix", value, (3, 3))
    if not np.allclose([matrix[1, 0], *matrix[2]], [0, 0, 0, 1], atol=1e-9):
        raise ValueError(
            "`matrix` is no camera matrix: expected [[fx, skew, cx], [0, fy, cy], [0, 0, 1]]"
        )
    if min(matrix[0, 0], matrix[1, 1]) <= 0:
        raise ValueError("`matrix` has a focal length that is not positive")
    return matrix


def _check_distortion(value: Any, model: Model) -> Floats:  # noqa: ANN401
    count, most = int(np.size(value)), _COUNTS[model]
    given = _take_numbers("distortion", value, (count,)) if count else np.zeros(0)
    # Trailing zeros have no effect; OpenCV writes 14 numbers for some flags.
    if given[most:].any():
        raise ValueError(
            f"`distortion` has {count} numbers for the model {model}; expected at most {most}"
        )
    distortion = np.zeros(most)
    distortion[: len(given[:most])] = given[:most]
    distortion.flags.writeable = False
    return distortion


def _check_rotation(value: Any) -> Floats:  # noqa: ANN401
    rotation = _take_numbers("rotation", value, (3, 3))
    off = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if off > _ROTATION_TOLERANCE:
        raise ValueError(
            "`rotation` is no rotation: its rows are not perpendicular and of length 1"
        )
    if np.linalg.det(rotation) < 0:
        raise ValueError("`rotation` mirrors: its determinant is -1, expected 1")
    if off < _ROUNDING:
        return rotation
    left, _, right = np.linalg.svd(rotation)
    proper: Floats = left @ right
    proper.flags.writeable = False
    return proper


def _find_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if fold_name(name) in seen:
            return name
        seen.add(fold_name(name))
    return None
