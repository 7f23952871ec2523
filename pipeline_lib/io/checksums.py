"""Measure a file or folder by its size and modification time, or by its checksum.

Few modules are imported, because a job that has nothing to do needs only this one.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.core.untrusted.regular_files import require_regular_file

# Snakemake writes it into a folder that is the output of a rule.
_TIMESTAMP = ".snakemake_timestamp"


@dataclass(frozen=True)
class Measure:
    """Hold size and newest modification time of a file, or of all files below a folder."""

    bytes: int
    modified_ns: int


def measure_file(path: Path) -> tuple[int, int]:
    """Return size in bytes and modification time; zeros for a file that cannot be examined."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        # ValueError: a path with a NUL character names no file.
        return 0, 0
    return facts.st_size, facts.st_mtime_ns


def describe_state(path: Path) -> str:
    """Return a text that changes when a file, or a file below a folder, does; no byte is read.

    Empty for what is not there or cannot be listed.
    """
    try:
        if not path.is_dir():
            facts = path.stat()
            return f"{facts.st_size}-{facts.st_mtime_ns}"
        digest = hashlib.sha256()
        for file in _list_files(path):
            facts = file.stat()
            name = file.relative_to(path).as_posix()
            digest.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    except (OSError, ValueError):
        return ""
    return digest.hexdigest()[:16]


def measure_path(path: Path) -> Measure:
    """Measure a file, or all files below a folder, without reading them.

    Raises
    ------
    OSError
        If it is not there.
    """
    found = [file.stat() for file in _list_files(path)]
    return Measure(
        bytes=sum(facts.st_size for facts in found),
        modified_ns=max((facts.st_mtime_ns for facts in found), default=0),
    )


def hash_path(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names, sizes and bytes of all files of a folder.

    A copy of a folder has the same hash wherever it lies.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    OSError
        If it is not there or cannot be read.
    """
    if path.is_dir():
        digest = hashlib.sha256()
        for file in _list_files(path):
            name = file.relative_to(path).as_posix()
            digest.update(f"{name}\0{_hash_file(file)}\n".encode())
        return digest.hexdigest()
    return _hash_file(path)


def _list_files(path: Path) -> list[Path]:
    """Return the files below a folder in the order of their names, or the file itself.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    """
    if not path.is_dir():
        path.stat()
        return [path]
    return sorted(
        Path(folder, file)
        for folder, _, files in os.walk(path)
        for file in files
        if file != _TIMESTAMP
    )


def _hash_file(path: Path) -> str:
    require_regular_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
