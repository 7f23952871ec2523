"""Write the report's page of each network: curves, errors, and the worst test frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.io.publish import publish_text
from pipeline_lib.steps.report.accuracy import (
    chart_bodyparts,
    chart_errors,
    chart_history,
    compare_bodyparts,
    explain_missing_test,
    tabulate_metrics,
    tabulate_similarity,
)
from pipeline_lib.steps.report.charts import colour_bodyparts, colour_individuals
from pipeline_lib.steps.report.inputs import ReportInputs, read_inputs
from pipeline_lib.steps.report.privacy import Redactor
from pipeline_lib.steps.report.rendering import render_page
from pipeline_lib.steps.report.samples import draw_worst

_WORST_FRAMES = 12


@dataclass(frozen=True)
class NetworkPage:
    """Name the page of a network.

    Attributes
    ----------
    name
        Of the network.
    link
        Address of the page, seen from the report's.
    current
        Whether it is the network of this run.
    """

    name: str
    link: str
    current: bool


def write_networks(
    config: Config, results: Results, redactor: Redactor, inputs: ReportInputs
) -> list[NetworkPage]:
    """Publish a page for each network with learning curves or an evaluation, this run's first.

    Parameters
    ----------
    config, results, redactor
        The run.
    inputs
        Of this run's network, read already.
    """
    current = config.training.name
    written = []
    for name in [current, *(name for name in _list_names(results) if name != current)]:
        if name == current:
            theirs, settings = inputs, config
        else:
            training = config.training.model_copy(update={"name": name})
            settings = config.model_copy(update={"training": training})
            theirs = read_inputs(config, results, name)
        if theirs.metrics or theirs.history or len(theirs.predictions):
            path = results.report_network(name)
            page = _collect_network(settings, theirs, redactor)
            publish_text(
                path,
                render_page(
                    "network.html.j2", page, styles=("report", "details"), scripts=("common",)
                ),
            )
            written.append(NetworkPage(name, _link(results, path), name == current))
    _remove_others(results, [page.name for page in written])
    return written


def _list_names(results: Results) -> list[str]:
    folder = results.model("any").folder.parent
    return sorted(path.parent.name for path in folder.glob(f"*/{results.model('any').card.name}"))


def _link(results: Results, path: Path) -> str:
    return path.relative_to(results.report.parent).as_posix()


def _collect_network(config: Config, inputs: ReportInputs, redactor: Redactor) -> dict[str, Any]:
    bodyparts = inputs.bodyparts(config)
    several = config.individuals.max > 1
    return {
        "title": config.report.title,
        "model": config.training.name,
        "pcutoff": config.evaluation.pcutoff,
        "bodyparts": bodyparts,
        "colours": colour_bodyparts(bodyparts),
        "several": several,
        "individual_colours": colour_individuals(inputs.individuals),
        "metrics": tabulate_metrics(inputs, bodyparts),
        "similarity": tabulate_similarity(inputs),
        "comparison": compare_bodyparts(inputs, bodyparts),
        "error_charts": chart_errors(inputs, config),
        "part_charts": chart_bodyparts(inputs, bodyparts, config),
        "history_charts": chart_history(inputs.history),
        "history_gap": explain_missing_test(inputs),
        "worst": draw_worst(inputs.predictions, inputs.edges(config), _WORST_FRAMES),
        "facts": _list_facts(redactor.hide_record(inputs.card)),
    }


def _list_facts(card: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what the card tells in one line each."""
    record = card.get("training")
    training = record if isinstance(record, dict) else {}
    known = {
        "backbone": card.get("backbone"),
        "output stride": card.get("stride"),
        "epochs": training.get("epochs"),
        "seed": training.get("seed"),
        "iteration": training.get("iteration"),
        "started from": training.get("start_from"),
    }
    return [(name, str(value)) for name, value in known.items() if value not in (None, "")]


def _remove_others(results: Results, names: Sequence[str]) -> None:
    """Remove the pages of networks that are gone."""
    known = {results.report_network(name) for name in names}
    for path in results.report_data.glob(results.report_network("*").name):
        if path not in known:
            path.unlink(missing_ok=True)
