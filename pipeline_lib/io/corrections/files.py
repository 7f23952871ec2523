"""Read and write the small tables of corrections, which anybody may have edited.

They are project files, shared through version control and network folders: what is read is
checked, never executed, and never followed to somewhere else through a link. The folder itself,
which `corrections.path` names, may be a link, such as to a shared disk: whoever sets up the project
says where it is. What is written is written whole, under a lock.
"""

import csv
import fcntl
import hashlib
import io
import math
import os
import re
import stat
import time as clock
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.untrusted.names import LONGEST_NAME, clean_part, find_text_problem
from pipeline_lib.core.untrusted.regular_files import describe_encoding
from pipeline_lib.io.publish import publish_text

# A table of an author and video: a million rows of the usual length.
MOST_BYTES = 64 * 2**20
_MOST_FILES = 100_000
_LONGEST_CELL = 4096
_LONGEST_WAIT = 30.0  # s
_LOCK = ".lock"
_IGNORED = "# Locks and unfinished files.\n.*\n!.gitignore\n"
_CONFLICT_MARKS = ("<<<<<<<", "=======", ">>>>>>>", "|||||||")
_TIME_FORM = "such as 2026-03-01T12:00:00Z"
# Python makes no number of thousands of digits.
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,15}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_LONGEST_NUMBER = 40
# Later ones leave no later time for the corrections that replace them.
_LAST_YEAR = 9000


class TableRow(dict[str, str]):
    """Hold the cells of one row by column, and its line number.

    Attributes
    ----------
    line
        Number of the line in the file, for messages; the header is line 1.
    """

    def __init__(self, cells: Mapping[str, str], line: int) -> None:
        super().__init__(cells)
        self.line = line


def list_tables(folder: Path) -> list[Path]:
    """Return the tables ``AUTHOR/VIDEO.tsv`` below a folder, sorted; none where it is absent.

    Hidden files and folders are passed over: locks and unfinished files.

    Raises
    ------
    LabelError
        If a link or another file that is not regular stands among them.
    """
    check_root(folder.parent)
    tables: list[Path] = []
    problems: list[str] = []
    for author in _list_folder(folder, problems):
        if author.is_symlink() or not author.is_dir():
            problems.append(
                f"{author.name}: expected a folder of one author's tables, found "
                f"{_describe_kind(author)}"
            )
            continue
        for path in _list_folder(author, problems):
            if path.suffix != ".tsv":
                problems.append(f"{author.name}/{path.name}: expected tables named VIDEO.tsv only")
            else:
                tables.append(path)
    if len(tables) > _MOST_FILES:
        problems.append(f"{len(tables)} tables: expected at most {_MOST_FILES}")
    if problems:
        raise LabelError(str(folder), problems)
    return tables


def check_root(root: Path) -> None:
    """Refuse a folder of corrections that is a link to nothing.

    A shared disk that is not mounted must not look like a project without corrections.

    Raises
    ------
    LabelError
        If it is one.
    """
    if root.is_symlink() and not root.exists():
        raise LabelError(
            str(root),
            [f"is a link to {root.readlink()}, which is not there: is a disk not mounted?"],
        )


def _list_folder(folder: Path, problems: list[str]) -> list[Path]:
    try:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            problems.append(f"{folder.name}: expected a folder, found {_describe_kind(folder)}")
            return []
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names alone
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(f"{folder.name}: cannot be read: {error.strerror}")
        return []
    return [folder / name for name in names if not name.startswith(".")]


def _describe_kind(path: Path) -> str:
    mode = path.lstat().st_mode
    kinds = (
        (stat.S_ISLNK, "a link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISREG, "a file"),
        (stat.S_ISFIFO, "a FIFO"),
    )
    return next((name for test, name in kinds if test(mode)), "something else")


def read_rows(path: Path, columns: Sequence[str]) -> list[TableRow]:
    """Read the rows of a table; none where there is no file.

    Parameters
    ----------
    path
        The table: UTF-8, tab-separated, with a header.
    columns
        Its columns, in any order; others are refused.

    Raises
    ------
    LabelError
        With each row that is damaged, by its line.
    """
    text = _read_text(path)
    if text is None:
        return []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True)
    problems: list[str] = []
    rows: list[TableRow] = []
    try:
        header = next(reader, [])
        _check_header(path, header, columns)
        for cells in reader:
            line = reader.line_num
            # Spreadsheets leave blank rows below a table.
            if not any(cells):
                continue
            if problem := _find_row_problem(cells, header):
                problems.append(f"line {line}: {problem}")
            else:
                rows.append(TableRow(dict(zip(header, cells, strict=True)), line))
    except csv.Error as error:
        problems.append(f"line {reader.line_num}: cannot be read: {error}")
    if problems:
        raise LabelError(str(path), problems)
    return rows


def _read_text(path: Path) -> str | None:
    """Return the text of a regular file; None where there is none."""
    try:
        # Opening a FIFO would wait for its writer.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        what = "is a link: put the file itself here" if path.is_symlink() else error.strerror
        raise LabelError(str(path), [f"cannot be read: {what}"]) from None
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise LabelError(str(path), ["is no regular file"])
        if facts.st_size > MOST_BYTES:
            size, most = facts.st_size // 2**20, MOST_BYTES // 2**20
            raise LabelError(str(path), [f"has {size} MiB: expected at most {most} MiB"])
        data = file.read(MOST_BYTES + 1)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError(str(path), [describe_encoding(data, error)]) from None


def _check_header(path: Path, header: list[str], columns: Sequence[str]) -> None:
    if sorted(header) != sorted(columns):
        found = ", ".join(header)[:200] or "nothing"
        raise LabelError(
            str(path), [f"line 1: expected the columns {', '.join(columns)}, found {found}"]
        )


def _find_row_problem(cells: list[str], header: list[str]) -> str | None:
    if len(cells) == 1 and cells[0].startswith(_CONFLICT_MARKS):
        return "is the mark of a merge conflict of git: keep the rows of one side"
    if len(cells) != len(header):
        return f"{len(cells)} cells, expected {len(header)}"
    if max(map(len, cells)) <= _LONGEST_CELL:
        return None
    long = next(name for name, cell in zip(header, cells, strict=True) if len(cell) > _LONGEST_CELL)
    return f"{long} is longer than {_LONGEST_CELL} characters"


@contextmanager
def lock_folder(folder: Path, root: Path) -> Iterator[None]:
    """Make a folder below the root of corrections, and hold its lock meanwhile.

    Raises
    ------
    LabelError
        If a link stands in its path below the root, the root is a link to nothing, or another
        process holds the lock for long.
    """
    check_root(root)
    for part in (*reversed(folder.relative_to(root).parents[:-1]), folder.relative_to(root)):
        if (root / part).is_symlink():
            raise LabelError(str(root / part), ["is a link: put the folder itself here"])
    folder.mkdir(parents=True, exist_ok=True)
    ignore = root / ".gitignore"
    if not ignore.exists() and not ignore.is_symlink():
        publish_text(ignore, _IGNORED)
    path = folder / _LOCK
    try:
        handle = _open_lock(path)
    except OSError as error:
        raise LabelError(str(path), [f"cannot be locked: {error.strerror}"]) from None
    try:
        _wait_for_lock(handle, path)
        yield
    finally:
        os.close(handle)


def _open_lock(path: Path) -> int:
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
    except PermissionError:
        # Somebody else made it in a shared folder, and the umask lets others only read it.
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags)


def _wait_for_lock(handle: int, path: Path) -> None:
    until = clock.monotonic() + _LONGEST_WAIT
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic() > until:
                problem = f"another process has held this lock for {_LONGEST_WAIT:g} s: try again"
                raise LabelError(str(path), [problem]) from None
            clock.sleep(0.01)
        except OSError:
            return  # a file system without locks
        else:
            return


def find_table_path(folder: Path, author: str, video: str) -> Path:
    """Return the path of the table of an author and video below a folder.

    Names that are no valid file names are cleaned and made unique by a hash of the true name; the
    true name is in the rows.
    """
    return folder / _name_part(author) / f"{_name_part(video)}.tsv"


def _name_part(name: str) -> str:
    part = clean_part(name, "unnamed")
    if part == name:
        return part
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{part.encode()[: LONGEST_NAME - 9].decode(errors='ignore')}-{digest}"


def describe_name_problem(what: str, name: str) -> str | None:
    """Explain why a name of a video, author or bodypart cannot be used; None if it can."""
    problem = find_text_problem(name)
    if problem is None and name != name.strip():
        problem = "begins or ends with a blank"
    return f"{what} {name[:80]!r}: its name {problem}" if problem else None


def parse_whole_number(column: str, text: str, *, signed: bool = False) -> int:
    """Return the whole number in a cell.

    Raises
    ------
    ValueError
        If the text is none, or has more digits than any frame needs.
    """
    if not _WHOLE_NUMBER.fullmatch(text) or (text.startswith("-") and not signed):
        what = "a whole number" if signed else "a frame number, counted from 0"
        raise ValueError(f"{column} {text[:40]!r}: expected {what}")
    return int(text)


def parse_number(column: str, text: str) -> float:
    """Return the number in a cell, such as ``12.5`` or ``1e-3``: neither infinite nor NaN.

    Raises
    ------
    ValueError
        If the text is none.
    """
    number = float(text) if len(text) <= _LONGEST_NUMBER and _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(number):
        raise ValueError(f"{column} {text[:40]!r}: expected a number")
    return number


def parse_time(text: str) -> datetime:
    """Return a time that `format_time` wrote.

    Raises
    ------
    ValueError
        If the text is not a time in UTC.
    """
    try:
        time = datetime.fromisoformat(text) if "T" in text and len(text) <= 40 else None
    except ValueError:
        time = None
    if time is None or time.tzinfo is None or time.utcoffset():
        raise ValueError(f"time {text[:40]!r}: expected a time in UTC, {_TIME_FORM}")
    if problem := find_time_problem(time):
        raise ValueError(problem)
    return time.astimezone(UTC)


def find_time_problem(time: datetime) -> str | None:
    """Explain why a time cannot be stored; None if it can."""
    if time.tzinfo is None:
        return f"time {time}: expected one with a zone, such as datetime.now(UTC)"
    if not 1 < time.year <= _LAST_YEAR:
        return f"time {time}: expected a year up to {_LAST_YEAR}"
    return None


def format_time(time: datetime) -> str:
    """Return a time as ISO 8601 in UTC, to the microsecond where it has any.

    Raises
    ------
    ValueError
        If the time has no zone.
    """
    if time.tzinfo is None:
        raise ValueError(f"time {time}: expected one with a zone, such as datetime.now(UTC)")
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
