"""Cross-validate the error of a labelled project: every labelled frame is tested exactly once.

Each fold is a run of the command line in its own folder. Finished steps are not run again, and a
killed training resumes where it stopped.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.projects import (
    PROJECTS,
    Project,
    add_settings_options,
    exit_with,
    format_config,
    format_sheet,
    locate_project,
    merge_settings,
    nest_settings,
)
from pipeline_lib.core import versions
from pipeline_lib.core.errors import CohortposeError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.kernels.metrics import keypoints as similarity
from pipeline_lib.models.card import read_card

VERBS = ("import-labels", "make-targets", "train", "evaluate")
PCK_THRESHOLD = 5.0  # px

PCK = f"pck@{PCK_THRESHOLD:g}"
MEASURES = ("frames", "points", "mean_error", "rmse", "median_error", PCK)
COLUMNS = ("fold", *MEASURES, "training_seconds")

Row = dict[str, object]


@dataclass(frozen=True)
class Fold:
    """Describe one fold: its number, its folder and the text of its config."""

    number: int
    folder: Path
    config: str

    def results(self) -> tuple[Results, str]:
        """Return the results folder and the name of the model."""
        config = read_config(self.folder / "config.yaml")
        return Results(self.folder / config.results), config.training.name

    def is_finished(self) -> bool:
        """Return whether this fold was evaluated with the present config."""
        path = self.folder / "config.yaml"
        if not path.is_file() or path.read_text(encoding="utf-8") != self.config:
            return False
        results, model = self.results()
        return results.metrics(model).is_file()


@dataclass(frozen=True)
class Division:
    """Describe how the frames of a project are divided into folds.

    Attributes
    ----------
    project, source
        The project and its folder.
    method, folds
        Settings of ``training.split``.
    epochs
        Epochs of training; None for those of the template.
    automatic
        Leave what the labels can decide to `auto`, instead of the template's settings.
    changes
        Nested settings that override those of the template.
    """

    project: Project
    source: Path
    method: str
    folds: int
    epochs: int | None = None
    automatic: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)

    def plan_fold(self, folder: Path, number: int) -> Fold:
        """Describe a fold; its config includes the settings and the versions of the steps."""
        split = {"method": self.method, "folds": self.folds, "fold": number}
        epochs = {} if self.epochs is None else {"epochs": self.epochs}
        changes = merge_settings(self.changes, {"training": {"split": split, **epochs}})
        text = format_config(self.project, self.source, changes, automatic=self.automatic)
        steps = ", ".join(
            f"{verb} {getattr(versions, verb.replace('-', '_').upper())}" for verb in VERBS
        )
        header = f"# Versions of the steps: {steps}.\n"
        return Fold(number, folder / f"fold-{number}", header + text)


def run_fold(fold: Fold, sheet: str) -> None:
    """Run the unfinished verbs of a fold.

    Raises
    ------
    CohortposeError
        If a verb fails.
    """
    if fold.is_finished():
        return
    config = fold.folder / "config.yaml"
    if config.is_file():
        # Old metrics must not remain beside a new config.
        results, model = fold.results()
        results.metrics(model).unlink(missing_ok=True)
    publish_text(fold.folder / "cohort.tsv", sheet)
    publish_text(config, fold.config)
    run_verbs(fold.folder)


def run_verbs(folder: Path) -> None:
    """Run the verbs from labels to the evaluation; finished trainings are not run again.

    Raises
    ------
    CohortposeError
        If a verb fails.
    """
    members = read_config(folder / "config.yaml").training.ensemble
    for verb in VERBS:
        for member in range(1, members + 1) if verb == "train" else (1,):
            command = [sys.executable, "-m", "pipeline_lib.cli", verb, "--config", "config.yaml"]
            command += ["--member", str(member)] if member > 1 else []
            if subprocess.run(command, cwd=folder, check=False).returncode:
                raise CohortposeError(f"{folder}: {verb} failed; run again to go on from there")


def measure(predictions: pd.DataFrame) -> Row:
    """Return `MEASURES` of predicted points; unlabelled points do not count.

    Parameters
    ----------
    predictions
        Columns `pipeline_lib.core.tables.PREDICTION_COLUMNS`.
    """
    distance = similarity.keypoint_distance(
        predictions[["x", "y"]].to_numpy(), predictions[["label_x", "label_y"]].to_numpy()
    )
    return {
        "frames": predictions["image"].nunique(),
        "points": int(np.isfinite(distance).sum()),
        "mean_error": similarity.mean_error(distance),
        "rmse": similarity.root_mean_square_error(distance),
        "median_error": similarity.median_error(distance),
        PCK: similarity.share_of_correct_keypoints(distance, PCK_THRESHOLD),
    }


def pool_tests(predictions: Mapping[int, pd.DataFrame], folds: int) -> pd.DataFrame:
    """Return the pooled test rows of the finished folds.

    Parameters
    ----------
    predictions
        Predictions of all labelled frames, by fold; columns `PREDICTION_COLUMNS`.
    folds
        Number of folds. If all are given, every frame must have been tested.

    Raises
    ------
    StoreError
        If a frame was tested in two folds, or in none although all folds are given.
    """
    tests = {fold: table[table["split"] == "test"] for fold, table in predictions.items()}
    pooled = pd.concat(tests.values(), ignore_index=True)
    times = pooled.groupby(["image", "individual", "bodypart"]).size()
    if (times > 1).any():
        image = times.index[times > 1][0][0]
        raise StoreError(f"{image} was tested in more than one fold; remove the folds' folders")
    labelled = {image for table in predictions.values() for image in table["image"]}
    untested = labelled - set(pooled["image"])
    if len(predictions) == folds and untested:
        raise StoreError(f"{min(untested)} was tested in no fold; remove the folds' folders")
    return pooled


def summarise_folds(finished: Sequence[Fold], folds: int, left_out: Sequence[str]) -> list[Row]:
    """Return a row per finished fold, and one pooled over all their test points.

    With `left_out`, a last row is pooled over the other bodyparts.
    """
    predictions, rows, seconds = {}, [], 0.0
    for fold in finished:
        results, model = fold.results()
        table = predictions[fold.number] = pd.read_parquet(results.predictions(model))
        training = read_card(results.model(model).card).training.seconds
        seconds += training
        tested = measure(table[table["split"] == "test"])
        rows.append({"fold": str(fold.number), **tested, "training_seconds": training})
    pooled = pool_tests(predictions, folds)
    name = "pooled" if len(finished) == folds else f"pooled ({len(finished)} of {folds} folds)"
    rows.append({"fold": name, **measure(pooled), "training_seconds": seconds})
    if left_out:
        rest = pooled[~pooled["bodypart"].isin(left_out)]
        name += f" without {', '.join(left_out)}"
        rows.append({"fold": name, **measure(rest), "training_seconds": seconds})
    return rows


def format_markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table with rounded numbers."""
    titles = {
        "mean_error": "mean error (px)",
        "rmse": "RMSE (px)",
        "median_error": "median (px)",
        PCK: f"PCK@{PCK_THRESHOLD:g} px",
        "training_seconds": "training (s)",
    }
    digits = {"mean_error": 2, "rmse": 2, "median_error": 2, PCK: 3, "training_seconds": 0}
    lines = [
        "| " + " | ".join(titles.get(column, column) for column in COLUMNS) + " |",
        "|" + "|".join(" --- " if column == "fold" else " ---: " for column in COLUMNS) + "|",
    ]
    for row in rows:
        cells = [f"{row[c]:.{digits[c]}f}" if c in digits else str(row[c]) for c in COLUMNS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def run(given: argparse.Namespace) -> str:
    """Run the chosen folds; write and return the summary of all finished folds."""
    project = PROJECTS[given.dataset]
    source = locate_project(project)
    automatic = given.settings == "auto"
    division = Division(
        project, source, given.method, given.folds, given.epochs, automatic, given.changes
    )
    folder = given.folder / (f"{given.method}-auto" if automatic else given.method)
    plan = [division.plan_fold(folder, number) for number in range(given.folds)]
    for fold in plan:
        if fold.number in given.only:
            run_fold(fold, format_sheet(project, source))
    finished = [fold for fold in plan if fold.is_finished()]
    rows = summarise_folds(finished, given.folds, project.left_out)
    write_table(folder / "summary.tsv", COLUMNS, rows)
    title = f"{given.dataset}, {given.folds} folds of {given.method} frames"
    text = f"{title}\n\n{format_markdown(rows)}"
    text += f"\n{project.remark}" if project.remark else ""
    publish_text(folder / "summary.md", text)
    return text


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; `only` is a set of fold numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", metavar="DATASET", choices=sorted(PROJECTS))
    parser.add_argument("folder", metavar="DIR", type=Path, help="receives METHOD/fold-N")
    parser.add_argument("--method", choices=("random", "block"), default="random")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", metavar="0,1", help="run these folds only")
    parser.add_argument("--epochs", type=int, help="instead of the config's, for a quick look")
    add_settings_options(parser)
    given = parser.parse_args(arguments)
    given.changes = nest_settings(given.changes)
    try:
        numbers = given.only.split(",") if given.only else range(given.folds)
        given.only = {int(number) for number in numbers}
    except ValueError:
        parser.error(f"--only {given.only}: expected fold numbers such as 0,1")
    if not given.only <= set(range(given.folds)):
        parser.error(f"--only: there are folds 0 to {given.folds - 1}")
    return given


def main() -> None:
    """Run the cross-validation."""
    given = parse_arguments()
    try:
        print(run(given))
    except CohortposeError as error:
        raise exit_with(error) from None


if __name__ == "__main__":
    main()
