"""Compare the networks of the labelling iterations, and show what the last labels changed."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.core.errors import CohortposeError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import UNUSED_SPLIT
from pipeline_lib.core.untrusted.names import natural_order
from pipeline_lib.io.labels.table import Labels, read_labels
from pipeline_lib.models.card import ModelCard, read_card
from pipeline_lib.steps.evaluate.evaluated import find_mismatch
from pipeline_lib.steps.report.charts import Axes, Chart, Curve, draw_chart
from pipeline_lib.steps.report.inputs import ALL_BODYPARTS, read_metrics, read_predictions

_log = logging.getLogger(__name__)

_KEY = ["image", "individual", "bodypart"]
_MOST_VIDEOS = 30


@dataclass(frozen=True)
class EvaluatedNetwork:
    """Describe an evaluated network.

    Attributes
    ----------
    name, iteration, start_from
        As in the network's card; ``start_from`` is empty for a training from scratch.
    labels
        Frames that it was trained on.
    tested
        Frames that it was tested on.
    mean, median
        Error on the test frames in px, measured when the network was evaluated; NaN: not
        measured.
    """

    name: str
    iteration: int
    start_from: str
    labels: int
    tested: int
    mean: float
    median: float


@dataclass(frozen=True)
class Change:
    """Hold the error of a bodypart on the same test frames with the network before and now.

    Attributes
    ----------
    bodypart
        ``all`` for all together.
    points
        Labelled points that both networks predicted.
    before, now
        Mean error, px.
    """

    bodypart: str
    points: int
    before: float
    now: float


@dataclass(frozen=True)
class Iterations:
    """Hold what the report shows of iterations.

    Attributes
    ----------
    networks
        In the order of iterations.
    chart
        Error against number of labels.
    iteration
        Iteration of the network that the report is about.
    before
        Name of the network that this one is compared with; empty if there is none.
    added
        Number of frames labelled in this iteration, by video, and their numbers.
    unused
        How many of these are beside test frames, and were not trained on.
    changes
        Error before and now, all bodyparts first.
    """

    networks: Sequence[EvaluatedNetwork]
    chart: Chart | None
    iteration: int
    before: str
    added: Sequence[tuple[str, int, str]]
    unused: int
    changes: Sequence[Change]


def compare_iterations(config: Config, results: Results) -> Iterations | None:
    """Compare the evaluated networks of all iterations; None while there is only one iteration.

    Errors in the chart are those that were measured when each network was evaluated. The table of
    changes measures both networks against the present labels of the test frames, on the points
    that both predicted.
    """
    cards = _read_cards(results)
    iterations = {card.training.iteration for card in cards}
    current = next((card for card in cards if card.name == config.training.name), None)
    if current is None or len(iterations | {0}) < 2:
        return None
    networks = [_describe(card, config, results) for card in cards]
    before = _choose_before(current, cards)
    try:
        labels = read_labels(results.labels)
    except CohortposeError as error:
        _log.warning("the report leaves out what the last labels changed: %s", error)
        return Iterations(networks, _draw(networks), current.training.iteration, "", (), 0, ())
    rows = labels.table.drop_duplicates("image")
    new = rows[rows["iteration"] == current.training.iteration]
    changes = _measure_changes(config, results, before.name, labels) if before else []
    return Iterations(
        networks,
        _draw(networks),
        current.training.iteration,
        before.name if before else "",
        _list_added(new),
        int((new["split"] == UNUSED_SPLIT).sum()),
        changes,
    )


def _read_cards(results: Results) -> list[ModelCard]:
    """Return the cards of all networks of the results, in the order of iterations."""
    cards = []
    for path in sorted(results.model("any").folder.parent.glob("*/model.json")):
        try:
            cards.append(read_card(path))
        except CohortposeError as error:
            _log.warning("the report leaves out a network: %s", error)
    return sorted(cards, key=lambda card: (card.training.iteration, natural_order(card.name)))


def _describe(card: ModelCard, config: Config, results: Results) -> EvaluatedNetwork:
    frames = card.training.frames
    metrics = _read_metrics(config, results, card.name)
    return EvaluatedNetwork(
        card.name,
        card.training.iteration,
        card.training.start_from or "",
        frames.get("train", 0) + frames.get("validation", 0),
        frames.get("test", 0),
        metrics.get((ALL_BODYPARTS, "test", "mean_error"), math.nan),
        metrics.get((ALL_BODYPARTS, "test", "median_error"), math.nan),
    )


def _read_metrics(
    config: Config, results: Results, model: str
) -> dict[tuple[str, str, str], float]:
    path = results.metrics(model)
    try:
        # The reason is told where the page of that network is written.
        known = path.exists() and not find_mismatch(config, results, model)
        return read_metrics(path) if known else {}
    except (CohortposeError, ValueError, KeyError) as error:
        _log.warning("the report leaves out %s: %s", path, error)
        return {}


def _draw(networks: Sequence[EvaluatedNetwork]) -> Chart | None:
    ordered = sorted(networks, key=lambda one: (one.labels, one.iteration))
    curves = [
        Curve("test, mean", [(float(one.labels), one.mean) for one in ordered], 1),
        Curve("test, median", [(float(one.labels), one.median) for one in ordered], 5),
    ]
    return draw_chart("Error against number of labels", curves, Axes("frames trained on", "px"))


def _choose_before(current: ModelCard, cards: Sequence[ModelCard]) -> ModelCard | None:
    """Return the network that the training started from, else the last of an earlier iteration."""
    by_name = {card.name: card for card in cards}
    start = by_name.get(current.training.start_from or "")
    earlier = [card for card in cards if card.training.iteration < current.training.iteration]
    return start or (earlier[-1] if earlier else None)


def _list_added(new: pd.DataFrame) -> list[tuple[str, int, str]]:
    """Return video, number of frames and frames that were labelled, most frames first."""
    by_video = [
        (str(video), len(rows), ", ".join(map(str, sorted(rows["frame"]))))
        for video, rows in new.groupby("video", sort=True)
    ]
    return sorted(by_video, key=lambda one: -one[1])[:_MOST_VIDEOS]


def _measure_changes(config: Config, results: Results, before: str, labels: Labels) -> list[Change]:
    tables: dict[str, pd.DataFrame] = {}
    for name, model in (("before", before), ("now", config.training.name)):
        path = results.predictions(model)
        try:
            if mismatch := find_mismatch(config, results, model):
                raise StoreError(mismatch)
            tables[name] = read_predictions(path, results.root)
        except (CohortposeError, OSError, ValueError, KeyError) as error:
            _log.warning("the report leaves out what the last labels changed: %s", error)
            return []
    labelled = labels.table[(labels.table["split"] == "test") & labels.table["visible"]]
    joined = labelled[[*_KEY, "x", "y"]]
    for name, table in tables.items():
        found = table.dropna(subset=["label_x"]).drop_duplicates(_KEY)[[*_KEY, "x", "y"]]
        joined = joined.merge(found, on=_KEY, suffixes=("", f"_{name}"))
    errors = {name: _measure(joined, name) for name in tables}
    both = np.isfinite(errors["before"]) & np.isfinite(errors["now"])
    changes = []
    for part in (ALL_BODYPARTS, *labels.bodyparts):
        rows = both & ((part == ALL_BODYPARTS) | (joined["bodypart"] == part).to_numpy())
        if rows.any():
            means = [float(errors[name][rows].mean()) for name in ("before", "now")]
            changes.append(Change(part, int(rows.sum()), *means))
    return changes


def _measure(joined: pd.DataFrame, name: str) -> Any:  # noqa: ANN401 - an array of floats
    x, y = (joined[f"{axis}_{name}"] - joined[axis] for axis in "xy")
    return np.hypot(x.to_numpy(float), y.to_numpy(float))
