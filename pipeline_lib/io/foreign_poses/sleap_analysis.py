"""Read SLEAP analysis files (HDF5): arrays of tracks, in any order of axes that they tell."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL
from pipeline_lib.io.exports.sleap_convention import PIXEL_OFFSET
from pipeline_lib.io.foreign.hdf5 import open_hdf5
from pipeline_lib.io.foreign_poses.found import FoundPoses, count_individuals

if TYPE_CHECKING:
    import h5py

# Axes as SLEAP writes them, where a file does not tell.
_AXES = {"tracks": ("track", "xy", "node", "frame"), "point_scores": ("track", "node", "frame")}
_OTHER_NAMES = {
    "space": "xy",
    "nodes": "node",
    "keypoint": "node",
    "individual": "track",
    "tracks": "track",
    "frames": "frame",
    "time": "frame",
}


def is_format(path: Path) -> bool:
    """Tell whether a file is HDF5 with the arrays of an analysis file."""
    if path.suffix.lower() not in (".h5", ".hdf5") or not path.is_file():
        return False
    try:
        with open_hdf5(path) as file:
            return "tracks" in file and "node_names" in file
    except StoreError:
        return False


def read(path: Path) -> FoundPoses:
    """Read an analysis file.

    Raises
    ------
    StoreError
        If it is damaged, or its arrays contradict each other.
    """
    try:
        with open_hdf5(path) as file:
            return _read(path, file)
    except StoreError:
        raise
    # What is damaged fails inside HDF5 or NumPy in many ways.
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreError(f"{path}: is no readable SLEAP analysis file: {reason}") from None


def _read(path: Path, file: "h5py.File") -> FoundPoses:
    nodes, tracks = _read_names(file, "node_names"), _read_names(file, "track_names")
    position = _order(path, file, "tracks", ("frame", "track", "node", "xy"))
    count = position.shape[1]
    names = tracks or count_individuals(count, SINGLE_INDIVIDUAL)
    if position.shape[1:] != (len(names), len(nodes), 2):
        raise StoreError(
            f"{path}: `tracks` is of {position.shape[1]} tracks, {position.shape[2]} nodes and "
            f"{position.shape[3]} coordinates; expected {len(names)}, {len(nodes)} and 2"
        )
    if "point_scores" in file:
        confidence = _order(path, file, "point_scores", ("frame", "track", "node"))
    else:
        confidence = np.ones(position.shape[:3], np.float32)
    if confidence.shape != position.shape[:3]:
        raise StoreError(
            f"{path}: `point_scores` has the shape {confidence.shape}, and `tracks` means "
            f"{position.shape[:3]}"
        )
    return FoundPoses(
        (position + np.float32(PIXEL_OFFSET)).astype(np.float32),
        confidence.astype(np.float32),
        tuple(nodes),
        tuple(names),
        bool(tracks),
    )


def _read_names(file: "h5py.File", name: str) -> list[str]:
    if name not in file:
        return []
    values = np.asarray(file[name][()]).ravel()
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _order(path: Path, file: "h5py.File", name: str, wanted: tuple[str, ...]) -> NDArray[Any]:
    """Return an array with the axes that are wanted."""
    array, told = file[name], file[name].attrs.get("dims")
    axes: tuple[str, ...] = _AXES[name]
    if told is not None:
        found = json.loads(told if isinstance(told, str | bytes) else str(told))
        axes = tuple(_OTHER_NAMES.get(str(axis), str(axis)) for axis in found)
    if array.ndim != len(wanted) or sorted(axes) != sorted(wanted):
        raise StoreError(
            f"{path}: `{name}` has the shape {array.shape} with the axes {', '.join(axes)}; "
            f"expected {', '.join(wanted)}"
        )
    if array.dtype.kind != "f":
        raise StoreError(f"{path}: `{name}` is of type {array.dtype}, expected numbers")
    return np.asarray(array[()]).transpose([axes.index(axis) for axis in wanted])
