"""Measure the error of a labelled project against the number of labelled frames for training.

For each number and seed, frames are drawn at random to train on, with the settings that the labels
decide; all other labelled frames are test frames. Finished steps are not run again, and a killed
training resumes where it stopped. With `--set training.ensemble=3`, the error is that of the median
of three networks, and the last column has the mean error of each, over all bodyparts.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks.accuracy.cross_validation import PCK, PCK_THRESHOLD, Fold, measure, run_fold
from benchmarks.projects import (
    LABELLED,
    PROJECTS,
    add_settings_options,
    exit_with,
    format_config,
    format_sheet,
    locate_project,
    merge_settings,
    nest_settings,
)
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.tables import MEMBER_COLUMNS
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.models.card import read_card


def list_rows(given: argparse.Namespace) -> Iterator[str]:
    """Train what is missing, and yield a row of Markdown for each network.

    Raises
    ------
    CohortposeError
        If a verb fails.
    """
    project = PROJECTS[given.dataset]
    source = locate_project(project)
    for count in given.labels:
        for seed in range(given.seeds):
            split = {"test_fraction": 1.0 - count / LABELLED[given.dataset], "seed": seed}
            own = {"training": {"seed": seed, "measure_every": 0, "split": split}}
            changes = merge_settings(given.changes, own)
            text = format_config(project, source, changes, automatic=True)
            run = Fold(seed, given.folder / f"labels-{count}-seed-{seed}", text)
            run_fold(run, format_sheet(project, source))
            yield describe(run, project.left_out)


def describe(run: Fold, left_out: tuple[str, ...]) -> str:
    """Return the row of a finished training; bodyparts `left_out` are not counted."""
    results, model = run.results()
    predicted = pd.read_parquet(results.predictions(model))
    tested = predicted[predicted["split"] == "test"]
    found = measure(tested[~tested["bodypart"].isin(left_out)])
    training = read_card(results.model(model).card).training
    return (
        f"| {training.frames['train']} | {run.number} | {found['mean_error']:.2f} | "
        f"{found['median_error']:.2f} | {found[PCK]:.3f} | {training.steps} | "
        f"{training.seconds:.0f} | {list_members(results.members(model))} |"
    )


def list_members(path: Path) -> str:
    """Return the mean errors of the members of an ensemble on test frames, px; empty without."""
    rows = read_table(path, MEMBER_COLUMNS) if path.is_file() else []
    errors = {row["member"]: row["mean_error"] for row in rows if row["split"] == "test"}
    return ", ".join(f"{float(errors[name]):.2f}" for name in sorted(errors) if name.isdecimal())


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", choices=sorted(LABELLED))
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--labels", metavar="N", type=int, nargs="+", default=[10, 25, 40])
    parser.add_argument("--seeds", type=int, default=3)
    add_settings_options(parser, settings=False)
    given = parser.parse_args()
    given.changes = nest_settings(given.changes)
    titles = ["labels", "seed", "mean error (px)", "median (px)", f"PCK@{PCK_THRESHOLD:g} px"]
    titles += ["steps", "training (s)", "members (px)"]
    print("| " + " | ".join(titles) + " |\n" + "|---:" * len(titles) + "|")
    try:
        for row in list_rows(given):
            print(row, flush=True)
    except CohortposeError as error:
        raise exit_with(error) from None


if __name__ == "__main__":
    main()
