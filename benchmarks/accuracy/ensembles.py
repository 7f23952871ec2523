"""Measure what an ensemble gains: errors of its members and of their median, coverage, frames/s.

The rendered demo takes some ten minutes on one core, a fold of a labelled project as many trainings
as there are members. Finished steps are not run again.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from benchmarks.accuracy.cross_validation import Division, run_verbs
from benchmarks.projects import (
    PROJECTS,
    add_settings_options,
    exit_with,
    format_sheet,
    locate_project,
    merge_settings,
    nest_settings,
)
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.core.tables import MEMBER_COLUMNS, REGION_COLUMNS
from pipeline_lib.demo.write import DemoSettings, write_demo
from pipeline_lib.io.images import read_image
from pipeline_lib.io.labels.table import read_labels
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.models.inference.locating.coarse_to_fine import load_pose_predictor
from pipeline_lib.models.inference.predictor import RuntimeOptions

RENDERED = "rendered"
_DEMO = DemoSettings(videos=4, frames=60, width=192, height=192, labelled_frames=120, damaged=False)
_SHORT = {
    "targets": {"stride": 8},
    "training": {"epochs": 20, "measure_every": 0, "split": {"test_fraction": 0.4}},
}
_TIMED_IMAGES = 40


def prepare(given: argparse.Namespace) -> None:
    """Write config and sheet of the run, unless they are there."""
    members = merge_settings(given.changes, {"training": {"ensemble": given.members}})
    if given.dataset == RENDERED:
        if not (given.folder / "cohort.tsv").is_file():
            write_demo(given.folder, _DEMO)
        values = yaml.safe_load((given.folder / "config.yaml").read_text(encoding="utf-8"))
        text = yaml.safe_dump(merge_settings(merge_settings(values, _SHORT), members))
    else:
        project = PROJECTS[given.dataset]
        source = locate_project(project)
        division = Division(
            project,
            source,
            "random",
            given.folds,
            automatic=given.settings == "auto",
            changes=members,
        )
        text = division.plan_fold(given.folder, given.fold).config
        publish_text(given.folder / "cohort.tsv", format_sheet(project, source))
    publish_text(given.folder / "config.yaml", text)


def summarise(folder: Path) -> str:
    """Return the errors on test frames, the coverage of the regions, and frames per second."""
    config = read_config(folder / "config.yaml")
    results, model = Results(folder / config.results), config.training.name
    lines = ["test frames, px (mean, median, RMSE):"]
    for row in read_table(results.members(model), MEMBER_COLUMNS):
        if row["split"] == "test":
            errors = (f"{float(row[name]):.2f}" for name in MEMBER_COLUMNS[4:])
            lines.append(f"  {row['member']:<10} {'  '.join(errors)}  ({row['points']} points)")
    lines.append("regions (level: points within, usual radius in px):")
    for row in read_table(results.regions(model), REGION_COLUMNS):
        if row["bodypart"] == "all" and row["radius"]:
            share, radius = float(row["coverage"]), float(row["radius"])
            lines.append(f"  {float(row['level']):.2f}: {share:.3f}  {radius:.2f}")
    counts = (1, config.training.ensemble)
    lines += [f"frames/s with {count}: {_time(config, results, count):.1f}" for count in counts]
    return "\n".join(lines)


def _time(config, results, count):  # noqa: ANN001, ANN202 - of this script alone
    files = results.model(config.training.name)
    images = read_labels(results.labels).table["image"].unique()[:_TIMED_IMAGES]
    frames = [read_image(Path(image)) for image in images]
    frames = [frame for frame in frames if frame.shape == frames[0].shape]
    options = RuntimeOptions.of(config.inference)
    predictor = load_pose_predictor(
        files, options, config.locating, config.assembly, files.list_members(count)
    )
    predictor.predict(frames)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        predictor.predict(frames)
        seconds.append(time.perf_counter() - began)
    return len(frames) / float(np.median(seconds))


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", metavar="DATASET", choices=[RENDERED, *sorted(PROJECTS)])
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=int, default=0)
    add_settings_options(parser)
    given = parser.parse_args(arguments)
    given.changes = nest_settings(given.changes)
    return given


def main() -> None:
    """Run the benchmark and print its summary."""
    given = parse_arguments()
    try:
        prepare(given)
        run_verbs(given.folder)
        print(summarise(given.folder))
    except CohortposeError as error:
        raise exit_with(error) from None


if __name__ == "__main__":
    main()
