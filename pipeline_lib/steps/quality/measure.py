"""Measure the quality of one video: its poses, its frames' status, and a few of its frames."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.outputs.quality import QualitySettings
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL
from pipeline_lib.io.poses.read import read_poses, read_times
from pipeline_lib.io.quality_records import QualityRecord
from pipeline_lib.kernels.proofreading.doubts import DoubtRules, list_doubts
from pipeline_lib.kernels.quality.findings import EVEN
from pipeline_lib.kernels.quality.pixels import FrameLook, choose_samples, look_at_frame
from pipeline_lib.kernels.quality.poses import (
    FrameMeasures,
    choose_longest_step,
    describe_body,
    find_keypoints,
    join_frames,
    measure_edges,
    measure_frames,
    measure_rate,
    summarise_frames,
)
from pipeline_lib.steps.infer.frames.read_ahead import explain_stall
from pipeline_lib.steps.select_frames import PatientReader

_log = logging.getLogger(__name__)

# Frames that are read at a time.
_BLOCK_FRAMES = 2**14
# Blocks of frames, spread over a video, from which sizes and lengths are measured.
_PARTS, _PART_FRAMES = 32, 256
# Bodyparts that are joined with each other where there are no edges.
_MOST_JOINED = 6


@dataclass(frozen=True)
class Measuring:
    """Say how videos are measured.

    Attributes
    ----------
    settings
        The section `quality`.
    edges
        `skeleton.edges`, by name; empty: all pairs of the first bodyparts stand for them.
    unique
        Bodyparts that belong to no animal.
    doubts
        Rules by which places are listed at which individuals may have been exchanged.
    patience
        Longest time in seconds in which decoding gives no frame.
    """

    settings: QualitySettings
    edges: tuple[tuple[str, str], ...]
    unique: frozenset[str]
    doubts: DoubtRules
    patience: float


def measure_video(
    poses: Path, video: Path | None, diagonal: float, measuring: Measuring, key: str
) -> QualityRecord:
    """Measure a video.

    Parameters
    ----------
    poses
        Its poses before filtering.
    video
        The video; None: there are poses alone.
    diagonal
        Of its frames in px; 0: unknown.
    measuring
        How.
    key
        Of the record.

    Raises
    ------
    StoreError
        If the poses are missing or damaged.
    """
    reader = _PoseReader(poses, measuring)
    pcutoff, time = measuring.settings.pcutoff, reader.time
    sample = reader.read_sample()
    body = describe_body(sample, pcutoff)
    found = find_keypoints(sample, pcutoff)
    length, spread = measure_edges(sample.position, found, reader.edges)
    longest = choose_longest_step(body.size, measure_rate(time), diagonal)
    quality = summarise_frames(_measure_blocks(reader, pcutoff, longest), time, body)
    values = dict(quality.values)
    if np.isfinite(spread).any():
        values["bone_spread"] = float(np.nanmedian(spread))
    doubts = _find_doubts(reader, measuring.doubts)
    if doubts is not None and values["duration"] > 0:
        values["identity"] = float(doubts[:, 1].sum() * 60 / values["duration"])
        values["exchanges"] = float(np.count_nonzero(doubts[:, 1] > EVEN))
    looks = _look(video, measuring) if video is not None else []
    return QualityRecord(
        key=key,
        values=values,
        edges=dict(zip(reader.edge_names, length.tolist(), strict=True)),
        seconds=quality.seconds,
        windows=quality.windows,
        doubts=np.empty((0, 2)) if doubts is None else doubts,
        samples={
            "time": np.array([time for time, _ in looks]),
            "brightness": np.array([look.brightness for _, look in looks]),
            "focus": np.array([look.focus for _, look in looks]),
        },
        thumbnails=_join_thumbnails([look for _, look in looks]) if looks else None,
    )


class _PoseReader:
    """Read the animals of a pose file, without what belongs to none of them."""

    def __init__(self, path: Path, measuring: Measuring) -> None:
        self._path = path
        head = read_poses(path, 0, 0)
        self.time = read_times(path)
        slots = [n for n, name in enumerate(head.individuals) if name != UNIQUE_INDIVIDUAL]
        self._slots = slots or [0]
        kept = [n for n, name in enumerate(head.bodyparts) if name not in measuring.unique]
        self._keypoints = kept or list(range(len(head.bodyparts)))
        self.tracked = head.track_status is not None and len(self._slots) > 1
        names = [head.bodyparts[n] for n in self._keypoints]
        pairs = measuring.edges or tuple(combinations(names[:_MOST_JOINED], 2))
        known = [(one, other) for one, other in pairs if one in names and other in names]
        self.edge_names = [f"{one} - {other}" for one, other in known]
        self.edges = [(names.index(one), names.index(other)) for one, other in known]

    def read(self, start: int, stop: int) -> Poses:
        """Read some frames."""
        return self._keep(read_poses(self._path, start, stop))

    def read_blocks(self) -> Iterator[Poses]:
        """Yield all frames in blocks."""
        for start in range(0, len(self.time), _BLOCK_FRAMES):
            yield self.read(start, start + _BLOCK_FRAMES)

    def read_sample(self) -> Poses:
        """Read frames that are spread over the video; those of a short video are all read."""
        frames = len(self.time)
        if frames <= _PARTS * _PART_FRAMES:
            return self.read(0, frames)
        starts = np.linspace(0, frames - _PART_FRAMES, _PARTS).astype(int).tolist()
        return _join_poses([self.read(start, start + _PART_FRAMES) for start in starts])

    def _keep(self, poses: Poses) -> Poses:
        def take(values: NDArray[Any]) -> NDArray[Any]:
            return values[:, self._slots][:, :, self._keypoints]

        status = poses.track_status
        return Poses(
            take(poses.position),
            take(poses.confidence),
            poses.frame_status,
            poses.time,
            tuple(poses.bodyparts[n] for n in self._keypoints),
            tuple(poses.individuals[n] for n in self._slots),
            track_status=None if status is None else status[:, self._slots],
        )


def _join_poses(parts: Sequence[Poses]) -> Poses:
    first = parts[0]
    return Poses(
        np.concatenate([part.position for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.frame_status for part in parts]),
        np.concatenate([part.time for part in parts]),
        first.bodyparts,
        first.individuals,
    )


def _measure_blocks(reader: _PoseReader, pcutoff: float, longest: float) -> FrameMeasures:
    """Measure all frames of a video."""
    parts, previous = list[FrameMeasures](), None
    for part in reader.read_blocks():
        parts.append(measure_frames(part, pcutoff, longest, previous))
        found = find_keypoints(part, pcutoff)[-1]
        previous = np.where(found[..., None], part.position[-1], np.nan)
    return join_frames(parts or [measure_frames(reader.read(0, 0), pcutoff, longest)])


def _join_thumbnails(looks: Sequence[FrameLook]) -> NDArray[np.uint8]:
    """Return what stays in view in the first and in the second half of the frames."""
    middle = len(looks) // 2
    halves = (looks[: max(1, middle)], looks[middle:])
    # What moves is in few of the pictures.
    medians = [np.median([look.thumbnail for look in half], axis=0) for half in halves]
    return np.asarray(np.round(medians), np.uint8)


def _find_doubts(reader: _PoseReader, rules: DoubtRules) -> NDArray[np.float64] | None:
    """Return time and probability of each doubt about tracks; None without tracks."""
    if not reader.tracked:
        return None
    whole = reader.read(0, len(reader.time))
    found = list_doubts(whole.position, whole.track_status, rules)
    rows = sorted((float(reader.time[one.frame]), one.probability) for one in found)
    return np.array(rows, np.float64).reshape(-1, 2)


def _look(video: Path, measuring: Measuring) -> list[tuple[float, FrameLook]]:
    """Look at some frames of a video; a video that cannot be read has none, and the log says so."""
    looks = []
    try:
        with explain_stall(measuring.patience), PatientReader(video, measuring.patience) as reader:
            index = reader.index
            begins = np.sort(index.shown[index.keyframes[index.clean]])
            frames = choose_samples(
                reader.facts.frames, begins[begins >= 0], measuring.settings.samples
            )
            for frame in frames.tolist():
                image = next((one for _, one in reader.read(frame, frame + 1)), None)
                if image is not None:
                    looks.append((float(reader.times[frame]), look_at_frame(image)))
    except CohortposeError as error:
        _log.warning("%s: its brightness, sharpness and view are not measured: %s", video, error)
    return looks
