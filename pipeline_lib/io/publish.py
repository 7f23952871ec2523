"""Publishing: a file or folder appears whole or not at all."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def publish_file(path: Path) -> Iterator[Path]:
    """Yield a path beside the target to write to; on success it becomes the target.

    The parent folder is made. If the block raises, the target is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept because many writers choose their format by it.
    handle, name = tempfile.mkstemp(prefix=".part-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o666 & ~_current_umask())
        _sync(part)
        part.replace(path)
        _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def publish_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside the target to fill; on success it becomes the target.

    A folder that stood there is replaced: moved aside, then removed. So is what a killed writer
    of the same folder left beside it: there may be one writer at a time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    prefix = f".part-{path.name}."
    part = Path(tempfile.mkdtemp(prefix=prefix, suffix=path.suffix, dir=path.parent))
    try:
        yield part
        part.chmod(0o777 & ~_current_umask())
        for folder, _, files in os.walk(part):
            for file in files:
                _sync(Path(folder, file))
            _sync(Path(folder))
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".old-{path.name}.", dir=path.parent))
            aside = path.replace(old / path.name)
            try:
                part.replace(path)
            except OSError:
                aside.replace(path)
                old.rmdir()
                raise
            # A reader on a network file system may still hold files of the old one.
            shutil.rmtree(old, ignore_errors=True)
        else:
            part.replace(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def publish_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; an identical file is left untouched."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    with publish_file(path) as part:
        part.write_text(text, encoding="utf-8")


def _remove_leftovers(path: Path) -> None:
    # Eight characters without a dot, as tempfile draws them: no other folder's names fit.
    name, drawn = re.escape(path.name), "[a-z0-9_]{8}"
    pattern = re.compile(rf"\.part-{name}\.{drawn}{re.escape(path.suffix)}|\.old-{name}\.{drawn}")
    for beside in path.parent.iterdir():
        if pattern.fullmatch(beside.name):
            shutil.rmtree(beside, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
