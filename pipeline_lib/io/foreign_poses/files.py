"""Read the poses of one video from a file of any tool of the registry.

The files come from strangers: nothing of them is executed, their sizes are bounded, and what is
wrong is one error that names file and row.
"""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.core.formats.foreign_poses import AUTO, FORMATS, find_format
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.tables import FrameStatus, TrackStatus
from pipeline_lib.io.foreign_poses.found import MOST_INDIVIDUALS, FoundPoses, check_names


class PoseReader(Protocol):
    """Define the interface of the modules in `pipeline_lib.core.formats.foreign_poses.FORMATS`."""

    def is_format(self, path: Path) -> bool:
        """Tell whether a file or folder is of this format; a damaged one may be of none."""
        ...

    def read(self, path: Path) -> FoundPoses | Poses:
        """Read it; poses have times already. Raises `StoreError` or `LabelError`."""
        ...


def detect_format(path: Path) -> str:
    """Return the name of the first format that knows a file or folder.

    Raises
    ------
    StoreError
        If it is not there, or none does.
    """
    try:
        there = path.exists()
    except (OSError, ValueError):
        there = False
    if not there:
        raise StoreError(f"{path}: no such file or folder; expected poses of a video")
    for name in FORMATS:
        if _load(name).is_format(path):
            return name
    known = "; ".join(one.about for one in FORMATS.values())
    raise StoreError(f"{path}: no poses in a known format, or damaged ones ({known})")


def read_foreign_poses(
    path: Path,
    *,
    fps: float | None = None,
    frames: int | None = None,
    shown: NDArray[np.bool_] | None = None,
    name: str = AUTO,
) -> Poses:
    """Read the poses of one video that another tool, or we, found.

    Parameters
    ----------
    path
        A file, or the folder of a format of one file per frame.
    fps
        Frames per second of the video. None: that of the file; a file without it, and with it the
        attribute ``fps``, has one frame per second.
    frames
        Frames of the video. Other tools leave out frames without an animal, also the last ones:
        these are added. None: unknown.
    shown
        Shape (frame,): which frames the video has, where its times tell that it lacks some. Other
        tools count images, so a file with no more frames than images is of these; one with more
        is of all frames. None: it has all.
    name
        Of the format; ``auto``: the first that knows it.

    Returns
    -------
    Poses
        Of every frame from the first; attributes ``fps``, if it is known, and ``source``, name
        and format of the file. Individuals that the tool tracked have a ``track_status``.

    Raises
    ------
    StoreError
        With one line: the file is missing, damaged, too large, in no known format, or has more
        frames than the video.
    """
    chosen = detect_format(path) if name == AUTO else name
    try:
        found = _load(chosen).read(path)
    except LabelError as error:
        more = f" (and {len(error.problems) - 1} more problems)" if error.problems[1:] else ""
        raise StoreError(f"{error.where}: {error.problems[0]}{more}") from None
    poses = found if isinstance(found, Poses) else _time(path, found, fps)
    if fps is not None and poses is found:
        times = np.arange(len(poses.time)) / fps
        poses = replace(poses, time=times, attributes={**poses.attributes, "fps": fps})
    source = {"source": {"file": path.name, "format": chosen}}
    poses = replace(poses, attributes={**poses.attributes, **source})
    if frames is None:
        return poses
    if shown is None or len(poses.time) > shown.sum():
        return _fill_up(path, poses, frames)
    return _choose_rows(_fill_up(path, poses, int(shown.sum())), shown)


def _load(name: str) -> PoseReader:
    return cast("PoseReader", importlib.import_module(find_format(name).module))


def _time(path: Path, found: FoundPoses, fps: float | None) -> Poses:
    """Return poses of a file that has no times."""
    check_names(path, "bodypart", found.bodyparts)
    check_names(path, "individual", found.individuals)
    if len(found.individuals) > MOST_INDIVIDUALS:
        raise StoreError(
            f"{path}: has {len(found.individuals)} individuals, expected at most "
            f"{MOST_INDIVIDUALS}: join the tracks of one animal first"
        )
    here: NDArray[np.bool_] = np.asarray(np.isfinite(found.position).all(axis=-1))
    present = np.asarray(here.any(axis=-1))
    identified = found.tracked and len(found.individuals) > 1
    return Poses(
        position=np.where(here[..., None], found.position, np.float32(np.nan)),
        # SLEAP's may exceed 1 a little.
        confidence=np.where(here, np.nan_to_num(found.confidence), 0).clip(0, 1).astype(np.float32),
        frame_status=np.full(len(here), FrameStatus.DECODED, np.uint8),
        time=np.arange(len(here)) / (fps or 1.0),
        bodyparts=found.bodyparts,
        individuals=found.individuals,
        attributes={"fps": fps} if fps else {},
        track_status=find_status(present) if identified else None,
    )


def find_status(present: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the track status of each individual, from the frames in which it is."""
    before = np.maximum.accumulate(present, axis=0)
    after = np.maximum.accumulate(present[::-1], axis=0)[::-1]
    status = np.where(before & after, TrackStatus.GAP, TrackStatus.ABSENT)
    return np.where(present, TrackStatus.FOLLOWED, status).astype(np.uint8)


def _choose_rows(poses: Poses, shown: NDArray[np.bool_]) -> Poses:
    """Return poses of images in the rows of their frames; the other rows are empty."""

    def spread(values: NDArray[Any], fill: float) -> NDArray[Any]:
        rows = np.full((len(shown), *values.shape[1:]), fill, values.dtype)
        rows[shown] = values
        return rows

    step = 1.0 / float(poses.attributes.get("fps") or 1.0)
    status = None if poses.track_status is None else spread(poses.track_status, TrackStatus.ABSENT)
    return replace(
        poses,
        position=spread(poses.position, np.nan),
        confidence=spread(poses.confidence, 0),
        frame_status=spread(poses.frame_status, FrameStatus.MISSING),
        time=np.asarray(step * np.arange(len(shown)), np.float64),
        track_status=status,
        identity=None if poses.identity is None else spread(poses.identity, np.nan),
        spread=None if poses.spread is None else spread(poses.spread, np.nan),
    )


def _fill_up(path: Path, poses: Poses, frames: int) -> Poses:
    """Return poses of all frames of the video; those that the file lacks show no animal."""
    there = len(poses.time)
    if there > frames:
        raise StoreError(
            f"{path}: has poses of {there:,} frames, and the video has {frames:,}: they are of "
            "another video, or of one that was cut; with an empty cell `path`, the poses alone are "
            "used"
        )
    if there == frames:
        return poses
    step = 1.0 / float(poses.attributes.get("fps") or 1.0)
    first = poses.time[-1] + step if there else 0.0
    more = frames - there

    def extend(values: NDArray[Any], fill: float) -> NDArray[Any]:
        return np.concatenate([values, np.full((more, *values.shape[1:]), fill, values.dtype)])

    status = poses.track_status
    return replace(
        poses,
        position=extend(poses.position, np.nan),
        confidence=extend(poses.confidence, 0),
        frame_status=extend(poses.frame_status, FrameStatus.DECODED),
        time=np.concatenate([poses.time, first + step * np.arange(more)]),
        track_status=None if status is None else extend(status, TrackStatus.ABSENT),
        identity=None if poses.identity is None else extend(poses.identity, np.nan),
        spread=None if poses.spread is None else extend(poses.spread, np.nan),
    )
