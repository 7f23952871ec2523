"""`cohortpose status`: how the cohort stands, for people and for scripts.

Imports stay light (no array library): the answer must come in a blink.
"""

import csv
import io
import json
from collections.abc import Sequence
from typing import Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings import Config
from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.steps.ledger import (
    BAD_STATUSES,
    LedgerRow,
    count_statuses,
    derive_ledger,
    ledger_columns,
)

_STYLES = {
    VideoStatus.DONE: "green",
    VideoStatus.PENDING: "cyan",
    VideoStatus.FAILED: "bold red",
    VideoStatus.QUARANTINED: "yellow",
}
_BAR_WIDTH = 40
# Nobody reads more in a terminal, and laying out thousands of rows takes seconds.
_ROWS_SHOWN = 100


def show_status(config: Config, results: Results, *, failed: bool, console: Console) -> None:
    """Show counts per status and the videos that are not done, with their reasons.

    Parameters
    ----------
    config, results
        The run; its ledger is derived anew, so that it is true also while jobs run.
    failed
        List only the failed and quarantined videos.
    console
        Where to write.

    Raises
    ------
    SheetError, StoreError
        As `pipeline_lib.steps.ledger.derive_ledger`.
    """
    rows = derive_ledger(config, results)
    counts = count_statuses(rows)
    console.print(_summarise(counts, len(rows), config.cohort))
    listed = select_rows(rows, failed=failed)
    if listed:
        console.print(_tabulate(listed[:_ROWS_SHOWN]))
        if len(listed) > _ROWS_SHOWN:
            more = len(listed) - _ROWS_SHOWN
            console.print(f"... and {more} more; --format tsv lists all of them")
    elif failed:
        console.print("No video failed or is quarantined.", style="green")
    else:
        console.print("Every video is done.", style="green")


def format_status(
    config: Config, results: Results, *, failed: bool, style: Literal["json", "tsv"]
) -> str:
    """Return the ledger for scripts: all videos, or only those that ended badly.

    Returns
    -------
    str
        ``json``: an object with ``counts`` and ``videos``; ``tsv``: the ledger's columns.
    """
    rows = derive_ledger(config, results)
    listed = [row for row in rows if not failed or row["status"] in BAD_STATUSES]
    if style == "json":
        record = {"counts": count_statuses(rows), "videos": listed}
        return json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, ledger_columns(rows), delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    return buffer.getvalue()


def select_rows(rows: Sequence[LedgerRow], *, failed: bool) -> list[LedgerRow]:
    """Return the videos to list, the bad ones first, otherwise in the sheet's order."""
    bad = [row for row in rows if row["status"] in BAD_STATUSES]
    if failed:
        return bad
    return bad + [row for row in rows if row["status"] == VideoStatus.PENDING]


def _summarise(counts: dict[VideoStatus, int], videos: int, sheet: str) -> Text:
    text = Text(f"{sheet}: {videos} video{'s' if videos != 1 else ''}\n", style="bold")
    for status, width in _share_bar(counts, videos).items():
        text.append("█" * width, style=_STYLES[status])
    text.append("\n")
    for status, style in _STYLES.items():
        text.append(f"{counts[status]} {status}   ", style=style if counts[status] else "dim")
    text.rstrip()
    return text


def _share_bar(counts: dict[VideoStatus, int], videos: int) -> dict[VideoStatus, int]:
    """Return cells per status: about proportional, never none for a status that occurs."""
    return {
        status: max(1, round(_BAR_WIDTH * counts[status] / videos)) if counts[status] else 0
        for status in _STYLES
    }


def _tabulate(rows: Sequence[LedgerRow]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("video", overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("stage", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for row in rows:
        status = row["status"]
        table.add_row(
            escape(row["video"]),
            Text(status, style=_STYLES[status]),
            row["stage"] or "-",
            escape(row["reason"]),
        )
    return table
