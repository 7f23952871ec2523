"""Fruit flies, alone, in pairs and in threes: trained, inferred and tracked, held against labels.

Every frame of the three clips is labelled, with proofread tracks. `block` trains on two_flies and
the first frames of three_flies and tests on its last ones; `clip` trains on single_fly and
two_flies, so that three_flies is a video that the network has seen nothing of.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import sleap_io
from projects import Project, exit_with, format_config, locate_project

from pipeline_lib.core.config import read_config
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings import Config
from pipeline_lib.core.settings_network import SplitSettings
from pipeline_lib.core.tables import METRIC_COLUMNS
from pipeline_lib.io.labels import read_labels
from pipeline_lib.io.poses import read_poses
from pipeline_lib.io.publish import publish_file, publish_text
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.models.card import read_card
from pipeline_lib.steps.evaluate_tracks import TrueTracks, measure_video_tracks
from pipeline_lib.steps.import_labels import assign_splits

CONFIG = """\
# Fruit flies seen from above, 1024 x 1024 px, a fly being about 70 px long. Paths are relative to
# this folder.
cohort: cohort.tsv
results: results

skeleton:
  bodyparts: [
    head, thorax, abdomen, wingL, wingR, forelegL4, forelegR4, midlegL4, midlegR4, hindlegL4,
    hindlegR4, eyeL, eyeR]
  edges:
    - [thorax, head]
    - [thorax, abdomen]
    - [thorax, wingL]
    - [thorax, wingR]
    - [thorax, forelegL4]
    - [thorax, forelegR4]
    - [thorax, midlegL4]
    - [thorax, midlegR4]
    - [thorax, hindlegL4]
    - [thorax, hindlegR4]
    - [head, eyeL]
    - [head, eyeR]
  symmetries:
    - [wingL, wingR]
    - [forelegL4, forelegR4]
    - [midlegL4, midlegR4]
    - [hindlegL4, hindlegR4]
    - [eyeL, eyeR]

individuals:
  max: 3

targets:
  scale: 0.5
  stride: 4
  sigma: 3.0
  pos_dist_thresh: 6.0
  part_affinity_width: 4.0

training:
  crop: 256
  augmentation:
    rotation: 180
    mirror: true

report:
  title: Fruit flies
"""

PROJECT = Project(
    folder="flies-dreem",
    base_url="https://raw.githubusercontent.com/talmolab/dreem/"
    "cc522ee68251f93766593c4e149a86b7a1d81498/tests/data/sleap/",
    registry="flies.sha256.txt",
    video=("three_flies", "three_flies.mp4"),
    config=CONFIG,
)
CLIPS = ("single_fly", "two_flies", "three_flies")
FRAMES = 128


@dataclass(frozen=True)
class Clip:
    """Frames of one clip whose labels train and test."""

    name: str
    train: range
    test: range = range(0)


@dataclass(frozen=True)
class Division:
    """Which labels train and which test.

    Attributes
    ----------
    clips
        Clips whose labels are used.
    block_frames
        As in ``training.split``, so that the blocks end where training frames and test frames do.
    epochs
        So many that two cores train for less than half an hour.
    """

    clips: tuple[Clip, ...]
    block_frames: int
    epochs: int

    def find_split(self) -> SplitSettings:
        """Return the settings by which labels are divided on import as they are meant to be."""
        frames = [(clip, frame) for clip in self.clips for frame in (*clip.train, *clip.test)]
        # As the import names videos: by source, then by name.
        videos = pd.Series([f"{self.clips.index(clip)}/{clip.name}" for clip, _ in frames])
        numbers = np.array([frame for _, frame in frames])
        wanted = np.array([frame in clip.test for clip, frame in frames])
        for seed in count():
            split = SplitSettings(
                method="block",
                test_fraction=wanted.mean(),
                block_frames=self.block_frames,
                seed=seed,
            )
            if ((assign_splits(videos, numbers, split, 0.0) == "test") == wanted).all():
                return split
        raise AssertionError


DIVISIONS = {
    # The frames left out between training and test are too much like both.
    "block": Division(
        (Clip("two_flies", range(FRAMES)), Clip("three_flies", range(80), range(96, FRAMES))),
        block_frames=16,
        epochs=24,
    ),
    # A single fly hardly moves.
    "clip": Division(
        (
            Clip("two_flies", range(FRAMES)),
            Clip("single_fly", range(0, FRAMES, 4)),
            Clip("three_flies", range(0), range(FRAMES)),
        ),
        block_frames=FRAMES,
        epochs=32,
    ),
}


def prepare_run(folder: Path, name: str, epochs: int | None = None) -> None:
    """Write labels, config and cohort sheet; what stood there is replaced, if it differs.

    Raises
    ------
    StoreError
        As `projects.locate_project`.
    """
    division, source = DIVISIONS[name], locate_project(PROJECT)
    labels = []
    for clip in division.clips:
        path = Path("labels", name, f"{clip.name}.slp")
        if not (folder / path).exists():
            thin_labels(source, clip, folder / path)
        labels.append(path)
    split = division.find_split().model_dump(mode="json")
    text = format_config(PROJECT, source, split, epochs or division.epochs)
    text += "labels:\n" + "".join(f"- path: {path}\n  format: sleap\n" for path in labels)
    sheet = "".join(f"{clip}\t{source / clip}.mp4\n" for clip in CLIPS)
    publish_text(folder / "cohort.tsv", f"video\tpath\n{sheet}")
    publish_text(folder / "config.yaml", text)
    print(f"{folder / 'config.yaml'}: labels and videos of {source}")


def thin_labels(source: Path, clip: Clip, path: Path) -> None:
    """Write the labels of the frames that train and test, as SLEAP's file."""
    labels = sleap_io.load_slp(str(source / f"{clip.name}.slp"), open_videos=False)
    chosen = {*clip.train, *clip.test}
    for video in labels.videos:
        video.replace_filename(str(source / f"{clip.name}.mp4"), open=False)
    kept = sleap_io.Labels(
        labeled_frames=[one for one in labels.labeled_frames if one.frame_idx in chosen],
        videos=labels.videos,
        skeletons=labels.skeletons,
        tracks=labels.tracks,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with publish_file(path) as part:
        kept.save(str(part), embed=False, verbose=False)


def read_true_tracks(source: Path, clip: str) -> TrueTracks:
    """Return the labelled tracks of every frame of a clip."""
    labels = sleap_io.load_slp(str(source / f"{clip}.slp"), open_videos=False)
    position = labels.numpy().astype(np.float64)
    return TrueTracks(np.arange(len(position)), position, tuple(labels.skeletons[0].node_names))


def summarise_run(folder: Path) -> list[str]:
    """Return lines on a finished run: errors and OKS of test frames, tracks of each clip, times.

    Raises
    ------
    ConfigError, StoreError, ModelError
        If the run has not ended.
    """
    config = read_config(folder / "config.yaml")
    results = Results(folder / config.results)
    training = read_card(results.model(config.training.name).card).training
    return [
        f"Report: {results.report}",
        *describe_errors(config, results),
        *describe_tracks(config, results),
        f"Training: {training.seconds:.0f} s for {training.steps} steps",
    ]


def describe_errors(config: Config, results: Results) -> Iterator[str]:
    """Yield lines on the labelled frames that test."""
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


def describe_tracks(config: Config, results: Results) -> Iterator[str]:
    """Yield lines on the tracks of each clip, and of its frames that test."""
    source = locate_project(PROJECT)
    images = read_labels(results.labels).table.drop_duplicates("image")
    tested = images[images["split"] == "test"]
    for clip in CLIPS:
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


def run_workflow(folder: Path, cores: int) -> None:
    """Run the whole workflow in the folder.

    Raises
    ------
    CohortposeError
        If it fails.
    """
    command = [str(Path(sys.executable).parent / "snakemake"), "--cores", str(cores)]
    command += ["--snakefile", str(Path(__file__).parents[1] / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(folder / "config.yaml")]
    if subprocess.run(command, check=False).returncode:
        raise CohortposeError(f"{folder}: the workflow failed; run again to go on from there")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
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
            command.add_argument("--epochs", type=int, help="instead of the usual number")
        if name == "run":
            command.add_argument("--cores", type=int, default=2)
    return parser.parse_args(arguments)


def main() -> None:
    """Run the sub-command that the command line names."""
    given = parse_arguments()
    try:
        if given.command != "summarise":
            prepare_run(given.folder, given.test, given.epochs)
        if given.command == "run":
            run_workflow(given.folder.absolute(), given.cores)
        if given.command != "prepare":
            print("\n".join(summarise_run(given.folder)))
    except CohortposeError as error:
        raise exit_with(error) from None


if __name__ == "__main__":
    main()
