"""Read the cohort sheet: the videos, and the metadata that the user gives of each."""

import csv
import functools
import io
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pipeline_lib.core.errors import SheetError
from pipeline_lib.core.tables import SHEET_OPTIONAL, SHEET_REQUIRED
from pipeline_lib.core.untrusted.names import find_name_problem, fold_name
from pipeline_lib.core.untrusted.regular_files import (
    describe_encoding,
    guess_utf16,
    require_regular_file,
)


@dataclass(frozen=True)
class Video:
    """Hold one row of the cohort sheet.

    Attributes
    ----------
    video
        Unique name.
    path
        The file, which need not exist: relative to the working directory if both the sheet's path
        and the cell are relative, so that a project that is moved with its videos remains valid.
        That of the poses for a row that has poses and no video.
    session, camera, calibration
        As in the sheet; empty where not given. Calibration is a path like `path`.
    poses
        File or folder of poses that another tool found, a path like `path`; empty: none.
    metadata
        Every other column, in the sheet's order.
    """

    video: str
    path: Path
    session: str = ""
    camera: str = ""
    calibration: str = ""
    poses: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def has_video(self) -> bool:
        """Tell whether the sheet names a video; a row with poses needs none."""
        return str(self.path) != self.poses


@dataclass(frozen=True)
class PosesCount:
    """Count the rows of a sheet.

    Attributes
    ----------
    rows, existing
        All rows, and those with poses that another tool found.
    """

    rows: int = 0
    existing: int = 0


def count_existing(sheet: Path) -> PosesCount:
    """Count the rows of a sheet that have poses; none for a sheet that cannot be read.

    A sheet is read again only once its file has changed.
    """
    try:
        facts = sheet.stat()
    except (OSError, ValueError):
        return PosesCount()
    return _count_existing(sheet.absolute(), facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=4)
def _count_existing(sheet: Path, modified: int, size: int) -> PosesCount:
    del modified, size
    try:
        videos = read_cohort(sheet)
    except SheetError:
        # Whoever needs the sheet reports it.
        return PosesCount()
    return PosesCount(len(videos), sum(bool(video.poses) for video in videos))


def read_cohort(sheet: Path) -> tuple[Video, ...]:
    """Read a cohort sheet; missing video files are left to the probe.

    Parameters
    ----------
    sheet
        Tab-separated table with at least the columns ``video`` and ``path``.

    Raises
    ------
    SheetError
        With one line per problem: missing file or columns, bad or duplicate names (also those
        that differ in case only), empty paths.
    """
    text = _read_text(sheet)
    try:
        # Strict: a quotation mark that is never closed would swallow the rows below it.
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", strict=True)
        header = tuple(reader.fieldnames or ())
        rows = [(reader.line_num, row) for row in reader if not _is_blank(row)]
    except csv.Error as error:
        problem = f"is not a table of text: {error} (a cell with a quotation mark is quoted)"
        raise SheetError(str(sheet), [problem]) from None
    missing = [name for name in SHEET_REQUIRED if name not in header]
    if missing:
        found = ", ".join(header) or "nothing"
        hint = "; save it with tabs, not commas" if len(header) == 1 and "," in found else ""
        raise SheetError(
            str(sheet),
            [f"missing column `{name}` (tab-separated; found: {found}){hint}" for name in missing],
        )
    problems = _find_problems(rows, header)
    if problems:
        raise SheetError(str(sheet), problems)
    return tuple(_parse_row(row, sheet.parent) for _, row in rows)


def _read_text(sheet: Path) -> str:
    try:
        require_regular_file(sheet)
        data = sheet.read_bytes()
    except FileNotFoundError:
        # Of a config in another folder, this is the folder that was not named.
        place = "" if sheet.is_absolute() else f" in the working directory, {Path.cwd()}"
        change = "" if sheet.is_absolute() else "; `--directory` names another one"
        problem = f"no such file{place}{change}; `cohortpose init` writes a sheet"
        raise SheetError(str(sheet), [problem]) from None
    except OSError as error:
        raise SheetError(str(sheet), [f"cannot be read: {error.strerror}"]) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SheetError(str(sheet), [describe_encoding(data, error)]) from None
    if guess_utf16(data):
        raise SheetError(str(sheet), ["is saved as UTF-16: save it as UTF-8"])
    return text


def _is_blank(row: dict[str | None, str | list[str] | None]) -> bool:
    """Tell whether a row has no text at all, as spreadsheets leave below a table."""
    cells = [
        cell for value in row.values() for cell in (value if isinstance(value, list) else [value])
    ]
    return not any(cell and cell.strip() for cell in cells)


def _find_problems(rows: list[tuple[int, dict[str, str]]], header: tuple[str, ...]) -> list[str]:
    problems = [f"column `{name}` twice" for name, n in Counter(header).items() if n > 1]
    if not rows:
        problems.append("no videos: add one row per video")
    first: dict[str, tuple[int, str]] = {}
    for line, row in rows:
        video = row["video"] or ""
        earlier, name = first.setdefault(fold_name(video), (line, video))
        if problem := find_name_problem(video):
            problems.append(f"line {line}: video {video!r} {problem}")
        elif earlier != line and name == video:
            problems.append(f"line {line}: video {video} already on line {earlier}")
        elif earlier != line:
            problems.append(
                f"line {line}: video {video} differs from {name} on line {earlier} in case only: "
                "some file systems (macOS, Windows, shares) would write both to the same files; "
                "rename one of them"
            )
        if not (row["path"] or row.get("poses")):
            needed = "neither path nor poses" if "poses" in header else "no path"
            problems.append(f"line {line}: {needed}")
        if None in row:
            problems.append(f"line {line}: more cells than columns")
    return problems


def _parse_row(row: dict[str, str], folder: Path) -> Video:
    known = {*SHEET_REQUIRED, *SHEET_OPTIONAL}
    calibration, poses = row.get("calibration") or "", row.get("poses") or ""
    return Video(
        video=row["video"],
        # Not resolved: a link is a path that the user chose.
        path=folder / _expand_home(row["path"] or poses),
        session=row.get("session") or "",
        camera=row.get("camera") or "",
        calibration=str(folder / _expand_home(calibration)) if calibration else "",
        poses=str(folder / _expand_home(poses)) if poses else "",
        metadata={key: value or "" for key, value in row.items() if key not in known},
    )


def _expand_home(path: str) -> str:
    # Path.expanduser raises where a container's user has no home.
    return os.path.expanduser(path)  # noqa: PTH111
