"""The cohort sheet: which videos there are, and what the user says of them."""

import csv
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pipeline_lib.core.errors import SheetError
from pipeline_lib.core.names import find_name_problem
from pipeline_lib.core.regular_files import require_regular_file
from pipeline_lib.core.tables import SHEET_OPTIONAL, SHEET_REQUIRED


@dataclass(frozen=True)
class Video:
    """One row of the cohort sheet.

    Attributes
    ----------
    video
        Unique name.
    path
        The file, which need not exist: relative to the working directory if both the sheet's path
        and the cell are relative, so that a project that is moved with its videos stays as it is.
    session, camera, calibration
        As in the sheet; empty where not given. Calibration is a path like `path`.
    metadata
        Every other column, in the sheet's order.
    """

    video: str
    path: Path
    session: str = ""
    camera: str = ""
    calibration: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


def read_cohort(sheet: Path) -> tuple[Video, ...]:
    """Read a cohort sheet; missing video files are left to the probe.

    Parameters
    ----------
    sheet
        Tab-separated table with at least the columns ``video`` and ``path``.

    Raises
    ------
    SheetError
        With one line per problem: missing file or columns, bad or duplicate names, empty paths.
    """
    try:
        require_regular_file(sheet)
        with sheet.open(encoding="utf-8-sig", newline="") as file:
            # Strict: a quotation mark that is never closed would swallow the rows below it.
            reader = csv.DictReader(file, delimiter="\t", strict=True)
            header = tuple(reader.fieldnames or ())
            rows = [(reader.line_num, row) for row in reader if not _is_blank(row)]
    except FileNotFoundError:
        raise SheetError(
            str(sheet), ["no such file; `cohortpose init` writes one for a folder of videos"]
        ) from None
    except OSError as error:
        raise SheetError(str(sheet), [f"cannot be read: {error.strerror}"]) from None
    except (UnicodeDecodeError, csv.Error) as error:
        problem = f"is not a UTF-8 text table: {error} (a cell with a quotation mark is quoted)"
        raise SheetError(str(sheet), [problem]) from None
    missing = [name for name in SHEET_REQUIRED if name not in header]
    if missing:
        found = ", ".join(header) or "nothing"
        raise SheetError(
            str(sheet),
            [f"missing column `{name}` (tab-separated; found: {found})" for name in missing],
        )
    problems = _find_problems(rows, header)
    if problems:
        raise SheetError(str(sheet), problems)
    return tuple(_parse_row(row, sheet.parent) for _, row in rows)


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
    first_line: dict[str, int] = {}
    for line, row in rows:
        video = row["video"] or ""
        if problem := find_name_problem(video):
            problems.append(f"line {line}: video {video!r} {problem}")
        elif video in first_line:
            problems.append(f"line {line}: video {video} already on line {first_line[video]}")
        first_line.setdefault(video, line)
        if not row["path"]:
            problems.append(f"line {line}: no path")
        if None in row:
            problems.append(f"line {line}: more cells than columns")
    return problems


def _parse_row(row: dict[str, str], folder: Path) -> Video:
    known = {*SHEET_REQUIRED, *SHEET_OPTIONAL}
    calibration = row.get("calibration") or ""
    return Video(
        video=row["video"],
        # Not resolved: a link is a path that the user chose.
        path=folder / _expand_home(row["path"]),
        session=row.get("session") or "",
        camera=row.get("camera") or "",
        calibration=str(folder / _expand_home(calibration)) if calibration else "",
        metadata={key: value or "" for key, value in row.items() if key not in known},
    )


def _expand_home(path: str) -> str:
    # Path.expanduser raises where a container's user has no home.
    return os.path.expanduser(path)  # noqa: PTH111
