"""Find the files that a SLEAP file names. No two of them are ever the same file."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from pipeline_lib.io.video.containers.formats import VIDEO_SUFFIXES

HDF5_FILES = frozenset({".h5", ".hdf5", ".slp"})
# Read by sleap-io, because they are no videos to a decoder.
OTHER_FILES = HDF5_FILES | {".tif", ".tiff", ".seq"}
_IMAGES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".webp", ".gif", ".pgm", ".ppm", ".jp2"}
)
_MEDIA = OTHER_FILES | _IMAGES | VIDEO_SUFFIXES

# A file at its original path is a better match than any found by the end of its path.
_WHERE_IT_WAS = 1_000_000
_MOST_NAMED = 4  # in a message
# Of the systems' own limits the longest: Linux' and macOS' are shorter.
_LONGEST_PATH = 32_767
_MOST_PARTS = 200
_LONGEST_SHOWN = 200


@dataclass(frozen=True)
class FileLink:
    """Describe the present path of a file.

    Attributes
    ----------
    path
        None where it was not found.
    problem
        Why none was taken though there is one; empty where there is none.
    """

    path: Path | None
    problem: str = ""


def link_files(recorded: Sequence[str], folder: Path) -> list[FileLink]:
    """Find each file at its original path, else by the longest end of its path in a folder.

    The better match comes first: who has a file where it was, or by a longer end of its path,
    keeps it, and others do not get it. Where a file matches two equally well, neither gets it:
    they cannot be distinguished, and one of them would have frames of the other. Files count as
    one also through links.

    Only names of videos and images are looked for. Where a file was is an absolute path of the
    machine that labelled: it may be anywhere, as SLEAP writes it, and only pixels of images and
    videos are read of it. Relative paths lead into the folder, not out of it: an end with ``..``
    is passed over.

    Parameters
    ----------
    recorded
        Paths of any system.
    folder
        Of the SLEAP file.

    Returns
    -------
    list of FileLink
        One for each.
    """
    links: dict[int, FileLink] = {}
    matches: dict[int, list[tuple[int, Path]]] = {}
    for number, text in enumerate(recorded):
        if len(text) > _LONGEST_PATH:
            problem = f"{shorten(text)}: is longer than a path can be ({len(text)} characters)"
            links[number] = FileLink(None, problem)
            continue
        if PureWindowsPath(text).suffix.lower() not in _MEDIA:
            links[number] = FileLink(None, f"{shorten(text)}: is no name of a video or an image")
            continue
        for strength, path in _find_matches(text, folder):
            matches.setdefault(strength, []).append((number, path))
    taken: set[tuple[int, int]] = set()
    for strength in sorted(matches, reverse=True):
        found: dict[tuple[int, int], list[tuple[int, Path]]] = {}
        for number, path in matches[strength]:
            stat = path.stat()
            file = (stat.st_dev, stat.st_ino)
            if number not in links and file not in taken:
                found.setdefault(file, []).append((number, path))
        for claims in found.values():
            problem = _describe_conflict(claims, recorded) if len(claims) > 1 else ""
            for number, path in claims:
                links[number] = FileLink(None if problem else path, problem)
        taken |= found.keys()
    return [links.get(number, FileLink(None)) for number in range(len(recorded))]


def shorten(path: str) -> str:
    """Return a path for a message: of one that is too long to read, its end."""
    return path if len(path) <= _LONGEST_SHOWN else f"...{path[-_LONGEST_SHOWN:]}"


def _find_matches(recorded: str, folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield the files that may be the recorded one, and how many parts of its path say so."""
    # `Path.is_file` raises where a folder of another user happens to have the recorded name.
    if Path(recorded).is_absolute() and os.path.isfile(recorded):  # noqa: PTH113
        yield _WHERE_IT_WAS, Path(recorded)
    parts = PureWindowsPath(recorded)
    inside = parts.parts[1:] if parts.anchor else parts.parts
    for start in range(max(0, len(inside) - _MOST_PARTS), len(inside)):
        end = inside[start:]
        candidate = folder.joinpath(*end).absolute()
        if ".." not in end and os.path.isfile(candidate):  # noqa: PTH113
            yield len(end), candidate


def _describe_conflict(claims: Sequence[tuple[int, Path]], recorded: Sequence[str]) -> str:
    names = list(dict.fromkeys(shorten(recorded[number]) for number, _ in claims))
    file = claims[0][1]
    if len(names) == 1:
        return (
            f"{names[0]} occurs {len(claims)} times in the SLEAP file, but is one file ({file}): "
            "merge these videos in SLEAP"
        )
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    ends = " and ".join("/".join(PureWindowsPath(name).parts[-2:]) for name in names[:2])
    return (
        f"{' and '.join(names[:_MOST_NAMED])}{more}: {file} may be either of them, and cannot be "
        f"both; put each beside the SLEAP file under the end of its own path ({ends}), or save "
        "the labels with their images (.pkg.slp)"
    )
