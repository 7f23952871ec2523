"""Add rows to the text of a cohort sheet, and leave the rest of it to the character."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from pipeline_lib.io.stage_tables import format_table

_LINE_ENDS = ("\r\n", "\n", "\r")


def extend_text(text: str, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    """Return the text of a sheet with further rows at its end.

    Existing rows keep their order, spelling and line ends. Columns that the sheet lacks are put
    after its own; existing rows get empty cells there.

    Parameters
    ----------
    text
        A sheet that `read_cohort` accepts.
    columns
        Columns of the new rows.
    rows
        New rows; a column of the sheet that they lack is an empty cell.
    """
    records = _split_records(text)
    header = records[0][1]
    new = [name for name in columns if name not in header]
    end = next((end for end in _LINE_ENDS if records[0][0].endswith(end)), "\n")
    kept = [
        _append_cells(record, cells, header, new) if new else record for record, cells in records
    ]
    if kept and not kept[-1].endswith(_LINE_ENDS):
        kept[-1] += end
    table = format_table((*header, *new), rows)
    # The reader keeps line ends within cells.
    added = [record.removesuffix("\n") + end for record, _ in _split_records(table)[1:]]
    return "".join((*kept, *added))


def _split_records(text: str) -> list[tuple[str, list[str]]]:
    """Return each record as it stands, with its line end, and its cells; blank lines, too."""
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(lines, delimiter="\t", strict=True)
    records, start = [], 0
    for cells in reader:
        records.append(("".join(lines[start : reader.line_num]), cells))
        start = reader.line_num
    return records


def _append_cells(
    record: str, cells: Sequence[str], header: Sequence[str], new: Sequence[str]
) -> str:
    if not any(cell.strip() for cell in cells):
        return record
    end = next((end for end in _LINE_ENDS if record.endswith(end)), "")
    body = record.removesuffix(end)
    if cells == header:
        names = format_table(new, ()).removesuffix("\n")
        return f"{body}\t{names}{end}"
    # A row may be shorter than the header.
    return f"{body}{chr(9) * (len(header) - len(cells) + len(new))}{end}"
