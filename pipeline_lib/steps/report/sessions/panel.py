"""Show sessions in the report: what became of each, their calibrations, and a few of them turning.

Tables come from `sessions.tsv` and `calibrations.tsv`. A page holds the view of few sessions,
each an excerpt (`pipeline_lib.steps.report.sessions.data`): those with the largest error first,
then some chosen by the seed.
"""

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import (
    CALIBRATION_COLUMNS,
    CAMERA_COLUMNS,
    CORRECTED_VIEWS_COLUMNS,
    CalibrationStatus,
    SessionStatus,
)
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.report.inputs import ReportInputs
from pipeline_lib.steps.report.privacy import Redactor
from pipeline_lib.steps.report.sessions.data import SessionSource, SessionView, gather_session
from pipeline_lib.steps.runs.plan import read_plan
from pipeline_lib.steps.runs.shard_tables import read_shard_table

_log = logging.getLogger(__name__)

# Sessions that can be turned and played, and rows of the tables.
VIEWS = 6
_ROWS = 200
_CALIBRATIONS = 50
_POINTS = ("kept", "corrected", "filled", "doubted")
_ENDED_BADLY = (SessionStatus.FAILED, SessionStatus.NO_CALIBRATION, SessionStatus.TOO_FEW_CAMERAS)

Row = dict[str, Any]


@dataclass(frozen=True)
class CalibrationFacts:
    """Hold what became of a calibration, and a row for each of its cameras.

    Attributes
    ----------
    name, status, reason, warnings
        As in `calibrations.tsv`.
    cameras
        Numbers by the names of `pipeline_lib.core.tables.CAMERA_COLUMNS`; NaN: not known.
    depths
        Nearest and farthest corner of each camera as shares of the farthest of all.
    sessions
        Number of sessions with this calibration.
    """

    name: str
    status: str
    reason: str
    warnings: str
    cameras: list[Row] = field(default_factory=list)
    depths: list[tuple[float, float]] = field(default_factory=list)
    sessions: int = 0


@dataclass(frozen=True)
class SessionsPage:
    """Hold everything that the page shows of sessions.

    Attributes
    ----------
    rows
        One per session, those that ended badly first, at most `_ROWS`.
    total
        Number of sessions.
    counts
        Number of sessions by status.
    calibrations
        Refused and failed ones first.
    bad
        Status, reason and names of the sessions that ended badly, the largest group first.
    views
        Sessions that can be turned and played.
    done
        Number of sessions that were triangulated.
    corrected
        Of the sessions in `rows` whose views were corrected by each other: number of points by
        `pipeline_lib.core.tables.CORRECTED_VIEWS_COLUMNS`, and `folder` of the pose files.
    """

    rows: list[Row]
    total: int
    counts: dict[str, int]
    calibrations: list[CalibrationFacts]
    bad: list[tuple[str, str, list[str]]]
    views: list[SessionView]
    done: int
    corrected: list[Row] = field(default_factory=list)

    @property
    def unit(self) -> str:
        """Unit of all sessions; empty if they differ or do not tell."""
        units = {row["unit"] for row in self.rows if row["status"] == SessionStatus.DONE}
        return str(units.pop()) if len(units) == 1 else ""


def describe_sessions(
    config: Config,
    results: Results,
    ledger: Sequence[Mapping[str, Any]],
    redactor: Redactor,
    inputs: ReportInputs,
) -> SessionsPage | None:
    """Return what the page shows of sessions; None if there are none.

    Parameters
    ----------
    config, results
        The run.
    ledger
        Rows of the table of sessions.
    redactor
        Hides paths in reasons.
    inputs
        The skeleton; its gaps receive what cannot be read, and why.
    """
    videos = read_cohort(Path(config.cohort))
    rows = [{**row, "reason": redactor.hide(str(row["reason"] or ""))} for row in ledger]
    if not rows:
        return None
    edges, gaps = inputs.edges(config), inputs.gaps
    done = [row for row in rows if row["status"] == SessionStatus.DONE]
    views = []
    for row in _choose_views(done, config.report.seed):
        source = _find_source(config, results, row["session"], videos)
        try:
            view = gather_session(row["session"], source, edges)
        except (CohortposeError, OSError, ValueError, KeyError) as error:
            _log.warning("the report leaves out session %s: %s", row["session"], error)
            gaps.append(redactor.hide(f"session {row['session']} cannot be shown: {error}"))
            continue
        if view is not None:
            views.append(view)
    counts = Counter(str(row["status"]) for row in rows)
    ordered = sorted(rows, key=lambda row: row["status"] not in _ENDED_BADLY)
    return SessionsPage(
        ordered[:_ROWS],
        len(rows),
        {str(status): counts[str(status)] for status in SessionStatus},
        _read_calibrations(results, rows, redactor, gaps),
        _group(rows),
        views,
        len(done),
        _read_corrected(config, results, [str(row["session"]) for row in ordered[:_ROWS]], gaps),
    )


def _read_corrected(
    config: Config, results: Results, sessions: Sequence[str], gaps: list[str]
) -> list[Row]:
    """Return the points of corrected views of sessions, in their order."""
    stage, found = STAGES["correct-views"], dict[str, Row]()
    if not stage.wanted(config):
        return []
    for shard in read_plan(results).shards:
        try:
            table = stage.find_table(config, results, shard)
            rows = read_shard_table(table, CORRECTED_VIEWS_COLUMNS) or []
        except CohortposeError as error:
            gaps.append(str(error))
            continue
        for row in rows:
            if row["status"] == SessionStatus.DONE:
                numbers = {name: _to_number(row[name]) for name in _POINTS}
                folder = results.corrected_views(config.training.name, row["session"])
                told = folder.relative_to(results.root).as_posix()
                found[row["session"]] = {**numbers, "session": row["session"], "folder": told}
    return [found[session] for session in sessions if session in found]


def _choose_views(rows: Sequence[Row], seed: int) -> list[Row]:
    """Return the sessions with the largest error, then others by the seed, in the sheet's order."""
    ranked = sorted(
        range(len(rows)), key=lambda place: (-_to_number(rows[place]["error"], -1.0), place)
    )
    worst = ranked[: VIEWS // 2]
    others = ranked[VIEWS // 2 :]
    order = np.random.default_rng(seed).permutation(len(others))
    chosen = [*worst, *(others[place] for place in order[: VIEWS - len(worst)])]
    return [rows[place] for place in sorted(chosen)]


def _find_source(
    config: Config, results: Results, session: str, videos: Sequence[Video]
) -> SessionSource:
    triangulated = STAGES["triangulate"].sessions
    if triangulated is None:
        raise AssertionError("the stage has sessions")
    stage = STAGES[triangulated.source(config)]
    own = [video for video in videos if video.session == session]
    return SessionSource(
        results.triangulated(config.training.name, session),
        {video.video: Path(video.path) for video in own if video.has_video},
        {video.video: stage.find_poses(config, results, video.video) for video in own},
    )


def _group(rows: Sequence[Row]) -> list[tuple[str, str, list[str]]]:
    groups: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["status"] in _ENDED_BADLY:
            reason = row["reason"].replace(row["session"], "SESSION")
            groups.setdefault((str(row["status"]), reason), []).append(row["session"])
    ranked = sorted(groups.items(), key=lambda item: -len(item[1]))
    return [(status, reason, names) for (status, reason), names in ranked]


def _read_calibrations(
    results: Results, sessions: Sequence[Row], redactor: Redactor, gaps: list[str]
) -> list[CalibrationFacts]:
    if not results.calibrations.is_file():
        return []
    try:
        rows = read_table(results.calibrations, CALIBRATION_COLUMNS)
    except CohortposeError as error:
        gaps.append(redactor.hide(str(error)))
        return []
    counts = Counter(row["calibration"] for row in sessions)
    rows = sorted(rows, key=lambda row: row["status"] == CalibrationStatus.DONE)
    return [
        _read_calibration(results, row, counts[row["calibration"]], redactor, gaps)
        for row in rows[:_CALIBRATIONS]
    ]


def _read_calibration(
    results: Results, row: Mapping[str, str], sessions: int, redactor: Redactor, gaps: list[str]
) -> CalibrationFacts:
    path = results.calibration_quality(row["calibration"])
    cameras: list[Row] = []
    if path.is_file():
        try:
            cameras = [_read_camera(one) for one in read_table(path, CAMERA_COLUMNS)]
        except CohortposeError as error:
            gaps.append(redactor.hide(str(error)))
    farthest = max((one["farthest"] for one in cameras if one["farthest"] > 0), default=math.nan)
    return CalibrationFacts(
        row["calibration"],
        row["status"],
        redactor.hide(row["reason"]),
        redactor.hide(row["warnings"]),
        cameras,
        [(one["nearest"] / farthest, one["farthest"] / farthest) for one in cameras],
        sessions,
    )


def _read_camera(row: Mapping[str, str]) -> Row:
    texts = {"camera": row["camera"], "model": row["model"]}
    numbers = {name: _to_number(row[name]) for name in CAMERA_COLUMNS if name not in texts}
    return {**texts, **numbers}


def _to_number(value: object, unknown: float = math.nan) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) else unknown
    except ValueError:
        return unknown
    return number if math.isfinite(number) else unknown
