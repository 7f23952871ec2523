"""Read the tables of shards: the one place where a damaged one is told from a whole one.

A table is written by a run, but disks, copies and editors damage files. One that is damaged counts
as if it were not there: its videos wait for the stage again, which writes it anew from its records
and results, and the rest of the cohort goes on.
"""

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.stages import Stage
from pipeline_lib.core.tables import (
    PROBE_COLUMNS,
    SESSION_EXPORT_COLUMNS,
    STAGE_COLUMNS,
    TRIANGULATION_NEEDED,
    SessionStatus,
    VideoStatus,
)
from pipeline_lib.io.stage_tables import read_table

_log = logging.getLogger(__name__)
_STATUSES = frozenset({*VideoStatus, *SessionStatus})
# Empty where a video did not come so far.
_NUMBERS = ("seconds", "fps", "frames", "width", "height", "duration", "error", "found")
_COUNTS = ("frames", "width", "height", "undecodable", "still", "most_animals", "surplus_frames")


def read_shard_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]] | None:
    """Read the table of a stage of a shard.

    Parameters
    ----------
    path
        The table.
    columns
        Those that it must have.

    Returns
    -------
    list of dict or None
        None if there is no such table, or it is damaged, which is logged once.
    """
    if not path.exists():
        return None
    try:
        rows = read_table(path, columns)
        _check(path, rows)
    except StoreError as error:
        _tell(str(error))
        return None
    return rows


def is_damaged(path: Path, columns: Sequence[str]) -> bool:
    """Tell whether there is a table that cannot be read."""
    return path.exists() and read_shard_table(path, columns) is None


def list_columns(stage: Stage) -> tuple[str, ...]:
    """Return the columns that the table of a stage must have."""
    if stage.sessions is None:
        return PROBE_COLUMNS if stage.name == "probe" else STAGE_COLUMNS
    return TRIANGULATION_NEEDED if stage.name == "triangulate" else SESSION_EXPORT_COLUMNS


def _check(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    for row in rows:
        if row.get("status", VideoStatus.DONE) not in _STATUSES:
            raise StoreError(
                f"{path}: a row has the status {row['status']!r:.60}, expected one of "
                f"{', '.join(sorted(_STATUSES))}"
            )
        for name in _NUMBERS:
            if row.get(name) and not _is_number(row[name]):
                raise StoreError(
                    f"{path}: a row has {row[name]!r:.60} as `{name}`, expected a number"
                )
        for name in _COUNTS:
            if row.get(name) and not (row[name].isascii() and row[name].isdecimal()):
                raise StoreError(
                    f"{path}: a row has {row[name]!r:.60} as `{name}`, expected a count"
                )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@functools.cache
def _tell(what: str) -> None:
    """Log a warning once: a run reads its tables several times."""
    _log.warning("%s: it counts as missing; the next run writes it anew", what)
