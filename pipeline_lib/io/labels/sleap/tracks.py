"""Read the tracks of a SLEAP file: where each animal is in each frame, without its keypoints.

The tables of the file are read as arrays, because sleap-io's objects, one per animal and frame,
would take a hundred times the memory.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.io.foreign.hdf5 import open_hdf5
from pipeline_lib.io.foreign.json_files import show_text
from pipeline_lib.io.labels.sleap.layout import list_layout_problems

if TYPE_CHECKING:
    import h5py

_USER, _PREDICTED = 0, 1


@dataclass(frozen=True, eq=False)
class SleapTracks:
    """Hold the tracks of one video.

    Attributes
    ----------
    recorded
        Path of the video as the file has it.
    names
        Names of all tracks of the file.
    frame, track
        Shape (instance,), int64: frame, 0-based, and position in `names`.
    centre
        Shape (instance, 2), float64, mean of the visible points, px.
    count
        Recorded number of frames of the video; None where it is unknown.
    embedded
        Whether the file holds single frames of the video, as packages of labels do.
    """

    recorded: str
    names: tuple[str, ...]
    frame: NDArray[np.int64]
    track: NDArray[np.int64]
    centre: NDArray[np.float64]
    count: int | None = None
    embedded: bool = False


def read_sleap_tracks(path: Path) -> tuple[SleapTracks, ...]:
    """Read the tracks of every video of a SLEAP file.

    A predicted instance that a user corrected is left out, and so are instances without a track
    or a visible point.

    Raises
    ------
    LabelError
        If the file cannot be read, or a frame has a track twice.
    """
    try:
        with open_hdf5(path) as file:
            problems = list_layout_problems(file)
            found = () if problems else tuple(_read_videos(file))
    except StoreError as error:
        problem = str(error).removeprefix(f"{path}: ")
        raise LabelError(str(path), [f"is not readable as a SLEAP file: {problem}"]) from None
    # Files that are none, or damaged, fail inside HDF5, JSON or NumPy in many ways.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        problem = f"is not readable as a SLEAP file: {show_text(reason)}"
        raise LabelError(str(path), [problem]) from error
    problems += [problem for video in found for problem in _find_repeated(video)]
    if problems:
        raise LabelError(str(path), problems)
    return found


def _read_videos(file: "h5py.File") -> list[SleapTracks]:
    frames, instances = file["frames"][:], file["instances"][:]
    names = tuple(str(json.loads(text)[1]) for text in file["tracks_json"][:])
    videos = [json.loads(text) for text in file["videos_json"][:]]
    # One row of `frames` for each instance.
    counts = (frames["instance_id_end"] - frames["instance_id_start"]).astype(np.int64)
    row = np.repeat(np.arange(len(frames)), counts)
    first = np.repeat(frames["instance_id_start"].astype(np.int64), counts)
    start = np.repeat(np.cumsum(counts) - counts, counts)
    number = first + np.arange(len(row)) - start
    centre = _measure_centres(file, instances)[number]
    track = instances["track"].astype(np.int64)[number]
    kept = (track >= 0) & np.isfinite(centre).all(-1) & find_last_words(instances, number, row)
    video = frames["video"].astype(np.int64)[row]
    frame = frames["frame_idx"].astype(np.int64)[row]
    return [
        SleapTracks(
            recorded=_name_video(one),
            names=names,
            frame=frame[kept & (video == n)],
            track=track[kept & (video == n)],
            centre=centre[kept & (video == n)],
            count=_count_frames(one),
            embedded=_is_embedded(one),
        )
        for n, one in enumerate(videos)
    ]


def _name_video(described: Any) -> str:  # noqa: ANN401 - whatever stands in the file
    backend = described.get("backend", {})
    name = backend.get("filename") or described.get("filename") or ""
    return PureWindowsPath(str(name)).as_posix()


def _count_frames(described: Any) -> int | None:  # noqa: ANN401 - whatever stands in the file
    shape = described.get("backend", {}).get("shape")
    known = isinstance(shape, list) and len(shape) == 4 and isinstance(shape[0], int)
    return shape[0] if known else None


def _is_embedded(described: Any) -> bool:  # noqa: ANN401 - whatever stands in the file
    return bool(described.get("backend", {}).get("filename", described.get("filename")) == ".")


def _measure_centres(file: "h5py.File", instances: NDArray[Any]) -> NDArray[np.float64]:
    """Return the centre of each instance, shape (instance, 2); NaN without a visible point."""
    centres = np.full((len(instances), 2), np.nan)
    for kind, name in ((_USER, "points"), (_PREDICTED, "pred_points")):
        points = file[name][:]
        seen = points["visible"] & np.isfinite(points["x"]) & np.isfinite(points["y"])
        own = np.flatnonzero(instances["instance_type"] == kind)
        first, last = (
            instances[column].astype(np.int64)[own] for column in ("point_id_start", "point_id_end")
        )
        totals = []
        for values in (np.where(seen, points["x"], 0), np.where(seen, points["y"], 0), seen):
            total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
            totals.append(total[last] - total[first])
        x, y, count = totals
        some = count > 0
        centres[own[some]] = np.stack([x[some] / count[some], y[some] / count[some]], axis=1)
    return centres


def find_last_words(
    instances: NDArray[Any], number: NDArray[np.int64], row: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell which instances count: those of users, and predicted ones that no user corrected."""
    predicted = instances["instance_type"][number] == _PREDICTED
    names = instances.dtype.names or ()
    corrected = np.zeros(len(instances), bool)
    if "from_predicted" in names:
        sources = instances["from_predicted"].astype(np.int64)[number[~predicted]]
        sources = sources[(sources >= 0) & (sources < len(instances))]
        corrected[sources] = True
    # A user's instance of a track replaces the predicted one of its frame.
    track = instances["track"].astype(np.int64)[number]
    users = {(r, t) for r, t in zip(row[~predicted], track[~predicted], strict=True) if t >= 0}
    doubled = np.array([(r, t) in users for r, t in zip(row, track, strict=True)], bool)
    return np.asarray(~predicted | ~(corrected[number] | doubled))


def _find_repeated(video: SleapTracks) -> Sequence[str]:
    pairs = np.stack([video.frame, video.track], axis=1)
    unique, counts = np.unique(pairs, axis=0, return_counts=True)
    return [
        f"{show_text(video.recorded)}, frame {frame}: {count} instances have the track "
        f"{show_text(video.names[track])}"
        for (frame, track), count in zip(unique.tolist(), counts.tolist(), strict=True)
        if count > 1
    ]
