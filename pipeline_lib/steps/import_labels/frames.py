"""Match the frames of the cohort's videos, of label sources and of corrections."""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.errors import SheetError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.io.corrections.labels import FrameCorrection, FrameKey
from pipeline_lib.io.labels.points import SourceLabels
from pipeline_lib.steps.import_labels.corrected_images import FOLDER
from pipeline_lib.steps.import_labels.same_frame import FrameComparer

_log = logging.getLogger(__name__)

_FRAME_IMAGE = re.compile(r"frame-([0-9]{7,})\.png")


@dataclass(frozen=True)
class FrameTarget:
    """Name the target of a correction: existing images, or a frame to be written as an image."""

    frame: FrameKey | None
    images: tuple[str, ...] = ()
    problem: str = ""


def read_videos(config: Config) -> dict[str, Video]:
    """Return the videos of the cohort by id; none, with a warning, where the sheet is damaged."""
    try:
        return {video.video: video for video in read_cohort(Path(config.cohort))}
    except SheetError as error:
        _log.warning("corrected frames of videos are left out: %s", error)
        return {}


def list_images(
    points: pd.DataFrame, sources: Sequence[SourceLabels], videos: Mapping[str, Video]
) -> pd.DataFrame:
    """Return one row per image of the sources, with the cohort's video that it is of, if any.

    Returns
    -------
    DataFrame
        Columns image, video, frame, source, source_number, iteration, cohort_video: the id in
        the cohort sheet, empty for an image of no video of the cohort; and certain: whether the
        files say so, not the names alone.
    """
    columns = ["image", "video", "frame", "source", "source_number", "iteration"]
    images = points[columns].drop_duplicates("image", ignore_index=True)
    origins = {image: text for one in sources for image, text in one.origins.items()}
    match = _VideoMatch(videos)
    found = [
        match.find(video, origins.get(image, ""))
        for image, video in zip(images["image"], images["video"], strict=True)
    ]
    return images.assign(
        cohort_video=[name for name, _ in found], certain=[certain for _, certain in found]
    )


class _VideoMatch:
    """Match videos of label sources with those of the cohort.

    Label tables know videos by the names of their files; where a source knows the file itself,
    that decides, or a copy of it: a file of the same name and size. Names alone are a guess, which
    `FrameFinder` checks.
    """

    def __init__(self, videos: Mapping[str, Video]) -> None:
        self._ids = set(videos)
        self._by_file = {os.path.realpath(video.path): name for name, video in videos.items()}
        stems: dict[str, list[str]] = {}
        for name, video in videos.items():
            stems.setdefault(video.path.stem, []).append(name)
        # Two videos of one name could be either.
        self._by_stem = {stem: names[0] for stem, names in stems.items() if len(names) == 1}
        self._paths = {name: video.path for name, video in videos.items()}

    def find(self, video: str, origin: str) -> tuple[str, bool]:
        """Return the id of a video of the cohort, empty if it is none, and whether that is sure."""
        named = video if video in self._ids else self._by_stem.get(video, "")
        file, mark, _ = origin.rpartition("#")
        if not mark or not os.path.isfile(file):  # noqa: PTH113 - it may be no path at all
            return named, False
        if file in self._by_file:
            return self._by_file[file], True
        stem = self._by_stem.get(Path(file).stem, "")
        return (stem if stem and _size(self._paths[stem]) == _size(Path(file)) else ""), True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


class FrameFinder:
    """Find the target of each correction.

    Attributes
    ----------
    different, same
        Images that seem to be a frame of the cohort by their names, and are not, or are.
    resized
        Those that differ in size: surely of another recording, not just of another frame.
    """

    def __init__(self, images: pd.DataFrame, videos: Mapping[str, Video], results: Results) -> None:
        self._videos = videos
        self._written = Path(os.path.realpath(results.label_images))
        self._by_path: dict[str, str] = {}
        self._by_frame: dict[tuple[str, int], list[str]] = {}
        self._by_name: dict[tuple[str, int], list[str]] = {}
        self._frame_of: dict[str, tuple[str, int]] = {}
        self._certain: set[str] = set()
        self._compare = FrameComparer({name: video.path for name, video in videos.items()})
        self.different: set[str] = set()
        self.same: set[str] = set()
        self.resized: set[str] = set()
        for row in images.to_dict("records"):
            image, frame = str(row["image"]), int(row["frame"])
            self._by_path[os.path.realpath(image)] = image
            self._by_name.setdefault((str(row["video"]), frame), []).append(image)
            if row["cohort_video"] and frame >= 0:
                known = (str(row["cohort_video"]), frame)
                self._by_frame.setdefault(known, []).append(image)
                self._frame_of[image] = known
                if row["certain"]:
                    self._certain.add(image)

    def find(self, correction: FrameCorrection) -> FrameTarget:
        """Return the target of a correction; of one that is gone, why it is."""
        if not correction.image:
            return self._find_frame(correction.video, correction.frame)
        # Never opened: it is only compared with the images of the label sources.
        path = Path(os.path.realpath(correction.image))
        image = self._by_path.get(str(path))
        inside = path.is_relative_to(self._written)
        if image is None and inside:
            # An image of ours: sources may have been listed in another order then.
            match = _FRAME_IMAGE.fullmatch(path.name)
            if match and path.parent.parent.name == FOLDER:
                return self._find_frame(path.parent.name, int(match[1]))
            same = self._by_name.get((correction.video, correction.frame), [])
            image = same[0] if len(same) == 1 else None
        if image is None:
            return FrameTarget(None, problem="no label source has this image any more")
        if image in self._frame_of and self._is_of_frame(image, *self._frame_of[image]):
            return self._find_frame(*self._frame_of[image])
        return FrameTarget(FrameKey("", -1, image), (image,))

    def _find_frame(self, video: str, frame: int) -> FrameTarget:
        named = self._by_frame.get((video, frame), ())
        images = tuple(image for image in named if self._is_of_frame(image, video, frame))
        if not images and video not in self._videos:
            return FrameTarget(None, problem="the cohort sheet has no such video")
        return FrameTarget(FrameKey(video, frame, ""), images)

    def _is_of_frame(self, image: str, video: str, frame: int) -> bool:
        """Tell whether an image is the frame of the cohort that its name says."""
        if image in self._certain:
            return True
        if image in self.different:
            return False
        reason = self._compare.find_difference(image, video, frame)
        if self._compare.differ_in_size(image, video):
            self.resized.add(image)
        if not reason:
            self.same.add(image)
            return True
        self.different.add(image)
        _log.warning(
            "%s is named like %s, frame %d, but is another frame, or of another recording (%s): a "
            "correction of one does not change the other",
            *(image, video, frame, reason),
        )
        return False
