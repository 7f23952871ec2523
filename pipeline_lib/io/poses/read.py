"""Read pose files: one Zarr group per video, which xarray opens as a dataset, too.

``position`` (time, space, keypoint, individual) in px, ``confidence`` (time, keypoint,
individual) and ``frame_status`` (time), with the coordinates ``time`` in seconds, ``space``,
``keypoint`` and ``individual``. Where individuals were tracked, ``track_status`` (time,
individual); if the network recognises them, ``identity_confidence`` (time, individual,
identity) with the coordinate ``identity``. Poses of an ensemble have a ``spread`` (time, keypoint,
individual) in px, and views that a session corrected a ``point_source`` (time, keypoint,
individual). In memory the axes are those of
`pipeline_lib.core.poses`. `pipeline_lib.io.poses.write` writes the files.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.poses import Poses, find_decoded
from pipeline_lib.core.tables import FrameStatus
from pipeline_lib.io.poses.format import (
    FORMAT_ATTRIBUTES,
    LAYOUT,
    open_group,
    read_metadata,
)
from pipeline_lib.io.poses.layout import Layout


def read_poses(path: Path, start: int = 0, stop: int | None = None) -> Poses:
    """Read the poses of one video, or of some of its frames.

    Parameters
    ----------
    path
        A pose file.
    start, stop
        Frames to read, as in a slice; only the chunks that hold them are fetched.

    Raises
    ------
    StoreError
        If the file is missing, damaged, incomplete, of another version, or not a pose file.
    """
    values, attributes = read_arrays(path, LAYOUT, slice(start, stop))
    return Poses(
        position=values["position"],
        confidence=values["confidence"],
        frame_status=values["frame_status"],
        time=values["time"],
        bodyparts=tuple(str(name) for name in values["keypoint"]),
        individuals=tuple(str(name) for name in values["individual"]),
        attributes=keep_own(attributes),
        track_status=values.get("track_status"),
        identity=values.get("identity_confidence"),
        spread=values.get("spread"),
        point_source=values.get("point_source"),
    )


def read_times(path: Path) -> NDArray[np.float64]:
    """Read the presentation time of every frame of a pose file.

    Returns
    -------
    Array of shape (time,), float64, seconds

    Raises
    ------
    StoreError
        As `read_poses`.
    """
    return read_arrays(path, LAYOUT, names=("time",))[0]["time"]


def read_frame_status(path: Path) -> NDArray[np.uint8]:
    """Read the status of every frame of a pose file.

    Returns
    -------
    Array of shape (time,), uint8, values of `pipeline_lib.core.tables.FrameStatus`

    Raises
    ------
    StoreError
        As `read_poses`.
    """
    return read_arrays(path, LAYOUT, names=("frame_status",))[0]["frame_status"]


def read_track_status(path: Path) -> NDArray[np.uint8]:
    """Read the status of every individual in every frame of a file of tracks.

    Returns
    -------
    Array of shape (time, individual), uint8, values of `pipeline_lib.core.tables.TrackStatus`

    Raises
    ------
    StoreError
        As `read_poses`; also if individuals were not tracked.
    """
    return read_arrays(path, LAYOUT, names=("track_status",))[0]["track_status"]


class FrameCounts(NamedTuple):
    """Count the frames of a pose file, those not decoded, and those in which nothing moved."""

    frames: int
    undecodable: int
    still: int


def count_frames(path: Path) -> FrameCounts:
    """Count the frames of a pose file by their status.

    If all frames have the same status, which is nearly always so, only the metadata are read.

    Raises
    ------
    StoreError
        As `read_poses`.
    """
    arrays, attributes = read_metadata(path)
    status = arrays["frame_status"]
    frames = int(status["shape"][0])
    if any(name.startswith("frame_status/") for name in attributes["files"]):
        each = read_frame_status(path)
        still = int((each == FrameStatus.STILL).sum())
        return FrameCounts(frames, int((~find_decoded(each)).sum()), still)
    fill = status["fill_value"]
    decoded = fill in (FrameStatus.DECODED, FrameStatus.STILL)
    return FrameCounts(frames, 0 if decoded else frames, frames if fill == FrameStatus.STILL else 0)


def read_pose_key(path: Path) -> str | None:
    """Return the key of the poses at a path, without reading them.

    Returns
    -------
    str or None
        The attribute ``key``; None if there is no whole pose file of this version with a key.
    """
    try:
        return require_pose_key(path)
    except StoreError:
        return None


def require_pose_key(path: Path) -> str:
    """Return the key of the poses at a path, without reading them.

    Raises
    ------
    StoreError
        If the file is missing, incomplete, of another version, or has no key.
    """
    key = read_metadata(path)[1].get("key")
    if not isinstance(key, str):
        raise StoreError(f"{path}: has no attribute `key`; run the step that writes it again")
    return key


def keep_own(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a pose file but those of its format."""
    return {name: value for name, value in attributes.items() if name not in FORMAT_ATTRIBUTES}


def read_arrays(
    path: Path,
    layout: Layout,
    frames: slice = slice(None),
    names: Sequence[str] = (),
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read arrays of a pose file.

    Parameters
    ----------
    path
        The pose file.
    layout
        Kind of pose file that is expected.
    frames
        Part of the arrays over time that is read.
    names
        Names of the arrays; empty: all there are.

    Returns
    -------
    arrays
        By name, with axes as in memory.
    attributes
        Of the file.

    Raises
    ------
    StoreError
        If the file is missing, damaged, incomplete, of another version, or of another kind.
    """
    if not names:
        there = read_metadata(path, layout)[0].keys()
        names = [name for name in layout.dimensions if name in there]
    try:
        with open_group(path, layout) as (group, attributes):
            values = {
                name: layout.order_for_memory(
                    name, group[name][frames if layout.is_over_time(name) else slice(None)]
                )
                for name in names
            }
    # zarr's codecs raise what their libraries raise, down to RuntimeError.
    except (
        ValueError,
        KeyError,
        OSError,
        TypeError,
        RuntimeError,
        EOFError,
        zipfile.BadZipFile,
    ) as error:
        raise StoreError(f"{path}: damaged pose file ({error}); delete it and run again") from error
    return values, attributes
