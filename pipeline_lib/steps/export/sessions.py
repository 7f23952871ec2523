"""Run the verb `export-sessions`: write the poses of every session of a shard for other tools."""

import logging
from collections.abc import Mapping
from pathlib import Path

from pipeline_lib.core import versions
from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import SheetError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import SESSION_EXPORT_COLUMNS
from pipeline_lib.io.checksums import measure_path
from pipeline_lib.io.exports.session import Session, read_session
from pipeline_lib.io.exports.sessions.registry import write_session_export
from pipeline_lib.io.exports.sessions.source import SessionSource
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.provenance.checksums import Published, read_checksums, record_checksums
from pipeline_lib.steps.runs.sessions.outcomes import Views, end_sessions
from pipeline_lib.steps.triangulate.sources import SourceFinder

_log = logging.getLogger(__name__)

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
    ended = end_sessions("export-sessions", config, results, shard, exporter.work)
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
        self._edges = SourceFinder(config, results).edges
        self._model = config.training.name
        self._record = results.shard(shard).checksums("export-sessions", self._model)
        self._known = read_checksums(self._record)

    def work(self, row: Mapping[str, str], views: Views) -> Mapping[str, str]:
        """Export one session; return its key."""
        key = export_key(self._config, row["key"], self._edges, views[0]["described"])
        self._export(row["session"], views[0]["video"], key)
        return {"key": key}

    def _export(self, session: str, first: str, key: str) -> None:
        """Write the files of a session, unless they are those of the key."""
        names = self._config.triangulation.exports
        paths = {name: self._results.session_export(self._model, session, name) for name in names}
        if all(self._holds(path, key) for path in paths.values()):
            return
        described, problems = self._describe(session, first)
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

    def _describe(self, session: str, first: str) -> tuple[Session, list[str]]:
        """Return what the sheet says of a session, by its first video, and its problems."""
        if not self._config.triangulation.described:
            return Session(session_id=session), []
        try:
            rows = {row.video: row for row in read_cohort(Path(self._config.cohort))}
        except SheetError as error:
            return Session(session_id=session), [str(error)]
        if first not in rows:
            return Session(session_id=session), [f"{first} is not in the sheet any more"]
        return read_session(rows[first].metadata, session)
