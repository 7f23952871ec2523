"""Run the verb `status`: show the status of the cohort to people and scripts.

Imports are light (no array library), so that the answer is immediate.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import VIDEO_STAGES
from pipeline_lib.core.tables import SURPLUS_FRAMES, SessionStatus, VideoStatus
from pipeline_lib.core.untrusted.unseen import escape_unseen
from pipeline_lib.io.stage_tables import format_table
from pipeline_lib.steps.runs.ledger import (
    BAD_STATUSES,
    LedgerRow,
    count_statuses,
    derive_ledger,
    ledger_columns,
)
from pipeline_lib.steps.runs.sessions.ledger import (
    SessionRow,
    count_session_statuses,
    derive_session_ledger,
)

_STYLES = {
    VideoStatus.DONE: "green",
    VideoStatus.PENDING: "cyan",
    VideoStatus.FAILED: "bold red",
    VideoStatus.QUARANTINED: "yellow",
}
_SESSION_STYLES = {
    SessionStatus.DONE: "green",
    SessionStatus.PENDING: "cyan",
    SessionStatus.FAILED: "bold red",
    SessionStatus.NO_CALIBRATION: "yellow",
    SessionStatus.TOO_FEW_CAMERAS: "yellow",
}
_BAR_WIDTH = 40
# More lines are of no use in a terminal, and laying out thousands of rows takes seconds.
_ROWS_SHOWN = 100
_VIDEOS_NAMED = 3
_NOT_GOOD = ("fail", "warn")
# A new attempt at inference helps only videos that ended there or before.
_STAGES_TRIED_AGAIN = VIDEO_STAGES[: VIDEO_STAGES.index("infer") + 1]


def show_status(
    config: Config,
    results: Results,
    *,
    failed: bool,
    console: Console,
    spell: Callable[[str], str],
) -> None:
    """Show the videos that are not done, with reasons, then the counts per status.

    The counts come last because they remain on the screen at the end of a run.

    Parameters
    ----------
    config, results
        The run; its ledger is derived anew, so that it is true also while jobs run.
    failed
        List only the failed and quarantined videos.
    console
        Where to write.
    spell
        Returns the command line of a verb with its options, for the commands that are proposed.

    Raises
    ------
    SheetError, StoreError
        As `pipeline_lib.steps.runs.ledger.derive_ledger`.
    """
    rows = derive_ledger(config, results)
    sessions = derive_session_ledger(config, results, rows)
    listed = select_rows(rows, failed=failed)
    if listed:
        console.print(_tabulate(listed[:_ROWS_SHOWN]))
        if len(listed) > _ROWS_SHOWN:
            more = len(listed) - _ROWS_SHOWN
            console.print(f"... and {more} more; --format tsv lists all of them")
    elif failed:
        console.print("No video failed or is quarantined.", style="green")
    if unfinished := _select_sessions(sessions, failed=failed):
        console.print(_tabulate_sessions(unfinished[:_ROWS_SHOWN]))
    bar = "#" if console.options.ascii_only else "█"
    console.print(_summarise(count_statuses(rows), len(rows), config.cohort, bar))
    if sessions:
        console.print(_summarise_sessions(sessions))
    notes = (
        _tell_undecodable(rows),
        _tell_still(rows),
        _tell_surplus(rows, config.individuals.max),
        _tell_quality(rows),
        _tell_doubts(sessions),
    )
    for line in (*notes, *_propose_commands(rows, spell, listed=failed)):
        if line:
            # Commands are copied: the terminal may wrap them, we do not.
            console.print(line, soft_wrap=True, markup=False, highlight=False)


def format_status(
    config: Config, results: Results, *, failed: bool, style: Literal["json", "tsv"]
) -> str:
    """Return the ledger for scripts: all videos, or only those that ended badly.

    Returns
    -------
    str
        ``json``: an object with ``counts`` and ``videos``, and if sessions are triangulated
        ``session_counts`` and ``sessions``; ``tsv``: the ledger's columns.
    """
    rows = derive_ledger(config, results)
    listed = [row for row in rows if not failed or row["status"] in BAD_STATUSES]
    if style == "json":
        record: dict[str, Any] = {"counts": count_statuses(rows), "videos": listed}
        if config.triangulation.enabled:
            sessions = derive_session_ledger(config, results, rows)
            record["session_counts"] = count_session_statuses(sessions)
            record["sessions"] = _select_sessions(sessions, failed=True) if failed else sessions
        return json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    return format_table(ledger_columns(rows), listed)


def select_rows(rows: Sequence[LedgerRow], *, failed: bool) -> list[LedgerRow]:
    """Return the videos to list, the bad ones first, otherwise in the sheet's order."""
    bad = [row for row in rows if row["status"] in BAD_STATUSES]
    if failed:
        return bad
    return bad + [row for row in rows if row["status"] == VideoStatus.PENDING]


def _summarise(counts: dict[VideoStatus, int], videos: int, sheet: str, bar: str) -> Text:
    text = Text(f"{sheet}: {_count(videos, 'video')}\n", style="bold")
    for status, width in _share_bar(counts, videos).items():
        text.append(bar * width, style=_STYLES[status])
    text.append("\n")
    for status, style in _STYLES.items():
        text.append(f"{counts[status]} {status}   ", style=style if counts[status] else "dim")
    text.rstrip()
    return text


def _select_sessions(sessions: Sequence[SessionRow], *, failed: bool) -> list[SessionRow]:
    """Return the sessions to list: those that are not done."""
    left_out = {SessionStatus.DONE, *([SessionStatus.PENDING] if failed else [])}
    return [row for row in sessions if row["status"] not in left_out]


def _summarise_sessions(sessions: Sequence[SessionRow]) -> Text:
    """Return the counts of the statuses that occur."""
    text = Text(f"{_count(len(sessions), 'session')}: ", style="bold")
    for status, number in count_session_statuses(sessions).items():
        if number:
            text.append(f"{number} {status}   ", style=_SESSION_STYLES[status])
    text.rstrip()
    return text


def _tabulate_sessions(sessions: Sequence[SessionRow]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("session", overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for row in sessions:
        status = row["status"]
        shown = Text(status, style=_SESSION_STYLES[status])
        table.add_row(escape(row["session"]), shown, escape(row["reason"]))
    return table


def _share_bar(counts: dict[VideoStatus, int], videos: int) -> dict[VideoStatus, int]:
    """Return cells per status: about proportional, at least one for a status that occurs."""
    return {
        status: max(1, round(_BAR_WIDTH * counts[status] / videos)) if counts[status] else 0
        for status in _STYLES
    }


def _tell_still(rows: Sequence[LedgerRow]) -> str:
    """Return a line on the frames in which nothing moved; empty if every frame was computed."""
    known = [row for row in rows if row["still"] is not None and row["frames"]]
    if not known:
        return ""
    share = sum(row["still"] for row in known) / sum(row["frames"] for row in known)
    return (
        f"nothing moved in {share:.1%} of the frames of {_count(len(known), 'video')}: not computed"
    )


def _tell_undecodable(rows: Sequence[LedgerRow]) -> str:
    """Return a line on the videos with undecodable frames, the worst named; empty if none."""
    damaged = sorted(
        (row for row in rows if row["undecodable"]), key=lambda row: -int(row["undecodable"])
    )
    if not damaged:
        return ""
    frames = sum(row["undecodable"] for row in damaged)
    named = ", ".join(f"{row['video']} ({row['undecodable']})" for row in damaged[:_VIDEOS_NAMED])
    more = ", ..." if len(damaged) > _VIDEOS_NAMED else ""
    return (
        f"{_count(len(damaged), 'video')} with {_count(frames, 'undecodable frame')}, kept as rows "
        f"without a pose: {named}{more}"
    )


def _tell_surplus(rows: Sequence[LedgerRow], most: int) -> str:
    """Return a line on the videos with too many animals, the worst named; empty if none."""
    crowded = sorted(
        (row for row in rows if row[SURPLUS_FRAMES]), key=lambda row: -int(row[SURPLUS_FRAMES])
    )
    if not crowded:
        return ""
    named = ", ".join(f"{row['video']} ({row[SURPLUS_FRAMES]})" for row in crowded[:_VIDEOS_NAMED])
    more = ", ..." if len(crowded) > _VIDEOS_NAMED else ""
    return (
        f"{_count(len(crowded), 'video')} with frames that show more than {most} animals "
        "(`individuals.max`); tracking keeps those that are found longest "
        f"and with the highest confidence: {named}{more}"
    )


def _tell_quality(rows: Sequence[LedgerRow]) -> str:
    """Return a line on the videos that do not pass, the failed ones named; empty if all do."""
    found = {one: [row["video"] for row in rows if row.get("quality") == one] for one in _NOT_GOOD}
    if not any(found.values()):
        return ""
    counts = ", ".join(f"{len(videos)} {one}" for one, videos in found.items())
    named = ", ".join(found["fail"][:_VIDEOS_NAMED])
    more = ", ..." if len(found["fail"]) > _VIDEOS_NAMED else ""
    return f"quality: {counts}{f' ({named}{more})' if named else ''}; why is in qc.tsv"


def _tell_doubts(sessions: Sequence[SessionRow]) -> str:
    """Return a line on the sessions that are in doubt, some named; empty if none is."""
    doubtful = [row["session"] for row in sessions if row.get("doubts")]
    if not doubtful:
        return ""
    more = ", ..." if len(doubtful) > _VIDEOS_NAMED else ""
    named = ", ".join(doubtful[:_VIDEOS_NAMED])
    return f"{_count(len(doubtful), 'session')} in doubt: {named}{more}; why is in sessions.tsv"


def _propose_commands(
    rows: Sequence[LedgerRow], spell: Callable[[str], str], *, listed: bool
) -> list[str]:
    """Return the commands that list the failed videos and that try them again."""
    bad = [row for row in rows if row["status"] in BAD_STATUSES]
    commands = []
    if bad and not listed:
        commands.append(f"why:       {spell('status --failed')}")
    if any(row["stage"] in _STAGES_TRIED_AGAIN for row in bad):
        commands.append(f"try again: {spell('infer --retry-failed')}, then snakemake as before")
    return commands


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


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
            escape(escape_unseen(row["reason"])),
        )
    return table
