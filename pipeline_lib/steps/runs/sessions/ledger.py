"""Derive the table of sessions: the status of every session of the sheet, from tables alone."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline_lib.core.cameras.sessions import list_sessions
from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES, VIDEO_STAGES, Stage
from pipeline_lib.core.tables import (
    SESSION_EXPORT_COLUMNS,
    TRIANGULATION_COLUMNS,
    TRIANGULATION_NEEDED,
    SessionStatus,
    VideoStatus,
)
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.runs.ledger import derive_ledger
from pipeline_lib.steps.runs.plan import read_plan
from pipeline_lib.steps.runs.sessions.shards import plan_sessions
from pipeline_lib.steps.runs.shard_tables import read_shard_table
from pipeline_lib.steps.triangulate.sources import SessionSources, SourceFinder

SessionRow = dict[str, Any]

_CHANGED = "its videos, its calibration or settings have changed"
_NUMBERS = ("seconds", "found", "error", "uncertainty")


def derive_session_ledger(
    config: Config, results: Results, videos: Iterable[Mapping[str, Any]] | None = None
) -> list[SessionRow]:
    """Derive the status of every session of the sheet.

    A session is `pending` while one of its videos, its calibration or itself waits for a stage, or
    was made from something else than the present settings and files.

    Parameters
    ----------
    config, results
        The run.
    videos
        Rows of the ledger, of `pipeline_lib.steps.runs.ledger.derive_ledger`; None: derived here.

    Returns
    -------
    list of dict
        One row per session in the sheet's order, with the keys of
        `pipeline_lib.core.tables.TRIANGULATION_COLUMNS`; none if sessions are not triangulated.

    Raises
    ------
    SheetError, StoreError
        As `pipeline_lib.steps.runs.ledger.derive_ledger`.
    """
    if not STAGES["triangulate"].wanted(config):
        return []
    rows = derive_ledger(config, results) if videos is None else videos
    return _Ledger(config, results, {row["video"]: row for row in rows}).derive()


def write_session_ledger(config: Config, results: Results) -> None:
    """Publish the table of sessions, whatever it says."""
    rows = derive_session_ledger(config, results)
    write_table(results.session_ledger, TRIANGULATION_COLUMNS, rows)


def count_session_statuses(rows: Iterable[Mapping[str, Any]]) -> dict[SessionStatus, int]:
    """Return the number of sessions per status, zeros included."""
    counts = Counter(row["status"] for row in rows)
    return {status: counts[status] for status in SessionStatus}


class _Ledger:
    """Derive the rows of one cohort."""

    def __init__(
        self, config: Config, results: Results, videos: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self._config, self._results, self._videos = config, results, videos
        self._finder = SourceFinder(config, results)
        self._needed = VIDEO_STAGES[: VIDEO_STAGES.index(self._finder.source.name) + 1]
        self._tables: dict[str, dict[str, SessionRow]] = {}
        self._later: dict[Path, dict[str, dict[str, str]]] = {}

    def derive(self) -> list[SessionRow]:
        """Return a row per session."""
        cohort = read_cohort(Path(self._config.cohort))
        sessions = list_sessions(self._config, cohort)
        if not self._results.plan.exists():
            return [_wait(session.name, "waiting for probe") for session in sessions]
        plan = read_plan(self._results)
        known = plan.shard_of
        planned = [video for video in cohort if video.video in known]
        views = plan_sessions(self._config, planned, plan)
        shard_of = {row["session"]: shard for shard in views.shards for row in views.views[shard]}
        rows = []
        for session in sessions:
            waiting = self._find_waiting(session.videos)
            if waiting:
                rows.append(_wait(session.name, waiting))
                continue
            shard = shard_of[session.name]
            sources = self._finder.find(session.name, views.group(shard)[session.name])
            row = self._derive_row(sources, self._read(shard).get(session.name))
            rows.append(self._derive_later(row, shard))
        return rows

    def _find_waiting(self, videos: Iterable[Video]) -> str:
        """Return what the poses of a session's videos wait for; empty if they are there."""
        for video in videos:
            row = self._videos[video.video]
            reached = row["stage"] in VIDEO_STAGES and row["stage"] not in self._needed[:-1]
            if row["status"] == VideoStatus.PENDING and not reached:
                return f"{video.video}: {row['reason']}"
        return ""

    def _derive_row(self, sources: SessionSources, record: SessionRow | None) -> SessionRow:
        if sources.status == SessionStatus.PENDING:
            return _wait(sources.session, sources.reason)
        if record is None:
            return _wait(sources.session, "waiting for triangulate")
        status = record["status"]
        if sources.status != SessionStatus.DONE and status == sources.status:
            return {**record, "reason": sources.reason}
        if status not in (sources.status, SessionStatus.FAILED) or record["key"] != sources.key:
            return _wait(sources.session, f"waiting for triangulate: {_CHANGED}")
        lost = self._find_lost("triangulate", sources.session)
        if status == SessionStatus.DONE and lost:
            return _wait(sources.session, f"waiting for triangulate: {lost} is missing")
        return record

    def _find_lost(self, stage: str, session: str) -> Path | None:
        """Return a result of a session that is not there; None if all are."""
        paths = STAGES[stage].list_session_results(self._config, self._results, session)
        return next((path for path in paths if not path.exists()), None)

    def _derive_later(self, row: SessionRow, shard: str) -> SessionRow:
        """Return a row of a session that is done, or that a later stage of it waits or failed."""
        for name in ("correct-views", "export-sessions", "render-sessions"):
            stage = STAGES[name]
            if row["status"] == SessionStatus.DONE and stage.wanted(self._config):
                row = self._derive_stage(row, stage, shard)
        return row

    def _derive_stage(self, row: SessionRow, stage: Stage, shard: str) -> SessionRow:
        path = stage.find_table(self._config, self._results, shard)
        if path not in self._later:
            rows = read_shard_table(path, SESSION_EXPORT_COLUMNS) or []
            self._later[path] = {one["session"]: one for one in rows}
        record = self._later[path].get(row["session"])
        if record is None or record["source_key"] not in ("", row["key"]):
            return _wait(row["session"], f"waiting for {stage.name}")
        if record["status"] == SessionStatus.FAILED:
            return {**row, "status": SessionStatus.FAILED, "reason": record["reason"]}
        if lost := self._find_lost(stage.name, row["session"]):
            return _wait(row["session"], f"waiting for {stage.name}: {lost} is missing")
        return row

    def _read(self, shard: str) -> dict[str, SessionRow]:
        if shard not in self._tables:
            path = STAGES["triangulate"].find_table(self._config, self._results, shard)
            rows = read_shard_table(path, TRIANGULATION_NEEDED) or []
            self._tables[shard] = {row["session"]: _read_cells(row, path) for row in rows}
        return self._tables[shard]


def _read_cells(row: Mapping[str, str], table: Path) -> SessionRow:
    """Return a row of the table with its status, and numbers where it has them.

    Raises
    ------
    StoreError
        If it has a status that there is not.
    """
    cells: SessionRow = {name: row.get(name) or "" for name in TRIANGULATION_COLUMNS}
    try:
        cells["status"] = SessionStatus(row["status"])
        cells |= {name: float(row[name]) if row[name] else None for name in _NUMBERS}
        cells["moments"] = int(row["moments"]) if row["moments"] else None
    except ValueError as error:
        raise StoreError(
            f"{table}: session {row['session']}: {error}; remove the file and run again"
        ) from None
    return cells


def _wait(session: str, reason: str) -> SessionRow:
    return {
        **dict.fromkeys(TRIANGULATION_COLUMNS),
        "session": session,
        "status": SessionStatus.PENDING,
        "reason": reason,
    }
