"""Measure the course of one video: confidence, speed, places and tracks over time.

Everything is thinned out to a few hundred bytes a figure, so that thousands of videos fit in a
report that is mailed.
"""

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.poses import Poses, find_decoded
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL, TrackStatus
from pipeline_lib.io.poses.read import read_poses, read_times
from pipeline_lib.kernels.kinematics.measures import find_centre
from pipeline_lib.kernels.summaries.timelines import (
    choose_lowest,
    count_places,
    cut_stretches,
    find_lowest,
    measure_speed,
    pick_first,
    sum_stretches,
)
from pipeline_lib.kernels.summaries.tracks import Flag, find_flags, thin_track_statuses

# Frames read at a time: memory stays flat however long the video is.
_BLOCK_FRAMES = 2**16
_STRETCHES = 120
# Values of all bodyparts, points of all animals, and stretches of all lanes, at most about.
_PART_VALUES, _PATH_POINTS, _LANE_VALUES = 1200, 240, 1200
_FEWEST = 24
# Animals with trajectory, speed and timeline of their own.
_MOST_ANIMALS = 12
_GRID_COLUMNS = 28
_LAG_SECONDS = 0.2
# Worst frames are this share of the video apart, and at least this many seconds.
_APART_SHARE, _APART_SECONDS = 0.05, 1.0
_FLAGS_OF_A_KIND = 8
UNDECODABLE = 4
_NO_BYTE, _NO_WORD = 255, 65535

Doubles = NDArray[np.float64]


@dataclass
class _Course:
    """Hold what was read of a video so far, in the order of time.

    Attributes
    ----------
    frame_confidence
        Mean confidence of the bodyparts of the animals that were found, of each frame; 0 where
        none was found, NaN where the frame could not be decoded.
    centre
        Mean of the bodyparts at or above the cutoff, shape (time, individual, 2).
    speed
        Shape (time, individual), px/s.
    part_sums, part_counts
        Confidence of each bodypart by stretch, and the number of values in it.
    status
        Track status, shape (time, individual).
    """

    frame_confidence: list[Doubles] = field(default_factory=list)
    centre: list[Doubles] = field(default_factory=list)
    speed: list[Doubles] = field(default_factory=list)
    part_sums: Any = 0.0
    part_counts: Any = 0
    status: list[NDArray[np.uint8]] = field(default_factory=list)
    frame_status: list[NDArray[np.uint8]] = field(default_factory=list)


@dataclass(frozen=True)
class WorstFrame:
    """Describe a frame that a person should look at.

    Attributes
    ----------
    frame, seconds
        Its number, from 0, and its time.
    confidence
        Mean confidence of its bodyparts.
    why
        Reason in words.
    points
        Index of the individual and of the bodypart, x, y in px, and confidence, of each point.
    """

    frame: int
    seconds: float
    confidence: float
    why: str
    points: list[list[float]]


def measure_details(
    path: Path, size: tuple[int, int] | None, pcutoff: float, most_frames: int
) -> tuple[dict[str, Any], list[WorstFrame]]:
    """Measure what the page of a video shows, and choose its worst frames.

    Parameters
    ----------
    path
        The pose file.
    size
        Width and height of the frames in px; None: not known, then the points tell.
    pcutoff
        Confidence from which a keypoint counts as found.
    most_frames
        Most worst frames.

    Returns
    -------
    details
        JSON-like record; lists of numbers are bytes or words in base64, see `pack_bytes` and
        `pack_words`.
    worst
        The worst frames, in the order of time.

    Raises
    ------
    StoreError
        As `pipeline_lib.io.poses.read.read_poses`.
    """
    head, time = read_poses(path, 0, 0), read_times(path)
    kept = [slot for slot, name in enumerate(head.individuals) if name != UNIQUE_INDIVIDUAL]
    parts, frames = len(head.bodyparts), len(time)
    part_edges = cut_stretches(frames, _share(_PART_VALUES, parts))
    course = _read_course(path, time, kept, part_edges, pcutoff)
    confidence, centre = _join(course.frame_confidence), _join(course.centre)
    decoded = find_decoded(_join(course.frame_status))
    status = _join(course.status) if course.status else None
    flags = [] if status is None else find_flags(status, decoded)
    chosen = _choose_worst(confidence, flags, time, most_frames)
    worst = [_describe_worst(path, frame, time, chosen, confidence) for frame in sorted(chosen)]
    width, height = size or _guess_size(centre)
    edges = cut_stretches(frames, _STRETCHES)
    sums, counts = sum_stretches(confidence, edges)
    shown = slice(0, _MOST_ANIMALS)
    animals = [head.individuals[slot] for slot in kept]
    details = {
        "frames": frames,
        "undecodable": int((~decoded).sum()),
        "seconds": round(float(time[-1]), 3) if frames else 0.0,
        "size": [width, height],
        "bodyparts": list(head.bodyparts),
        "animals": animals,
        "confidence": {
            "mean": pack_bytes(_divide(sums, counts)),
            "low": pack_bytes(find_lowest(confidence, edges)),
        },
        "parts": pack_bytes(_divide(course.part_sums, course.part_counts).T),
        "paths": _pack_paths(centre[:, shown], (width, height)),
        "places": _pack_places(centre, (width, height)),
        "speed": _pack_speed(course.speed, frames, shown),
        "tracks": None
        if status is None
        else _describe_tracks(status[:, shown], decoded, flags, animals, time),
    }
    return details, worst


def pack_bytes(values: Doubles) -> str:
    """Return numbers from 0 to 1 as bytes in base64: 0 to 250, and 255 for NaN."""
    scaled = np.round(np.clip(np.nan_to_num(values), 0.0, 1.0) * 250)
    return _encode(np.where(np.isnan(values), _NO_BYTE, scaled).astype(np.uint8))


def pack_words(values: Doubles) -> str:
    """Return numbers from 0 to 1 as words in base64: 0 to 65000, and 65535 for NaN."""
    scaled = np.round(np.clip(np.nan_to_num(values), 0.0, 1.0) * 65000)
    return _encode(np.where(np.isnan(values), _NO_WORD, scaled).astype("<u2"))


def unpack_words(text: str) -> Doubles:
    """Return the numbers that `pack_words` packed."""
    packed = np.frombuffer(base64.b64decode(text), "<u2")
    return np.where(packed == _NO_WORD, np.nan, packed / 65000)


def _encode(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")


def _share(total: int, among: int) -> int:
    return min(_STRETCHES, max(_FEWEST, total // max(among, 1)))


def _join(blocks: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(blocks)


def _divide(total: Any, counts: Any) -> Doubles:  # noqa: ANN401 - arrays, or zero
    missing = np.full(np.shape(counts), np.nan)
    mean: Doubles = np.divide(total, counts, out=missing, where=np.asarray(counts) > 0)
    return mean


def _read_course(
    path: Path, time: Doubles, kept: Sequence[int], edges: NDArray[np.int64], pcutoff: float
) -> _Course:
    course = _Course()
    step = float(np.median(np.diff(time))) if len(time) > 1 else 0.0
    lag = max(1, round(_LAG_SECONDS / step)) if step > 0 else 1
    for start, stop, poses in _read_blocks(path, len(time), lag):
        block = slice(0, stop - start)
        confidence = poses.confidence[:, kept].astype(np.float64)
        found = confidence >= pcutoff
        position = np.where(found[..., None], poses.position[:, kept], np.nan)
        course.frame_confidence.append(_average_frames(poses, confidence)[block])
        course.centre.append(find_centre(position[block])[0])
        course.speed.append(measure_speed(position, time[start : start + len(position)], lag))
        # A single animal that is not found has no confidence; of several it may not be there.
        missing = 0.0 if len(poses.individuals) == 1 else np.nan
        decoded = find_decoded(poses.frame_status)[:, None, None]
        values = np.where(decoded & np.isnan(poses.confidence), missing, poses.confidence)[block]
        sums, counts = sum_stretches(values.astype(np.float64), edges, start)
        # All animals together.
        course.part_sums = course.part_sums + sums.sum(axis=1)
        course.part_counts = course.part_counts + counts.sum(axis=1)
        course.frame_status.append(poses.frame_status[block])
        if poses.track_status is not None:
            course.status.append(poses.track_status[block][:, kept])
    return course


def _read_blocks(path: Path, frames: int, lag: int) -> Iterator[tuple[int, int, Poses]]:
    """Yield first frame and end of each block, and its poses with some frames after it."""
    for start in range(0, max(frames, 1), _BLOCK_FRAMES):
        stop = min(start + _BLOCK_FRAMES, frames)
        yield start, stop, read_poses(path, start, stop + lag)


def _average_frames(poses: Poses, confidence: Doubles) -> Doubles:
    located = np.asarray(~np.isnan(poses.position).any(axis=-1))
    kept = [name != UNIQUE_INDIVIDUAL for name in poses.individuals]
    there = np.asarray(located.any(axis=-1))[:, kept]
    counts = there.sum(axis=1) * confidence.shape[2]
    total = np.where(there[..., None], np.nan_to_num(confidence), 0.0).sum(axis=(1, 2))
    mean = np.divide(total, counts, out=np.zeros(len(total)), where=counts > 0)
    return np.where(find_decoded(poses.frame_status), mean, np.nan)


def _choose_worst(
    confidence: Doubles, flags: Sequence[Flag], time: Doubles, most: int
) -> dict[int, str]:
    """Return frames and why: possible swaps first, up to half of them, then low confidence."""
    swaps = sorted(
        (flag for flag in flags if flag.status == TrackStatus.UNCERTAIN),
        key=lambda flag: (-flag.frames, flag.first),
    )
    chosen = {
        (flag.first + flag.last) // 2: "animals may have been exchanged"
        for flag in swaps[: (most + 1) // 2]
    }
    span = float(time[-1] - time[0]) if len(time) > 1 else 0.0
    rate = (len(time) - 1) / span if span > 0 else 1.0
    apart = max(1, round(max(_APART_SECONDS * rate, _APART_SHARE * len(time))))
    left = confidence.copy()
    for frame in chosen:
        left[max(0, frame - apart + 1) : frame + apart] = np.nan
    for frame in choose_lowest(left, most - len(chosen), apart):
        chosen[frame] = "lowest confidence"
    return chosen


def _describe_worst(
    path: Path, frame: int, time: Doubles, chosen: Mapping[int, str], confidence: Doubles
) -> WorstFrame:
    poses = read_poses(path, frame, frame + 1)
    points = [
        [
            slot,
            part,
            round(float(x), 1),
            round(float(y), 1),
            round(float(poses.confidence[0, slot, part]), 2),
        ]
        for slot in range(len(poses.individuals))
        for part, (x, y) in enumerate(poses.position[0, slot])
        if math.isfinite(x) and math.isfinite(y)
    ]
    mean = float(confidence[frame])
    return WorstFrame(
        frame=frame,
        seconds=round(float(time[frame]), 3),
        confidence=round(mean, 3) if math.isfinite(mean) else 0.0,
        why=chosen[frame],
        points=points,
    )


def _guess_size(centre: Doubles) -> tuple[int, int]:
    """Return the size of frames that hold every point, for poses without a video."""
    known = centre[~np.isnan(centre).any(axis=-1)]
    most = known.max(axis=0) if len(known) else (1.0, 1.0)
    return math.ceil(max(1.0, 1.05 * most[0])), math.ceil(max(1.0, 1.05 * most[1]))


def _pack_paths(centre: Doubles, size: tuple[int, int]) -> list[str]:
    """Return the trajectory of each animal: x and y as shares of the frame, in turn."""
    edges = cut_stretches(len(centre), max(40, _PATH_POINTS // max(centre.shape[1], 1)))
    path = pick_first(centre, edges).astype(np.float64)
    # Points beside the frame are drawn at its edge.
    shares = np.clip((path + 0.5) / np.array(size, np.float64), 0.0, 1.0)
    return [pack_words(shares[:, animal].ravel()) for animal in range(path.shape[1])]


def _pack_places(centre: Doubles, size: tuple[int, int]) -> dict[str, Any]:
    rows = min(48, max(4, round(_GRID_COLUMNS * size[1] / size[0])))
    shares = count_places(centre, size, (_GRID_COLUMNS, rows))
    most = float(shares.max())
    # Square roots, so that rare places are seen beside the nest.
    scaled = np.sqrt(shares / most) if most else shares
    return {"grid": [_GRID_COLUMNS, rows], "most": round(most, 5), "cells": pack_bytes(scaled)}


def _pack_speed(blocks: Sequence[Doubles], frames: int, shown: slice) -> dict[str, Any]:
    """Return speeds over time as shares of the most, and their mean and median, px/s."""
    speed = _join(blocks)
    stretches = min(_STRETCHES, max(_FEWEST, 2 * _STRETCHES // max(speed.shape[1], 1)))
    edges = cut_stretches(frames, stretches)
    # The last frames have no frame to be compared with.
    padded = np.full((frames, speed.shape[1]), np.nan)
    padded[: len(speed)] = speed
    means = _divide(*sum_stretches(padded[:, shown], edges))
    known = speed[~np.isnan(speed)]
    most = float(np.nanmax(means)) if (~np.isnan(means)).any() else 0.0
    return {
        "most": round(most, 2),
        "mean": round(float(known.mean()), 2) if len(known) else None,
        "median": round(float(np.median(known)), 2) if len(known) else None,
        "animals": [pack_bytes(column / most if most else column) for column in means.T],
    }


def _describe_tracks(
    status: NDArray[np.uint8],
    decoded: NDArray[np.bool_],
    flags: Sequence[Flag],
    animals: Sequence[str],
    time: Doubles,
) -> dict[str, Any]:
    """Return the timeline of each animal, a status for each stretch, and frames to check.

    A stretch in which an animal is uncertain anywhere is so as a whole, then gaps, then frames
    that could not be decoded: a single bad frame of a long video is to be seen.
    """
    shares = thin_track_statuses(
        np.where(decoded[:, None], status, np.uint8(_NO_BYTE)),
        _share(_LANE_VALUES, status.shape[1]),
    )
    lanes = np.where(
        shares[..., TrackStatus.FOLLOWED] >= shares[..., TrackStatus.ABSENT],
        np.uint8(TrackStatus.FOLLOWED),
        np.uint8(TrackStatus.ABSENT),
    )
    lanes = np.where(shares.sum(axis=-1) < 1 - 1e-9, np.uint8(UNDECODABLE), lanes)
    for kind in (TrackStatus.GAP, TrackStatus.UNCERTAIN):
        lanes = np.where(shares[..., kind] > 0, np.uint8(kind), lanes)
    chosen: list[Flag] = []
    for kind in (TrackStatus.UNCERTAIN, TrackStatus.GAP):
        of_kind = sorted((f for f in flags if f.status == kind), key=lambda flag: -flag.frames)
        chosen += of_kind[:_FLAGS_OF_A_KIND]
    return {
        "lanes": [_encode(lane) for lane in lanes.T],
        "flags": [
            {
                "kind": "swap" if flag.status == TrackStatus.UNCERTAIN else "gap",
                "first": flag.first,
                "last": flag.last,
                "seconds": round(float(time[flag.first]), 3),
                "animals": [animals[slot] for slot in flag.individuals],
            }
            for flag in sorted(chosen, key=lambda flag: flag.first)
        ],
        "left_out": len(flags) - len(chosen),
    }
