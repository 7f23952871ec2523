"""Read the inputs of the report; a missing or damaged one leaves a gap, not an error."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from pipeline_lib.core.errors import CohortposeError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import write_resolved_config
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import HISTORY_COLUMNS, METRIC_COLUMNS, PREDICTION_COLUMNS
from pipeline_lib.io.labels.image_paths import BASE_COLUMN, resolve_images
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.models.precision import PrecisionRecord, read_precision
from pipeline_lib.steps.evaluate.evaluated import find_mismatch

_log = logging.getLogger(__name__)

T = TypeVar("T")

ALL_BODYPARTS = "all"


@dataclass(frozen=True)
class ReportInputs:
    """Hold all inputs of the report except the videos.

    Attributes
    ----------
    metrics
        Value by (bodypart, split, metric); empty if the model was not evaluated.
    history
        Points (epoch, value) in the order of epochs, by metric.
    predictions
        One row per labelled image and bodypart, columns ``PREDICTION_COLUMNS``; may be empty.
    card, provenance
        The model's and the run's records; empty where absent.
    settings
        YAML text of every setting in force.
    gaps
        What could not be read, and why: shown on the page.
    mismatch
        Why nothing of the evaluation is shown, as `find_mismatch` explains it; empty if it may be.
    """

    metrics: dict[tuple[str, str, str], float]
    history: dict[str, list[tuple[float, float]]]
    predictions: pd.DataFrame
    card: dict[str, Any]
    provenance: dict[str, Any]
    settings: str
    gaps: list[str] = field(default_factory=list)
    mismatch: str = ""

    def bodyparts(self, config: Config) -> tuple[str, ...]:
        """Return the bodyparts in the model's order, from the first source that knows them."""
        listed = self._skeleton.get("bodyparts")
        if listed:
            return tuple(str(name) for name in listed)
        if config.skeleton.bodyparts:
            return config.skeleton.bodyparts
        if len(self.predictions):
            return tuple(self.predictions["bodypart"].drop_duplicates())
        names = dict.fromkeys(bodypart for bodypart, _, _ in self.metrics)
        return tuple(name for name in names if name != ALL_BODYPARTS)

    @property
    def individuals(self) -> tuple[str, ...]:
        """Return the labelled individuals, in the order of the predictions."""
        labelled = self.predictions.dropna(subset=["label_x"])
        return tuple(str(name) for name in labelled["individual"].drop_duplicates())

    @property
    def _skeleton(self) -> dict[str, Any]:
        skeleton = self.card.get("skeleton")
        return skeleton if isinstance(skeleton, dict) else {}

    def edges(self, config: Config) -> tuple[tuple[str, str], ...]:
        """Return the skeleton's edges by name."""
        if config.skeleton.edges:
            return config.skeleton.edges
        return tuple((str(a), str(b)) for a, b in self._skeleton.get("edges") or ())


def read_inputs(config: Config, results: Results, name: str | None = None) -> ReportInputs:
    """Read the metrics, the model's records and the settings that exist.

    Parameters
    ----------
    config, results
        The run.
    name
        Name of the network; None: that of the run.
    """
    mismatch = find_mismatch(config, results, name)
    name = config.training.name if name is None else name
    model = results.model(name)
    gaps: list[str] = []
    if mismatch:
        _log.warning("the report leaves out errors on labelled frames: %s", mismatch)
        gaps.append(mismatch)
    nothing = pd.DataFrame(columns=list(PREDICTION_COLUMNS))
    read = partial(read_predictions, results=results.root)
    return ReportInputs(
        metrics={} if mismatch else _read(results.metrics(name), read_metrics, {}, gaps),
        history=_read(model.history, _read_history, {}, gaps),
        predictions=nothing if mismatch else _read(results.predictions(name), read, nothing, gaps),
        card=_read(model.card, _read_record, {}, gaps),
        provenance=_read(results.provenance, _read_record, {}, gaps),
        settings=_read(results.config, _read_text, write_resolved_config(config), gaps),
        gaps=gaps,
        mismatch=mismatch,
    )


def _read(path: Path, reader: Callable[[Path], T], absent: T, gaps: list[str]) -> T:
    if not path.exists():
        return absent
    try:
        return reader(path)
    except (CohortposeError, OSError, ValueError, KeyError) as error:
        _log.warning("the report leaves out %s: %s", path, error)
        gaps.append(f"{path} cannot be read: {error}")
        return absent


def read_metrics(path: Path) -> dict[tuple[str, str, str], float]:
    """Return the metrics of a network by bodypart, split and metric.

    Raises
    ------
    StoreError
        If the table is missing or damaged.
    """
    return {
        (row["bodypart"], row["split"], row["metric"]): float(row["value"] or "nan")
        for row in read_table(path, METRIC_COLUMNS)
    }


def _read_history(path: Path) -> dict[str, list[tuple[float, float]]]:
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in read_table(path, HISTORY_COLUMNS):
        if row["epoch"] and row["value"]:
            point = (float(row["epoch"]), float(row["value"]))
            curves.setdefault(row["metric"], []).append(point)
    return {metric: sorted(points) for metric, points in curves.items()}


def read_predictions(path: Path, results: Path) -> pd.DataFrame:
    """Return the predictions of a network on labelled images, with absolute paths of images.

    Raises
    ------
    StoreError
        If the table lacks a column.
    """
    table = pd.read_parquet(path)
    missing = [name for name in PREDICTION_COLUMNS if name not in table.columns]
    if missing:
        raise StoreError(f"lacks the columns {', '.join(missing)}; evaluate again")
    # Tables of before have absolute paths.
    return resolve_images(table, results) if BASE_COLUMN in table.columns else table


def _read_record(path: Path) -> dict[str, Any]:
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict):
        raise StoreError(f"expected a JSON object, found {type(record).__name__}")
    return record


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def summarise_precision(
    config: Config, results: Results, gaps: list[str]
) -> PrecisionRecord | None:
    """Return what was measured of the precisions of a network; None if the settings state one.

    Parameters
    ----------
    config, results
        The run.
    gaps
        Receives why the file cannot be read.
    """
    path = results.model(config.training.name).precision
    if not (STAGES["choose-precision"].wanted(config) and path.is_file()):
        return None
    try:
        return read_precision(path)
    except CohortposeError as error:
        gaps.append(str(error))
        return None
