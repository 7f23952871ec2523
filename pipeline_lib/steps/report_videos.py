"""The videos of the report: their summaries, the table, the heatmap and what needs a look."""

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core import versions
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.io.poses import read_pose_key, read_poses
from pipeline_lib.io.publish import publish_text
from pipeline_lib.kernels.summaries import PoseSummary, merge_summaries, summarise_poses
from pipeline_lib.steps.ledger import BAD_STATUSES, LedgerRow, metadata_columns
from pipeline_lib.steps.report_work import InferenceWork, find_copies

_log = logging.getLogger(__name__)

# Frames read at a time: memory stays flat however long the video is.
_BLOCK_FRAMES = 2**16
# Videos below this mean detection rate are worth a look even though they are done.
_LOW_DETECTION = 0.5
_HISTOGRAM_BINS = 20
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class VideoSummary:
    """What the report keeps of the poses of one video.

    Attributes
    ----------
    frames, undecodable
        True frames, and those of them that could not be decoded.
    confidence, detection
        Mean confidence and share of decoded frames at or above the cutoff, by bodypart; NaN
        if no frame could be decoded.
    """

    frames: int
    undecodable: int
    confidence: dict[str, float]
    detection: dict[str, float]

    @property
    def mean_confidence(self) -> float:
        """Mean over bodyparts."""
        return float(np.mean(list(self.confidence.values()))) if self.confidence else math.nan

    @property
    def mean_detection(self) -> float:
        """Mean over bodyparts."""
        return float(np.mean(list(self.detection.values()))) if self.detection else math.nan


def summarise_videos(
    results: Results, model: str, rows: Sequence[LedgerRow], pcutoff: float
) -> dict[str, VideoSummary]:
    """Summarise the pose file of every video that has one, one after the other.

    Summaries are kept beside the report under the key of the pose file: a second report reads
    only what changed. A pose file that cannot be read is logged and left out.
    """
    # The summaries also depend on the cutoff and on how they are computed.
    basis = f"{pcutoff}/{versions.REPORT}"
    kept = _read_cache(results.report_summaries, basis)
    entries: dict[str, dict[str, Any]] = {}
    for row in rows:
        video = row["video"]
        path = results.poses(model, video)
        key = read_pose_key(path)
        if key is not None and kept.get(video, {}).get("key") == key:
            entries[video] = kept[video]
        elif path.exists():
            entry = _summarise_video(path, pcutoff)
            if entry is not None:
                entries[video] = {"key": key, **entry}
    text = json.dumps({"basis": basis, "videos": entries}, separators=(",", ":"))
    publish_text(results.report_summaries, text)
    return {video: _parse_entry(entry) for video, entry in entries.items()}


def read_path_summary(path: Path, pcutoff: float, points: int) -> PoseSummary:
    """Summarise one pose file block by block.

    Raises
    ------
    StoreError
        As `pipeline_lib.io.poses.read_poses`.
    """
    parts: list[PoseSummary] = []
    while not parts or parts[-1]["frames"] == _BLOCK_FRAMES:
        start = len(parts) * _BLOCK_FRAMES
        block = read_poses(path, start, start + _BLOCK_FRAMES)
        parts.append(summarise_poses(block, pcutoff, points))
    return merge_summaries(parts, points)


def tabulate_videos(
    rows: Sequence[LedgerRow],
    summaries: Mapping[str, VideoSummary],
    bodyparts: Sequence[str],
    works: Mapping[str, InferenceWork],
) -> dict[str, Any]:
    """Return the cohort table as JSON-like data: columns, and rows in the order of columns.

    Shares are rounded to three digits, those per bodypart to whole percent: with thousands of
    videos the page stays light. What inference took is frames per second and the shares of
    decoding, network and waiting in percent, or the name of the video whose result this is a
    copy of. Unknown is None.
    """
    copies = find_copies(rows, works)
    metadata = metadata_columns(rows)
    columns: list[dict[str, Any]] = [
        {"label": "Video", "kind": "name"},
        {"label": "Status", "kind": "status"},
        *({"label": name, "kind": "metadata"} for name in metadata),
        {"label": "Detected", "kind": "share"},
        {"label": "Confidence", "kind": "share"},
        {"label": "By bodypart", "kind": "parts"},
        {"label": "Undecodable", "kind": "problems"},
        {"label": "Frames", "kind": "count"},
        {"label": "Duration", "kind": "duration"},
        {"label": "fps", "kind": "number"},
        {"label": "Size", "kind": "size"},
        {"label": "Compute", "kind": "duration"},
        {"label": "Inference", "kind": "work"},
        {"label": "Stage", "kind": "stage"},
        {"label": "Reason", "kind": "reason"},
    ]
    return {
        "columns": columns,
        "bodyparts": list(bodyparts),
        "rows": [
            _tabulate_video(
                row,
                metadata,
                summaries.get(row["video"]),
                bodyparts,
                _tabulate_work(works.get(row["video"])) or copies.get(row["video"]),
            )
            for row in rows
        ],
    }


def rank_videos(summaries: Mapping[str, VideoSummary], most: int | None = None) -> list[str]:
    """Return the videos with the lowest detection rate, the lowest first."""

    def order(video: str) -> tuple[float, str]:
        rate = summaries[video].mean_detection
        return (-1.0 if math.isnan(rate) else rate, video)

    return sorted(summaries, key=order)[:most]


def histogram_detection(
    summaries: Mapping[str, VideoSummary], bodyparts: Sequence[str]
) -> dict[str, NDArray[np.int64]]:
    """Return how many videos have which detection rate; shape (20,) over 0..1 per bodypart."""
    edges = np.linspace(0.0, 1.0, _HISTOGRAM_BINS + 1)
    rates = {
        part: [summary.detection.get(part, math.nan) for summary in summaries.values()]
        for part in bodyparts
    }
    return {
        part: np.histogram([rate for rate in values if math.isfinite(rate)], edges)[0]
        for part, values in rates.items()
    }


def group_reasons(rows: Sequence[LedgerRow]) -> list[dict[str, Any]]:
    """Return the videos that ended badly by status, stage and reason, the largest group first.

    Reasons that differ only in the name of their video or in numbers are the same; the first
    one stands for its group.
    """
    groups: dict[tuple[str, str, str], list[LedgerRow]] = {}
    for row in rows:
        if row["status"] in BAD_STATUSES:
            kind = _NUMBER.sub("#", row["reason"].replace(row["video"], "VIDEO"))
            groups.setdefault((str(row["status"]), row["stage"], kind), []).append(row)
    return [
        {
            "status": status,
            "stage": stage,
            "reason": members[0]["reason"],
            "videos": [row["video"] for row in members],
        }
        for (status, stage, _), members in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]


def find_doubtful(summaries: Mapping[str, VideoSummary]) -> list[tuple[str, float]]:
    """Return analysed videos in which less than half of the keypoints were found, worst first.

    The rate is NaN where no frame could be decoded.
    """
    ranked = [(video, summaries[video].mean_detection) for video in rank_videos(summaries)]
    return [(video, rate) for video, rate in ranked if not rate >= _LOW_DETECTION]


def _tabulate_video(
    row: LedgerRow,
    metadata: Sequence[str],
    summary: VideoSummary | None,
    bodyparts: Sequence[str],
    work: list[float] | str | None,
) -> list[Any]:
    frames, fps = row["frames"], row["fps"]
    size = (
        f"{row['width']}\N{MULTIPLICATION SIGN}{row['height']}"
        if row["width"] and row["height"]
        else None
    )
    parts = (
        [_to_percent(summary.confidence.get(part, math.nan)) for part in bodyparts]
        if summary
        else None
    )
    return [
        row["video"],
        str(row["status"]),
        *(row[name] for name in metadata),
        _to_share(summary.mean_detection) if summary else None,
        _to_share(summary.mean_confidence) if summary else None,
        parts,
        summary.undecodable if summary else row["undecodable"],
        frames,
        round(frames / fps, 3) if frames and fps else None,
        round(fps, 3) if fps else None,
        size,
        None if row["seconds"] is None else round(row["seconds"], 2),
        work,
        row["stage"],
        row["reason"],
    ]


def _tabulate_work(work: InferenceWork | None) -> list[float] | None:
    if work is None:
        return None
    shares = (round(100 * share) for share in (work.decode, work.network, work.wait))
    return [float(f"{work.frames_per_second:.3g}"), *shares]


def _to_share(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None


def _to_percent(value: float) -> int | None:
    return round(100 * value) if math.isfinite(value) else None


def _summarise_video(path: Path, pcutoff: float) -> dict[str, Any] | None:
    try:
        summary = read_path_summary(path, pcutoff, points=1)
        bodyparts = read_poses(path, 0, 0).bodyparts
    except CohortposeError as error:
        _log.warning("the report shows no poses of %s: %s", path.stem, error)
        return None
    return {
        "frames": summary["frames"],
        "undecodable": summary["undecodable"],
        "bodyparts": list(bodyparts),
        "confidence": [_to_json(value) for value in summary["confidence"]],
        "detection": [_to_json(value) for value in summary["detection"]],
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
    )


def _read_cache(path: Path, basis: str) -> dict[str, dict[str, Any]]:
    """Return the kept summaries; none if they are absent, damaged or of another basis."""
    try:
        cache = json.loads(path.read_text(encoding="utf-8"))
        videos: dict[str, dict[str, Any]] = cache["videos"] if cache["basis"] == basis else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return videos
