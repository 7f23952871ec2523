"""Describe a cohort in sections of MultiQC: plain values, as YAML takes them.

MultiQC writes texts into its page as they are, so texts of people are escaped here. Values that
are not known are left out: its tables then have an empty cell.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.steps.costs.run import Row
from pipeline_lib.steps.multiqc.decisions import DECISIONS, Decision
from pipeline_lib.steps.report.accuracy import order_splits
from pipeline_lib.steps.report.inputs import ALL_BODYPARTS, ReportInputs
from pipeline_lib.steps.report.summaries import VideoSummary
from pipeline_lib.steps.runs.ledger import LedgerRow, metadata_columns

Section = dict[str, Any]

_COLOURS = {"pass": "#2a7f62", "warn": "#c77700", "fail": "#b3261e"}
_STATUS_COLOURS = {"done": "#2a7f62", "pending": "#777777", "failed": "#b3261e"}
_PARENT = {
    "parent_id": "cohortpose",
    "parent_name": "cohortpose",
    "parent_description": "estimates poses of animals in the videos of a cohort.",
}
_WHO = {
    "shared": "the whole cohort: labels, training, report",
    "removed": "videos that left the sheet",
    "run": "all",
}


@dataclass(frozen=True)
class Cohort:
    """Hold what the sections are made from.

    Attributes
    ----------
    rows
        Rows of the ledger, in the order of the sheet.
    summaries, decisions
        By video; videos without poses, or without a decision, are missing.
    costs
        Rows of ``costs.tsv``.
    inputs
        Metrics and learning curves of the network.
    bodyparts
        In the network's order.
    pcutoff
        Confidence from which a keypoint counts as detected.
    currency
        Of the costs; empty if nothing is priced.
    """

    rows: Sequence[LedgerRow]
    summaries: Mapping[str, VideoSummary]
    decisions: Mapping[str, Decision]
    costs: Sequence[Row]
    inputs: ReportInputs
    bodyparts: Sequence[str]
    pcutoff: float
    currency: str

    @property
    def videos(self) -> list[str]:
        """Return the names of the videos."""
        return [row["video"] for row in self.rows]


@dataclass(frozen=True)
class _Column:
    """Describe a column of a table: its key, and MultiQC's settings of it."""

    key: str
    title: str
    description: str
    settings: Mapping[str, Any]


def escape_text(text: str) -> str:
    """Return a text of which a page shows every character."""
    return escape(text, quote=False)


def describe_cohort(cohort: Cohort) -> dict[str, Section]:
    """Return the sections by name, in order; those without data are left out."""
    makers: dict[str, Callable[[Cohort], Section]] = {
        "general": describe_videos,
        "counts": describe_counts,
        "decisions": describe_decisions,
        "detection": describe_detection,
        "confidence": describe_confidence,
        "errors": describe_errors,
        "curves": describe_curves,
        "costs": describe_costs,
        "sheet": describe_sheet,
    }
    sections = {name: make(cohort) for name, make in makers.items()}
    return {name: section for name, section in sections.items() if section["data"]}


def describe_videos(cohort: Cohort) -> Section:
    """Return a row per video: columns of MultiQC's table of general statistics."""
    costs = {row["name"]: row for row in cohort.costs if row["kind"] == "video"}
    data = {
        row["video"]: {
            **_describe_video(row, cohort),
            **_list_numbers(costs.get(row["video"], {}), _COSTS),
        }
        for row in cohort.rows
    }
    columns = [*_list_columns(cohort), *_list_cost_columns(cohort.currency)]
    return {"plot_type": "generalstats", "headers": _head(columns, data), "data": data}


def describe_counts(cohort: Cohort) -> Section:
    """Return how many videos ended how, and what was decided about them."""
    statuses = Counter(str(row["status"]) for row in cohort.rows)
    decided = Counter(
        cohort.decisions[video].decision for video in cohort.videos if video in cohort.decisions
    )
    data = {"Status": {str(one): statuses[one] for one in VideoStatus if statuses[one]}}
    if decided:
        data["Decision"] = {one: decided[one] for one in DECISIONS if decided[one]}
    colours = {**_STATUS_COLOURS, "quarantined": _COLOURS["warn"], **_COLOURS}
    names = dict.fromkeys(name for counts in data.values() for name in counts)
    return {
        **_PARENT,
        "section_name": "Videos",
        "description": "How the videos of the cohort ended, and what was decided about them.",
        "plot_type": "bargraph",
        "pconfig": _plot("counts", "Videos", ylab="videos", sort_samples=False),
        "categories": {name: {"name": name, "color": colours[name]} for name in names},
        "data": data if cohort.rows else {},
    }


def describe_decisions(cohort: Cohort) -> Section:
    """Return a row per video about which anything was decided."""
    data = {
        video: {
            "decision": one.decision,
            "decided_by": escape_text(one.decided_by),
            "reason": escape_text(one.join("reason")),
            "seconds": escape_text(one.join("seconds")),
            "remedy": escape_text(one.join("remedy")),
        }
        for video, one in ((video, cohort.decisions.get(video)) for video in cohort.videos)
        if one is not None
    }
    columns = [
        _Column("decision", "Decision", "pass, warn or fail", _FORMATTED_DECISION),
        _Column("decided_by", "Decided by", "rules, or a person", {}),
        _Column("reason", "Reason", "all findings, worst first", {}),
        _Column("seconds", "Seconds", "of the findings, from the start of the video", {}),
        _Column("remedy", "Remedy", "what is to be done", {}),
    ]
    return {
        **_PARENT,
        "section_name": "Decisions",
        "description": "What was found in each video. A person's decision overrides the rules; "
        "every finding is in <code>qc.tsv</code>.",
        "plot_type": "table",
        "pconfig": _plot("decisions", "Decisions", col1_header="Video"),
        "headers": _head(columns, data),
        "data": data,
    }


def describe_sheet(cohort: Cohort) -> Section:
    """Return the other columns of the cohort sheet, as texts."""
    names = metadata_columns(cohort.rows)
    data = {
        row["video"]: {escape_text(name): escape_text(row[name]) for name in names if row[name]}
        for row in cohort.rows
    }
    return {
        **_PARENT,
        "section_name": "Cohort sheet",
        "description": "What the cohort sheet says of each video.",
        # Not among the general statistics, where `007` becomes 7.
        "plot_type": "table",
        "pconfig": _plot("sheet", "Cohort sheet", col1_header="Video"),
        "headers": _head(_list_named(names, "column of the cohort sheet", {"scale": False}), data),
        "data": {video: cells for video, cells in data.items() if cells},
    }


def describe_detection(cohort: Cohort) -> Section:
    """Return the share of frames in which each bodypart was found, by video, in percent."""
    return _describe_parts(
        cohort,
        "Detection rate",
        f"Frames in which a bodypart has a confidence of at least {cohort.pcutoff:g}.",
        lambda one: {part: 100 * share for part, share in one.detection.items()},
        {"max": 100, "suffix": " %", "scale": "RdYlGn"},
    )


def describe_confidence(cohort: Cohort) -> Section:
    """Return the mean confidence of each bodypart, by video."""
    return _describe_parts(
        cohort,
        "Confidence",
        "Mean confidence of each bodypart.",
        lambda one: one.confidence,
        {"max": 1, "format": "{:,.3f}", "scale": "RdYlGn"},
    )


def describe_errors(cohort: Cohort) -> Section:
    """Return the mean error of the network, by bodypart and split, in pixels."""
    metrics = cohort.inputs.metrics
    splits = order_splits({split for _, split, name in metrics if name == "mean_error"})
    rows = {
        _name_row(part): {
            split: value
            for split in splits
            if math.isfinite(value := metrics.get((part, split, "mean_error"), math.nan))
        }
        for part in (*cohort.bodyparts, ALL_BODYPARTS)
    }
    return {
        **_PARENT,
        "section_name": "Error of the network",
        "description": "Mean distance between labels and predictions, in pixels of the labelled "
        "image.",
        "plot_type": "bargraph",
        "pconfig": _plot(
            "errors",
            "Error by bodypart",
            ylab="px",
            sort_samples=False,
            stacking="group",
            cpswitch=False,
            tt_decimals=2,
        ),
        "data": {part: values for part, values in rows.items() if values},
    }


def describe_curves(cohort: Cohort) -> Section:
    """Return the loss and the errors by epoch of the training."""
    wanted = {
        name: points
        for name, points in cohort.inputs.history.items()
        if "loss" in name or "error" in name
    }
    curves = {
        name: {epoch: value for epoch, value in points if math.isfinite(value)}
        for name, points in wanted.items()
    }
    return {
        **_PARENT,
        "section_name": "Training",
        "description": "Losses and errors by epoch.",
        "plot_type": "linegraph",
        "pconfig": _plot("curves", "Training", xlab="epoch", ylab="value", logswitch=True),
        "data": {escape_text(name): points for name, points in curves.items() if points},
    }


def describe_costs(cohort: Cohort) -> Section:
    """Return what groups, the whole cohort and the run used and cost."""
    rows = [row for row in cohort.costs if row["kind"] != "video"]
    data = {
        _name_row(_WHO.get(row["kind"]) or f"group {row['group']}"): _list_numbers(row, _RUN_COSTS)
        for row in rows
    }
    columns = _list_cost_columns(cohort.currency, _RUN_COSTS)
    return {
        **_PARENT,
        "section_name": "Costs",
        "description": "What was used, and what it cost by the price list of the config.",
        "plot_type": "table",
        "pconfig": _plot("costs", "Costs", col1_header="Of", sort_rows=False),
        "headers": _head(columns, data),
        "data": {name: values for name, values in data.items() if values},
    }


_FORMATTED_DECISION = {
    "cond_formatting_rules": {name: [{"s_eq": name}] for name in DECISIONS},
    "cond_formatting_colours": [{name: _COLOURS[name]} for name in DECISIONS],
    "scale": False,
}
_COSTS = {
    "cpu_hours": "CPU hours",
    "gpu_hours": "GPU hours",
    "kwh": "kWh",
    "stored_gb": "GB stored",
    "stored_gb_per_video_hour": "GB per video hour",
    "cost": "Cost",
    "cost_per_video_hour": "Cost per video hour",
}
_RUN_COSTS = {
    "video_hours": "Video hours",
    **_COSTS,
    "storage_per_month": "Storage per month",
    "wall_hours": "Wall hours",
}


def _list_columns(cohort: Cohort) -> list[_Column]:
    """Return the columns of videos; `_head` drops those without a value."""
    whole, share = {"format": "{:,.0f}"}, {"max": 100, "min": 0, "suffix": " %", "scale": "RdYlGn"}
    cutoff = f"{cohort.pcutoff:g}"
    return [
        _Column("status", "Status", "how the video ended", {"scale": False}),
        _Column("decision", "Decision", "pass, warn or fail", _FORMATTED_DECISION),
        _Column("detected", "Detected", f"keypoints with a confidence of at least {cutoff}", share),
        _Column(
            "confidence",
            "Confidence",
            "mean over bodyparts",
            {"max": 1, "min": 0, "format": "{:,.3f}", "scale": "RdYlGn"},
        ),
        _Column("followed", "All followed", "frames in which every animal is followed", share),
        _Column("swaps", "Possible swaps", "places at which animals may be exchanged", whole),
        _Column("gaps", "Gaps", "places at which an animal was not found", whole),
        _Column("frames", "Frames", "frames of the video", {**whole, "hidden": True}),
        _Column("undecodable", "Undecodable", "frames that could not be decoded", whole),
        _Column("duration", "Duration", "length of the video in seconds", {"suffix": " s"}),
        _Column("fps", "fps", "frames per second", {"hidden": True}),
        _Column("reason", "Reason", "why the video ended so", {"hidden": True}),
    ]


def _list_cost_columns(currency: str, names: Mapping[str, str] = _COSTS) -> list[_Column]:
    unit = f" ({currency})" if currency else ""
    settings = {"format": "{:,.4g}", "scale": "Purples"}
    priced = {"cost", "cost_per_video_hour", "storage_per_month"}
    shown = {"cpu_hours", "cost"} if names is _COSTS else set(names)
    return [
        _Column(
            name,
            title + (unit if name in priced else ""),
            f"{title}, see costs.tsv",
            {**settings, "hidden": name not in shown},
        )
        for name, title in names.items()
    ]


def _describe_video(row: LedgerRow, cohort: Cohort) -> dict[str, Any]:
    summary = cohort.summaries.get(row["video"])
    decision = cohort.decisions.get(row["video"])
    frames, fps = row["frames"], row["fps"]
    values: dict[str, Any] = {
        "status": str(row["status"]),
        "decision": decision.decision if decision else None,
        "frames": frames,
        "undecodable": row["undecodable"] if summary is None else summary.undecodable,
        "duration": frames / fps if frames and fps else None,
        "fps": fps,
        "reason": escape_text(row["reason"]) if row["reason"] else None,
    }
    if summary is not None:
        values |= {
            "detected": 100 * summary.mean_detection,
            "confidence": summary.mean_confidence,
        }
        if summary.tracks is not None:
            values |= {
                "followed": 100 * summary.tracks.followed,
                "swaps": summary.tracks.swaps,
                "gaps": summary.tracks.gaps,
            }
    return _drop_unknown(values)


def _describe_parts(
    cohort: Cohort,
    name: str,
    description: str,
    measure: Callable[[VideoSummary], Mapping[str, float]],
    settings: Mapping[str, Any],
) -> Section:
    """Return a violin for each bodypart, with a point for each video."""
    found = ((video, cohort.summaries.get(video)) for video in cohort.videos)
    rows = {video: _drop_unknown(measure(one)) for video, one in found if one is not None}
    parts = dict.fromkeys(part for values in rows.values() for part in values)
    data = {
        video: {escape_text(part): value for part, value in values.items()}
        for video, values in rows.items()
        if values
    }
    ordered = sorted(parts, key=_order_by(cohort.bodyparts))
    columns = _list_named(ordered, name.lower(), {"min": 0, **settings})
    key = name.partition(" ")[0].lower()
    return {
        **_PARENT,
        "section_name": name,
        "description": description,
        "plot_type": "violin",
        "pconfig": _plot(key, name, col1_header="Video"),
        "headers": _head(columns, data),
        "data": data,
    }


def _list_named(
    names: Iterable[str], description: str, settings: Mapping[str, Any]
) -> list[_Column]:
    """Return columns with names of people.

    They may differ only in characters that MultiQC's identifiers lack, so each has one of its own.
    """
    return [
        _Column(escape_text(name), name, f"{name}: {description}", {"rid": f"c{place}", **settings})
        for place, name in enumerate(names)
    ]


def _order_by(names: Sequence[str]) -> Callable[[str], int]:
    places = {name: place for place, name in enumerate(names)}
    return lambda name: places.get(name, len(places))


def _head(columns: Iterable[_Column], data: Mapping[str, Mapping[str, Any]]) -> Section:
    """Return MultiQC's headers of the columns that have a value in any row."""
    used = {key for values in data.values() for key in values}
    return {
        column.key: {
            "title": escape_text(column.title),
            "description": escape_text(column.description),
            **column.settings,
        }
        for column in columns
        if column.key in used
    }


def _plot(name: str, title: str, **settings: Any) -> Section:  # noqa: ANN401 - MultiQC's own
    return {"id": f"cohortpose_{name}_plot", "title": f"cohortpose: {title}", **settings}


def _list_numbers(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, float]:
    return {name: float(row[name]) for name in names if row.get(name)}


def _drop_unknown(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in values.items()
        if value is not None and not (isinstance(value, float) and not math.isfinite(value))
    }


def _name_row(name: str) -> str:
    # MultiQC takes names of rows for paths, and keeps what is behind the last slash.
    return escape_text(name.replace("/", "\N{DIVISION SLASH}"))
