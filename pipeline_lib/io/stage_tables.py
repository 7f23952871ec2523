"""Tab-separated tables of how a stage ended for each video of a shard."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.publish import publish_text


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Publish rows as a TSV; None is written as an empty cell, line breaks as blanks.

    Raises
    ------
    ValueError
        If a row has a column that is not listed.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _to_cell(value) for key, value in row.items()})
    publish_text(path, buffer.getvalue())


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a TSV written by `write_table`.

    Raises
    ------
    StoreError
        If the file is missing or lacks a column.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t")
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            rows = list(reader)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; the step that writes it has not run") from None
    if missing:
        raise StoreError(f"{path}: lacks the columns {', '.join(missing)}; run its step again")
    return rows


def _to_cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # Short for people; enough digits that a frame rate is right for days.
        return f"{value:.10g}"
    return " ".join(str(value).split())
