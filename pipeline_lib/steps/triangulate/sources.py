"""Find the sources of each session in the tables of its videos and its calibration.

No pose file is read, so that `status` answers at once.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipeline_lib.core.cameras.basics import PADDING, find_alike
from pipeline_lib.core.cameras.sessions import FEWEST_CAMERAS
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import (
    CALIBRATION_COLUMNS,
    CAMERA_COLUMNS,
    PROBE_COLUMNS,
    STAGE_COLUMNS,
    CalibrationStatus,
    SessionStatus,
    VideoStatus,
)
from pipeline_lib.core.untrusted.names import natural_order
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.models.card import read_card
from pipeline_lib.steps.runs.plan import read_plan
from pipeline_lib.steps.runs.shard_tables import read_shard_table

Row = Mapping[str, str]

_BAD = (VideoStatus.FAILED, VideoStatus.QUARANTINED)


@dataclass(frozen=True)
class SourceView:
    """Describe the view of one camera that is used.

    Attributes
    ----------
    camera
        Name as in the sheet.
    calibrated
        Name that the calibration gives the same camera.
    video
        Its video.
    key
        Key of the video's poses.
    offset
        When it started: frames, or seconds.
    timestamps
        Path of its list of times; empty if there is none.
    """

    camera: str
    calibrated: str
    video: str
    key: str
    offset: float = 0.0
    timestamps: str = ""


@dataclass(frozen=True)
class SessionSources:
    """Hold what a session is triangulated from, or why it is not.

    Attributes
    ----------
    session
        Its name.
    status
        ``done`` if it can be triangulated, ``pending`` while a source does not exist yet.
    reason
        Why it cannot be triangulated, or what is in doubt; empty otherwise.
    views
        The cameras that are used.
    missing
        Why each other camera of the sheet is not used.
    calibration
        Name of its calibration; empty if it has none.
    key
        Key of its poses: the hash of all that they depend on; empty if there are none.
    """

    session: str
    status: SessionStatus
    reason: str = ""
    views: tuple[SourceView, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    calibration: str = ""
    key: str = ""


class SourceFinder:
    """Find the sources of sessions; each table is read once.

    Parameters
    ----------
    config, results
        The run.
    """

    def __init__(self, config: Config, results: Results) -> None:
        self.config = self._config = config
        self._results = results
        stage = STAGES["triangulate"]
        if stage.sessions is None:
            raise AssertionError("the stage has sessions")
        self.source = STAGES[stage.sessions.source(config)]
        self._settings = stage.hash_settings(config)
        self._calibrated = STAGES["calibrate"].hash_settings(config)
        self._cameras: dict[str, dict[str, Row]] = {}
        self._tables: dict[Path, dict[str, Row]] = {}

    def find(self, session: str, rows: Sequence[Row]) -> SessionSources:
        """Find the sources of a session.

        Parameters
        ----------
        session
            Its name.
        rows
            Its rows with the columns `pipeline_lib.core.tables.SESSION_VIEW_COLUMNS`.
        """
        calibration = self._find_calibration(session, rows[0])
        if calibration.status != SessionStatus.DONE:
            return calibration
        name = calibration.calibration
        views: list[SourceView] = []
        missing: dict[str, str] = {}
        doubts: list[str] = []
        for row in sorted(rows, key=lambda one: natural_order(one["camera"])):
            probed = self._read(STAGES["probe"].name, row["video"])
            made = self._read(self.source.name, row["video"])
            if probed is None or made is None or made["status"] == VideoStatus.PENDING:
                waiting = f"waiting for {self.source.name} of {row['video']}"
                return SessionSources(session, SessionStatus.PENDING, waiting, calibration=name)
            found, problem = self._find_view(row, probed, made, name)
            if found is None:
                missing[row["camera"]] = problem
                continue
            if found.calibrated in {view.calibrated for view in views}:
                missing[row["camera"]] = f"another video is of camera {found.calibrated}, too"
                continue
            if problem:
                doubts.append(f"camera {row['camera']}: {problem}")
            views.append(found)
        if len(views) < FEWEST_CAMERAS:
            told = "; ".join(f"{camera}: {reason}" for camera, reason in missing.items())
            reason = (
                f"{len(views)} of {len(rows)} cameras can be used, and at least {FEWEST_CAMERAS} "
                f"are needed{f' ({told})' if told else ''}"
            )
            status = SessionStatus.TOO_FEW_CAMERAS
            return SessionSources(session, status, reason, tuple(views), missing, name)
        return SessionSources(
            session,
            SessionStatus.DONE,
            "; ".join(doubts),
            tuple(views),
            missing,
            name,
            self._make_key(rows, views, name),
        )

    @cached_property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Return the edges of the skeleton: of the config, or else of the network."""
        own, card = self._config.skeleton.edges, self._results.model(self._config.training.name)
        if own or not card.card.exists():
            return own
        return read_card(card.card).skeleton.edges

    def locate(self, video: str) -> Path:
        """Return the pose file of a video that is triangulated."""
        return self.source.find_poses(self._config, self._results, video)

    def find_video(self, video: str) -> Path | None:
        """Return the file of a video, as it was probed; None: only its poses are left."""
        row = self._read(STAGES["probe"].name, video)
        return None if row is None or row["path"] == row.get("poses") else Path(row["path"])

    def _find_calibration(self, session: str, row: Row) -> SessionSources:
        """Return a session's calibration, or why it has none."""
        name, none = row["calibration"], SessionStatus.NO_CALIBRATION
        if not name:
            reason = (
                "none is named: fill the cells `calibration` of its videos in the sheet, or set "
                "`calibration.path`"
            )
            return SessionSources(session, none, reason)
        made = self._calibrations.get(name)
        current = (row["source_checksum"], self._calibrated)
        if made is None or (made["source_checksum"], made["settings"]) != current:
            waiting = f"waiting for calibrate of {name}"
            return SessionSources(session, SessionStatus.PENDING, waiting, calibration=name)
        if made["status"] != CalibrationStatus.DONE:
            reason = f"calibration {name} {made['status']}: {made['reason']}"
            return SessionSources(session, none, reason, calibration=name)
        return SessionSources(session, SessionStatus.DONE, calibration=name)

    def _find_view(
        self, row: Row, probed: Row, made: Row, calibration: str
    ) -> tuple[SourceView | None, str]:
        """Return the view of a camera and a doubt about it; None and the reason if it has none."""
        if made["status"] in _BAD:
            return None, f"{row['video']} {made['status']}: {made['reason']}"
        if not int(probed["frames"] or 0):
            return None, f"{row['video']} has no frame"
        if problem := _find_cell_problem(row):
            return None, problem
        cameras = self._read_cameras(calibration)
        name = find_alike(row["camera"], cameras)
        if name is None:
            return None, f"is not in the calibration, which has {', '.join(cameras)}"
        off, told = _compare_sizes(cameras[name], probed)
        if off > PADDING:
            return None, f"{told}: calibrate at the size that is recorded"
        offset = _parse_offset(row["offset"]) or 0.0
        view = SourceView(row["camera"], name, row["video"], made["key"], offset, row["timestamps"])
        return view, f"{told}: taken for padding on the right and below" if off else ""

    def _make_key(self, rows: Sequence[Row], views: Sequence[SourceView], calibration: str) -> str:
        by_video = {row["video"]: row for row in rows}
        facts = [
            {
                "camera": view.camera,
                "calibrated": view.calibrated,
                "key": view.key,
                "offset": view.offset,
                "timestamps": by_video[view.video]["timestamps_checksum"],
            }
            for view in views
        ]
        smoothed = self._config.triangulation.smoothing.enabled
        edges = [{"edges": self.edges}] if smoothed else []
        key = self._calibrations[calibration]["key"]
        return hash_settings(self._settings, key, *facts, *edges)

    @cached_property
    def _calibrations(self) -> dict[str, Row]:
        if not self._results.calibrations.exists():
            return {}
        rows = read_table(self._results.calibrations, CALIBRATION_COLUMNS)
        return {row["calibration"]: row for row in rows}

    @cached_property
    def _shard_of(self) -> dict[str, str]:
        return read_plan(self._results).shard_of

    def _read_cameras(self, calibration: str) -> dict[str, Row]:
        """Return the cameras of a calibration by name."""
        if calibration not in self._cameras:
            rows = read_table(self._results.calibration_quality(calibration), CAMERA_COLUMNS)
            self._cameras[calibration] = {row["camera"]: row for row in rows}
        return self._cameras[calibration]

    def _read(self, stage: str, video: str) -> Row | None:
        """Return the row of a video in the table of a stage; None if there is none yet."""
        shard = self._shard_of.get(video)
        if shard is None:
            return None
        path = STAGES[stage].find_table(self._config, self._results, shard)
        if path not in self._tables:
            columns = PROBE_COLUMNS if stage == "probe" else STAGE_COLUMNS
            rows = read_shard_table(path, columns) or []
            self._tables[path] = {row["video"]: row for row in rows}
        return self._tables[path].get(video)


def _find_cell_problem(row: Row) -> str:
    """Explain what is wrong with a camera's offset or list of times; empty if nothing is."""
    if _parse_offset(row["offset"]) is None:
        return f"its offset in the sheet is {row['offset']!r}, expected a number"
    if row["timestamps"] and not row["timestamps_checksum"]:
        return f"its list of times {row['timestamps']} cannot be read"
    return ""


def _compare_sizes(camera: Row, probed: Row) -> tuple[int, str]:
    """Return the difference in px between calibrated and recorded image sizes, and describe it."""
    own = (int(camera["width"]), int(camera["height"]))
    if not (probed["width"] and probed["height"]):
        # Where only poses are left, the size of the images may be unknown.
        return 0, ""
    size = (int(probed["width"]), int(probed["height"]))
    off = max(abs(one - other) for one, other in zip(own, size, strict=True))
    told = f"was calibrated at {own[0]} x {own[1]} px, its video has {size[0]} x {size[1]}"
    return off, told


def _parse_offset(cell: str) -> float | None:
    """Return the offset in a cell, 0 for an empty one; None for what is no finite number."""
    try:
        offset = float(cell or 0)
    except ValueError:
        return None
    return offset if math.isfinite(offset) else None
