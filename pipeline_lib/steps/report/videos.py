"""Show the videos in the report: the table, the heatmap and doubtful videos."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.steps.report.charts import format_fixed
from pipeline_lib.steps.report.cohort.quality import Quality
from pipeline_lib.steps.report.summaries import TrackFigures, VideoSummary, rank_videos
from pipeline_lib.steps.report.timings import InferenceTimings, find_copies
from pipeline_lib.steps.runs.ledger import BAD_STATUSES, LedgerRow, metadata_columns

# Videos below this mean detection rate are worth a look even though they are done.
_LOW_DETECTION = 0.5
_HISTOGRAM_BINS = 20
_NUMBER = re.compile(r"\d+")
# Only where animals were tracked.
_TRACK_COLUMNS: tuple[dict[str, str], ...] = (
    {"label": "Animals", "kind": "count"},
    {"label": "All followed", "kind": "share"},
    {"label": "Possible swaps", "kind": "flags"},
    {"label": "Gaps", "kind": "flags"},
)


@dataclass(frozen=True)
class Further:
    """Hold what only some runs tell of videos.

    Attributes
    ----------
    quality
        Decisions of quality control.
    costs
        As `pipeline_lib.steps.costs.panel.describe_costs` gives them.
    """

    quality: Quality | None = None
    costs: Mapping[str, Any] | None = None


def tabulate_videos(
    rows: Sequence[LedgerRow],
    summaries: Mapping[str, VideoSummary],
    bodyparts: Sequence[str],
    timings: Mapping[str, InferenceTimings],
    further: Further | None = None,
) -> dict[str, Any]:
    """Return the cohort table as JSON-like data: columns, and rows in the order of columns.

    Shares are rounded to three digits, those per bodypart to whole percent: with thousands of
    videos the page stays light. The timings of inference are frames per second and the shares of
    decoding, network and waiting in percent, or the name of the video whose result this is a
    copy of. Unknown is None; in place of the share of keypoints detected there may be the reason
    why there is none. With decisions about quality there is a column of them, and ``findings``
    has the cells of `FINDING_COLUMNS` of each finding by video. With a price list there are columns
    of what each video used and cost.
    """
    copies = find_copies(rows, timings)
    metadata = metadata_columns(rows)
    tracked = any(summary.tracks is not None for summary in summaries.values())
    quality, costs = (further.quality, further.costs) if further else (None, None)
    titles, used = (costs["video_head"], costs["videos"]) if costs else ([], {})
    unknown = [None] * len(titles)
    rested = any(row.get("still") is not None for row in rows)
    columns: list[dict[str, Any]] = [
        {"label": "Video", "kind": "name"},
        {"label": "Status", "kind": "status"},
        *([{"label": "Quality", "kind": "decision"}] if quality else ()),
        *({"label": name, "kind": "metadata"} for name in metadata),
        {"label": "Detected", "kind": "share"},
        {"label": "Confidence", "kind": "share"},
        {"label": "By bodypart", "kind": "parts"},
        *(_TRACK_COLUMNS if tracked else ()),
        {"label": "Undecodable", "kind": "problems"},
        *([{"label": "Still", "kind": "share"}] if rested else ()),
        {"label": "Frames", "kind": "count"},
        {"label": "Duration", "kind": "duration"},
        {"label": "fps", "kind": "number"},
        {"label": "Size", "kind": "size"},
        {"label": "Compute", "kind": "duration"},
        {"label": "Inference", "kind": "timings"},
        *({"label": title[0].upper() + title[1:], "kind": "number"} for title in titles),
        {"label": "Stage", "kind": "stage"},
        {"label": "Reason", "kind": "reason"},
    ]
    return {
        "columns": columns,
        "bodyparts": list(bodyparts),
        "findings": quality.findings if quality else {},
        "rows": [
            _tabulate_video(
                row,
                [
                    *([quality.decisions.get(row["video"])] if quality else ()),
                    *(row[name] for name in metadata),
                ],
                _tabulate_figures(summary, bodyparts, tracked=tracked),
                [
                    summary.undecodable if summary else row["undecodable"],
                    *([_divide(row.get("still"), row["frames"])] if rested else ()),
                ],
                [
                    _tabulate_timings(timings.get(row["video"])) or copies.get(row["video"]),
                    *map(_shorten, used.get(row["video"], unknown)),
                ],
            )
            for row, summary in ((row, summaries.get(row["video"])) for row in rows)
        ],
    }


def histogram_detection(
    summaries: Mapping[str, VideoSummary], bodyparts: Sequence[str]
) -> dict[str, NDArray[np.int64]]:
    """Return the histogram of detection rates over videos; shape (20,), 0..1, per bodypart."""
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


def find_doubtful(summaries: Mapping[str, VideoSummary]) -> list[tuple[str, str]]:
    """Return analysed videos in which less than half of the keypoints were found, worst first.

    With each the rate in percent, or why there is none.
    """
    ranked = [(video, summaries[video]) for video in rank_videos(summaries)]
    return [
        (video, summary.absence or f"{format_fixed(100 * summary.mean_detection)} %")
        for video, summary in ranked
        if not summary.mean_detection >= _LOW_DETECTION
    ]


def _divide(still: int | None, frames: int | None) -> float | None:
    return None if still is None or not frames else round(still / frames, 3)


def _tabulate_video(
    row: LedgerRow,
    metadata: Sequence[Any],
    figures: Sequence[Any],
    lost: Sequence[Any],
    work: Sequence[Any],
) -> list[Any]:
    frames, fps = row["frames"], row["fps"]
    size = (
        f"{row['width']}\N{MULTIPLICATION SIGN}{row['height']}"
        if row["width"] and row["height"]
        else None
    )
    return [
        row["video"],
        str(row["status"]),
        *metadata,
        *figures,
        *lost,
        frames,
        round(frames / fps, 3) if frames and fps else None,
        round(fps, 3) if fps else None,
        size,
        None if row["seconds"] is None else round(row["seconds"], 2),
        *work,
        row["stage"],
        row["reason"],
    ]


def _tabulate_figures(
    summary: VideoSummary | None, bodyparts: Sequence[str], *, tracked: bool
) -> list[Any]:
    """Return the figures of the poses of a video."""
    tracks = [None] * len(_TRACK_COLUMNS) if tracked else []
    if summary is None:
        return [None, None, None, *tracks]
    if tracked and summary.tracks is not None:
        tracks = _tabulate_tracks(summary.tracks)
    return [
        summary.absence or _to_share(summary.mean_detection),
        _to_share(summary.mean_confidence),
        [_to_percent(summary.confidence.get(part, math.nan)) for part in bodyparts],
        *tracks,
    ]


def _tabulate_tracks(tracks: TrackFigures) -> list[Any]:
    return [tracks.animals, _to_share(tracks.followed), tracks.swaps, tracks.gaps]


def _tabulate_timings(timings: InferenceTimings | None) -> list[float] | None:
    if timings is None:
        return None
    shares = (round(100 * share) for share in (timings.decode, timings.network, timings.wait))
    return [float(f"{timings.frames_per_second:.3g}"), *shares]


def _shorten(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def _to_share(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None


def _to_percent(value: float) -> int | None:
    return round(100 * value) if math.isfinite(value) else None
