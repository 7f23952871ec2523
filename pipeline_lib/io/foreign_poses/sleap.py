"""Read the predictions of a SLEAP file (``.slp``).

The tables of the file are read as arrays, because sleap-io's objects, one per animal and frame,
would take a hundred times the memory.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL
from pipeline_lib.io.exports.sleap_convention import PIXEL_OFFSET
from pipeline_lib.io.foreign.hdf5 import open_hdf5
from pipeline_lib.io.foreign_poses.found import (
    MOST_INDIVIDUALS,
    FoundPoses,
    check_frames,
    count_individuals,
)
from pipeline_lib.io.labels.sleap.layout import list_layout_problems
from pipeline_lib.io.labels.sleap.tracks import find_last_words

if TYPE_CHECKING:
    import h5py

# Files before this version count from the corner of the top-left pixel.
_CENTRED_SINCE = 1.1
_TABLES = ("points", "pred_points")  # by the type of an instance: a user's, a predicted one


def is_format(path: Path) -> bool:
    """Tell whether a file has SLEAP's suffix."""
    return path.suffix.lower() == ".slp" and path.is_file()


def read(path: Path) -> FoundPoses:
    """Read the instances of the only video of a file that has some.

    Where a user corrected a predicted instance, the user's counts, with confidence 1. Individuals
    are the tracks if every instance has one; else they are counted in each frame.

    Raises
    ------
    StoreError
        If it is damaged, has instances of several videos, a track twice in a frame, or too many
        animals.
    """
    try:
        with open_hdf5(path) as file:
            return _read(path, file)
    except StoreError:
        raise
    # What is damaged fails inside HDF5, JSON or NumPy in many ways.
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreError(f"{path}: is not readable as a SLEAP file: {reason}") from None


def _read(path: Path, file: "h5py.File") -> FoundPoses:
    problems = list_layout_problems(file)
    if problems:
        raise StoreError(f"{path}: is not readable as a SLEAP file: {'; '.join(problems)}")
    frames, instances = file["frames"][:], file["instances"][:]
    counts = (frames["instance_id_end"] - frames["instance_id_start"]).astype(np.int64)
    videos = np.unique(frames["video"][counts > 0])
    if len(videos) > 1:
        raise StoreError(
            f"{path}: has instances of {len(videos)} videos; save the predictions of each video in "
            "a file of its own"
        )
    # One row for each instance: its frame and its number.
    row = np.repeat(np.arange(len(frames)), counts)
    first = np.repeat(frames["instance_id_start"].astype(np.int64), counts)
    number = first + np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = find_last_words(instances, number, row)
    row, number = row[kept], number[kept]
    frame = frames["frame_idx"].astype(np.int64)[row]
    nodes = _read_nodes(file)
    bodyparts = tuple(dict.fromkeys(name for names in nodes for name in names))
    points = _read_points(file, instances[number], nodes, bodyparts)
    # An instance without a point is one that was begun, or emptied.
    some = np.isfinite(points[..., :2]).all(axis=-1).any(axis=-1)
    frame, number, points = frame[some], number[some], points[some]
    slot, names, tracked = _find_slots(path, file, frame, instances["track"][number])
    count = check_frames(path, frame, number, len(names) * len(bodyparts))
    arranged = np.full((count, len(names), len(bodyparts), 3), np.nan, np.float32)
    arranged[frame, slot] = points
    position = arranged[..., :2] + np.float32(PIXEL_OFFSET)
    return FoundPoses(position, arranged[..., 2], bodyparts, names, tracked)


def _read_nodes(file: "h5py.File") -> list[list[str]]:
    """Return the names of the nodes of each skeleton, in the order of its points."""
    metadata: Any = json.loads(file["metadata"].attrs["json"])
    names = [str(node["name"]) for node in metadata["nodes"]]
    return [
        [names[int(node["id"] if isinstance(node, dict) else node)] for node in skeleton["nodes"]]
        for skeleton in metadata["skeletons"]
    ]


def _read_points(
    file: "h5py.File", instances: NDArray[Any], nodes: list[list[str]], bodyparts: tuple[str, ...]
) -> NDArray[np.float64]:
    """Return x, y and confidence, shape (instance, bodypart, 3); NaN: not visible."""
    points = np.full((len(instances), len(bodyparts), 3), np.nan)
    version = float(file["metadata"].attrs.get("format_id", _CENTRED_SINCE))
    corner = 0.5 if version < _CENTRED_SINCE else 0.0
    for kind, name in enumerate(_TABLES):
        table = file[name][:]
        seen = table["visible"] & np.isfinite(table["x"]) & np.isfinite(table["y"])
        score = table["score"] if "score" in (table.dtype.names or ()) else np.ones(len(table))
        values = np.stack([table["x"] - corner, table["y"] - corner, score], axis=1)
        values = np.where(seen[:, None], values, np.nan)
        for skeleton, names in enumerate(nodes):
            own = (instances["instance_type"] == kind) & (instances["skeleton"] == skeleton)
            start = instances["point_id_start"].astype(np.int64)[own]
            length = instances["point_id_end"].astype(np.int64)[own] - start
            if (length != len(names)).any():
                raise ValueError(f"an instance has {length.max()} points, expected {len(names)}")
            columns = [bodyparts.index(node) for node in names]
            which = start[:, None] + np.arange(len(names))
            points[np.flatnonzero(own)[:, None], columns] = values[which]
    return points


def _find_slots(
    path: Path, file: "h5py.File", frame: NDArray[np.int64], track: NDArray[Any]
) -> tuple[NDArray[np.int64], tuple[str, ...], bool]:
    """Return the slot of each instance, the names of the individuals, and whether they are tracks.

    Raises
    ------
    StoreError
        If a frame has a track twice, or there are too many animals.
    """
    if len(track) and (track >= 0).all():
        numbers, slot = np.unique(track.astype(np.int64), return_inverse=True)
        texts = [json.loads(text)[1] for text in file["tracks_json"][:]]
        names = tuple(str(texts[number]) for number in numbers)
        _, counts = np.unique(np.stack([frame, slot]), axis=1, return_counts=True)
        if (counts > 1).any():
            pairs, counts = np.unique(np.stack([frame, slot]), axis=1, return_counts=True)
            when, who = pairs[:, np.argmax(counts)]
            raise StoreError(f"{path}: frame {when} has the track {names[who]!r} more than once")
        tracked = True
    else:
        order = np.argsort(frame, kind="stable")
        changes = np.flatnonzero(np.diff(frame[order], prepend=-1))
        slot = np.empty(len(frame), np.int64)
        lengths = np.diff(np.append(changes, len(frame)))
        slot[order] = np.arange(len(frame)) - np.repeat(changes, lengths)
        names = count_individuals(int(slot.max(initial=0)) + 1, SINGLE_INDIVIDUAL)
        tracked = False
    if len(names) > MOST_INDIVIDUALS:
        raise StoreError(
            f"{path}: has {len(names)} individuals, expected at most {MOST_INDIVIDUALS}: join the "
            "tracks of one animal first"
        )
    return slot, names, tracked
