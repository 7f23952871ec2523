"""Train, infer and track fruit flies, alone, in pairs and in threes, and compare with labels.

Every frame of the three clips is labelled, with proofread tracks. `block` trains on two_flies and
the first frames of three_flies and tests on its last ones. `clip` trains on single_fly and
two_flies, so that three_flies is an unseen video. `sexes` learns the appearance of the two flies
of two_flies and tests on its last frames.

Flies are assembled along the `skeleton`, along the best edges of a `complete` graph, or `top-down`.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import sleap_io

from benchmarks.projects import add_settings_options, exit_with, locate_project, nest_settings
from benchmarks.several_animals.flies_runs import DIVISIONS, PROJECT, WAYS, prepare_run
from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import METRIC_COLUMNS
from pipeline_lib.io.labels.table import read_labels
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.kernels.metrics.matching import match_individuals
from pipeline_lib.models.card import read_card
from pipeline_lib.steps.evaluate.tracks import TrueTracks, measure_video_tracks


def read_true_tracks(source: Path, clip: str) -> TrueTracks:
    """Return the labelled tracks of every frame of a clip."""
    labels = sleap_io.load_slp(str(source / f"{clip}.slp"), open_videos=False)
    position = labels.numpy().astype(np.float64)
    return TrueTracks(np.arange(len(position)), position, tuple(labels.skeletons[0].node_names))


def read_names(source: Path, clip: str) -> list[str]:
    """Return the names of the tracks of a clip, in their order."""
    labels = sleap_io.load_slp(str(source / f"{clip}.slp"), open_videos=False)
    return [track.name for track in labels.tracks]


def summarise_run(folder: Path) -> list[str]:
    """Return a summary of a finished run: errors and OKS of test frames, tracks of clips, times.

    Raises
    ------
    ConfigError, StoreError, ModelError
        If the run has not ended.
    """
    config = read_config(folder / "config.yaml")
    results = Results(folder / config.results)
    model = results.model(config.training.name)
    files = [model, model.locator] if config.uses_locator else [model]
    trainings = [read_card(one.card).training for one in files]
    videos = read_cohort(folder / config.cohort)
    return [
        f"Report: {results.report}",
        *describe_errors(config, results),
        *describe_tracks(config, results, [video.video for video in videos]),
        *(describe_names(config, results) if config.individuals.identity else ()),
        *(f"Training: {one.seconds:.0f} s for {one.steps} steps" for one in trainings),
    ]


def describe_errors(config: Config, results: Results) -> Iterator[str]:
    """Yield lines about the labelled test frames."""
    rows = read_table(results.metrics(config.training.name), METRIC_COLUMNS)
    found = {
        (row["bodypart"], row["metric"]): float(row["value"])
        for row in rows
        if row["split"] == "test"
    }
    every = {metric: value for (part, metric), value in found.items() if part == "all"}
    yield f"Test frames: OKS mAP {every['oks_map']:.3f}, mAR {every['oks_mar']:.3f}"
    yield (
        f"  {every['individuals_missed']:.0f} flies missed, {every['individuals_false']:.0f} false"
    )
    yield (
        f"  mean error {every['mean_error']:.2f} px, true RMSE {every['rmse']:.2f} px, median "
        f"{every['median_error']:.2f} px, over {every['points']:.0f} labelled points, of which "
        f"{every['keypoints_missed']:.0f} were not found"
    )
    for part in config.skeleton.bodyparts:
        yield f"  {part}: mean error {found[part, 'mean_error']:.2f} px"


def describe_tracks(config: Config, results: Results, videos: Sequence[str]) -> Iterator[str]:
    """Yield lines about the tracks of each clip, and of its test frames."""
    source = locate_project(PROJECT)
    images = read_labels(results.labels).table.drop_duplicates("image")
    tested = images[images["split"] == "test"]
    for clip in videos:
        poses = read_poses(results.tracked(config.training.name, clip))
        truth = read_true_tracks(source, clip)
        parts = {"all frames": truth}
        frames = tested.loc[tested["video"] == clip, "frame"]
        if 0 < len(frames) < len(truth.frames):
            parts["test frames"] = truth.between(frames.min(), frames.max() + 1)
        for name, part in parts.items():
            metrics = measure_video_tracks(poses, part, config.evaluation)
            yield (
                f"Tracks of {clip}, {name} ({metrics.frames}): MOTA {metrics.mota:.3f}, IDF1 "
                f"{metrics.idf1:.3f}, {metrics.identity_switches} switches, HOTA "
                f"{metrics.hota:.3f}, {metrics.misses} missed, {metrics.false_positives} false"
            )


def describe_names(config: Config, results: Results) -> Iterator[str]:
    """Yield how often the flies of test frames have their own names."""
    source = locate_project(PROJECT)
    images = read_labels(results.labels).table.drop_duplicates("image")
    for clip, frames in images[images["split"] == "test"].groupby("video")["frame"]:
        name = config.training.name
        truth = read_true_tracks(source, clip).between(frames.min(), frames.max() + 1)
        flies = read_names(source, clip)
        for what, path in (
            ("single frames", results.poses(name, clip)),
            ("tracks", results.tracked(name, clip)),
        ):
            right, found = count_names(read_poses(path), truth, flies)
            yield f"Names in {what} of {clip}, test frames: {right} of {found} flies right"


def count_names(poses: Poses, truth: TrueTracks, flies: Sequence[str]) -> tuple[int, int]:
    """Return the number of found flies with their own names, and the number of found flies.

    Parameters
    ----------
    poses
        Poses of the flies. In untracked poses a fly has the name of its most likely identity; in
        tracks it has the name of its slot.
    truth, flies
        The labelled flies and their names.
    """
    order = [poses.bodyparts.index(name) for name in truth.bodyparts]
    position = poses.position[truth.frames][:, :, order]
    match = match_individuals(position.astype(np.float64), truth.position, min_similarity=0.5)
    frame, fly = np.nonzero(match >= 0)
    place, names = match[frame, fly], poses.individuals
    if poses.track_status is None:
        place = poses.identity[truth.frames[frame], place].argmax(axis=-1)
        names = poses.attributes["identities"]
    return int((np.array(names)[place] == np.array(flies)[fly]).sum()), len(fly)


def run_workflow(folder: Path, cores: int) -> None:
    """Run the whole workflow in the folder.

    Raises
    ------
    CohortposeError
        If it fails.
    """
    command = [str(Path(sys.executable).parent / "snakemake"), "--cores", str(cores)]
    command += ["--snakefile", str(Path(__file__).parents[2] / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(folder / "config.yaml")]
    if subprocess.run(command, check=False).returncode:
        raise CohortposeError(f"{folder}: the workflow failed; run again to go on from there")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("prepare", "write DIR/config.yaml, DIR/cohort.tsv and DIR/labels"),
        ("run", "prepare DIR, run the workflow there, print what it came to"),
        ("summarise", "print what a finished run came to"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("folder", metavar="DIR", type=Path)
        if name != "summarise":
            command.add_argument("--test", choices=tuple(DIVISIONS), default="block")
            command.add_argument("--way", choices=tuple(WAYS), default="skeleton")
            add_settings_options(command)
        if name == "run":
            command.add_argument("--cores", type=int, default=2)
    return parser.parse_args(arguments)


def main() -> None:
    """Run the chosen sub-command."""
    given = parse_arguments()
    try:
        if given.command != "summarise":
            automatic = given.settings == "auto"
            changes = nest_settings(given.changes)
            prepare_run(given.folder, given.test, given.way, changes, automatic=automatic)
        if given.command == "run":
            run_workflow(given.folder.absolute(), given.cores)
        if given.command != "prepare":
            print("\n".join(summarise_run(given.folder)))
    except CohortposeError as error:
        raise exit_with(error) from None


if __name__ == "__main__":
    main()
