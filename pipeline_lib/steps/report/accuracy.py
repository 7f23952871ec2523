"""Show the accuracy in the report: metrics, errors by bodypart, learning curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.settings.run import Config
from pipeline_lib.kernels.metrics.keypoints import keypoint_distance
from pipeline_lib.steps.report.charts import Axes, Chart, Curve, draw_chart
from pipeline_lib.steps.report.inputs import ALL_BODYPARTS, ReportInputs

GATED = " (pcutoff)"
# Metrics of whole animals, which have no bodypart, and their titles.
_WHOLE = {
    "oks_map": "OKS mAP",
    "oks_mar": "OKS mAR",
    "individuals_missed": "labelled animals not found",
    "individuals_false": "animals found where none is labelled",
    "keypoints_missed": "labelled keypoints not found, which the errors do not include",
}

# The test split is what counts: it comes first wherever splits are listed.
_SPLIT_ORDER = ("test", "validation", "train")
_TITLES = {
    "mean_error": "Mean error",
    "median_error": "Median error",
    "rmse": "RMSE",
    "detected": "Detected",
    "points": "Points",
}
_PIXELS = ("mean_error", "median_error", "rmse")
# Learning curves that are compared: their names in the legend, and their tones.
_CURVES = {
    "test_loss": ("test", 1),
    "train_loss": ("training, augmented", 2),
    "train_unaugmented_loss": ("training, as stored", 4),
    "validation_loss": ("validation", 3),
    "test_error": ("test, mean", 1),
    "test_median_error": ("test, median", 5),
    "train_error": ("training, mean", 2),
    "train_median_error": ("training, median", 6),
    "validation_error": ("validation, mean", 3),
}
_MOST_DOTS = 500
_ECDF_POINTS = 60
# Above this ratio a linear axis hides the small end.
_LOGARITHMIC_RATIO = 20.0


@dataclass(frozen=True)
class MetricColumn:
    """Describe one column of the metrics table."""

    metric: str
    title: str
    unit: str


@dataclass(frozen=True)
class MetricTable:
    """Hold the metrics of one split: rows of (bodypart, values in the order of columns)."""

    split: str
    columns: list[MetricColumn]
    rows: list[tuple[str, list[float]]]


def tabulate_metrics(inputs: ReportInputs, bodyparts: Sequence[str]) -> list[MetricTable]:
    """Return one table per split, the test split first and the mean over bodyparts on top."""
    metrics = {key: value for key, value in inputs.metrics.items() if key[2] not in _WHOLE}
    listed = {name for name, _, _ in metrics}
    parts = [ALL_BODYPARTS, *bodyparts]
    parts = [part for part in dict.fromkeys([*parts, *sorted(listed)]) if part in listed]
    names = list(dict.fromkeys(metric for _, _, metric in metrics))
    # Each metric is followed by its gated form, as readers compare the two.
    plain = [name for name in names if not name.endswith(GATED)]
    ordered = [form for name in plain for form in (name, name + GATED) if form in names]
    ordered += [name for name in names if name not in ordered]
    columns = [MetricColumn(name, *_describe_metric(name)) for name in ordered]
    return [
        MetricTable(
            split=split,
            columns=columns,
            rows=[
                (part, [metrics.get((part, split, name), float("nan")) for name in ordered])
                for part in parts
            ],
        )
        for split in order_splits({split for _, split, _ in metrics})
    ]


def tabulate_similarity(inputs: ReportInputs) -> list[tuple[str, dict[str, float]]]:
    """Return the similarity of whole animals and labels per split, the test split first.

    Returns
    -------
    list of tuple
        Split, and value by title: object keypoint similarity in 0..1, and counts.
    """
    found: dict[str, dict[str, float]] = {}
    for (part, split, metric), value in inputs.metrics.items():
        if part == ALL_BODYPARTS and metric in _WHOLE and np.isfinite(value):
            found.setdefault(split, {})[_WHOLE[metric]] = value
    return [(split, found[split]) for split in order_splits(set(found))]


def order_splits(splits: set[str]) -> list[str]:
    """Return the splits, the test split first."""
    known = [split for split in _SPLIT_ORDER if split in splits]
    return known + sorted(splits - set(known))


def compare_bodyparts(inputs: ReportInputs, bodyparts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the mean error by bodypart and split, the largest test error first.

    Returns
    -------
    list of dict
        ``bodypart``; ``errors``: px by split, gated ones under ``split (pcutoff)``; ``shares``:
        the same over the largest of all, ``most``.
    """
    rows: list[dict[str, Any]] = []
    for part in bodyparts:
        errors = {
            split + suffix: value
            for (name, split, metric), value in inputs.metrics.items()
            for suffix in ("", GATED)
            if name == part and metric == "mean_error" + suffix and np.isfinite(value)
        }
        if errors:
            rows.append({"bodypart": part, "errors": errors})
    most = max((error for row in rows for error in row["errors"].values()), default=0.0) or 1.0
    for row in rows:
        row["shares"] = {name: error / most for name, error in row["errors"].items()}
        row["most"] = most
    return sorted(rows, key=lambda row: -row["errors"].get("test", max(row["errors"].values())))


def measure_errors(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the predictions with a column ``error``: Euclidean distance in px, NaN: no label."""
    predicted, labelled = (
        predictions[names].to_numpy(dtype=np.float64)
        for names in (["x", "y"], ["label_x", "label_y"])
    )
    return predictions.assign(error=keypoint_distance(predicted, labelled))


def chart_errors(inputs: ReportInputs, config: Config) -> list[Chart]:
    """Return charts of the share of points within a distance, and of error by confidence."""
    errors = measure_errors(inputs.predictions).dropna(subset=["error"])
    if errors.empty:
        return []
    splits = order_splits(set(errors["split"]))
    within = {split: errors.loc[errors["split"] == split] for split in splits}
    limit = max(float(np.quantile(errors["error"], 0.95)) * 1.3, 1.0)
    cumulative = draw_chart(
        "Share of keypoints within a distance of the label",
        [
            Curve(split, _accumulate(table["error"].to_numpy(), limit), tone)
            for tone, (split, table) in enumerate(within.items(), 1)
        ],
        Axes(
            "px",
            "%",
            x_range=(0.0, limit),
            y_range=(0.0, 100.0),
            guides=config.evaluation.pck_thresholds,
        ),
    )
    cloud = draw_chart(
        "Error against confidence (line: pcutoff)",
        [
            Curve(split, _thin(table, config.report.seed), tone, "dots")
            for tone, (split, table) in reversed(list(enumerate(within.items(), 1)))
        ],
        Axes(
            "confidence",
            "px",
            x_range=(0.0, 1.0),
            logarithmic=True,
            guides=(config.evaluation.pcutoff,),
        ),
    )
    return [chart for chart in (cumulative, cloud) if chart is not None]


def chart_bodyparts(inputs: ReportInputs, bodyparts: Sequence[str], config: Config) -> list[Chart]:
    """Return, for each bodypart, a chart of the share of points within a distance, by split."""
    errors = measure_errors(inputs.predictions).dropna(subset=["error"])
    if errors.empty:
        return []
    splits = order_splits(set(errors["split"]))
    limit = max(float(np.quantile(errors["error"], 0.95)) * 1.3, 1.0)
    charts = []
    for part in bodyparts:
        own = errors[errors["bodypart"] == part]
        curves = [
            Curve(split, _accumulate(table["error"].to_numpy(), limit), tone)
            for tone, split in enumerate(splits, 1)
            if len(table := own[own["split"] == split])
        ]
        axes = Axes(
            "px",
            "%",
            x_range=(0.0, limit),
            y_range=(0.0, 100.0),
            guides=config.evaluation.pck_thresholds,
        )
        charts.append(draw_chart(part, curves, axes))
    return [chart for chart in charts if chart is not None]


def chart_history(history: Mapping[str, Sequence[tuple[float, float]]]) -> list[Chart]:
    """Return the learning curves.

    Returns
    -------
    list of Chart
        Losses and errors of training and test frames, each in one chart; the parts that the
        training loss is the sum of; the learning rate.
    """
    charts = []
    for title, unit, names in _list_families(history):
        curves = [
            Curve(_CURVES.get(name, (name.replace("_", " "),))[0], history[name], tone)
            for name, tone in names.items()
        ]
        values = [value for name in names for _, value in history[name] if value > 0]
        wide = bool(values) and max(values) / min(values) > _LOGARITHMIC_RATIO
        # A schedule ends near zero: a logarithm would show nothing but its end.
        logarithmic = wide and unit != "learning rate"
        chart = draw_chart(title, curves, Axes("epoch", unit, logarithmic=logarithmic))
        if chart is not None:
            charts.append(chart)
    return charts


def _list_families(
    history: Mapping[str, Sequence[tuple[float, float]]],
) -> list[tuple[str, str, dict[str, int]]]:
    """Return title, unit, and the tone of each curve by its metric, for each chart."""
    whole = {name: _CURVES[name][1] for name in _CURVES if name in history}
    tested = any(name.startswith("test_") for name in whole)
    ending = ": training against test" if tested else ""
    losses = {name: tone for name, tone in whole.items() if name.endswith("loss")}
    errors = {name: tone for name, tone in whole.items() if name.endswith("error")}
    parts = [name for name in history if name.endswith("_loss") and name not in losses]
    rates = {name: 1 for name in history if name.endswith("learning_rate")}
    return [
        (f"Loss{ending}", "loss", losses),
        (f"Error{ending}", "px", errors),
        ("Parts of the loss", "loss", {name: 3 + at % 4 for at, name in enumerate(parts)}),
        ("Learning rate", "learning rate", rates),
    ]


def explain_missing_test(inputs: ReportInputs) -> str:
    """Explain why the learning curves have no test frames; empty if they have some."""
    if not inputs.history or "test_error" in inputs.history:
        return ""
    record = inputs.card.get("training")
    training = record if isinstance(record, dict) else {}
    frames, settings = (training.get(name) for name in ("frames", "settings"))
    if isinstance(frames, dict) and not frames.get("test", 1):
        return (
            "No labelled frame is held out for testing (training.split.test_fraction), so the "
            "curves are those of the training frames alone."
        )
    if isinstance(settings, dict) and settings.get("measure_every") == 0:
        return "Test frames were not measured during the training (training.measure_every is 0)."
    return (
        "This network was trained before test frames were measured during a training, and is "
        "kept: the next training has their curves."
    )


def _describe_metric(name: str) -> tuple[str, str]:
    base = name.removesuffix(GATED)
    suffix = " ≥ pcutoff" if name.endswith(GATED) else ""
    if base.startswith("pck@"):
        return f"PCK {base.removeprefix('pck@')} px{suffix}", "%"
    unit = "px" if base in _PIXELS else "%" if base == "detected" else ""
    return _TITLES.get(base, base.replace("_", " ")) + suffix, unit


def _accumulate(errors: NDArray[np.float64], limit: float) -> list[tuple[float, float]]:
    """Return the empirical distribution in percent at evenly spaced distances."""
    ordered = np.sort(errors)
    distances = np.linspace(0.0, limit, _ECDF_POINTS)
    shares = np.searchsorted(ordered, distances, side="right") / len(ordered) * 100.0
    return [(float(x), float(y)) for x, y in zip(distances, shares, strict=True)]


def _thin(table: pd.DataFrame, seed: int) -> list[tuple[float, float]]:
    if len(table) > _MOST_DOTS:
        table = table.sample(_MOST_DOTS, random_state=seed)
    # A perfect point has no place on a logarithmic axis.
    error = table["error"].clip(lower=0.01)
    return [(float(x), float(y)) for x, y in zip(table["confidence"], error, strict=True)]
