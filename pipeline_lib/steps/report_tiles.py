"""The figures at the top of the report."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_lib.steps.ledger import LedgerRow
from pipeline_lib.steps.report_accuracy import order_splits, tabulate_similarity
from pipeline_lib.steps.report_charts import format_number
from pipeline_lib.steps.report_inputs import ALL_BODYPARTS, ReportInputs
from pipeline_lib.steps.report_summaries import VideoSummary

Tile = dict[str, str]


def measure_tiles(
    rows: Sequence[LedgerRow], summaries: Mapping[str, VideoSummary], inputs: ReportInputs
) -> list[Tile]:
    """Return the figures at the top of the page; those that are unknown are left out."""
    splits = order_splits({split for _, split, _ in inputs.metrics})
    split = splits[0] if splits else ""

    def metric(name: str) -> float:
        return inputs.metrics.get((ALL_BODYPARTS, split, name), math.nan)

    tiles = [
        (f"Median {split} error", metric("median_error"), "px", "half of the keypoints are closer"),
        (f"Mean {split} error", metric("mean_error"), "px", "mean Euclidean distance to the label"),
    ]
    thresholds = [
        name
        for part, found, name in inputs.metrics
        if name.startswith("pck@") and "(" not in name and (part, found) == (ALL_BODYPARTS, split)
    ]
    if thresholds:
        name = thresholds[len(thresholds) // 2]
        within = name.removeprefix("pck@")
        hint = f"{split} keypoints within {within} px of the label"
        tiles.append((f"PCK {within} px", 100 * metric(name), "%", hint))
    seconds = [
        row["frames"] / row["fps"]
        for row in rows
        if row["video"] in summaries and row["frames"] and row["fps"]
    ]
    frames = sum(summary.frames for summary in summaries.values())
    hours = f"{format_number(sum(seconds) / 3600)} h of video"
    rates = [s.mean_detection for s in summaries.values() if math.isfinite(s.mean_detection)]
    if summaries:
        lost = sum(summary.undecodable for summary in summaries.values())
        tiles.append(("Frames analysed", frames, "", hours))
        tiles.append(("Undecodable", lost, "", "frames kept as rows without a pose"))
    if rates:
        typical = 100 * statistics.median(rates)
        hint = "keypoints at or above the cutoff, median video"
        tiles.append(("Detection rate", typical, "%", hint))
    return _format_tiles(tiles)


def measure_animals(inputs: ReportInputs, animals: Mapping[str, Any] | None) -> list[Tile]:
    """Return the figures of several animals; those that are unknown are left out."""
    tiles = []
    for split, values in tabulate_similarity(inputs)[:1]:
        hint = f"whole animals of the {split} frames, object keypoint similarity"
        tiles.append(("OKS mAP", values.get("OKS mAP", math.nan), "", hint))
    if animals is not None:
        tiles.append(
            (
                "All followed",
                100 * animals["followed"],
                "%",
                "frames in which every animal is followed",
            )
        )
        videos = len(animals["swapped"])
        hint = f"in {videos} of {animals['videos']} videos: exchanged animals?"
        tiles.append(("Possible swaps", animals["swaps"], "", hint))
    return _format_tiles(tiles)


def _format_tiles(tiles: Sequence[tuple[str, float, str, str]]) -> list[Tile]:
    return [
        {"label": label, "value": format_number(value), "unit": unit, "hint": hint}
        for label, value, unit, hint in tiles
        if math.isfinite(value)
    ]
