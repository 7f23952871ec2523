"""Describe a labelled project for ``init``: videos, skeleton and individuals."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.formats.labels import find_format
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL
from pipeline_lib.core.untrusted.names import find_name_problem, natural_order
from pipeline_lib.io.labels.coco.file import open_coco_file
from pipeline_lib.io.labels.coco.images import CocoFolder
from pipeline_lib.io.labels.deeplabcut_project import (
    PROJECT_CONFIG,
    project_individuals,
    project_skeleton,
    read_project_config,
)
from pipeline_lib.io.labels.formats.coco import find_coco_file
from pipeline_lib.io.labels.label_studio.file import open_studio_file
from pipeline_lib.io.labels.leap import open_leap_file
from pipeline_lib.io.labels.sleap.file import SleapFile, open_sleap_file
from pipeline_lib.io.labels.tables import LABELED_DATA, find_deeplabcut_tables

_COUNTED = re.compile(r"(track_\d+)?")  # no track, or one that was named by no one

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Described:
    """Hold videos, labels and settings of a project.

    Attributes
    ----------
    videos
        Its videos, and folders of videos.
    labelled
        Whether it has labels.
    sections
        Of the config: skeleton, individuals and what follows from them.
    """

    videos: list[Path]
    labelled: bool = True
    sections: dict[str, Any] = field(default_factory=dict)


def describe_labels(kind: str, source: Path) -> Described:
    """Describe labels of any format of `pipeline_lib.core.formats.labels.FORMATS`.

    Raises
    ------
    LabelError
        If they cannot be read.
    """
    describe = find_format(kind).describe
    if not describe:
        return Described([source if source.is_dir() else source.parent])
    described: Described = resolve_name(describe)(source)
    return described


def describe_lightning_pose(source: Path) -> Described:
    """Describe a Lightning Pose data folder, or its table."""
    data = source if source.is_dir() else source.parent
    return Described([data / "videos"])


def describe_deeplabcut(source: Path) -> Described:
    """Describe a DeepLabCut project: its folder, ``config.yaml``, or one of its tables.

    Raises
    ------
    LabelError
        If the project file is broken.
    """
    project = _find_project(source)
    file = project / PROJECT_CONFIG
    values = read_project_config(file) if file.is_file() else {}
    skeleton = project_skeleton(values, str(file))
    names, identity = project_individuals(values)
    sections = _describe_skeleton(skeleton)
    if len(names) > 1:
        sections |= _describe_individuals(len(names), names if identity else (), skeleton)
    try:
        find_deeplabcut_tables(source)
    except LabelError as error:
        _log.warning("no labels are named in the config: %s", error)
        labelled = False
    else:
        labelled = True
    videos = _find_deeplabcut_videos(project, values.get("video_sets") or ())
    return Described(videos, labelled, sections)


def describe_sleap(source: Path) -> Described:
    """Describe a SLEAP file.

    Individuals are named after the tracks if these are as many as there are animals in the
    fullest frame, and every instance has one: then a track is an animal, in all videos. Names
    that SLEAP counted (``track_0``) identify no animal, and are not used.

    Raises
    ------
    LabelError
        If the file cannot be read.
    """
    return _describe_sleap_file(open_sleap_file(source), source)


def describe_leap(source: Path) -> Described:
    """Describe a file of LEAP.

    Raises
    ------
    LabelError
        If the file cannot be read.
    """
    return _describe_sleap_file(open_leap_file(source), source)


def _describe_sleap_file(file: SleapFile, source: Path) -> Described:
    sections = _describe_skeleton(file.skeleton)
    most = max((len(frame.animals) for frame in file.frames), default=0)
    if most > 1:
        sections |= _describe_individuals(most, _lasting_tracks(file, most), file.skeleton)
    if not file.frames:
        _log.warning("%s: no frame has a user instance; no labels are named", source)
    for video in file.videos:
        if video.source is None:
            missing = video.problem or f"video {video.recorded or video.name} is not here"
            _log.warning("%s: %s: left out", source, missing)
    videos = [video.source for video in file.videos if video.source is not None]
    return Described(videos, bool(file.frames), sections)


def describe_coco(source: Path) -> Described:
    """Describe a file of COCO keypoints, or its dataset folder: the videos are in that folder.

    Raises
    ------
    LabelError
        If the file cannot be read.
    """
    path = find_coco_file(source)
    file = open_coco_file(path)
    sections = _describe_skeleton(file.skeleton)
    animals = [animal for animal in file.animals if animal.name != UNIQUE_INDIVIDUAL]
    most = max(Counter(animal.image for animal in animals).values(), default=0)
    if most > 1:
        sections |= _describe_individuals(most, (), file.skeleton)
    return Described([CocoFolder(path, ()).root], sections=sections)


def describe_label_studio(source: Path) -> Described:
    """Describe an export of Label Studio: the videos are in its folder.

    Raises
    ------
    LabelError
        If the file cannot be read.
    """
    file = open_studio_file(source)
    skeleton = Skeleton(bodyparts=file.bodyparts)
    sections = _describe_skeleton(skeleton)
    counts = (
        sum(animal.name != UNIQUE_INDIVIDUAL for animal in one.animals) for one in file.annotations
    )
    most = max(counts, default=0)
    if most > 1:
        sections |= _describe_individuals(most, (), skeleton)
    return Described([source.parent], labelled=bool(file.annotations), sections=sections)


def _describe_skeleton(skeleton: Skeleton) -> dict[str, Any]:
    if not skeleton.bodyparts:
        return {}
    lists: dict[str, list[Any]] = {"bodyparts": list(skeleton.bodyparts)}
    for name in ("edges", "symmetries"):
        lists[name] = [list(pair) for pair in getattr(skeleton, name)]
    lists["unique_bodyparts"] = list(skeleton.unique_bodyparts)
    return {"skeleton": {name: items for name, items in lists.items() if items}}


def _describe_individuals(most: int, names: Iterable[str], skeleton: Skeleton) -> dict[str, Any]:
    individuals: dict[str, Any] = {"max": most}
    names = list(names)
    if names and not any(map(find_name_problem, names)):
        individuals["names"] = names
    sections: dict[str, Any] = {"individuals": individuals}
    if not skeleton.edges and len(skeleton.animal_indices) > 1:
        sections["assembly"] = {"graph": "complete"}
    return sections


def _lasting_tracks(file: SleapFile, most: int) -> list[str]:
    tracks = {animal.track for frame in file.frames for animal in frame.animals}
    lasting = len(tracks) == most and not any(map(_COUNTED.fullmatch, tracks))
    return sorted(tracks, key=natural_order) if lasting else []


def _find_project(source: Path) -> Path:
    if source.is_file():
        inside = LABELED_DATA in source.absolute().parts[:-1]
        return source.absolute().parents[2] if inside else source.parent
    return source.parent if source.name == LABELED_DATA else source


def _find_deeplabcut_videos(project: Path, sets: Iterable[Any]) -> list[Path]:
    """Return the folder of the project's videos, then the videos that ``video_sets`` names."""
    named = [Path(str(path)) for path in sets]
    # DeepLabCut writes absolute paths of videos anywhere. Others are in the project.
    inside = [project / path for path in named if path.is_absolute() or ".." not in path.parts]
    # Not `Path.is_file`, which raises for names that no file can have.
    existing = [path for path in inside if os.path.isfile(path)]  # noqa: PTH113
    if len(existing) < len(named):
        missing = len(named) - len(existing)
        _log.info(
            "%d entries of video_sets are not here, or lead out of the project: left out",
            missing,
        )
    return [project / "videos", *existing]
