"""Compare the groups of the sheet: the mean of each figure with its interval, and differences."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline_lib.core.tables import SHEET_FACTS
from pipeline_lib.core.untrusted.names import natural_order
from pipeline_lib.kernels.summaries.groups import Estimate, estimate_difference, estimate_mean
from pipeline_lib.steps.report.charts import format_fixed, format_number
from pipeline_lib.steps.report.summaries import VideoSummary
from pipeline_lib.steps.runs.ledger import LedgerRow, metadata_columns

# A column with more values has no groups, and more columns than these are too many to read.
_MOST_GROUPS, _MOST_COLUMNS = 12, 6
_PERCENT = (0.0, 100.0)
_ANY = (0.0, math.inf)


@dataclass(frozen=True)
class Measure:
    """Describe a figure that groups are compared by.

    Attributes
    ----------
    title, unit
        Its name and unit.
    bounds
        Least and greatest possible value.
    values
        Value by video; NaN: not known.
    """

    title: str
    unit: str
    bounds: tuple[float, float]
    values: dict[str, float]


@dataclass(frozen=True)
class Cell:
    """Hold the figure of a group, in words and as shares of the width of its column.

    Attributes
    ----------
    value, interval
        Texts; `interval` says why there is none.
    at, low, high
        Percent of the width; None: not drawn.
    """

    value: str
    interval: str
    at: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Group:
    """Hold a group: its name, its number of videos, and a cell for each measure."""

    name: str
    videos: int
    cells: list[Cell]


@dataclass(frozen=True)
class Comparison:
    """Compare the groups of a column of the sheet.

    Attributes
    ----------
    column
        Name of the column.
    titles
        Title of each measure, with its unit.
    groups
        In the natural order of their names.
    differences
        The groups but the first, each minus the first.
    """

    column: str
    titles: list[str]
    groups: list[Group]
    differences: list[Group]


def compare_groups(
    rows: Sequence[LedgerRow],
    summaries: Mapping[str, VideoSummary],
    speeds: Mapping[str, float | None],
) -> list[Comparison]:
    """Compare the groups of each column of the sheet that has a few groups of several videos.

    Parameters
    ----------
    rows
        The ledger; each video counts once.
    summaries
        Of the videos with poses.
    speeds
        Mean speed by video in px/s.
    """
    measures = _list_measures(summaries, speeds)
    if not measures:
        return []
    compared = []
    for column in metadata_columns(rows):
        names = {row[column] for row in rows}
        if column in SHEET_FACTS or not 2 <= len(names) <= min(_MOST_GROUPS, len(rows) - 1):
            continue
        # A group may have no video with poses, and says so.
        members: dict[str, list[str]] = {name: [] for name in sorted(names, key=natural_order)}
        for row in rows:
            if row["video"] in summaries:
                members[row[column]].append(row["video"])
        compared.append(_compare(column, members, measures))
    return compared[:_MOST_COLUMNS]


def _list_measures(
    summaries: Mapping[str, VideoSummary], speeds: Mapping[str, float | None]
) -> list[Measure]:
    def of_each(read: Callable[[VideoSummary], float]) -> dict[str, float]:
        return {video: 100 * read(summary) for video, summary in summaries.items()}

    def followed(summary: VideoSummary) -> float:
        return summary.tracks.followed if summary.tracks else math.nan

    known = {video: math.nan if speed is None else speed for video, speed in speeds.items()}
    measures = [
        Measure("Detected", "%", _PERCENT, of_each(lambda one: one.mean_detection)),
        Measure("Confidence", "%", _PERCENT, of_each(lambda one: one.mean_confidence)),
        Measure("Mean speed", "px/s", _ANY, known),
        Measure("All followed", "%", _PERCENT, of_each(followed)),
    ]
    return [one for one in measures if any(map(math.isfinite, one.values.values()))]


def _compare(
    column: str, members: Mapping[str, Sequence[str]], measures: Sequence[Measure]
) -> Comparison:
    def read(name: str, measure: Measure) -> list[float]:
        return [measure.values.get(video, math.nan) for video in members[name]]

    names = list(members)
    means = [
        [estimate_mean(read(name, measure), measure.bounds) for name in names]
        for measure in measures
    ]
    drawn = [_draw(estimates) for estimates in means]

    def subtract(name: str, measure: Measure) -> Cell:
        difference = estimate_difference(read(name, measure), read(names[0], measure))
        return _describe(_bound(difference, measure))

    differences = [[subtract(name, measure) for measure in measures] for name in names[1:]]
    return Comparison(
        column,
        [f"{measure.title}, {measure.unit}" for measure in measures],
        [
            Group(_name(name), len(members[name]), [cells[place] for cells in drawn])
            for place, name in enumerate(names)
        ],
        [
            Group(f"{_name(name)} − {_name(names[0])}", len(members[name]), cells)  # noqa: RUF001
            for name, cells in zip(names[1:], differences, strict=True)
        ],
    )


def _bound(difference: Estimate, measure: Measure) -> Estimate:
    """Cut the interval of a difference to what values within the bounds can differ."""
    most = measure.bounds[1] - measure.bounds[0]
    if not difference.has_interval:
        return difference
    return replace(difference, low=max(difference.low, -most), high=min(difference.high, most))


def _name(name: str) -> str:
    return name or "(empty)"


def _draw(estimates: Sequence[Estimate]) -> list[Cell]:
    """Return the cells of a measure, drawn on one axis for all groups."""
    ends = [
        end for one in estimates for end in (one.value, one.low, one.high) if math.isfinite(end)
    ]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    room = 0.05 * (high - low) or 1.0
    low, high = low - room, high + room

    def place(value: float) -> float | None:
        return round(100 * (value - low) / (high - low), 2) if math.isfinite(value) else None

    return [
        replace(_describe(one), at=place(one.value), low=place(one.low), high=place(one.high))
        for one in estimates
    ]


def _describe(estimate: Estimate) -> Cell:
    if not estimate.videos:
        return Cell(format_number(None), "not known for any video")
    value = _format(estimate.value)
    if not estimate.has_interval:
        return Cell(value, "one video: no interval")
    return Cell(value, f"{_format(estimate.low)} to {_format(estimate.high)}")


def _format(value: float) -> str:
    return format_fixed(value) if abs(value) < 1000 else format_number(value)
