"""Write a config and a cohort sheet for existing videos or projects (``init``)."""

import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline_lib.core.errors import ConfigError, LabelError, SheetError
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import SHEET_REQUIRED
from pipeline_lib.core.untrusted.names import find_name_problem
from pipeline_lib.core.untrusted.unseen import escape_unseen
from pipeline_lib.core.untrusted.yaml_files import load_yaml
from pipeline_lib.io.labels.detect import detect_format
from pipeline_lib.io.labels.tables import LABELED_DATA
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.stage_tables import format_table
from pipeline_lib.io.video.containers.formats import VIDEO_SUFFIXES
from pipeline_lib.steps.init.projects import describe_labels

CONFIG_NAME = "config.yaml"
SHEET_NAME = "cohort.tsv"

# Other tools write videos with drawn keypoints beside the recordings: DeepLabCut's and
# Lightning Pose's `..._labeled` (`_filtered`, `_bp`, `_id` come before it), DeepLabCut's `..._full`
# of all detections, SLEAP's `labels.slp.avi`.
_DRAWN_VIDEO = re.compile(
    r"_labell?ed(_(before|after)_adapt)?$"
    r"|(DLC|DeepCut)_.*_(full|labell?ed)(_|$)"
    r"|_filtered_.*labell?ed"
    r"|\.slp$",
    re.IGNORECASE,
)
_MOST_NAMED = 3
_RENAME = "its name, or that of a folder on the way, is not UTF-8: rename it"
_LONGEST_ID = 100  # of a video; folders and a number may be put to it
_MOST_FOLDERS, _LONGEST_FOLDER = 4, 30
_MOST_PARENTS = 2  # a relative path that climbs higher is harder to read than an absolute one

_TITLES = {
    "cohort": "One row per video. Columns you add (group, sex, dose) travel to the outputs.",
    "individuals": "Animals in one frame.",
    "assembly": "The labels have no edges: all pairs of bodyparts are tried to join animals.",
    "skeleton": "Bodyparts in the order of every keypoint axis, and the edges that join them.",
    "labels": "Labelled frames to train on. Bodyparts come from them unless `skeleton` is given.",
    "frames": "No labels yet: write frames to label, then name the labelled project in `labels`.",
}

_log = logging.getLogger(__name__)


class _ConfigDumper(yaml.SafeDumper):
    """Write YAML as people do: a list of plain names on one line."""


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
        ``config.yaml``), a SLEAP file, COCO keypoints, or any other format of
        `pipeline_lib.core.formats.labels.FORMATS`.
    folder
        Working directory of the run to be; made if missing. Paths in both files are relative to
        it where that is short, else absolute.

    Raises
    ------
    ConfigError
        If one of the two files is already there: neither is ever overwritten.
    SheetError
        If the source is missing or has no videos, or the way to it is not UTF-8.
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
        _tell_labelled(source)
    else:
        described = describe_labels(kind, source)
        sections |= described.sections
        videos = find_videos(described.videos)
        if described.labelled:
            sections["labels"] = [{"path": shorten_path(source, folder), "format": kind}]
    if "labels" not in sections:
        sections["frames"] = {"extract": True}
    if not videos:
        sheet = _escape(folder / SHEET_NAME)
        _log.warning("%s: no videos found; add rows to %s", _escape(source), sheet)
    rows = [(name, shorten_path(path, folder)) for name, path in name_videos(videos).items()]
    written = [path for _, path in rows] + [one["path"] for one in sections.get("labels", ())]
    if nameless := [path for path in written if not _is_text(path)]:
        raise SheetError(str(source), [f"{path!r}: {_RENAME}" for path in nameless])
    text = _write_config(sections, f"{source.absolute()} ({kind})")
    publish_text(folder / SHEET_NAME, _write_sheet(rows))
    publish_text(folder / CONFIG_NAME, text)
    _log.info("%s: %d videos from %s (%s)", _escape(folder), len(rows), _escape(source), kind)


def find_videos(places: Iterable[Path]) -> list[Path]:
    """List the videos at and below some paths, each file once, sorted within each path.

    Hidden files are left out; so are, with a log entry, videos that DeepLabCut, Lightning Pose
    or SLEAP have drawn keypoints on, and, with a warning for each, those whose name, or that of a
    folder below the place, is not UTF-8: no table of text can name them. Linked folders are
    entered.
    """
    found: dict[str, Path] = {}
    drawn: list[Path] = []
    nameless: list[Path] = []
    for place in places:
        for path in sorted(_walk_files(place)):
            if path.suffix.lower() not in VIDEO_SUFFIXES or path.name.startswith("."):
                continue
            if not _is_text(str(path.relative_to(place))):
                nameless.append(path)
                continue
            if _DRAWN_VIDEO.search(path.stem):
                drawn.append(path)
                continue
            first = found.setdefault(os.path.realpath(path), path)
            if first != path:
                _log.info("%s is the same file as %s: left out", _escape(path), _escape(first))
    for path in nameless:
        _log.warning("'%s' is left out: %s", escape_unseen(str(path)), _RENAME)
    if drawn:
        named = ", ".join(_escape(path.name) for path in drawn[:_MOST_NAMED])
        _log.info(
            "%d videos have keypoints drawn on them, by their names: left out (%s%s)",
            len(drawn),
            named,
            ", ..." if len(drawn) > _MOST_NAMED else "",
        )
    return list(found.values())


def find_labelled(folder: Path) -> list[Path]:
    """List labelled projects and SLEAP files in a folder and its subfolders, not further down."""
    levels = ("", "*/")
    projects = {path.parent for up in levels for path in folder.glob(f"{up}*/{LABELED_DATA}")}
    return sorted(projects | {path for up in levels for path in folder.glob(f"{up}*.slp")})


def name_videos(videos: Iterable[Path]) -> dict[str, Path]:
    """Give each video a unique id from its file name.

    Where some share a name, the names of the nearest folders that tell them apart are put before
    it, without those that all of them share; where folders do not tell them apart, a number is put
    after it. Names that differ in case only count as the same, because some file systems take
    them so.

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
    alike: dict[str, list[Path]] = {}
    for path, stem in zip(videos, plain, strict=True):
        alike.setdefault(stem.casefold(), []).append(path)
    folders = {path: names for group in alike.values() for path, names in _tell_apart(group)}
    for path, stem in zip(videos, plain, strict=True):
        name = stem
        if shared[stem.casefold()] > 1:
            name = base = "-".join([*folders[path], stem])
            number = 1
            while name.casefold() in taken:
                number += 1
                name = f"{base}-{number}"
            taken.add(name.casefold())
        names[name] = path
    return names


def _tell_apart(videos: list[Path]) -> Iterator[tuple[Path, list[str]]]:
    """Yield each of several videos of one name with the names of folders that tell them apart."""
    above = [[_clean_folder(name) for name in path.absolute().parts[-2:0:-1]] for path in videos]
    ways = {tuple(name.casefold() for name in names) for names in above}
    # Videos in one folder have the same way: a number tells them apart.
    levels = range(1, 1 + min(_MOST_FOLDERS, max(map(len, above))))
    depth = next((n for n in levels if len({way[:n] for way in ways}) == len(ways)), levels[-1])
    for path, names in zip(videos, above, strict=True):
        kept = [
            name
            for level, name in enumerate(names[:depth])
            if len({way[level : level + 1] for way in ways}) > 1
        ]
        # All lie in one folder: it says more than nothing.
        yield path, (kept or names[:1])[::-1]


def _clean_folder(name: str) -> str:
    return _clean_name(name)[:_LONGEST_FOLDER].strip("-.") or "video"


def shorten_path(path: Path, folder: Path) -> str:
    """Return the form of a path for a file in `folder`: relative if near, else absolute."""
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
        problem = "exists and is never overwritten: choose another folder or remove it"
        raise ConfigError(str(folder), [f"{name} {problem}" for name in there])


def _tell_labelled(source: Path) -> None:
    if not (labelled := find_labelled(source)):
        return
    named = ", ".join(_escape(path) for path in labelled[:_MOST_NAMED])
    more = ", ..." if len(labelled) > _MOST_NAMED else ""
    _log.warning("labels below this folder are not used; to use them, give %s%s", named, more)


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
        # Links may form a circle.
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
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)[:_LONGEST_ID].strip("-.") or "video"
    # No ending remains that the results folder uses.
    return name if find_name_problem(name) is None else name.replace(".", "-")


def _escape(path: str | Path) -> str:
    """Return a path as text for people: bytes that are not UTF-8 are escaped."""
    return str(path).encode(errors="backslashreplace").decode()


def _write_config(sections: Mapping[str, Any], origin: str) -> str:
    """Return the YAML text of the sections, each under a comment, after checking it."""
    shown = " ".join(_escape(origin).split())
    lines = [
        f"# Written by `cohortpose init` from {shown}.",
        "# Only what differs from the defaults; paths are relative to the working directory.",
    ]
    for key, value in sections.items():
        dumped = yaml.dump(
            {key: value}, Dumper=_ConfigDumper, sort_keys=False, allow_unicode=True, width=80
        )
        lines += ["", f"# {_TITLES[key]}", dumped.rstrip("\n")]
    text = "\n".join(lines) + "\n"
    parse_config(load_yaml(text), where=CONFIG_NAME)
    return text


def _write_sheet(rows: Iterable[tuple[str, str]]) -> str:
    return format_table(
        SHEET_REQUIRED, (dict(zip(SHEET_REQUIRED, row, strict=True)) for row in rows)
    )


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
