"""Publish files and folders, whole or not at all.

What is published was written beside its target under another name, is on the disk, and then
takes the target's name in one step. So a kill or a power cut leaves what stood there before, or
the new one, whole; what a cut can take is the last rename, and then the work is done again. A
folder that stood there has to be moved aside first: a cut in between leaves none.

Files and folders are made by plain calls in the target's folder, never elsewhere and never with a
mode of their own. So umask, default ACL and setgid bit decide who may read and go on with them, as
for any file that a user makes there.
"""

import functools
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

# ZIP files and threads are imported where they are used: a job that has nothing to do publishes
# a table and ends.

# Journals take what is asked for at once in one go: eight calls take as long as one or two.
_SYNCING_THREADS = 8
# A longer one is part of a name, which would not fit twice.
_LONGEST_SUFFIX = 16


@contextmanager
def publish_file(path: Path) -> Iterator[Path]:
    """Yield a path beside the target to write to; on success it becomes the target.

    The parent folder is made. If the block raises, the target is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept because many writers choose their format by it.
    part = _make_beside(path, ".part-", _suffix(path), lambda new: new.touch(exist_ok=False))
    try:
        yield part
        _publish_part(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def publish_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside the target to fill; on success it becomes the target.

    A folder that stood there is replaced: moved aside, then removed. So is what a killed writer
    of the same folder left beside it: there may be one writer at a time.
    """
    with _make_part(path) as part:
        yield part
        _sync(Path(folder, name) for folder, _, files in os.walk(part) for name in (*files, ""))
        if path.exists():
            _replace_folder(part, path)
        else:
            part.replace(path)
        _sync([path.parent])


@contextmanager
def publish_packed(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; on success its files become one ZIP file, the target.

    They are stored as they are, in the order of their names and without their times, so that
    the same files make the same bytes. There may be one writer at a time.
    """
    import zipfile  # noqa: PLC0415

    with _make_part(path) as part:
        folder, packed = part / "folder", part / path.name
        folder.mkdir()
        yield folder
        with zipfile.ZipFile(packed, "w") as archive:
            for file in sorted(file for file in folder.rglob("*") if file.is_file()):
                entry = zipfile.ZipInfo(file.relative_to(folder).as_posix())
                # Told before, so that large ones get the form for large ones.
                entry.file_size = file.stat().st_size
                with archive.open(entry, "w") as target, file.open("rb") as source:
                    shutil.copyfileobj(source, target)
        _publish_part(packed, path)


def publish_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; an identical file is left untouched."""
    # As bytes: what stands there may be damaged, and no text.
    if path.is_file() and path.read_bytes() == text.encode():
        return
    with publish_file(path) as part:
        part.write_text(text, encoding="utf-8")


def _publish_part(part: Path, path: Path) -> None:
    _sync([part])
    part.replace(path)
    _sync([path.parent])


@contextmanager
def _make_part(path: Path) -> Iterator[Path]:
    """Yield a folder beside a target, and remove it and what the killed left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    part = _make_beside(path, f".part-{path.name}.", _suffix(path), Path.mkdir)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _suffix(path: Path) -> str:
    """Return the suffix of a name; of a long name with a dot somewhere, none."""
    return path.suffix if len(path.suffix) <= _LONGEST_SUFFIX else ""


def _make_beside(path: Path, prefix: str, suffix: str, make: Callable[[Path], None]) -> Path:
    """Make a file or folder of a new name in the folder of a target."""
    while True:
        new = path.with_name(f"{prefix}{secrets.token_hex(4)}{suffix}")
        try:
            make(new)
        except FileExistsError:
            continue
        return new


def _replace_folder(part: Path, path: Path) -> None:
    old = _make_beside(path, f".old-{path.name}.", "", Path.mkdir)
    aside = path.replace(old / path.name)
    try:
        part.replace(path)
    except OSError:
        aside.replace(path)
        old.rmdir()
        raise
    # A reader on a network file system may still hold files of the old one.
    shutil.rmtree(old, ignore_errors=True)


def _remove_leftovers(path: Path) -> None:
    # Eight characters without a dot, as drawn above: no other folder's names fit.
    name, drawn = re.escape(path.name), "[a-z0-9_]{8}"
    pattern = re.compile(rf"\.part-{name}\.{drawn}{re.escape(_suffix(path))}|\.old-{name}\.{drawn}")
    # Names without their facts: a folder of thousands of results is listed for each of them.
    for beside in os.listdir(path.parent):  # noqa: PTH208
        if pattern.fullmatch(beside):
            shutil.rmtree(path.parent / beside, ignore_errors=True)


def _sync(paths: Iterable[Path]) -> None:
    """Write files and folders through to the disk, all at once."""
    several = list(paths)
    if len(several) == 1:
        _sync_one(several[0])
    else:
        list(_keep_threads().map(_sync_one, several))


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@functools.cache
def _keep_threads() -> "ThreadPoolExecutor":
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    # Starting threads takes longer than what they do here.
    return ThreadPoolExecutor(_SYNCING_THREADS, thread_name_prefix="sync")


# A forked process has none of them.
os.register_at_fork(after_in_child=_keep_threads.cache_clear)
