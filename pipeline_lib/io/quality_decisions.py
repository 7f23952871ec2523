"""Read and extend the table of people's decisions about videos (`quality.decisions`).

People write it, so every cell is checked, and a broken table is one error with all its problems.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.untrusted.regular_files import describe_encoding, require_regular_file
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.stage_tables import format_table

COLUMNS = ("video", "decision", "name", "date", "reason")
_NEEDED = ("video", "decision", "name")
DECISIONS = ("pass", "warn", "fail", "drop")
_MOST_BYTES = 16 * 2**20
_LONGEST_NAME, _LONGEST_REASON = 100, 2000


@dataclass(frozen=True)
class PersonDecision:
    """Hold a decision of a person about a video.

    Attributes
    ----------
    video
        Its name.
    decision
        One of `DECISIONS`.
    name
        Who decided.
    date
        ISO date; empty: unknown.
    reason
        In words; may be empty.
    """

    video: str
    decision: str
    name: str
    date: str = ""
    reason: str = ""


def read_decisions(path: Path) -> list[PersonDecision]:
    """Read the decisions of people, in the order of the table; none if there is no table.

    Raises
    ------
    LabelError
        With one line per problem: a table that is no text or lacks a column, a decision or a date
        that is none, a row without a video or a name.
    """
    text = _read_text(path)
    if text is None:
        return []
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t")
        found, rows = reader.fieldnames or (), list(reader)
    except csv.Error as error:
        raise LabelError(str(path), [f"is not a table of text: {error}"]) from None
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        shown = ", ".join(found) or "nothing"
        raise LabelError(
            str(path),
            [f"missing column `{name}` (tab-separated; found: {shown:.200})" for name in missing],
        )
    decisions, problems = [], []
    for line, row in enumerate(rows, start=2):
        cells = {name: (row.get(name) or "").strip() for name in COLUMNS}
        if not any(cells.values()):
            continue
        problem = "has more cells than the header" if None in row else _find_problem(cells)
        if problem:
            problems.append(f"line {line}: {problem}")
        else:
            decisions.append(PersonDecision(**cells))
    if problems:
        raise LabelError(str(path), problems)
    return decisions


def add_decisions(path: Path, added: Iterable[PersonDecision]) -> None:
    """Add decisions to the table, which is made if it is not there; earlier rows stay.

    Raises
    ------
    LabelError
        If the table, or a decision, is not as `read_decisions` expects it.
    """
    new = [{name: getattr(one, name) for name in COLUMNS} for one in added]
    problems = [f"{row['video']}: {problem}" for row in new if (problem := _find_problem(row))]
    if problems:
        raise LabelError(str(path), problems)
    # The text of people stays as it is, further columns included.
    read_decisions(path)
    text = _read_text(path)
    if not text:
        publish_text(path, format_table(COLUMNS, new))
        return
    header = next(csv.reader(io.StringIO(text, newline=""), delimiter="\t"))
    lines = format_table(header, [{k: v for k, v in row.items() if k in header} for row in new])
    body = lines.partition("\n")[2]
    publish_text(path, text + ("" if text.endswith(("\n", "\r")) else "\n") + body)


def _find_problem(cells: dict[str, str]) -> str:
    if not cells["video"]:
        return "names no video"
    if cells["decision"] not in DECISIONS:
        return f"expected {', '.join(DECISIONS)} as decision, found {cells['decision']!r:.60}"
    if not cells["name"]:
        return "names nobody who decided (column `name`)"
    if len(cells["name"]) > _LONGEST_NAME or len(cells["reason"]) > _LONGEST_REASON:
        return (
            f"expected at most {_LONGEST_NAME} characters as name and {_LONGEST_REASON} as reason"
        )
    if cells["date"]:
        try:
            date.fromisoformat(cells["date"])
        except ValueError:
            return f"expected a date such as 2026-01-31, found {cells['date']!r:.60}"
    return ""


def _read_text(path: Path) -> str | None:
    """Return the text of the table; None if there is none."""
    try:
        require_regular_file(path)
        if path.stat().st_size > _MOST_BYTES:
            raise LabelError(str(path), [f"is larger than {_MOST_BYTES // 2**20} MB"])
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LabelError(str(path), [f"cannot be read: {error.strerror}"]) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError(str(path), [describe_encoding(data, error)]) from None
