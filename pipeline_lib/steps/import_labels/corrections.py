"""Apply corrected labels: replace whole frames of all other sources.

A correction names a frame of a video of the cohort, or an image of a label source. Both may be
the same frame; so may images of two sources, which then both get the corrected labels. A frame
keeps its image, its video and its iteration where a source has labelled it before.
"""

import logging
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.core.cohort import Video
from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL, UNIQUE_INDIVIDUAL
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
from pipeline_lib.steps.import_labels.conflicts import (
    describe_gone,
    describe_images,
    describe_replaced,
    name_source,
)
from pipeline_lib.steps.import_labels.corrected_images import FOLDER, write_corrected_frames
from pipeline_lib.steps.import_labels.correction_inputs import CorrectedLabels, rename_skeleton
from pipeline_lib.steps.import_labels.frames import (
    FrameFinder,
    FrameTarget,
    list_images,
    read_videos,
)

_log = logging.getLogger(__name__)

# After all label sources, however many there are.
SOURCE_NUMBER = 10**6
_COUNTED = re.compile(r"individual[0-9]+")


@dataclass(frozen=True)
class AppliedCorrections:
    """Hold labels after the corrections.

    Attributes
    ----------
    points
        The points of the sources, with corrected frames replaced by their corrections.
    images
        Columns image, video, frame, source, source_number, iteration, cohort_video, certain,
        different: one row per labelled image, those without an animal included. ``different``:
        it is of another recording than the cohort's video of its name.
    absent
        Bodyparts labelled as absent, by image; None: the image shows no animal.
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
        Of the iterations in use.
    config, results
        The run. Images of corrected frames of videos are written.

    Raises
    ------
    LabelError
        If a corrected point lies outside its image.
    """
    videos = read_videos(config)
    images = list_images(points, sources, videos)
    finder = FrameFinder(images, videos, results)
    targets = {one: finder.find(one) for one in corrected.frames}
    chosen, replaced = settle_corrections(
        [one for one, target in targets.items() if target.frame is not None],
        lambda one: targets[one].frame,
    )
    iterations: dict[FrameKey, int] = {}
    for one, target in targets.items():
        if target.frame is not None:
            iterations[target.frame] = min(
                iterations.get(target.frame, one.iteration), one.iteration
            )
    kept = [_Kept(one, targets[one], iterations[targets[one].frame]) for one in chosen.values()]  # type: ignore[index]
    problems_of = {one: target.problem for one, target in targets.items() if target.problem}
    kept, lost = _write_images(kept, videos, results)
    problems_of |= lost
    _warn_of_gone(problems_of)
    folder = Path(config.corrections.path)
    conflicts = [
        *describe_images(
            {image: one.correction for one in kept for image in one.target.images}, points, folder
        ),
        *(describe_replaced(best, other, folder) for best, other in replaced),
        *(describe_gone(one, reason, folder) for one, reason in problems_of.items()),
    ]
    named = _list_named(points, config)
    # Oldest first, so that later corrections do not change the order of names.
    kept.sort(key=lambda one: (one.iteration, one.correction.time))
    rows = [row for one in kept for row in _make_rows(one, folder, named)]
    _check_inside(rows)
    return AppliedCorrections(
        _replace_rows(points, rows, {image for one in kept for image in one.images}),
        _mark_different(_complete_images(images, kept, folder), finder),
        {image: _list_absent(one.correction) for one in kept for image in one.images},
        conflicts,
    )


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
class _Kept:
    """Hold the correction of a frame that counts, and the iteration that the frame belongs to."""

    correction: FrameCorrection
    target: FrameTarget
    iteration: int
    written: str = ""

    @property
    def images(self) -> tuple[str, ...]:
        """Images that get its labels."""
        return self.target.images or ((self.written,) if self.written else ())


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
    """Return the images of sources and corrections, each with its iteration and its last source."""
    columns = list(images.columns)
    rows: dict[str, dict[Any, Any]] = {str(row["image"]): row for row in images.to_dict("records")}
    for one in kept:
        source = name_source(one.correction, folder)
        for image in one.images:
            frame = one.target.frame
            new: dict[Any, Any] = {
                "image": image,
                "video": frame.video if frame else "",
                "frame": frame.frame if frame else -1,
                "source_number": SOURCE_NUMBER,
                "iteration": one.iteration,
                "cohort_video": frame.video if frame else "",
                "certain": True,
            }
            row = rows.get(image, new)
            row["source"] = source
            row["iteration"] = min(row["iteration"], one.iteration)
            rows[image] = row
    return pd.DataFrame(list(rows.values()), columns=columns)


def _mark_different(images: pd.DataFrame, finder: FrameFinder) -> pd.DataFrame:
    """Mark videos of sources that are other recordings than the cohort's videos of their names.

    Images are compared where frames are corrected. If all of a video differ and one has another
    size, so does the video. An equal size may be that of a neighbouring frame, which must not train
    where this one tests.
    """
    keys = ["source_number", "video"]
    video = images[keys].apply(tuple, axis=1)
    different = set(video[images["image"].isin(finder.resized)])
    different -= set(video[images["image"].isin(finder.same)])
    return images.assign(different=video.isin(different))


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
                "source": name_source(correction, folder),
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
    """Return the bodyparts that are absent in a frame; None if it shows no animal."""
    if not one.keypoints:
        return None
    shown = {point.bodypart for point in one.keypoints if point.visibility != Visibility.ABSENT}
    return frozenset({point.bodypart for point in one.keypoints} - shown)
