"""Find the images that a COCO file names: beside the file, or in its folder `images`."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from pipeline_lib.io.foreign.json_files import show_text

_IMAGES = "images"
_ANNOTATIONS = "annotations"
_SEPARATORS = re.compile(r"[/\\]+")
# Of a recorded path the last folders tell images apart; names of strangers may be endless.
_MOST_PARTS = 8
_MOST_LETTERS = 4096
_MOST_FILES = 500_000
_MOST_DEPTH = 4
_MOST_NAMED = 3  # in a message

Parts = tuple[str, ...]


class CocoFolder:
    """The folder of a COCO file, in which its images are looked for.

    Paths in the file are those of another machine as a rule. Nothing above the folder is looked
    at (above its parent, where the folder is called ``annotations``), whatever the file says;
    ``..`` is refused. Links on disk are followed, as for other formats.

    Parameters
    ----------
    path
        The JSON file.
    names
        ``file_name`` of every image of the file, labelled or not.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._too_many = False
        self._folder = path.absolute().parent
        inside = self._folder.name.lower() == _ANNOTATIONS
        self.root = self._folder.parent if inside else self._folder
        self._names = names

    def locate(self, name: str) -> tuple[Path | None, str]:
        """Find the image of a name.

        It is looked for by its whole path, then by ever shorter ends of it, beside the file and
        in `images`. A name without a folder may lie in a folder of its own there.

        Returns
        -------
        image
            Absolute path; None where there is none.
        problem
            What is wrong; empty where nothing is.
        """
        parts, shown = _split(name), show_text(name)
        problem = _find_name_problem(name, parts)
        if problem:
            return None, f"{shown}: {problem}"
        for start in range(len(parts)):
            end = parts[start:]
            found = self._find(end) or (self._search(end) if start == 0 else [])
            if found:
                problem = self._find_ambiguity(end, found, whole=start == 0)
                return (None, f"{shown}: {problem}") if problem else (found[0], "")
        if self._too_many:
            return None, f"{shown}: no such image beside the file, and too many files to look in"
        expected = self.root / _IMAGES / Path(*parts)
        return None, f"{shown}: no such image (expected at {show_text(expected)})"

    def name_videos(self, images: Sequence[Path]) -> list[str]:
        """Return the video of each image: the folder that it lies in.

        Images that lie directly beside the file, or in `images`, are of a video that is named
        like the folder. Folders that share a name are told apart by those they lie in.
        """
        folders = {image: self._inside(image.parent) for image in images}
        distinct = set(folders.values())
        shared = Counter(parts[-1:] for parts in distinct)
        names = {
            parts: "-".join(parts) if shared[parts[-1:]] > 1 else "".join(parts[-1:])
            for parts in distinct
        }
        return [names[folders[image]] or self.root.name or _IMAGES for image in images]

    def _find_ambiguity(self, end: Parts, found: Sequence[Path], *, whole: bool) -> str:
        """Say why it is not clear that what was found is the image; empty if it is."""
        places = " and ".join(self._shorten(one) for one in found[:_MOST_NAMED])
        if len(found) > 1:
            return f"fits several images, {places}: name it by its folder"
        if not whole and self._ends[end] > 1:
            return f"{places} fits several names of the file: keep the images' folders"
        return ""

    def _inside(self, folder: Path) -> Parts:
        for base in (self.root / _IMAGES, self._folder / _IMAGES, self._folder, self.root):
            if folder.is_relative_to(base):
                return folder.relative_to(base).parts
        return (folder.name,)

    def _find(self, parts: Parts) -> list[Path]:
        """Return the files at a relative path, each once."""
        bases = (self._folder, self._folder / _IMAGES, self.root, self.root / _IMAGES)
        places = [base.joinpath(*parts) for base in dict.fromkeys(bases)]
        # Not `Path.is_file`, which raises for names that no file can have.
        found = [place for place in places if os.path.isfile(place)]  # noqa: PTH113
        return list({os.path.realpath(place): place for place in reversed(found)}.values())

    def _search(self, parts: Parts) -> list[Path]:
        """Return the files deeper in the folder whose path ends so."""
        places = [
            place
            for place in self._index.get(parts[-1], ())
            if place.relative_to(self.root).parts[-len(parts) :] == parts and os.path.isfile(place)  # noqa: PTH113
        ]
        return list({os.path.realpath(place): place for place in places}.values())

    def _shorten(self, image: Path) -> str:
        return show_text(image.relative_to(self.root).as_posix())

    @cached_property
    def _ends(self) -> Counter[Parts]:
        """Count in how many names of the file each end of a path stands."""
        different = {_split(name) for name in self._names}
        return Counter(parts[start:] for parts in different for start in range(len(parts)))

    @cached_property
    def _index(self) -> dict[str, list[Path]]:
        """Return the files of the folder by their names, without hidden and linked folders."""
        index: dict[str, list[Path]] = {}
        wanted = {_split(name)[-1] for name in self._names if _split(name)}
        count = 0
        for folder, folders, files in os.walk(self.root):
            depth = len(Path(folder).relative_to(self.root).parts)
            folders[:] = sorted(
                name for name in folders if not name.startswith(".") and depth < _MOST_DEPTH
            )
            count += len(files)
            if count > _MOST_FILES:
                self._too_many = True
                return {}
            for name in wanted.intersection(files):
                index.setdefault(name, []).append(Path(folder, name))
        return index


def _find_name_problem(name: str, parts: Parts) -> str:
    if ".." in parts:
        return "leads out of the project by `..`: name images below it"
    return "is no name of an image" if not parts or len(name) > _MOST_LETTERS else ""


def _split(name: str) -> Parts:
    """Return the parts of a recorded path of any system, without root and drive."""
    parts = [part for part in _SEPARATORS.split(name[: _MOST_LETTERS + 1]) if part not in ("", ".")]
    if parts and parts[0].endswith(":"):
        parts = parts[1:]
    if ".." in parts:
        return ("..",)
    return tuple(parts[-_MOST_PARTS:])
