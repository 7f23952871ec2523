"""Read and write tab-separated tables: plan, manifests, and outcomes of a stage of a shard.

Cells are data: what is read is, to the character, what was written. Only the column ``reason``,
which people read, is made one line of what they can see.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.untrusted.unseen import escape_unseen
from pipeline_lib.io.publish import publish_text

# Columns of prose; every other column may hold a path.
_PROSE = ("reason",)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Publish rows as a TSV, as `format_table` gives it.

    Raises
    ------
    ValueError
        If a row has a column that is not listed.
    """
    publish_text(path, format_table(columns, rows))


def format_table(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Return rows as the text of a TSV.

    None is an empty cell. A cell with a tab, a line break or a quotation mark is quoted, as
    spreadsheets do; in the column ``reason`` runs of white space become one blank, and characters
    that nobody sees become their codes.

    Raises
    ------
    ValueError
        If a row has a column that is not listed.
    """
    lines = [_format_row(columns)]
    for row in rows:
        unknown = row.keys() - set(columns)
        if unknown:
            raise ValueError(f"columns that are not listed: {', '.join(sorted(unknown))}")
        lines.append(_format_row([_to_cell(name, row.get(name)) for name in columns]))
    return "".join(lines)


def _format_row(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    # With this line end a carriage return in a cell is quoted as well.
    csv.writer(buffer, delimiter="\t", lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a TSV written by `write_table`.

    Raises
    ------
    StoreError
        If the file is missing or damaged, lacks a column, or has a row that is cut or too long.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t")
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            rows = list(reader)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; the step that writes it has not run") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StoreError(f"{path}: cannot be read ({error}); delete it and run again") from None
    if missing:
        raise StoreError(f"{path}: lacks the columns {', '.join(missing)}; delete it and run again")
    # The reader fills up short rows with None, and puts what is too much under None.
    if any(None in row or None in row.values() for row in rows):
        raise StoreError(f"{path}: has a row that is cut or too long; delete it and run again")
    return rows


def _to_cell(column: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # Short for people; enough digits that a frame rate is right for days.
        return f"{value:.10g}"
    return escape_unseen(" ".join(str(value).split())) if column in _PROSE else str(value)
