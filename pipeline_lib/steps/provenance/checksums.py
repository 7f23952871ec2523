"""Record the checksums of published files as soon as they are written."""

import fcntl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.checksums import hash_path, measure_path
from pipeline_lib.io.stage_tables import read_table, write_table

CHECKSUM_COLUMNS = ("kind", "video", "path", "bytes", "modified_ns", "sha256", "key")


@dataclass(frozen=True)
class Published:
    """Describe one result to record.

    Attributes
    ----------
    kind
        Kind of result: ``poses``, ``filtered``, a suffix of an export …
    path
        File or folder.
    video
        Video of the result; empty for a result of the whole cohort.
    key
        Key of the result; empty if it has none.
    """

    kind: str
    path: Path
    video: str = ""
    key: str = ""


def record_checksums(table: Path, root: Path, published: Iterable[Published]) -> None:
    """Add the hashes of results to those that the table has already.

    A result with the same key, size and modification time keeps its recorded hash: a later job
    must not record a file that was damaged on the disk meanwhile.

    Parameters
    ----------
    table
        The record.
    root
        The results folder; recorded paths are relative to it.
    published
        Results that are there.
    """
    with _lock(table):
        _record(table, root, published)


def forget_checksums(table: Path, root: Path, paths: Iterable[Path]) -> None:
    """Remove the hashes of results that are rightly no longer there.

    Parameters
    ----------
    table, root
        As in `record_checksums`.
    paths
        The results.
    """
    gone = {_name(path, root) for path in paths}
    if not gone & read_checksums(table).keys():
        return
    with _lock(table):
        rows = read_checksums(table)
        write_table(table, CHECKSUM_COLUMNS, [rows[name] for name in rows if name not in gone])


def _record(table: Path, root: Path, published: Iterable[Published]) -> None:
    rows = read_checksums(table)
    for result in published:
        name = _name(result.path, root)
        measure = measure_path(result.path)
        row = {
            "kind": result.kind,
            "video": result.video,
            "path": name,
            "bytes": str(measure.bytes),
            "modified_ns": str(measure.modified_ns),
            "key": result.key,
        }
        before = rows.get(name, {})
        known = all(before.get(column) == value for column, value in row.items())
        rows[name] = row | {"sha256": before["sha256"] if known else hash_path(result.path)}
    write_table(table, CHECKSUM_COLUMNS, rows.values())


@contextmanager
def _lock(table: Path) -> Iterator[None]:
    """Let one process at a time add to a table, on file systems with locks."""
    table.parent.mkdir(parents=True, exist_ok=True)
    with (table.parent / ".checksums.lock").open("a") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_checksums(table: Path) -> dict[str, dict[str, str]]:
    """Return the recorded results by their path in the results folder; none without a table."""
    try:
        return {row["path"]: row for row in read_table(table, CHECKSUM_COLUMNS)}
    except StoreError:
        return {}


def is_changed(path: Path, root: Path, recorded: Mapping[str, Mapping[str, str]]) -> bool:
    """Tell whether a file is not the one that was recorded; its bytes are read only if in doubt.

    Parameters
    ----------
    path
        The file.
    root
        The results folder.
    recorded
        What `read_checksums` returned. A file that it lacks counts as unchanged.
    """
    row = recorded.get(_name(path, root))
    try:
        # A copy of the results has other times and the same bytes.
        return bool(
            row
            and compare_checksums(row, root, quick=True)
            and compare_checksums(row, root, quick=False)
        )
    except OSError:
        return True


def compare_checksums(row: Mapping[str, str], root: Path, *, quick: bool) -> str:
    """Describe the difference of a result from its record.

    Parameters
    ----------
    row
        Its record.
    root
        The results folder.
    quick
        Compare size and modification time only.

    Returns
    -------
    str
        Empty if nothing differs.

    Raises
    ------
    OSError
        If the result is missing or cannot be read.
    """
    path = root / row["path"]
    measure = measure_path(path)
    if measure.bytes != int(row["bytes"]):
        return f"{measure.bytes} bytes, recorded {row['bytes']}"
    if quick:
        changed = measure.modified_ns != int(row["modified_ns"])
        return "written at another time than recorded" if changed else ""
    found = hash_path(path)
    if found != row["sha256"]:
        return f"SHA-256 {found[:12]}…, recorded {row['sha256'][:12]}…, same size"
    return ""


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
