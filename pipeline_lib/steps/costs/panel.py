"""Describe the costs for the report."""

from typing import Any

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.outputs.costs import CostSettings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.steps.costs.run import Row, derive_costs

_NAMES = {
    "shared": "the whole cohort: labels, training, report",
    "removed": "videos that left the sheet",
    "run": "all",
}
_COLUMNS = (
    ("video_hours", "hours of video"),
    ("cpu_hours", "CPU hours"),
    ("gpu_hours", "GPU hours"),
    ("kwh", "kWh"),
    ("stored_gb", "GB stored"),
    ("stored_gb_per_video_hour", "GB per video hour"),
    ("cost", "cost"),
    ("cost_per_video_hour", "cost per video hour"),
    ("storage_per_month", "storage per month"),
)
_OF_VIDEOS = ("cpu_hours", "gpu_hours", "cost")


def describe_costs(config: Config, results: Results) -> dict[str, Any] | None:
    """Return the table of costs; None where the config says nothing about them.

    Returns
    -------
    dict
        ``head``: titles of the columns in which there is anything; ``rows``: a name and cells each;
        ``video_head`` and ``videos``: titles of the figures of each video, and the figures by its
        name, None: not measured. ``costs.tsv`` has more of them.
    """
    if config.costs == CostSettings():
        return None
    derived = derive_costs(config, results)
    rows = [row for row in derived if row["kind"] != "video"]
    columns = [(name, title) for name, title in _COLUMNS if any(row[name] for row in rows)]
    unit = f" ({config.costs.currency})"
    priced = {"cost", "cost_per_video_hour", "storage_per_month"}
    own = [row for row in derived if row["kind"] == "video"]
    listed = [name for name in _OF_VIDEOS if any(row[name] for row in own)]
    titles = dict(_COLUMNS)
    return {
        "video_head": [titles[name] + (unit if name in priced else "") for name in listed],
        "videos": {
            row["name"]: [float(row[name]) if row[name] else None for name in listed] for row in own
        },
        "head": [title + (unit if name in priced else "") for name, title in columns],
        "rows": [(_name(row), [_shorten(row[name]) for name, _ in columns]) for row in rows],
    }


def _name(row: Row) -> str:
    return _NAMES.get(row["kind"], str(row["group"]))


def _shorten(cell: str) -> str:
    """Return a figure with three digits that count, as people read it."""
    if not cell:
        return ""
    value = float(cell)
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3g}"
