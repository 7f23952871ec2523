"""Assign sessions to shards, and compute the key files of their triangulation.

A session belongs to the lowest-numbered shard of its videos, so that there is no second plan: a
new session opens no shard that is done, and jobs of two shards never write the same session. What
the sheet says of a shard's sessions is written when a run starts, as manifests are; jobs read that.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline_lib.core.cameras.sessions import Session, list_sessions, name_calibration
from pipeline_lib.core.cohort import Video
from pipeline_lib.core.errors import ConfigError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES, list_session_stages
from pipeline_lib.core.tables import (
    CALIBRATION_COLUMNS,
    SESSION_VIEW_COLUMNS,
    CalibrationStatus,
    SessionStatus,
)
from pipeline_lib.io.checksums import hash_path, measure_file
from pipeline_lib.io.exports.session import hash_sessions
from pipeline_lib.io.key_files import find_last_key, list_other_keys
from pipeline_lib.io.stage_tables import format_table, read_table, write_table
from pipeline_lib.steps.runs.plan import Plan
from pipeline_lib.steps.runs.shard_tables import list_columns, read_shard_table

Row = dict[str, str]

_RULE = "triangulate"
# No calibration and no list of times is larger; what is, is refused by who reads it.
_MOST_BYTES = 2**26


@dataclass(frozen=True)
class SessionPlan:
    """Hold the sessions of each shard.

    Attributes
    ----------
    views
        Rows with the columns `SESSION_VIEW_COLUMNS` by shard, one per camera of a session; only
        shards with sessions.
    shard_of
        Shard of each video of the cohort.
    """

    views: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    shard_of: Mapping[str, str] = field(default_factory=dict)

    @property
    def shards(self) -> tuple[str, ...]:
        """Shards that sessions belong to, in order."""
        return tuple(self.views)

    @property
    def sources(self) -> dict[str, tuple[str, str]]:
        """Path and checksum of each calibration by its name; none for sessions without one."""
        return {
            row["calibration"]: (row["source"], row["source_checksum"])
            for rows in self.views.values()
            for row in rows
            if row["calibration"]
        }

    def group(self, shard: str) -> dict[str, list[Row]]:
        """Return the views of each session of a shard; none for a shard without sessions."""
        groups: dict[str, list[Row]] = {}
        for row in self.views.get(shard, ()):
            groups.setdefault(row["session"], []).append(row)
        return groups

    def list_video_shards(self, shard: str) -> tuple[str, ...]:
        """Return the shards of the videos of a shard's sessions, in order."""
        found = {self.shard_of[row["video"]] for row in self.views.get(shard, ())}
        return tuple(sorted(found))

    def is_written(self, results: Results) -> bool:
        """Tell whether the tables of all shards are on the disk."""
        return all(
            _find_written(results, shard) == self.views.get(shard, ())
            for shard in {*self.views, *_list_written(results)}
        )

    def write(self, results: Results) -> None:
        """Write the tables that differ; of a shard that lost its sessions, an empty one."""
        for shard in {*self.views, *_list_written(results)}:
            rows = self.views.get(shard, ())
            if _find_written(results, shard) != rows:
                write_table(results.shard(shard).sessions, SESSION_VIEW_COLUMNS, rows)


def plan_sessions(config: Config, videos: Iterable[Video], plan: Plan) -> SessionPlan:
    """Assign the sessions of a sheet to shards; write nothing.

    Parameters
    ----------
    config
        Names the calibration of sessions that have none of their own.
    videos
        Rows of the sheet.
    plan
        The plan of these videos.
    """
    if not STAGES["calibrate"].wanted(config):
        return SessionPlan()
    shard_of = plan.shard_of
    checksums = _Checksums()
    views: dict[str, tuple[Row, ...]] = {}
    for session in list_sessions(config, videos):
        shard = min(shard_of[video.video] for video in session.videos)
        rows = tuple(_describe_views(config, session, checksums))
        views[shard] = (*views.get(shard, ()), *rows)
    return SessionPlan(dict(sorted(views.items())), shard_of)


def require_triangulation(config: Config) -> None:
    """Refuse to work on sessions that the settings do not ask for.

    Raises
    ------
    ConfigError
        If `triangulation.enabled` is false.
    """
    if not config.triangulation.enabled:
        problem = "`triangulation.enabled` is false: set it to true, so that sessions are planned"
        raise ConfigError("config", [problem])


def read_sessions(results: Results, plan: Plan) -> SessionPlan:
    """Return the sessions that the last run wrote, with the plan that it wrote.

    Raises
    ------
    StoreError
        If a table is damaged.
    """
    views = {shard: _read_views(results, shard) for shard in _list_written(results)}
    return SessionPlan({shard: rows for shard, rows in views.items() if rows}, plan.shard_of)


def list_calibration_sources(config: Config, videos: Iterable[Video]) -> tuple[str, ...]:
    """Return a line with name and checksum of each calibration of a sheet."""
    checksums = _Checksums()
    sources = {session.source for session in list_sessions(config, videos) if session.source}
    return tuple(
        f"{name_calibration(source, Path(config.cohort))}: {checksums.find(source)}"
        for source in sorted(sources)
    )


def find_view_keys(config: Config, results: Results, sessions: SessionPlan) -> dict[str, Path]:
    """Return the key file of the sessions of each shard: their views and calibrations."""
    settings = STAGES["calibrate"].hash_settings(config)
    return {
        shard: results.shard(shard).view_key(
            hash_settings(settings, format_table(SESSION_VIEW_COLUMNS, rows))
        )
        for shard, rows in sessions.views.items()
    }


def find_claimed_views(results: Results, shard: str) -> Path:
    """Return the key file that the sessions of a shard have."""
    path = results.shard(shard).view_key("none")
    return next(iter(list_other_keys(path)), path)


def find_session_result_keys(
    config: Config, results: Results, sessions: SessionPlan
) -> dict[str, Path]:
    """Return the key file of each shard whose number is raised if results of sessions are lost.

    They are no outputs of the rule, so that a retry does not lose them.
    """
    keys = {}
    for shard in sessions.shards:
        last = find_last_key(results.result_key(_RULE, config.training.name, shard, 0))
        number = int(last.name.rpartition("-")[2])
        missing = _lacks_results(config, results, sessions, shard)
        keys[shard] = results.result_key(_RULE, config.training.name, shard, number + missing)
    return keys


def find_claimed_session_result(config: Config, results: Results, shard: str) -> Path:
    """Return the key file of the results of sessions that a shard has."""
    return find_last_key(results.result_key(_RULE, config.training.name, shard, 0))


def lacks_calibrations(results: Results) -> bool:
    """Tell whether a calibration is missing that the table lists as done."""
    if not results.calibrations.exists():
        return False
    return any(
        not path.exists()
        for row in read_table(results.calibrations, CALIBRATION_COLUMNS)
        if row["status"] == CalibrationStatus.DONE
        for path in (
            results.calibration(row["calibration"]),
            results.calibration_quality(row["calibration"]),
        )
    )


def list_session_keys(config: Config, results: Results, sessions: SessionPlan) -> list[Path]:
    """Return all key files of the sessions that a run wants."""
    if not list_session_stages(config):
        return []
    return [
        *find_view_keys(config, results, sessions).values(),
        *find_session_result_keys(config, results, sessions).values(),
    ]


def _lacks_results(config: Config, results: Results, sessions: SessionPlan, shard: str) -> bool:
    """Tell whether a result of a session is missing that the table of a stage lists as done."""
    planned = sessions.group(shard)
    for stage in list_session_stages(config):
        table = stage.find_table(config, results, shard)
        rows = read_shard_table(table, list_columns(stage))
        if rows is None and table.exists():
            return True
        if any(
            not path.exists()
            for row in rows or ()
            if row["status"] == SessionStatus.DONE and row["session"] in planned
            for path in stage.list_session_results(config, results, row["session"])
        ):
            return True
    return False


def _describe_views(config: Config, session: Session, checksums: "_Checksums") -> Iterator[Row]:
    settings, folder = config.triangulation.synchronisation, Path(config.cohort).parent
    source = session.source
    name = name_calibration(source, Path(config.cohort)) if source else ""
    for video in session.videos:
        times = video.metadata.get(settings.timestamps_column or "", "").strip()
        timestamps = str(folder / Path(times)) if times else ""
        yield {
            "session": session.name,
            "camera": video.camera,
            "video": video.video,
            "calibration": name,
            "source": source,
            "source_checksum": checksums.find(source),
            "offset": video.metadata.get(settings.offset_column or "", "").strip(),
            "timestamps": timestamps,
            "timestamps_checksum": checksums.find(timestamps),
            "described": hash_sessions([video]) if config.triangulation.described else "",
        }


class _Checksums:
    """Compute the checksum of each path once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {"": ""}

    def find(self, source: str) -> str:
        """Return the checksum of a file, or of names, sizes and times of a folder's files.

        Board videos are long: they are read by the job, not each time that a run is planned.
        Empty for what cannot be read.
        """
        if source not in self._known:
            self._known[source] = self._compute(Path(source))
        return self._known[source]

    def _compute(self, path: Path) -> str:
        try:
            if not path.is_dir():
                size = path.stat().st_size
                return hash_path(path)[:16] if size <= _MOST_BYTES else str(measure_file(path))
            # Images of a board lie in the folder, or in one for each camera.
            lines = [
                f"{file.relative_to(path).as_posix()} {measure_file(file)}"
                for file in sorted((*path.glob("*"), *path.glob("*/*")))
                if file.is_file()
            ]
        except (OSError, ValueError):
            return ""
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _list_written(results: Results) -> list[str]:
    """Return the shards that have a table of sessions."""
    paths = results.shards.glob(f"*/{results.shard('x').sessions.name}")
    return sorted(path.parent.name for path in paths if path.parent.name.isdecimal())


def _find_written(results: Results, shard: str) -> tuple[Row, ...] | None:
    """Return the views of a shard; None for a table that is damaged or of another version."""
    try:
        return _read_views(results, shard)
    except StoreError:
        return None


def _read_views(results: Results, shard: str) -> tuple[Row, ...]:
    path = results.shard(shard).sessions
    if not path.exists():
        return ()
    rows = read_table(path, SESSION_VIEW_COLUMNS)
    return tuple({name: row[name] for name in SESSION_VIEW_COLUMNS} for row in rows)
