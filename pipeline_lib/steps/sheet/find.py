"""Find the videos of folders, and name them and their paths for a cohort sheet."""

import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline_lib.core.layout import Results
from pipeline_lib.core.untrusted.names import find_name_problem
from pipeline_lib.core.untrusted.unseen import escape_unseen
from pipeline_lib.io.video.containers.formats import VIDEO_SUFFIXES

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
NOT_UTF8 = "its name, or that of a folder on the way, is not UTF-8: rename it"
_LONGEST_ID = 100  # of a video; folders and a number may be put to it
_MOST_FOLDERS, _LONGEST_FOLDER = 4, 30
# A spreadsheet takes a cell that begins so for a formula, and a shell for somebody's home.
_MISREAD = ("=", "+", "-", "@", "~")
_MOST_PARENTS = 2  # a relative path that climbs higher is harder to read than an absolute one

_log = logging.getLogger(__name__)


@dataclass
class Found:
    """Hold the videos at and below some paths.

    Attributes
    ----------
    videos
        Each file once, in the order in which it was found.
    same
        Further paths of a file, and the path under which it is among the videos.
    drawn
        Videos that another tool has drawn keypoints on, by their names.
    nameless
        Videos whose name, or that of a folder below the place, is not UTF-8.
    """

    videos: list[Path] = field(default_factory=list)
    same: list[tuple[Path, Path]] = field(default_factory=list)
    drawn: list[Path] = field(default_factory=list)
    nameless: list[Path] = field(default_factory=list)


def search_videos(places: Iterable[Path]) -> Found:
    """Search some paths and their subfolders for videos, sorted within each path.

    Hidden files and folders of results are left out. Linked folders are entered.
    """
    found = Found()
    first: dict[str, Path] = {}
    for place in places:
        for path in sorted(_walk_files(place)):
            if path.suffix.lower() not in VIDEO_SUFFIXES or path.name.startswith("."):
                continue
            if not is_text(str(path.relative_to(place))):
                found.nameless.append(path)
            elif _DRAWN_VIDEO.search(path.stem):
                found.drawn.append(path)
            elif (earlier := first.setdefault(os.path.realpath(path), path)) != path:
                found.same.append((path, earlier))
            else:
                found.videos.append(path)
    return found


def find_videos(places: Iterable[Path]) -> list[Path]:
    """List the videos at and below some paths; log those that are left out.

    As `search_videos`. Those that DeepLabCut, Lightning Pose or SLEAP have drawn keypoints on get
    a log entry; those whose name is not UTF-8 a warning each, because no table of text can name
    them.
    """
    found = search_videos(places)
    for path, first in found.same:
        _log.info("%s is the same file as %s: left out", show(path), show(first))
    for path in found.nameless:
        _log.warning("'%s' is left out: %s", escape_unseen(str(path)), NOT_UTF8)
    if found.drawn:
        named = ", ".join(show(path.name) for path in found.drawn[:_MOST_NAMED])
        _log.info(
            "%d videos have keypoints drawn on them, by their names: left out (%s%s)",
            len(found.drawn),
            named,
            ", ..." if len(found.drawn) > _MOST_NAMED else "",
        )
    return found.videos


def name_videos(videos: Iterable[Path], taken: Iterable[str] = ()) -> dict[str, Path]:
    """Give each video a unique id from its file name.

    Where some share a name, the names of the nearest folders that tell them apart are put before
    it, without those that all of them share; where folders do not tell them apart, a number is put
    after it. Names that differ in case only count as the same, because some file systems take
    them so.

    Parameters
    ----------
    videos
        The files.
    taken
        Ids that other videos have.

    Returns
    -------
    dict
        Path by id, in the given order.
    """
    videos = list(videos)
    others = {name.casefold() for name in taken}
    plain = [clean_name(path.stem) for path in videos]
    shared = Counter([*(name.casefold() for name in plain), *others])
    names: dict[str, Path] = {}
    used = others | {name.casefold() for name in plain if shared[name.casefold()] == 1}
    alike: dict[str, list[Path]] = {}
    for path, stem in zip(videos, plain, strict=True):
        alike.setdefault(stem.casefold(), []).append(path)
    folders = {path: names for group in alike.values() for path, names in _tell_apart(group)}
    for path, stem in zip(videos, plain, strict=True):
        name = stem
        if shared[stem.casefold()] > 1:
            name = base = "-".join([*folders[path], stem])
            number = 1
            while name.casefold() in used:
                number += 1
                name = f"{base}-{number}"
            used.add(name.casefold())
        names[name] = path
    return names


def _tell_apart(videos: list[Path]) -> Iterator[tuple[Path, list[str]]]:
    """Yield videos of equal names, each with the folders that distinguish it from the others."""
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
    return clean_name(name)[:_LONGEST_FOLDER].strip("-.") or "video"


def shorten_path(path: Path, folder: Path) -> str:
    """Return the form of a path for a file in `folder`: relative if near, else absolute."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - `..` removed, links kept
    inside = Path(os.path.abspath(folder))  # noqa: PTH100
    if absolute.is_relative_to(inside):
        below = absolute.relative_to(inside).as_posix()
        return f"./{below}" if below.startswith(_MISREAD) else below
    # `..` climbs from where a link leads to, so both ends are resolved before counting.
    target, base = absolute.parent.resolve() / absolute.name, folder.resolve()
    relative = Path(os.path.relpath(target, base))
    shared = Path(os.path.commonpath([target, base]))
    if relative.parts.count("..") <= _MOST_PARENTS and shared != Path(shared.anchor):
        return relative.as_posix()
    return absolute.as_posix()


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
            if not name.startswith(".")
            and os.path.realpath(Path(folder, name)) not in seen
            # Videos in results are drawn from the cohort's own.
            and not Results(Path(folder, name)).plan.is_file()
        ]
        yield from (Path(folder, name) for name in files)


def clean_name(text: str) -> str:
    """Return text as a video id: letters, digits and ``. _ -``, accents removed."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)[:_LONGEST_ID].strip("-.") or "video"
    # No ending remains that the results folder uses.
    return name if find_name_problem(name) is None else name.replace(".", "-")


def show(path: str | Path) -> str:
    """Return a path as text for people: bytes that are not UTF-8 are escaped."""
    return str(path).encode(errors="backslashreplace").decode()


def is_text(path: str) -> bool:
    """Tell whether a path is UTF-8, as every cell of a table must be."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
