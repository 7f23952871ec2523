"""Run DeepLabCut's open-field mouse from labels to a report (`make openfield`)."""

import argparse
from pathlib import Path

from benchmarks.projects import PROJECTS, exit_with, format_config, format_sheet, locate_project
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.core.tables import LEDGER_COLUMNS, METRIC_COLUMNS, VideoStatus
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.models.card import read_card

PROJECT = PROJECTS["openfield"]


def prepare_run(folder: Path) -> None:
    """Write the config and the cohort sheet; replace existing ones if they differ.

    The folder belongs to the benchmark, which always runs its template.

    Raises
    ------
    StoreError
        As `projects.locate_project`.
    """
    source = locate_project(PROJECT)
    publish_text(folder / "cohort.tsv", format_sheet(PROJECT, source))
    publish_text(folder / "config.yaml", format_config(PROJECT, source))
    print(f"{folder / 'config.yaml'}: labels and video of {source}")


def summarise_run(folder: Path) -> list[str]:
    """Return a summary of a finished run: report, test error, frames inferred, training time.

    Raises
    ------
    ConfigError, StoreError, ModelError
        If the run has not ended.
    """
    config = read_config(folder / "config.yaml")
    results = Results(folder / config.results)
    model = config.training.name
    error = {
        row["metric"]: float(row["value"])
        for row in read_table(results.metrics(model), METRIC_COLUMNS)
        if row["bodypart"] == "all" and row["split"] == "test"
    }
    done = [
        int(row["frames"])
        for row in read_table(results.ledger, LEDGER_COLUMNS)
        if row["status"] == VideoStatus.DONE
    ]
    training = read_card(results.model(model).card).training
    tested = f"{error['points']:.0f} points of {training.frames['test']} frames"
    return [
        f"Report: {results.report}",
        f"Mean Euclidean test error (DeepLabCut's RMSE): {error['mean_error']:.2f} px, {tested}",
        f"Root mean square test error: {error['rmse']:.2f} px",
        f"Frames inferred: {sum(done)}, videos done: {len(done)}",
        f"Training: {training.seconds:.0f} s for {training.steps} steps",
    ]


def main() -> None:
    """Run the chosen sub-command."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("prepare", "write DIR/config.yaml and DIR/cohort.tsv, downloading the project if needed"),
        ("summarise", "print what a finished run came to"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("folder", metavar="DIR", type=Path)
    given = parser.parse_args()
    try:
        if given.command == "prepare":
            prepare_run(given.folder)
        else:
            print("\n".join(summarise_run(given.folder)))
    except CohortposeError as error:
        raise exit_with(error) from None


if __name__ == "__main__":
    main()
