"""Train SLEAP-NN for as long as ours takes, on the same labels, each from what it has offline.

    python benchmarks/accuracy/equal_time.py DATASET DIR [--only 0] [--times 1 4]

Of each fold, ours is trained with the settings that the labels decide, from the pretrained weights
that it is installed with. SLEAP-NN then trains a U-Net at half size for as many seconds, times each
of `--times`; it has no pretrained weights offline. It keeps the best network by a tenth of the
training frames, and both predict the test frames. Needs `make peers NAME=sleap_nn`. Finished
trainings are not run again.
"""

import argparse
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.accuracy.cross_validation import (
    PCK,
    PCK_THRESHOLD,
    Division,
    Fold,
    measure,
    run_fold,
)
from benchmarks.peer_programs.contestants import PEERS, PROGRAMS, list_environment
from benchmarks.projects import (
    LABELLED,
    PROJECTS,
    add_settings_options,
    exit_with,
    format_sheet,
    locate_project,
    nest_settings,
)
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.io.labels.table import label_arrays, read_labels
from pipeline_lib.models.card import read_card

PEER = "sleap_nn"
PROGRAM = PROGRAMS / "sleap_nn_training_program.py"
# Seconds that it has to end after its time.
_GRACE = 20


def list_rows(given: argparse.Namespace) -> Iterator[str]:
    """Train what is missing, and yield a row of Markdown for each training.

    Raises
    ------
    CohortposeError
        If a verb fails, or there is no environment with SLEAP-NN.
    """
    peer = PEERS[PEER]
    if not peer.python.exists():
        raise CohortposeError(f"no environment with {PEER}: make peers NAME={PEER}")
    project = PROJECTS[given.dataset]
    source = locate_project(project)
    division = Division(
        project, source, "random", given.folds, automatic=True, changes=given.changes
    )
    for number in given.only:
        fold = division.plan_fold(given.folder / "ours", number)
        run_fold(fold, format_sheet(project, source))
        results, model = fold.results()
        table = pd.read_parquet(results.predictions(model))
        tested = table[table["split"] == "test"]
        seconds = read_card(results.model(model).card).training.seconds
        yield describe(number, "cohortpose", seconds, tested)
        for times in given.times:
            # Another training of ours is another time.
            folder = given.folder / f"{PEER}-{seconds * times:.0f}-s" / f"fold-{number}"
            poses = train_peer(folder, fold, seconds * times)
            yield describe(number, PEER, seconds * times, replace_points(tested, fold, poses))


def describe(fold: int, tool: str, seconds: float, tested: pd.DataFrame) -> str:
    """Return the row of a training."""
    found = measure(tested)
    return (
        f"| {fold} | {tool} | {seconds:.0f} | {found['frames']} | {found['points']} | "
        f"{found['mean_error']:.2f} | {found['median_error']:.2f} | {found[PCK]:.3f} |"
    )


def train_peer(folder: Path, fold: Fold, seconds: float) -> np.ndarray:
    """Train SLEAP-NN for a time; return its poses of the test images, in the labels' order."""
    labels, poses = folder / "labels.npz", folder / "poses.npy"
    if not poses.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_labels(fold, labels)
        with (folder / "training.log").open("w") as log:
            process = subprocess.Popen(
                [str(PEERS[PEER].python), str(PROGRAM), "train", str(labels), str(folder)],
                stdout=log,
                stderr=log,
                env=dict(list_environment()) | limit_threads(),
                start_new_session=True,
            )
            stop(process, seconds)
        call_program("predict", labels, folder, poses)
    return np.asarray(np.load(poses))


def limit_threads() -> dict[str, str]:
    """Return the limits of threads that ours has as well."""
    return {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}


def stop(process: subprocess.Popen[bytes], seconds: float) -> None:
    """End a training after a time.

    Raises
    ------
    CohortposeError
        If it ends by itself, which only a failure does.
    """
    try:
        status = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=_GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return
    raise CohortposeError(f"{PEER}: its training ended by itself, status {status}; see its log")


def call_program(verb: str, *arguments: object) -> None:
    """Run a verb of the program in the environment of SLEAP-NN.

    Raises
    ------
    CohortposeError
        If it fails.
    """
    command = [str(PEERS[PEER].python), str(PROGRAM), verb, *map(str, arguments)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=dict(list_environment())
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CohortposeError(f"{PEER} {verb}: {last}")


def write_labels(fold: Fold, path: Path) -> None:
    """Write the labelled images of a fold, and which of them are for training."""
    images, positions, bodyparts = read_fold(fold)
    np.savez(
        path,
        image=images["image"].to_numpy(str),
        position=positions,
        train=(images["split"] == "train").to_numpy(),
        bodyparts=np.array(bodyparts),
    )


def read_fold(fold: Fold) -> tuple[pd.DataFrame, np.ndarray, tuple[str, ...]]:
    """Return training and test images, their labels, (image, keypoint, 2), and the bodyparts."""
    labels = read_labels(fold.results()[0].labels)
    images, positions = label_arrays(labels)
    used = images["split"].isin(("train", "test")).to_numpy()
    return images[used].reset_index(drop=True), positions[used, 0], tuple(labels.bodyparts)


def replace_points(tested: pd.DataFrame, fold: Fold, poses: np.ndarray) -> pd.DataFrame:
    """Return the test rows with the points of another tool."""
    images, _, bodyparts = read_fold(fold)
    own = images.loc[images["split"] == "test", "image"]
    place = pd.Index(own).get_indexer(pd.Index(tested["image"]))
    points = poses[place, pd.Index(bodyparts).get_indexer(pd.Index(tested["bodypart"]))]
    return tested.assign(x=points[:, 0], y=points[:, 1])


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", choices=sorted(LABELLED))
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", type=int, nargs="+", default=[0], help="run these folds only")
    parser.add_argument("--times", type=float, nargs="+", default=[1.0])
    add_settings_options(parser, settings=False)
    given = parser.parse_args()
    given.changes = nest_settings(given.changes)
    titles = ["fold", "tool", "training (s)", "frames", "points", "mean error (px)"]
    titles += ["median (px)", f"PCK@{PCK_THRESHOLD:g} px"]
    print("| " + " | ".join(titles) + " |\n" + "|---:" * len(titles) + "|")
    try:
        for row in list_rows(given):
            print(row, flush=True)
    except CohortposeError as error:
        raise exit_with(error) from None


if __name__ == "__main__":
    main()
