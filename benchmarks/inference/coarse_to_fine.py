"""Measure the coarse-to-fine mode on the open field: its speed and its effect on the error.

A fold of `cross_validation.py` gets a locator; trained networks in the same folders are reused.
Rates come from runs in turn on frames in memory, on all cores; ratios are taken within a round and
their medians given. The exit status is 1 if a target is missed.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import yaml

from benchmarks.accuracy.cross_validation import (
    MEASURES,
    Division,
    Fold,
    measure,
    pool_tests,
    run_fold,
)
from benchmarks.inference.figures import FIGURE_COLUMNS, Bench, Figure, Row
from benchmarks.inference.networks import RuntimeName, Way, call_apart, count_cores, measure_ways
from benchmarks.inference.throughput import choose_best, list_ways
from benchmarks.inference.videos import read_images
from benchmarks.projects import PROJECTS, exit_with, format_sheet, locate_project
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.settings.network import LocatingSettings, StatedLocating
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.io.labels.table import label_arrays, read_labels
from pipeline_lib.io.publish import publish_text
from pipeline_lib.models.inference.locating.coarse_to_fine import CoarseToFine, load_pose_predictor
from pipeline_lib.models.inference.predictor import RuntimeOptions
from pipeline_lib.steps.evaluate.run import predict_images

PROJECT = PROJECTS["openfield"]
RUNTIMES: tuple[RuntimeName, ...] = ("onnx", "openvino")
FRAMES, GROUP = 128, 32  # in memory, and in one call
LEAST_SPEEDUP = 3.0
MOST_ERROR = 1.02

WHOLE, WINDOW = "whole frames", "windows"
ERROR_COLUMNS = ("fold", "looks_at", *MEASURES, "not_found", "cut")
RATE_COLUMNS = ("round", "runtime", "ceiling", "best_ceiling", "whole", "window", "window/ceiling")


def train_locator(fold: Fold, locating: Mapping[str, object]) -> StatedLocating:
    """Train the locator of a fold; a finished training is not repeated.

    Raises
    ------
    CohortposeError
        If a verb fails.
    """
    path = fold.folder / "locating.yaml"
    values = yaml.safe_load(fold.config)
    values["locating"] = {**values.get("locating", {}), "enabled": True, **locating}
    publish_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    for verb in ("make-targets", "train"):
        command = [sys.executable, "-m", "pipeline_lib.cli", verb, "--locator"]
        command += ["--config", path.name]
        if subprocess.run(command, cwd=fold.folder, check=False).returncode:
            raise CohortposeError(f"{fold.folder}: {verb} --locator failed; run again to go on")
    return read_config(path).locating


def predict_labelled(fold: Fold, locating: StatedLocating) -> tuple[pd.DataFrame, Row]:
    """Return predictions of all labelled images, and the number predicted as whole frames."""
    results, model = fold.results()
    images, labelled = label_arrays(read_labels(results.labels))
    predictor = load_pose_predictor(results.model(model), RuntimeOptions("onnx"), locating)
    table = predict_images(predictor, images, labelled[:, 0])
    if not isinstance(predictor, CoarseToFine):
        return table, {}
    counts = predictor.counts
    return table, {"not_found": counts.not_found, "cut": counts.cut}


def measure_errors(
    folds: Sequence[Fold], number: int, locating: StatedLocating
) -> tuple[list[Row], float]:
    """Return a row per fold and mode, then pooled rows, and the ratio of the pooled mean errors.

    Parameters
    ----------
    folds
        Trained folds.
    number
        Number of folds that the frames are divided into.
    locating
        Settings of the coarse-to-fine mode.
    """
    rows: list[Row] = []
    pooled = {}
    for name, settings in ((WHOLE, LocatingSettings()), (WINDOW, locating)):
        tables = {}
        for fold in folds:
            table, counts = predict_labelled(fold, settings)
            tables[fold.number] = table
            found = measure(table[table["split"] == "test"])
            rows.append({"fold": str(fold.number), "looks_at": name, **found, **counts})
        pooled[name] = measure(pool_tests(tables, number))
        rows.append({"fold": "pooled", "looks_at": name, **pooled[name]})
    return rows, float(str(pooled[WINDOW]["mean_error"])) / float(str(pooled[WHOLE]["mean_error"]))


def measure_look(
    folder: Path, runtime: RuntimeName, locating: StatedLocating, video: Path, seconds: float
) -> float:
    """Return frames per second of a predictor on frames in memory, on all cores.

    Parameters
    ----------
    folder
        Folder of the model.
    runtime
        Runtime of its networks.
    locating
        Settings of the coarse-to-fine mode.
    video
        Video whose first frames are decoded before the timing starts.
    seconds
        Shortest duration of a run in s.
    """
    predictor = load_pose_predictor(ModelFiles(folder), RuntimeOptions(runtime), locating)
    frames = read_images(video, FRAMES)
    groups = [frames[first : first + GROUP] for first in range(0, len(frames), GROUP)]
    predictor.predict(groups[0])  # warm
    begin, done = time.perf_counter(), 0
    for group in itertools.cycle(groups):
        predictor.predict(group)
        done += len(group)
        if time.perf_counter() - begin >= seconds:
            break
    return done / (time.perf_counter() - begin)


def measure_rates(bench: Bench, folder: Path, locating: StatedLocating) -> list[Row]:
    """Return frames per second of the bare network and of both modes, round by round."""
    seconds, rounds = bench.given.seconds, bench.given.rounds
    ways = list_ways(("onnx",), count_cores())
    swept = call_apart(measure_ways, folder, bench.source, ways, 1.0, 1)
    best: list[Way] = choose_best({way: values[0] for way, values in swept.items()})
    rows: list[Row] = []
    for number in range(rounds):
        for runtime in bench.given.runtimes:
            found = call_apart(measure_ways, folder, bench.source, best, seconds, 1)
            bare = {way.lanes: values[0] for way, values in found.items()}
            whole, window = (
                call_apart(measure_look, folder, runtime, settings, bench.source, seconds)
                for settings in (LocatingSettings(), locating)
            )
            rows.append(
                {
                    "round": number,
                    "runtime": runtime,
                    "ceiling": bare[1],
                    "best_ceiling": max(bare.values()),
                    "whole": whole,
                    "window": window,
                    "window/ceiling": window / max(bare.values()),
                }
            )
    return rows


def run(bench: Bench) -> list[Figure]:
    """Train what is missing, write and print tables, and return the figures with their targets."""
    given = bench.given
    source = locate_project(PROJECT)
    division = Division(PROJECT, source, given.method, given.folds, given.epochs)
    folds = [division.plan_fold(given.folder / given.method, one) for one in given.only]
    for fold in folds:
        run_fold(fold, format_sheet(PROJECT, source))
        locating = train_locator(fold, given.locating)
    errors, ratio = measure_errors(folds, given.folds, locating)
    bench.report("coarse-to-fine-errors", ERROR_COLUMNS, errors)
    results, model = folds[0].results()
    rates = measure_rates(bench, results.model(model).folder.absolute(), locating)
    bench.report("coarse-to-fine-rates", RATE_COLUMNS, rates)
    figures = [
        Figure("mean test error, windows over whole frames", ratio, MOST_ERROR, at_most=True)
    ]
    for runtime in given.runtimes:
        name = f"{runtime}: windows, times ONNX Runtime's best on whole frames"
        speedup = statistics.median(
            float(str(row["window/ceiling"])) for row in rates if row["runtime"] == runtime
        )
        figures.append(Figure(name, speedup, LEAST_SPEEDUP))
    return figures


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", metavar="DIR", type=Path, help="has or gets METHOD/fold-N")
    parser.add_argument("--method", choices=("random", "block"), default="random")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", nargs="+", type=int, default=[0], help="folds to take")
    parser.add_argument("--epochs", type=int, help="instead of the config's, for a quick look")
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one run")
    parser.add_argument(
        "--locating", metavar="YAML", type=yaml.safe_load, default={}, help="e.g. {window: 192}"
    )
    return parser.parse_args(arguments)


def main() -> None:
    """Measure; fail if a target is missed."""
    given = parse_arguments()
    try:
        source = locate_project(PROJECT) / PROJECT.video[1]
        bench = Bench(given.folder.absolute(), source, given)
        figures = run(bench)
    except CohortposeError as error:
        raise exit_with(error) from None
    bench.report("coarse-to-fine-figures", FIGURE_COLUMNS, [one.describe() for one in figures])
    missed = [figure.name for figure in figures if not figure.reached]
    if missed:
        raise SystemExit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
