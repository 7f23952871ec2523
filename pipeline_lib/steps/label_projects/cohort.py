"""Find the videos of the cohort, its labels and the frames chosen to label."""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import PROBE_COLUMNS, SINGLE_INDIVIDUAL
from pipeline_lib.io.corrections.labels import FrameKey, Visibility
from pipeline_lib.io.labels.image_paths import name_in_project
from pipeline_lib.io.labels.table import Labels, read_labels
from pipeline_lib.models.card import read_card
from pipeline_lib.steps.import_labels.corrected_images import FOLDER as CORRECTED
from pipeline_lib.steps.import_labels.same_frame import FrameComparer
from pipeline_lib.steps.runs.plan import keep_planned, read_plan
from pipeline_lib.steps.runs.shard_tables import read_shard_table

# One keypoint: individual, bodypart, x, y (px) and whether it is hidden.
Point = tuple[str, str, float, float, bool]


@dataclass(frozen=True)
class CohortVideo:
    """Describe a video of the plan.

    Attributes
    ----------
    name
        Its id.
    path
        The file, as the sheet names it.
    frames, fps, width, height
        As probed; 0 where unknown.
    """

    name: str
    path: Path
    frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class LabelledImage:
    """Hold the labelled keypoints of one image, or of one frame of a video of the cohort.

    Attributes
    ----------
    key
        Key of the frame, as in a correction of it.
    file
        The image, absolute.
    points
        Labelled keypoints; none where there is no animal.
    """

    key: FrameKey
    file: Path
    points: tuple[Point, ...]


class Cohort:
    """Read the videos, labels and names of a run, each once.

    Parameters
    ----------
    config
        Settings of the run.
    results
        The results folder.
    """

    def __init__(self, config: Config, results: Results) -> None:
        self.config, self.results = config, results

    @cached_property
    def videos(self) -> Mapping[str, CohortVideo]:
        """Return the probed videos of the plan by their ids; none before the first run."""
        try:
            shards = read_plan(self.results).shards
        except StoreError:
            return {}
        found = {}
        for shard in shards:
            rows = read_shard_table(self.results.shard(shard).probe, PROBE_COLUMNS) or []
            for row in keep_planned(rows, self.results, shard):
                found[row["video"]] = CohortVideo(
                    row["video"],
                    Path(row["path"]),
                    int(row["frames"] or 0),
                    float(row["fps"] or 0),
                    int(row["width"] or 0),
                    int(row["height"] or 0),
                )
        return found

    @cached_property
    def comparer(self) -> FrameComparer:
        """Return the comparer of images with frames of the videos."""
        return FrameComparer({name: video.path for name, video in self.videos.items()})

    @cached_property
    def labels(self) -> Labels | None:
        """Return the imported labels; None where there are none yet."""
        return read_labels(self.results.labels) if self.results.labels.is_file() else None

    @cached_property
    def skeleton(self) -> Skeleton:
        """Return the skeleton: that of the labels, else of the network, else of the config.

        Raises
        ------
        LabelError
            If none of them names bodyparts.
        """
        if self.labels is not None:
            return self.labels.skeleton
        card = self.results.model(self.config.training.name).card
        skeleton = read_card(card).skeleton if card.is_file() else self.config.skeleton
        if not skeleton.bodyparts:
            problem = "no bodyparts: name them in `skeleton.bodyparts`, or import labels first"
            raise LabelError("config", [problem])
        return skeleton

    @cached_property
    def individuals(self) -> tuple[str, ...]:
        """Return the names of the animals, without that of the unique bodyparts."""
        if self.labels is not None:
            return self.labels.individuals
        settings = self.config.individuals
        if settings.max == 1:
            return (SINGLE_INDIVIDUAL,)
        counted = (f"individual{n}" for n in range(1, 2 * settings.max + 1))
        free = (name for name in counted if name not in settings.names)
        missing = settings.max - len(settings.names)
        return (*settings.names, *(next(free) for _ in range(missing)))

    @cached_property
    def labelled(self) -> tuple[LabelledImage, ...]:
        """Return all labelled images, in the order of the table of labels."""
        if self.labels is None:
            return ()
        found = []
        for image, rows in self.labels.table.groupby("image", sort=False):
            seen = rows[rows["visible"]]
            columns = [seen[name] for name in ("individual", "bodypart", "x", "y", "visibility")]
            first = rows.iloc[0]
            file = Path(str(image))
            found.append(
                LabelledImage(
                    self._name_frame(str(first["video"]), int(first["frame"]), file),
                    file,
                    tuple(
                        (individual, bodypart, float(x), float(y), visibility == Visibility.HIDDEN)
                        for individual, bodypart, x, y, visibility in zip(*columns, strict=True)
                    ),
                )
            )
        return tuple(found)

    def _name_frame(self, video: str, frame: int, image: Path) -> FrameKey:
        # Frames of the cohort's videos that somebody has corrected are images of ours.
        ours = Path(os.path.realpath(self.results.label_images)) / CORRECTED
        if Path(os.path.realpath(image)).is_relative_to(ours):
            return FrameKey(video, frame, "")
        return FrameKey(video, frame, name_in_project(image))

    def find_frame(self, key: FrameKey) -> FrameKey:
        """Return one key for all images of a frame of the cohort's videos.

        Label sources name videos by their files, and `import-labels` matches these names. An image
        of another size or with another picture is not a frame of the video; nor is an image for
        which the import wrote the frame itself, because it found that the two differ.
        """
        if not key.image:
            return key
        video = key.video if key.video in self.videos else self._by_stem.get(key.video, "")
        # An image is identified by its file alone, whatever its video is called.
        known = video and key.frame >= 0 and (video, key.frame) not in self._written
        if known and not self.comparer.find_difference(key.image, video, key.frame):
            return FrameKey(video, key.frame, "")
        return FrameKey("", -1, key.image)

    @cached_property
    def _written(self) -> frozenset[tuple[str, int]]:
        """Return the corrected frames that the import wrote, as no image of a source shows them."""
        keys = (one.key for one in self.labelled)
        return frozenset((key.video, key.frame) for key in keys if not key.image)

    def find_video(self, path: Path) -> str | None:
        """Return the id of the video at a path, through links; None if the cohort has none."""
        return self._by_path.get(os.path.realpath(path))

    @cached_property
    def _by_stem(self) -> Mapping[str, str]:
        """Return the ids of videos by the stem of the file, if no other file has the same stem."""
        counts = Counter(video.path.stem for video in self.videos.values())
        return {
            video.path.stem: name
            for name, video in self.videos.items()
            if counts[video.path.stem] == 1
        }

    @cached_property
    def _by_path(self) -> Mapping[str, str]:
        return {os.path.realpath(video.path): name for name, video in self.videos.items()}


def read_chosen_frames(cohort: Cohort, choice: str) -> Iterator[tuple[str, int, Path]]:
    """Yield video, frame and image of the frames that were chosen to label.

    Parameters
    ----------
    cohort
        The run.
    choice
        ``refined``, ``selected``, or ``auto``: those of `refine` if there are any, else those of
        `select-frames`.

    Raises
    ------
    StoreError
        If there are none.
    """
    results, model = cohort.results, cohort.config.training.name
    table = results.refined_table(model)
    if choice == "refined" or (choice == "auto" and table.is_file()):
        if not table.is_file():
            raise StoreError(f"{table}: no such file; run `cohortpose refine`")
        for row in _read_rows(table, ("video", "frame", "image")):
            yield row["video"], int(row["frame"]), results.refined(model) / row["image"]
        return
    folders = [(video, results.frames(video)) for video in cohort.videos]
    folders = [(video, folder) for video, folder in folders if (folder / "frames.tsv").is_file()]
    if not folders and choice == "selected":
        raise StoreError(f"{results.root / 'frames'}: no frames; run `cohortpose select-frames`")
    for video, folder in folders:
        for row in _read_rows(folder / "frames.tsv", ("frame", "image")):
            yield video, int(row["frame"]), folder / row["image"]


def _read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    # Other releases may add columns.
    reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), delimiter="\t")
    if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise StoreError(f"{path}: has no column {', '.join(missing)}; run the step again")
    return list(reader)


def arrange_points(
    points: Sequence[Point], bodyparts: Sequence[str]
) -> Mapping[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Return positions and hidden keypoints of each individual, in the order of the points.

    Returns
    -------
    dict
        By name: shape (bodypart, 2), float64, px, NaN where absent; shape (bodypart,), bool.
    """
    found: dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]] = {}
    for individual, bodypart, x, y, hidden in points:
        if individual not in found:
            found[individual] = (
                np.full((len(bodyparts), 2), np.nan),
                np.zeros(len(bodyparts), bool),
            )
        keypoint = bodyparts.index(bodypart)
        found[individual][0][keypoint] = x, y
        found[individual][1][keypoint] = hidden
    return found
