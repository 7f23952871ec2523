"""Prepare runs on fruit flies: the split of frames, and the methods for several animals."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sleap_io

from benchmarks.projects import (
    Project,
    format_config,
    leave_to_labels,
    locate_project,
    merge_settings,
)
from pipeline_lib.core.settings.network import SplitSettings
from pipeline_lib.io.publish import publish_file, publish_text
from pipeline_lib.steps.import_labels.splits import assign_splits

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
  # Few frames: small batches learn more in the same time.
  batch_size: 4
  crop: 256
  augmentation:
    rotation: 180
    mirror: true

locating:
  scale: 0.25
  window: 224

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
FRAMES = 128


@dataclass(frozen=True)
class Clip:
    """Choose the training and test frames of one clip."""

    name: str
    train: range
    test: range = range(0)


@dataclass(frozen=True)
class Division:
    """Choose the labels for training and for testing.

    Attributes
    ----------
    clips
        Clips whose labels are used.
    block_frames
        Setting of ``training.split``; blocks end where training frames and test frames do.
    epochs
        Epochs that two cores train in less than half an hour.
    videos
        Names of the clips that are inferred and tracked.
    settings
        Settings that this division needs.
    """

    clips: tuple[Clip, ...]
    block_frames: int
    epochs: int
    videos: tuple[str, ...] = ("single_fly", "two_flies", "three_flies")
    settings: Mapping[str, Any] = field(default_factory=dict)

    def find_split(self) -> SplitSettings:
        """Return the settings that make the import divide the labels in this way."""
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
    # The frames left out between training and test resemble both too much.
    "block": Division(
        (Clip("two_flies", range(FRAMES)), Clip("three_flies", range(80), range(96, FRAMES))),
        block_frames=16,
        epochs=60,
    ),
    # A single fly moves very little.
    "clip": Division(
        (
            Clip("two_flies", range(FRAMES)),
            Clip("single_fly", range(0, FRAMES, 4)),
            Clip("three_flies", range(0), range(FRAMES)),
        ),
        block_frames=FRAMES,
        epochs=75,
    ),
    # Only in this clip do the names of the tracks, F and M, identify an animal.
    "sexes": Division(
        (Clip("two_flies", range(80), range(96, FRAMES)),),
        block_frames=16,
        epochs=60,
        videos=("two_flies",),
        settings={"individuals": {"max": 2, "identity": True}},
    ),
}

WAYS: Mapping[str, Mapping[str, Any]] = {
    "skeleton": {},
    "complete": {"assembly": {"graph": "complete"}},
    # A window is cheap enough to be looked at in full size. It holds a fly and its legs, 131 px at
    # most; centres of touching flies are 42 px apart, of which the small frames leave 16.
    "top-down": {
        "individuals": {"method": "top-down"},
        "targets": {"scale": 1.0},
        # There are more windows than frames.
        "training": {"crop": None, "epochs": 30},
        "locating": {"scale": 0.375, "window": 192, "epochs": 10},
    },
}


def prepare_run(
    folder: Path,
    name: str,
    way: str,
    given: Mapping[str, Any] | None = None,
    *,
    automatic: bool = False,
) -> None:
    """Write labels, config and cohort sheet; replace existing ones if they differ.

    Parameters
    ----------
    folder
        Folder of the run.
    name
        Name of a division in `DIVISIONS`.
    way
        Name of a method in `WAYS`.
    given
        Nested settings that override those of division and method.
    automatic
        Leave what the labels can decide to `auto`, except for what `given` states.

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
    changes = {"training": {"split": split, "epochs": division.epochs}}
    for more in (division.settings, WAYS[way]):
        changes = merge_settings(changes, more)
    if automatic:
        changes = leave_to_labels(changes)
    changes = merge_settings(changes, given or {})
    text = format_config(PROJECT, source, changes, automatic=automatic)
    text += "labels:\n" + "".join(f"- path: {path}\n  format: sleap\n" for path in labels)
    sheet = "".join(f"{clip}\t{source / clip}.mp4\n" for clip in division.videos)
    publish_text(folder / "cohort.tsv", f"video\tpath\n{sheet}")
    publish_text(folder / "config.yaml", text)
    print(f"{folder / 'config.yaml'}: labels and videos of {source}")


def thin_labels(source: Path, clip: Clip, path: Path) -> None:
    """Write the labels of the training and test frames as a SLEAP file."""
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
