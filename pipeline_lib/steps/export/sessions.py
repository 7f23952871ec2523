"""Run the verb `export-sessions`: write the poses of every session of a shard for other tools."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline_lib.core import versions
from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import CohortposeError, SheetError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import (
    SESSION_EXPORT_COLUMNS,
    TRIANGULATION_NEEDED,
    SessionStatus,
)
from pipeline_lib.io.checksums import measure_path
from pipeline_lib.io.exports.session import Session, read_session
from pipeline_lib.io.exports.sessions.registry import write_session_export
from pipeline_lib.io.exports.sessions.source import SessionSource
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.provenance.checksums import Published, read_checksums, record_checksums
from pipeline_lib.steps.runs.plan import read_plan
from pipeline_lib.steps.runs.sessions import read_sessions
from pipeline_lib.steps.triangulate.sources import SourceFinder

_log = logging.getLogger(__name__)

Row = dict[str, Any]
Edges = tuple[tuple[str, str], ...]


def run_export_sessions(config: Config, results: Results, shard: str) -> None:
    """Export the sessions of a shard that have been triangulated.

    A session whose export fails is recorded with its reason, and the others are processed; one
    that was not triangulated keeps its status and reason. Files whose key is unchanged stay.

    Parameters
    ----------
    config
        Settings of the run: `triangulation.exports`, and the model's name.
    results
        The results folder.
    shard
        Name of the shard.

    Raises
    ------
    StoreError
        If the table of `triangulate` is missing.
    """
    exporter = _Exporter(config, results, shard)
    table = results.shard(shard).table("triangulate", config.training.name)
    rows = read_table(table, TRIANGULATION_NEEDED)
    ended = [exporter.end(row) for row in rows if row["session"] in exporter.views]
    done = [row for row in ended if row["status"] == SessionStatus.DONE]
    _log.info("export-sessions %s: %d of %d sessions done", shard, len(done), len(ended))
    stage = STAGES["export-sessions"]
    write_table(stage.find_table(config, results, shard), SESSION_EXPORT_COLUMNS, ended)


def export_key(config: Config, pose_key: str, edges: Edges, described: str) -> str:
    """Return the key of the exported files of a session: the hash of all that they depend on.

    Parameters
    ----------
    config
        Settings of the run.
    pose_key
        Key of the session's poses.
    edges
        Edges of the skeleton, which some formats draw.
    described
        Hash of what the sheet says of session and subject.
    """
    drawn = [{"edges": edges}] if config.triangulation.linked else []
    settings = STAGES["export-sessions"].hash_settings(config)
    return hash_settings(pose_key, settings, described, versions.EXPORT_SESSIONS, *drawn)


class _Exporter:
    """Export the sessions of one shard."""

    def __init__(self, config: Config, results: Results, shard: str) -> None:
        self._config, self._results = config, results
        self.views = read_sessions(results, read_plan(results)).group(shard)
        self._edges = SourceFinder(config, results).edges
        self._model = config.training.name
        self._record = results.shard(shard).checksums("export-sessions", self._model)
        self._known = read_checksums(self._record)

    def end(self, row: Mapping[str, str]) -> Row:
        """Export one session; return its row of the table."""
        session, began = row["session"], time.perf_counter()
        if row["status"] != SessionStatus.DONE:
            return {"session": session, "status": row["status"], "reason": row["reason"]}
        described = self.views[session][0]["described"]
        key = export_key(self._config, row["key"], self._edges, described)
        try:
            self._export(session, key)
        except CohortposeError as error:
            _log.warning("export-sessions %s: %s", session, error)
            return {"session": session, "status": SessionStatus.FAILED, "reason": str(error)}
        return {
            "session": session,
            "status": SessionStatus.DONE,
            "seconds": time.perf_counter() - began,
            "key": key,
            "source_key": row["key"],
        }

    def _export(self, session: str, key: str) -> None:
        """Write the files of a session, unless they are those of the key."""
        names = self._config.triangulation.exports
        paths = {name: self._results.session_export(self._model, session, name) for name in names}
        if all(self._holds(path, key) for path in paths.values()):
            return
        described, problems = self._describe(session)
        for problem in problems:
            _log.warning("export-sessions %s: %s", session, problem)
        source = SessionSource(
            self._results.triangulated(self._model, session),
            self._edges,
            self._config.exports.scorer,
            key,
            described,
        )
        for name, path in paths.items():
            write_session_export(name, path, source)
        published = [Published(name, path, session, key) for name, path in paths.items()]
        record_checksums(self._record, self._results.root, published)

    def _holds(self, path: Path, key: str) -> bool:
        """Tell whether a file is there as it was written under a key."""
        row = self._known.get(path.relative_to(self._results.root).as_posix())
        if row is None or row["key"] != key or not path.exists():
            return False
        measure = measure_path(path)
        return (str(measure.bytes), str(measure.modified_ns)) == (row["bytes"], row["modified_ns"])

    def _describe(self, session: str) -> tuple[Session, list[str]]:
        """Return what the sheet says of a session, by its first video, and its problems."""
        if not self._config.triangulation.described:
            return Session(session_id=session), []
        first = self.views[session][0]["video"]
        try:
            rows = {row.video: row for row in read_cohort(Path(self._config.cohort))}
        except SheetError as error:
            return Session(session_id=session), [str(error)]
        if first not in rows:
            return Session(session_id=session), [f"{first} is not in the sheet any more"]
        return read_session(rows[first].metadata, session)
