"""Compare rotations of training frames where cameras stand still and animals stay in place.

`fly` is a fly on a tether that three cameras see from its left (45 frames of ``fly-7cam-df3d``),
`person` one who balances before four cameras (99 frames of ``human-4cam-pose2sim``): both in the
folder that COHORTPOSE_DATA names. Their labels are points of the authors' networks, so that errors
compare trainings with each other alone. A rotation may be `auto`.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from benchmarks.accuracy.cross_validation import PCK, measure, run_verbs
from benchmarks.projects import (
    DATA_VARIABLE,
    add_settings_options,
    exit_with,
    merge_settings,
    nest_settings,
)
from benchmarks.three_dimensions.accuracy import read_fly, read_people
from pipeline_lib.core.errors import CohortposeError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.io.chosen_settings import resolve_settings
from pipeline_lib.io.images import write_png
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.models.card import read_card

CONFIDENT = 0.3

# Video, points (frame, keypoint, 2) in px, and the frames that are labelled.
Recording = tuple[Path, NDArray[np.float64], range]


def find_fly(data: Path) -> list[Recording]:
    """Return the recordings of the fly's left side, with its 19 joints."""
    folder = data / "fly-7cam-df3d"
    views, _ = read_fly(folder)
    return [
        (
            folder / "reference" / f"camera_{number}.mp4",
            views[number].poses.position[:, 0, :19].astype(np.float64),
            range(15),
        )
        for number in range(3)
    ]


def find_person(data: Path) -> list[Recording]:
    """Return the recordings of the person, of which every fourth frame is labelled."""
    trial = data / "human-4cam-pose2sim" / "S00_P00_SingleParticipant"
    trial /= "S00_P00_T01_BalancingTrial"
    names = tuple(f"cam0{number}" for number in range(1, 5))
    found: list[Recording] = []
    for view in read_people(trial, "pose-associated", names):
        sure = view.poses.confidence[:, 0, :, None] > CONFIDENT
        points = np.where(sure, view.poses.position[:, 0], np.nan).astype(np.float64)
        found.append((trial / "videos" / f"{view.camera}.mp4", points, range(0, 100, 4)))
    return found


# Readers, and the length of blocks of successive labelled frames that are tested together.
PROJECTS = {"fly": (find_fly, 5), "person": (find_person, 20)}


def write_project(recordings: Sequence[Recording], folder: Path) -> tuple[str, ...]:
    """Write labels in Lightning Pose's format with their images, and return the bodyparts.

    Raises
    ------
    CohortposeError
        If a video cannot be read, or has fewer frames than are labelled.
    """
    bodyparts = tuple(f"j{number}" for number in range(recordings[0][1].shape[1]))
    rows: dict[str, NDArray[np.float64]] = {}
    for video, points, labelled in recordings:
        images = folder / "labeled-data" / video.stem
        images.mkdir(parents=True, exist_ok=True)
        reader = VideoReader(video)
        if reader.facts.frames <= labelled[-1]:
            raise StoreError(
                f"{video}: {reader.facts.frames} frames, expected {labelled[-1] + 1} or more; "
                f"restore the file, or set {DATA_VARIABLE} to another copy"
            )
        for frame, image in reader.read(labelled.start, labelled.stop, step=labelled.step):
            if image is not None and np.isfinite(points[frame]).any():
                name = f"labeled-data/{video.stem}/img{frame:03d}.png"
                write_png(folder / name, image)
                rows[name] = points[frame].ravel()
    columns = pd.MultiIndex.from_product(
        [["network"], bodyparts, ["x", "y"]], names=["scorer", "bodyparts", "coords"]
    )
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    publish_text(folder / "CollectedData.csv", table.to_csv())
    videos = "".join(f"{video.stem}\t{video}\n" for video, _, _ in recordings)
    publish_text(folder / "cohort.tsv", f"video\tpath\n{videos}")
    return bodyparts


def read_rotation(text: str) -> str | float:
    """Return degrees, or `auto`.

    Raises
    ------
    ValueError
        If the text is neither.
    """
    return text if text == "auto" else float(text)


def train_rotation(folder: Path, settings: dict[str, Any], rotation: str | float) -> str:
    """Train with a rotation, and return the row of the table."""
    chosen = {"training": {"augmentation": {"rotation": rotation}}}
    values = merge_settings(settings, chosen)
    own = folder / f"rotation-{rotation}"
    publish_text(own / "config.yaml", yaml.safe_dump(values, sort_keys=False))
    run_verbs(own)
    config = read_config(own / "config.yaml")
    results, model = Results(own / config.results), config.training.name
    resolved = resolve_settings(config, results)
    found = pd.read_parquet(results.predictions(model))
    row = measure(found[found["split"] == "test"])
    seconds = read_card(results.model(model).card).training.seconds
    return (
        f"| {rotation} | {resolved.training.augmentation.rotation:g} | {row['points']} | "
        f"{row['mean_error']:.1f} | {row['median_error']:.1f} | {row[PCK]:.3f} | {seconds:.0f} |"
    )


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", choices=sorted(PROJECTS))
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--rotations", nargs="+", type=read_rotation, default=["auto", 180.0])
    add_settings_options(parser, settings=False)
    return parser.parse_args(arguments)


def main() -> None:
    """Write the project, train with each rotation and print the table."""
    given = parse_arguments()
    try:
        if not (data := os.environ.get(DATA_VARIABLE)):
            raise StoreError(f"{DATA_VARIABLE} is not set; set it to the folder of the recordings")
        find, block = PROJECTS[given.project]
        folder = given.folder.absolute()
        bodyparts = write_project(find(Path(data).absolute()), folder)
        settings = {
            "cohort": str(folder / "cohort.tsv"),
            "results": "results",
            "skeleton": {"bodyparts": list(bodyparts)},
            "labels": [{"path": str(folder), "format": "lightning-pose"}],
            "training": {
                "split": {"method": "block", "block_frames": block, "test_fraction": 0.25}
            },
        }
        settings = merge_settings(settings, nest_settings(given.changes))
        print("| rotation | degrees | points | mean (px) | median (px) | PCK at 5 px | seconds |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for rotation in given.rotations:
            print(train_rotation(folder, settings, rotation), flush=True)
    except CohortposeError as error:
        raise exit_with(error) from None


if __name__ == "__main__":
    main()
