"""Apply corrected labels: whole frames that take the place of those of every other source.

A correction names a frame of a video of the cohort, or an image of a label source. Both may be
the same frame; so may images of two sources, which then both get the corrected labels. A frame
keeps its image, its video and its round where a source has labelled it before.
"""

import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.errors import LabelError, SheetError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL, UNIQUE_INDIVIDUAL
from pipeline_lib.io.corrections.files import find_table_path, format_time
from pipeline_lib.io.corrections.labels import (
    FrameCorrection,
    FrameKey,
    Visibility,
    apply_renames,
    describe_frame,
    settle_corrections,
)
from pipeline_lib.io.image_header import read_header
from pipeline_lib.io.labels.points import SourceLabels, is_outside
from pipeline_lib.steps.import_labels.corrected_images import FOLDER, write_corrected_frames
from pipeline_lib.steps.import_labels.correction_inputs import CorrectedLabels, rename_skeleton

_log = logging.getLogger(__name__)

# After all label sources, however many there are.
SOURCE_NUMBER = 10**6
_COUNTED = re.compile(r"individual[0-9]+")
_FRAME_IMAGE = re.compile(r"frame-([0-9]{7,})\.png")

REPLACED, GONE = "replaced", "gone"


@dataclass(frozen=True)
class AppliedCorrections:
    """Hold labels after the corrections.

    Attributes
    ----------
    points
        As before, without the frames that were corrected, and with what they were corrected to.
    images
        Columns image, video, frame, source, source_number, iteration, cohort_video: one row per
        labelled image, those without an animal included.
    absent
        Bodyparts that somebody said are not to be seen, by image; None: no animal is.
    conflicts
        Rows of `pipeline_lib.core.tables.CONFLICT_COLUMNS`.
    """

    points: pd.DataFrame
    images: pd.DataFrame
    absent: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    conflicts: Sequence[Mapping[str, object]] = ()


def rename_source(source: SourceLabels, corrected: CorrectedLabels) -> SourceLabels:
    """Return a label source with the present names of its bodyparts.

    Raises
    ------
    LabelError
        If an image has labels of two bodyparts that have one name now.
    """
    if not corrected.renames:
        return source
    names = {
        name: apply_renames(name, corrected.changes, None)
        for name in source.points["bodypart"].unique()
    }
    points = source.points.assign(bodypart=source.points["bodypart"].map(names))
    keys = ["image", "individual", "bodypart"]
    shown = points[points["visible"]]
    twice = shown[shown.duplicated(keys)]
    if len(twice):
        row = twice.iloc[0]
        former = sorted(old for old, new in names.items() if new == row["bodypart"])
        problem = (
            f"{row['image']}: {' and '.join(former)} are both labelled, but bodyparts.tsv gives "
            f"both the name {row['bodypart']}: give them two names"
        )
        raise LabelError(str(row["source"]), [problem])
    # Of two rows of one name at most one has a label: it stays.
    points = points.sort_values("visible", ascending=False, kind="stable")
    points = points.drop_duplicates(keys).sort_index()
    return replace(source, points=points, skeleton=rename_skeleton(source.skeleton, corrected))


def apply_corrections(
    points: pd.DataFrame,
    sources: Sequence[SourceLabels],
    corrected: CorrectedLabels,
    config: Config,
    results: Results,
) -> AppliedCorrections:
    """Replace whole frames of label sources by their corrections, and add corrected frames.

    Parameters
    ----------
    points
        Of all sources: columns `pipeline_lib.io.labels.points.POINT_COLUMNS`, ``source_number``,
        ``identified`` and ``iteration``; may be empty.
    sources
        In the order of their numbers.
    corrected
        Of the rounds in use.
    config, results
        The run. Images of corrected frames of videos are written.

    Raises
    ------
    LabelError
        If a corrected point lies outside its image.
    """
    videos = _read_videos(config)
    images = _list_images(points, sources, videos)
    finder = _Finder(images, videos, results)
    targets = {one: finder.find(one) for one in corrected.frames}
    chosen, replaced = settle_corrections(
        [one for one, target in targets.items() if target.frame is not None],
        lambda one: targets[one].frame,
    )
    rounds: dict[FrameKey, int] = {}
    for one, target in targets.items():
        if target.frame is not None:
            rounds[target.frame] = min(rounds.get(target.frame, one.iteration), one.iteration)
    kept = [_Kept(one, targets[one], rounds[targets[one].frame]) for one in chosen.values()]  # type: ignore[index]
    problems_of = {one: target.problem for one, target in targets.items() if target.problem}
    kept, lost = _write_images(kept, videos, results)
    problems_of |= lost
    _warn_of_gone(problems_of)
    folder = Path(config.corrections.path)
    conflicts = [
        *_list_replaced(kept, points, folder),
        *(_describe_replaced(best, other, folder) for best, other in replaced),
        *(_describe_gone(one, reason, folder) for one, reason in problems_of.items()),
    ]
    named = _list_named(points, config)
    # In the order in which they were made, so that later ones do not change the order of names.
    kept.sort(key=lambda one: (one.iteration, one.correction.time))
    rows = [row for one in kept for row in _make_rows(one, folder, named)]
    _check_inside(rows)
    return AppliedCorrections(
        _replace_rows(points, rows, {image for one in kept for image in one.images}),
        _complete_images(images, kept, folder),
        {image: _list_absent(one.correction) for one in kept for image in one.images},
        conflicts,
    )


def list_images(
    points: pd.DataFrame, sources: Sequence[SourceLabels], config: Config
) -> pd.DataFrame:
    """Return one row per image of the sources, with the cohort's video that it is of, if any.

    Returns
    -------
    DataFrame
        Columns image, video, frame, source, source_number, iteration and cohort_video: the id in
        the cohort sheet, empty for an image of no video of the cohort.
    """
    return _list_images(points, sources, _read_videos(config))


def _replace_rows(
    points: pd.DataFrame, rows: Sequence[Mapping[str, Any]], corrected: set[str]
) -> pd.DataFrame:
    """Return points without those of corrected images, and with the rows of corrections.

    Bodyparts first appear in the order of before.
    """
    made = pd.DataFrame(list(rows), columns=list(points.columns))
    order = dict.fromkeys([*points["bodypart"], *made["bodypart"]])
    rank = {name: number for number, name in enumerate(order)}
    rest = points[~points["image"].isin(corrected)]
    joined = pd.concat([part for part in (rest, made) if len(part)] or [made], ignore_index=True)
    joined = joined.iloc[np.argsort(joined["bodypart"].map(rank).to_numpy(), kind="stable")]
    kinds = {"visible": bool, "named": bool, "identified": bool, "x": float, "y": float}
    return joined.astype({**kinds, "frame": np.int64}).reset_index(drop=True)


@dataclass(frozen=True)
class _Target:
    """Name what a correction is of: images that there are, or a frame to be written as one."""

    frame: FrameKey | None
    images: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class _Kept:
    """Hold the correction of a frame that counts, and the round that the frame belongs to."""

    correction: FrameCorrection
    target: _Target
    iteration: int
    written: str = ""

    @property
    def images(self) -> tuple[str, ...]:
        """Images that get its labels."""
        return self.target.images or ((self.written,) if self.written else ())


def _read_videos(config: Config) -> dict[str, Video]:
    try:
        return {video.video: video for video in read_cohort(Path(config.cohort))}
    except SheetError as error:
        _log.warning("corrected frames of videos are left out: %s", error)
        return {}


def _list_images(
    points: pd.DataFrame, sources: Sequence[SourceLabels], videos: Mapping[str, Video]
) -> pd.DataFrame:
    """Return one row per image of the sources, with the cohort's video that it is of, if any."""
    columns = ["image", "video", "frame", "source", "source_number", "iteration"]
    images = points[columns].drop_duplicates("image", ignore_index=True)
    origins = {image: text for one in sources for image, text in one.origins.items()}
    match = _VideoMatch(videos)
    found = [
        match.find(video, origins.get(image, ""))
        for image, video in zip(images["image"], images["video"], strict=True)
    ]
    return images.assign(cohort_video=found)


class _VideoMatch:
    """Match videos of label sources with those of the cohort.

    Label tables know videos by the names of their files; where a source knows the file itself,
    that decides, or a copy of it: a file of the same name and size.
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

    def find(self, video: str, origin: str) -> str:
        """Return the id of a video of the cohort; empty if it is none."""
        named = video if video in self._ids else self._by_stem.get(video, "")
        file, mark, _ = origin.rpartition("#")
        if not mark or not os.path.isfile(file):  # noqa: PTH113 - it may be no path at all
            return named
        if file in self._by_file:
            return self._by_file[file]
        stem = self._by_stem.get(Path(file).stem, "")
        return stem if stem and _size(self._paths[stem]) == _size(Path(file)) else ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


class _Finder:
    """Find what corrections are of."""

    def __init__(self, images: pd.DataFrame, videos: Mapping[str, Video], results: Results) -> None:
        self._videos = videos
        self._written = Path(os.path.realpath(results.label_images))
        self._by_path: dict[str, str] = {}
        self._by_frame: dict[tuple[str, int], list[str]] = {}
        self._by_name: dict[tuple[str, int], list[str]] = {}
        self._frame_of: dict[str, tuple[str, int]] = {}
        for row in images.to_dict("records"):
            image, frame = str(row["image"]), int(row["frame"])
            self._by_path[os.path.realpath(image)] = image
            self._by_name.setdefault((str(row["video"]), frame), []).append(image)
            if row["cohort_video"] and frame >= 0:
                known = (str(row["cohort_video"]), frame)
                self._by_frame.setdefault(known, []).append(image)
                self._frame_of[image] = known

    def find(self, correction: FrameCorrection) -> _Target:
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
            return _Target(None, problem="no label source has this image any more")
        if image in self._frame_of:
            return self._find_frame(*self._frame_of[image])
        return _Target(FrameKey("", -1, image), (image,))

    def _find_frame(self, video: str, frame: int) -> _Target:
        images = tuple(self._by_frame.get((video, frame), ()))
        if not images and video not in self._videos:
            return _Target(None, problem="the cohort sheet has no such video")
        return _Target(FrameKey(video, frame, ""), images)


def _write_images(
    kept: Sequence[_Kept], videos: Mapping[str, Video], results: Results
) -> tuple[list[_Kept], dict[FrameCorrection, str]]:
    """Write the frames that no source has as images; return those that are there, and the gone."""
    folder = results.label_images / FOLDER
    wanted: dict[str, dict[int, _Kept]] = {}
    done = []
    for one in kept:
        if one.target.images or one.target.frame is None:
            done.append(one)
        else:
            frame = one.target.frame
            wanted.setdefault(frame.video, {})[frame.frame] = one
    lost: dict[FrameCorrection, str] = {}
    for video, frames in wanted.items():
        written, gone = write_corrected_frames(folder, video, videos[video].path, frames)
        done += [replace(frames[number], written=str(path)) for number, path in written.items()]
        lost |= {frames[number].correction: reason for number, reason in gone.items()}
    for other in folder.glob("*"):
        if other.name not in wanted:
            shutil.rmtree(other, ignore_errors=True)
    return done, lost


def _warn_of_gone(problems: Mapping[FrameCorrection, str]) -> None:
    for one, problem in problems.items():
        _log.warning(
            "the correction of %s by %s is left out: %s",
            *(describe_frame(one.key), one.author, problem),
        )


def _complete_images(images: pd.DataFrame, kept: Sequence[_Kept], folder: Path) -> pd.DataFrame:
    """Return the images of sources and corrections, each with its round and its last source."""
    columns = list(images.columns)
    rows: dict[str, dict[Any, Any]] = {str(row["image"]): row for row in images.to_dict("records")}
    for one in kept:
        source = _name_source(one.correction, folder)
        for image in one.images:
            frame = one.target.frame
            new: dict[Any, Any] = {
                "image": image,
                "video": frame.video if frame else "",
                "frame": frame.frame if frame else -1,
                "source_number": SOURCE_NUMBER,
                "iteration": one.iteration,
                "cohort_video": frame.video if frame else "",
            }
            row = rows.get(image, new)
            row["source"] = source
            row["iteration"] = min(row["iteration"], one.iteration)
            rows[image] = row
    return pd.DataFrame(list(rows.values()), columns=columns)


def _name_source(one: FrameCorrection, folder: Path) -> str:
    return str(find_table_path(folder / "labels", one.author, one.video).absolute())


def _list_named(points: pd.DataFrame, config: Config) -> set[str]:
    """Return the individuals whose names were given, not counted."""
    named = set(points.loc[points["named"].astype(bool), "individual"]) if len(points) else set()
    return named | set(config.individuals.names)


def _make_rows(one: _Kept, folder: Path, named: set[str]) -> Iterator[dict[str, Any]]:
    """Yield a row per point of a correction and image."""
    correction, frame = one.correction, one.target.frame
    for image in one.images:
        for individual, bodypart, x, y, visibility in correction.keypoints:
            given = individual in named or not _COUNTED.fullmatch(individual)
            yield {
                "video": frame.video if frame and frame.video else correction.video,
                "frame": frame.frame if frame and frame.video else correction.frame,
                "individual": individual,
                "bodypart": bodypart,
                "x": x,
                "y": y,
                "visible": visibility != Visibility.ABSENT,
                "visibility": str(visibility),
                "source": _name_source(correction, folder),
                "image": image,
                "named": given and individual not in (SINGLE_INDIVIDUAL, UNIQUE_INDIVIDUAL),
                "source_number": SOURCE_NUMBER,
                "identified": False,
                "iteration": one.iteration,
            }


def _check_inside(rows: Iterable[Mapping[str, Any]]) -> None:
    sizes: dict[str, tuple[int, int]] = {}
    problems: dict[str, list[str]] = {}
    for row in rows:
        if not row["visible"]:
            continue
        image = row["image"]
        if image not in sizes:
            sizes[image] = read_header(Path(image)).upright
        width, height = sizes[image]
        if is_outside(np.array([row["x"], row["y"]]), (width, height)):
            problems.setdefault(row["source"], []).append(
                f"{row['video']}, frame {row['frame']}, {row['individual']} {row['bodypart']}: "
                f"x {row['x']:g}, y {row['y']:g} is outside its image of {width} x {height} px"
            )
    if problems:
        lines = [f"{source}: {line}" for source, some in problems.items() for line in some]
        raise LabelError("corrections", lines)


def _list_absent(one: FrameCorrection) -> frozenset[str] | None:
    """Return the bodyparts that nothing is to be seen of; None where no animal is."""
    if not one.keypoints:
        return None
    shown = {point.bodypart for point in one.keypoints if point.visibility != Visibility.ABSENT}
    return frozenset({point.bodypart for point in one.keypoints} - shown)


def _list_replaced(
    kept: Sequence[_Kept], points: pd.DataFrame, folder: Path
) -> Iterator[dict[str, object]]:
    """Yield a row per image of a source whose labels a correction replaced."""
    corrected = {image: one.correction for one in kept for image in one.target.images}
    for image, rows in points[points["image"].isin(corrected)].groupby("image", sort=True):
        one, first = corrected[str(image)], rows.iloc[0]
        seen = rows[rows["visible"].astype(bool)]
        before = {
            (str(a), str(b)): (float(x), float(y))
            for a, b, x, y in seen[["individual", "bodypart", "x", "y"]].itertuples(index=False)
        }
        yield {
            "what": REPLACED,
            "video": first["video"],
            "frame": int(first["frame"]),
            "image": _shorten(str(image)),
            **_name_kept(one, folder),
            "replaced_source": _shorten(str(first["source"])),
            "distance": _measure(_positions(one), before),
        }


def _describe_replaced(
    best: FrameCorrection, other: FrameCorrection, folder: Path
) -> dict[str, object]:
    return {
        "what": REPLACED,
        "video": best.video,
        "frame": best.frame,
        "image": best.image,
        **_name_kept(best, folder),
        "replaced_source": _shorten(_name_source(other, folder)),
        "replaced_author": other.author,
        "replaced_time": format_time(other.time),
        "distance": _measure(_positions(best), _positions(other)),
    }


def _describe_gone(one: FrameCorrection, reason: str, folder: Path) -> dict[str, object]:
    return {
        "what": GONE,
        "video": one.video,
        "frame": one.frame,
        "image": one.image,
        "replaced_source": _shorten(_name_source(one, folder)),
        "replaced_author": one.author,
        "replaced_time": format_time(one.time),
        "reason": reason,
    }


def _name_kept(one: FrameCorrection, folder: Path) -> dict[str, object]:
    return {
        "kept_source": _shorten(_name_source(one, folder)),
        "kept_author": one.author,
        "kept_time": format_time(one.time),
    }


def _shorten(path: str) -> str:
    """Return a path relative to the project where it lies in it."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path


_Positions = dict[tuple[str, str], tuple[float, float]]


def _positions(one: FrameCorrection) -> _Positions:
    shown = (point for point in one.keypoints if point.visibility != Visibility.ABSENT)
    return {(point.individual, point.bodypart): (point.x, point.y) for point in shown}


def _measure(now: _Positions, before: _Positions) -> float | None:
    """Return the greatest distance of a keypoint that both have, px; None if there is none.

    Where both have one animal, its name does not matter.
    """
    if len({name for name, _ in now}) == len({name for name, _ in before}) == 1:
        now = {("", part): point for (_, part), point in now.items()}
        before = {("", part): point for (_, part), point in before.items()}
    ways = [np.subtract(now[key], before[key]) for key in now.keys() & before.keys()]
    return max((float(np.hypot(*way)) for way in ways), default=None)
