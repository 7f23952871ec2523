"""``init``: write a config and a cohort sheet from what a lab already has."""

import csv
import io
import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline_lib.core.config import parse_config
from pipeline_lib.core.errors import ConfigError, LabelError, SheetError
from pipeline_lib.core.tables import SHEET_REQUIRED
from pipeline_lib.io.label_sources import (
    LABELED_DATA,
    PROJECT_CONFIG,
    detect_format,
    find_deeplabcut_tables,
    read_project_config,
)
from pipeline_lib.io.publish import publish_text

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".webm", ".wmv"}
)
CONFIG_NAME = "config.yaml"
SHEET_NAME = "cohort.tsv"

# What DeepLabCut draws for people to look at lies beside the recordings.
_DRAWN_VIDEO = re.compile(r"DLC_.*_labeled$")
_MOST_PARENTS = 2  # a relative path that climbs higher is harder to read than an absolute one

_TITLES = {
    "cohort": "One row per video. Columns you add (group, sex, dose) travel to the outputs.",
    "skeleton": "Bodyparts in the order of every keypoint axis, and the edges that join them.",
    "labels": "Labelled frames to train on. Bodyparts come from them unless `skeleton` is given.",
    "frames": "No labels yet: write frames to label, then name the labelled project in `labels`.",
}

_log = logging.getLogger(__name__)


class _ConfigDumper(yaml.SafeDumper):
    """YAML as people write it: a list of plain names on one line."""


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    plain = all(isinstance(item, str) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=plain)


_ConfigDumper.add_representer(list, _represent_list)


def init_project(source: Path, folder: Path) -> None:
    """Write ``config.yaml`` and ``cohort.tsv`` for a folder of videos or a labelled project.

    Parameters
    ----------
    source
        Folder of videos (searched with its subfolders), one video, a DeepLabCut project (or its
        ``config.yaml``), or a Lightning Pose data folder.
    folder
        Working directory of the run to be; made if missing. Paths in both files are relative to
        it where that is short, else absolute.

    Raises
    ------
    ConfigError
        If one of the two files is already there: neither is ever overwritten.
    SheetError
        If the source is missing or has no videos.
    LabelError
        If the source is a format that cannot be read, or its project file is broken.
    """
    _check_untouched(folder)
    if not source.exists():
        raise SheetError(str(source), ["no such file or folder"])
    kind = _detect_kind(source)
    sections: dict[str, Any] = {"cohort": SHEET_NAME}
    if kind == "videos":
        videos = find_videos([source])
        if not videos:
            known = ", ".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
            raise SheetError(str(source), [f"no videos found here ({known})"])
    elif kind == "deeplabcut":
        sections |= _describe_deeplabcut(source, folder)
        videos = _find_deeplabcut_videos(source)
    else:
        sections["labels"] = [{"path": shorten_path(source, folder), "format": kind}]
        data = source if source.is_dir() else source.parent
        videos = find_videos([data / "videos"])
    if "labels" not in sections:
        sections["frames"] = {"extract": True}
    if not videos:
        _log.warning("%s: no videos found; add rows to %s", source, folder / SHEET_NAME)
    rows = [(name, shorten_path(path, folder)) for name, path in name_videos(videos).items()]
    text = _write_config(sections, f"{source.absolute()} ({kind})")
    publish_text(folder / SHEET_NAME, _write_sheet(rows))
    publish_text(folder / CONFIG_NAME, text)
    _log.info("%s: %d videos from %s (%s)", folder, len(rows), source, kind)


def find_videos(places: Iterable[Path]) -> list[Path]:
    """List the videos at and under some places, each file once, sorted within each place.

    Hidden files are left out; so are, with a log entry, the labelled videos that DeepLabCut
    draws. Linked folders are entered.
    """
    found: dict[str, Path] = {}
    for place in places:
        for path in sorted(_walk_files(place)):
            if path.suffix.lower() not in VIDEO_SUFFIXES or path.name.startswith("."):
                continue
            if _DRAWN_VIDEO.search(path.stem):
                _log.info("%s is drawn by DeepLabCut: left out", path)
                continue
            first = found.setdefault(os.path.realpath(path), path)
            if first != path:
                _log.info("%s is the same file as %s: left out", path, first)
    return list(found.values())


def name_videos(videos: Iterable[Path]) -> dict[str, Path]:
    """Give each video a unique id from its file name.

    Where two share a name, their folders' names are put before it; where that does not tell
    them apart, a number is put after it. Names that differ in case only count as the same,
    because some file systems take them so.

    Returns
    -------
    dict
        Path by id, in the given order.
    """
    videos = list(videos)
    plain = [_clean_name(path.stem) for path in videos]
    shared = Counter(name.casefold() for name in plain)
    names: dict[str, Path] = {}
    taken = {name.casefold() for name in plain if shared[name.casefold()] == 1}
    for path, stem in zip(videos, plain, strict=True):
        name = stem
        if shared[stem.casefold()] > 1:
            name = base = f"{_clean_name(path.absolute().parent.name)}-{stem}"
            number = 1
            while name.casefold() in taken:
                number += 1
                name = f"{base}-{number}"
            taken.add(name.casefold())
        names[name] = path
    return names


def shorten_path(path: Path, folder: Path) -> str:
    """Return a path as best written in a file of `folder`: relative if near, else absolute."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - `..` removed, links kept
    inside = Path(os.path.abspath(folder))  # noqa: PTH100
    if absolute.is_relative_to(inside):
        return absolute.relative_to(inside).as_posix()
    # `..` climbs from where a link leads to, so both ends are resolved before counting.
    target, base = absolute.parent.resolve() / absolute.name, folder.resolve()
    relative = Path(os.path.relpath(target, base))
    shared = Path(os.path.commonpath([target, base]))
    if relative.parts.count("..") <= _MOST_PARENTS and shared != Path(shared.anchor):
        return relative.as_posix()
    return absolute.as_posix()


def _check_untouched(folder: Path) -> None:
    there = [name for name in (CONFIG_NAME, SHEET_NAME) if (folder / name).exists()]
    if there:
        problem = "is already there and is never overwritten: choose another folder or remove it"
        raise ConfigError(str(folder), [f"{name} {problem}" for name in there])


def _detect_kind(source: Path) -> str:
    """Return the label format of a source, or ``videos``."""
    if source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES:
        return "videos"
    if source.is_file():
        return detect_format(source)
    try:
        return detect_format(source)
    except LabelError:
        return "videos"


def _walk_files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    seen: set[str] = set()
    for folder, folders, files in os.walk(place, followlinks=True):
        # Links may lead in circles.
        seen.add(os.path.realpath(folder))
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(Path(folder, name)) not in seen
        ]
        yield from (Path(folder, name) for name in files)


def _clean_name(text: str) -> str:
    """Return text as a video id: letters, digits and ``. _ -``, accents removed."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-.") or "video"


def _find_project(source: Path) -> Path:
    if source.is_file():
        inside = LABELED_DATA in source.absolute().parts[:-1]
        return source.absolute().parents[2] if inside else source.parent
    return source.parent if source.name == LABELED_DATA else source


def _find_deeplabcut_videos(source: Path) -> list[Path]:
    """Return the videos in the project's folder, then those that ``video_sets`` names."""
    project = _find_project(source)
    sets: Iterable[Any] = ()
    if (project / PROJECT_CONFIG).is_file():
        sets = read_project_config(project / PROJECT_CONFIG).get("video_sets") or ()
    named = [project / str(path) for path in sets]
    existing = [path for path in named if path.is_file()]
    if len(existing) < len(named):
        missing = len(named) - len(existing)
        _log.info("%d entries of video_sets are not on this machine: left out", missing)
    return find_videos([project / "videos", *existing])


def _describe_deeplabcut(source: Path, folder: Path) -> dict[str, Any]:
    sections: dict[str, Any] = {}
    file = _find_project(source) / PROJECT_CONFIG
    values = read_project_config(file) if file.is_file() else {}
    bodyparts = values.get("bodyparts") or []
    if str(values.get("multianimalproject")).lower() == "true":
        _log.warning("%s: a multi-animal project; this version finds one animal", source)
        bodyparts = values.get("multianimalbodyparts") or []
    if isinstance(bodyparts, list) and bodyparts:
        sections["skeleton"] = _describe_skeleton(
            [str(name) for name in bodyparts], values.get("skeleton") or []
        )
    try:
        find_deeplabcut_tables(source)
    except LabelError as error:
        _log.warning("no labels are named in the config: %s", error)
    else:
        sections["labels"] = [{"path": shorten_path(source, folder), "format": "deeplabcut"}]
    return sections


def _describe_skeleton(bodyparts: list[str], edges: Iterable[Any]) -> dict[str, Any]:
    """Return the skeleton section; edges that name no bodypart are a template's leftovers."""
    kept = []
    for edge in edges:
        pair = [str(name) for name in edge] if isinstance(edge, list) else []
        if len(pair) == 2 and pair[0] != pair[1] and set(pair) <= set(bodyparts):
            kept.append(pair)
        else:
            _log.info("skeleton edge %s does not join two bodyparts: left out", edge)
    return {"bodyparts": bodyparts} | ({"edges": kept} if kept else {})


def _write_config(sections: Mapping[str, Any], origin: str) -> str:
    """Return the YAML text of the sections, each under a comment, after checking it."""
    lines = [
        f"# Written by `cohortpose init` from {' '.join(origin.split())}.",
        "# Only what differs from the defaults; paths are relative to the working directory.",
    ]
    for key, value in sections.items():
        dumped = yaml.dump(
            {key: value}, Dumper=_ConfigDumper, sort_keys=False, allow_unicode=True, width=80
        )
        lines += ["", f"# {_TITLES[key]}", dumped.rstrip("\n")]
    text = "\n".join(lines) + "\n"
    parse_config(yaml.safe_load(text), where=CONFIG_NAME)
    return text


def _write_sheet(rows: Iterable[tuple[str, str]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter="\t", lineterminator="\n")
    writer.writerow(SHEET_REQUIRED)
    for name, path in rows:
        writer.writerow((name, path))
    text = buffer.getvalue()
    try:
        text.encode()
    except UnicodeEncodeError:
        bad = [repr(path) for _, path in rows if not _is_text(path)]
        raise SheetError(
            SHEET_NAME, [f"{path}: rename it, it is not UTF-8" for path in bad]
        ) from None
    return text


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
