"""Read and write the pose file of a session: its poses in three dimensions.

It is a Zarr group as that of one video (`pipeline_lib.io.poses.format`), with the same rules:
few files, metadata in one place, a list of the files there are, and nothing is read that might
run code. ``position`` (time, space, keypoint, individual) has the space ``x``, ``y``, ``z``;
``confidence``, ``error``, ``views`` and ``uncertainty`` (time, keypoint, individual) tell how each
point was found; ``camera_error`` (time, camera, keypoint, individual), ``camera_frame`` (time,
camera) and ``camera_individual`` (time, camera, individual) what each camera saw of it. In memory
the axes are those of `pipeline_lib.core.cameras.session_poses`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import UNITS
from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.tables import FrameStatus, TrackStatus
from pipeline_lib.io.poses.format import read_metadata
from pipeline_lib.io.poses.layout import TIME, Layout
from pipeline_lib.io.poses.read import keep_own, read_arrays
from pipeline_lib.io.poses.write import ArrayWriter, publish_whole

SPACE = ("x", "y", "z")
_POINTS = ("time", "keypoint", "individual")
_POINTS_IN_MEMORY = ("time", "individual", "keypoint")
# Each unit that is not the calibration's.
_UNITS = {"error": "px", "camera_error": "px", "time": "s"}
_IN_UNIT_OF_CALIBRATION = ("position", "uncertainty")
_VALUES = {
    "position": ("time", "space", "keypoint", "individual"),
    "confidence": _POINTS,
    "error": _POINTS,
    "views": _POINTS,
    "uncertainty": _POINTS,
    "camera_error": ("time", "camera", "keypoint", "individual"),
    "camera_frame": ("time", "camera"),
    "camera_individual": ("time", "camera", "individual"),
    "frame_status": ("time",),
    "track_status": ("time", "individual"),
    "time": ("time",),
}
_NAMES = ("space", "keypoint", "individual", "camera")
LAYOUT = Layout(
    name="cohortpose session poses",
    version=1,
    dimensions={**_VALUES, **{name: (name,) for name in _NAMES}},
    memory={
        **_VALUES,
        **{name: (name,) for name in _NAMES},
        **dict.fromkeys(("confidence", "error", "views", "uncertainty"), _POINTS_IN_MEMORY),
        "position": (*_POINTS_IN_MEMORY, "space"),
        "camera_error": ("time", "camera", "individual", "keypoint"),
    },
    dtypes={
        "position": "float32",
        "confidence": "float32",
        "error": "float32",
        "views": "uint8",
        "uncertainty": "float32",
        "camera_error": "float32",
        "camera_frame": "int32",
        "camera_individual": "int16",
        "frame_status": "uint8",
        "track_status": "uint8",
        "time": "float64",
    },
    units=_UNITS,
    # No point, seen by no camera.
    fill={
        **dict.fromkeys(
            ("position", "confidence", "error", "uncertainty", "camera_error", "time"), "NaN"
        ),
        "views": 0,
        "camera_frame": -1,
        "camera_individual": -1,
        "frame_status": int(FrameStatus.MISSING),
        "track_status": int(TrackStatus.ABSENT),
    },
    optional=frozenset({"track_status"}),
)


@dataclass(frozen=True)
class _SessionAxes:
    """Hold lengths and names of the axes of a session's pose file."""

    frames: int
    bodyparts: tuple[str, ...]
    individuals: tuple[str, ...]
    cameras: tuple[str, ...]
    unit: str | None
    tracked: bool

    @property
    def layout(self) -> Layout:
        """Kind of the file, with the unit of its lengths."""
        units = dict.fromkeys(_IN_UNIT_OF_CALIBRATION, self.unit) if self.unit else {}
        return replace(LAYOUT, units={**units, **_UNITS})

    @property
    def frame_values(self) -> int:
        """Number of float32 values of a moment in the largest array."""
        points = len(self.bodyparts) * len(self.individuals)
        return points * max(len(SPACE), len(self.cameras))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each present array of values, with its axes as in the file."""
        sizes = {TIME: self.frames, **{axis: len(names) for axis, names in self.names.items()}}
        return {
            name: tuple(sizes[axis] for axis in axes)
            for name, axes in _VALUES.items()
            if self.tracked or name not in LAYOUT.optional
        }

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """Names along each axis except time."""
        names = (SPACE, self.bodyparts, self.individuals, self.cameras)
        return dict(zip(_NAMES, names, strict=True))


class SessionPoseWriter:
    """Write the poses of one session block by block; see `create_session_poses`."""

    def __init__(self, writer: ArrayWriter) -> None:
        self._writer = writer

    @property
    def written(self) -> int:
        """Moments written so far."""
        return self._writer.written

    def write(self, block: SessionPoses) -> None:
        """Append the poses of consecutive moments; times and names are those of the file.

        Raises
        ------
        ValueError
            If they exceed the session, or have other shapes or arrays than the file.
        """
        values = {name: getattr(block, name) for name in _VALUES if name != TIME}
        self._writer.append(self._writer.written, values)


@contextmanager
def create_session_poses(
    path: Path, time: NDArray[np.float64], head: SessionPoses
) -> Iterator[SessionPoseWriter]:
    """Publish the poses of a session block by block; memory does not grow with its length.

    The file appears under its name when the ``with`` block ends without an exception and every
    moment has been written; otherwise an existing file is kept. The same poses make the same
    bytes, however they are cut into blocks.

    Parameters
    ----------
    path
        The pose file: ``SESSION.zarr.zip``, or a folder ``SESSION.zarr``; an existing one is
        replaced.
    time
        Shape (time,), float64, seconds, of every moment.
    head
        Poses of any number of moments, with the file's names, unit and attributes; they have a
        ``track_status`` if the blocks have one.

    Yields
    ------
    SessionPoseWriter
        To which consecutive blocks of moments are given.

    Raises
    ------
    StoreError
        At the end, if moments are missing.
    ValueError
        If an attribute has a name that belongs to the format.
    """
    tracked = head.track_status is not None
    axes = _SessionAxes(
        len(time), head.bodyparts, head.individuals, head.cameras, head.unit, tracked
    )
    with publish_whole(path) as folder:
        writer = ArrayWriter(folder, axes, time, head.attributes)
        yield SessionPoseWriter(writer)
        writer.close(path)


def write_session_poses(path: Path, poses: SessionPoses) -> None:
    """Publish the poses of one session as a pose file.

    Parameters
    ----------
    path
        The pose file, named as for `create_session_poses`; an existing one is replaced.
    poses
        Poses of every moment.
    """
    with create_session_poses(path, poses.time, poses) as writer:
        writer.write(poses)


def read_session_poses(path: Path, start: int = 0, stop: int | None = None) -> SessionPoses:
    """Read the poses of one session, or of some of its moments.

    Parameters
    ----------
    path
        A pose file of a session.
    start, stop
        Moments to read, as in a slice; only the chunks that hold them are fetched.

    Raises
    ------
    StoreError
        If the file is missing, damaged, incomplete, of another version, or not the pose file of a
        session.
    """
    arrays, _ = read_metadata(path, LAYOUT)
    _check_types(path, arrays)
    values, attributes = read_arrays(path, LAYOUT, slice(start, stop))
    names = {axis: tuple(str(name) for name in values.pop(axis)) for axis in _NAMES}
    if names["space"] != SPACE:
        raise _describe(path, f"its space is {', '.join(names['space'])}, expected x, y, z")
    track_status = values.pop("track_status", None)
    return SessionPoses(
        **values,
        track_status=track_status,
        bodyparts=names["keypoint"],
        individuals=names["individual"],
        cameras=names["camera"],
        unit=_find_unit(path, attributes),
        attributes=keep_own(attributes),
    )


def read_session_times(path: Path) -> NDArray[np.float64]:
    """Read the time of every moment of a session's pose file.

    Returns
    -------
    Array of shape (time,), float64, seconds

    Raises
    ------
    StoreError
        As `read_session_poses`.
    """
    return read_arrays(path, LAYOUT, names=(TIME,))[0][TIME]


def read_session_key(path: Path) -> str | None:
    """Return the key of the session poses at a path, without reading them.

    Returns
    -------
    str or None
        The attribute ``key``; None if there is no whole pose file of a session with a key.
    """
    try:
        key = read_metadata(path, LAYOUT)[1].get("key")
    except StoreError:
        return None
    return key if isinstance(key, str) else None


def _check_types(path: Path, arrays: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse arrays of other types: a text for a number, or a number that would overflow."""
    for name, array in arrays.items():
        expected = LAYOUT.dtypes.get(name, "string")
        if name in LAYOUT.dimensions and array["data_type"] != expected:
            found = array["data_type"]
            raise _describe(path, f"array {name!r} is of type {found}, expected {expected}")


def _find_unit(path: Path, attributes: Mapping[str, Any]) -> str | None:
    units = attributes.get("units")
    unit = units.get("position") if isinstance(units, Mapping) else None
    if unit is not None and (not isinstance(unit, str) or unit not in UNITS):
        raise _describe(path, f"its unit is {unit!r}, expected one of {', '.join(UNITS)}")
    return unit


def _describe(path: Path, problem: str) -> StoreError:
    return StoreError(
        f"{path}: {problem}; this pose file is damaged or was not written by cohortpose: write it "
        "again, or ask whoever sent it"
    )
