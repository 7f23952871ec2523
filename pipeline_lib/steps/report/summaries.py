"""Summarise every video's poses for the report, and cache the summaries."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.core import versions
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses, find_decoded
from pipeline_lib.core.tables import (
    MOST_ANIMALS,
    SURPLUS_FRAMES,
    UNIQUE_INDIVIDUAL,
    TrackStatus,
)
from pipeline_lib.io.poses.read import count_frames, read_pose_key, read_poses
from pipeline_lib.io.publish import publish_text
from pipeline_lib.kernels.summaries.poses import (
    PoseSummary,
    find_unique,
    merge_summaries,
    summarise_poses,
)
from pipeline_lib.kernels.summaries.tracks import (
    count_all_followed,
    count_track_statuses,
    find_flags,
)
from pipeline_lib.steps.runs.ledger import LedgerRow

_log = logging.getLogger(__name__)

# Frames read at a time: memory stays flat however long the video is.
_BLOCK_FRAMES = 2**16


@dataclass(frozen=True)
class TrackFigures:
    """Hold the figures of the tracks of one video.

    Attributes
    ----------
    animals
        Seen in any frame; None: no frame could be decoded.
    followed
        Share of the decoded frames in which all of them are followed, 0..1; NaN: no frame could be
        decoded, or no animal was seen, as `animals` shows.
    swaps, gaps
        How many times animals may have been exchanged, and how many times one was not found
        between frames in which it was.
    most
        Animals that a frame shows at most, those that are not kept too.
    surplus
        Frames that show more animals than are kept.
    """

    animals: int | None
    followed: float
    swaps: int
    gaps: int
    most: int = 0
    surplus: int = 0


@dataclass(frozen=True)
class VideoSummary:
    """Summarise the poses of one video.

    Attributes
    ----------
    frames, undecodable
        True frames, and those of them that could not be decoded.
    confidence, detection
        Mean confidence and share of poses at or above the cutoff, by bodypart, as in
        `PoseSummary`; NaN if there are none, for the reason that `absence` gives.
    tracks
        None where individuals were not tracked.
    """

    frames: int
    undecodable: int
    confidence: dict[str, float]
    detection: dict[str, float]
    tracks: TrackFigures | None = None

    @property
    def mean_confidence(self) -> float:
        """Mean over bodyparts."""
        return float(np.mean(list(self.confidence.values()))) if self.confidence else math.nan

    @property
    def mean_detection(self) -> float:
        """Mean over bodyparts."""
        return float(np.mean(list(self.detection.values()))) if self.detection else math.nan

    @property
    def absence(self) -> str:
        """Reason why there is no detection rate; empty if there is one."""
        if math.isfinite(self.mean_detection):
            return ""
        if not self.frames:
            return "no frame"
        return "no frame decoded" if self.undecodable == self.frames else "no animal found"


def find_poses(results: Results, model: str, video: str, *, several: bool) -> Path:
    """Return the pose file that the report shows: of several animals the corrected or tracked one.

    Where there is none yet, that of the inference.
    """
    several_files = (results.corrected(model, video), results.tracked(model, video))
    found = [path for path in several_files if several and path.exists()]
    return found[0] if found else results.poses(model, video)


def summarise_videos(  # noqa: PLR0913 - what summaries depend on
    results: Results,
    model: str,
    rows: Sequence[LedgerRow],
    pcutoff: float,
    *,
    several: bool = False,
    measured: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, VideoSummary]:
    """Summarise the pose file of every video that has one, one after the other.

    Summaries are kept beside the report under the key of the pose file: a second report reads
    only what changed. A pose file that cannot be read is logged and left out.

    Parameters
    ----------
    results, model, rows
        The run, and its ledger.
    pcutoff
        Confidence from which a keypoint counts as found.
    several
        Whether there are several animals: of these the tracked file is read, see `find_poses`.
    measured
        What `summarise_video` returned with this cutoff, as ``summary``, and the ``key`` of the
        pose file, by video; None: nothing.
    """
    # The summaries also depend on the cutoff and on how they are computed.
    basis = f"{pcutoff}/{versions.REPORT}"
    kept = _read_cache(results.report_summaries, basis)
    entries: dict[str, dict[str, Any]] = {}
    for row in rows:
        video = row["video"]
        path = find_poses(results, model, video, several=several)
        key = read_pose_key(path)
        if key is not None and kept.get(video, {}).get("key") == key:
            entries[video] = kept[video]
        elif key is not None and (known := (measured or {}).get(video, {})).get("key") == key:
            entries[video] = {"key": key, **known["summary"]}
        elif path.exists():
            try:
                entries[video] = {"key": key, **summarise_video(path, pcutoff)}
            except CohortposeError as error:
                _log.warning("the report shows no poses of %s: %s", path.stem, error)
    text = json.dumps({"basis": basis, "videos": entries}, separators=(",", ":"))
    publish_text(results.report_summaries, text)
    return {video: _parse_entry(entry) for video, entry in entries.items()}


def read_path_summary(path: Path, pcutoff: float, points: int) -> PoseSummary:
    """Summarise one pose file block by block.

    Raises
    ------
    StoreError
        As `pipeline_lib.io.poses.read.read_poses`.
    """
    frames = count_frames(path).frames
    blocks = range(0, max(frames, 1), _BLOCK_FRAMES)
    unique: frozenset[int] = frozenset()
    if UNIQUE_INDIVIDUAL in read_poses(path, 0, 0).individuals:
        # All frames together show which bodyparts are unique.
        found = (find_unique(read_poses(path, start, start + _BLOCK_FRAMES)) for start in blocks)
        unique = frozenset().union(*found)
    parts = [
        summarise_poses(read_poses(path, start, start + _BLOCK_FRAMES), pcutoff, points, unique)
        for start in blocks
    ]
    return merge_summaries(parts, points)


def rank_videos(summaries: Mapping[str, VideoSummary], most: int | None = None) -> list[str]:
    """Return the videos with the lowest detection rate, the lowest first."""

    def order(video: str) -> tuple[float, str]:
        rate = summaries[video].mean_detection
        return (-1.0 if math.isnan(rate) else rate, video)

    return sorted(summaries, key=order)[:most]


def summarise_video(path: Path, pcutoff: float) -> dict[str, Any]:
    """Return the summary of a pose file as a JSON-like record.

    Raises
    ------
    StoreError
        As `pipeline_lib.io.poses.read.read_poses`.
    """
    summary = read_path_summary(path, pcutoff, points=1)
    names = read_poses(path, 0, 0)
    return {
        "frames": summary["frames"],
        "undecodable": summary["undecodable"],
        "bodyparts": list(names.bodyparts),
        "confidence": [_to_json(value) for value in summary["confidence"]],
        "detection": [_to_json(value) for value in summary["detection"]],
        "tracks": _summarise_tracks(summary, names),
    }


def _summarise_tracks(summary: PoseSummary, head: Poses) -> dict[str, float | None] | None:
    """Return the figures of tracks; names and attributes come from the head."""
    if summary["track_status"] is None:
        return None
    status = summary["track_status"][:, [name != UNIQUE_INDIVIDUAL for name in head.individuals]]
    counts = count_track_statuses(status)
    animals = int((counts[:, [TrackStatus.FOLLOWED, TrackStatus.UNCERTAIN]].sum(axis=1) > 0).sum())
    decoded = summary["frames"] - summary["undecodable"]
    flags = find_flags(status, find_decoded(summary["frame_status"]))
    swaps = sum(flag.status == TrackStatus.UNCERTAIN for flag in flags)
    share = count_all_followed(status) / decoded if decoded and animals else math.nan
    return {
        "animals": animals if decoded else None,
        "followed": _to_json(share),
        "swaps": swaps,
        "gaps": len(flags) - swaps,
        "most": head.attributes.get(MOST_ANIMALS, 0),
        "surplus": head.attributes.get(SURPLUS_FRAMES, 0),
    }


def _to_json(value: float) -> float | None:
    # JSON has no NaN.
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _parse_entry(entry: Mapping[str, Any]) -> VideoSummary:
    def by_part(name: str) -> dict[str, float]:
        values = (math.nan if value is None else value for value in entry[name])
        return dict(zip(entry["bodyparts"], values, strict=True))

    return VideoSummary(
        frames=entry["frames"],
        undecodable=entry["undecodable"],
        confidence=by_part("confidence"),
        detection=by_part("detection"),
        tracks=_parse_tracks(entry["tracks"]),
    )


def _parse_tracks(entry: Mapping[str, Any] | None) -> TrackFigures | None:
    if entry is None:
        return None
    followed = math.nan if entry["followed"] is None else entry["followed"]
    counts = (entry[name] for name in ("swaps", "gaps", "most", "surplus"))
    return TrackFigures(entry["animals"], followed, *counts)


def _read_cache(path: Path, basis: str) -> dict[str, dict[str, Any]]:
    """Return the cached summaries; none if they are missing, damaged or of another basis."""
    try:
        cache = json.loads(path.read_text(encoding="utf-8"))
        videos: dict[str, dict[str, Any]] = cache["videos"] if cache["basis"] == basis else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return videos
