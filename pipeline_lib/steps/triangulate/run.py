"""Run the verb `triangulate`: make three-dimensional poses of every session of a shard."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core import versions
from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.core.errors import CohortposeError, SessionError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import TRIANGULATION_COLUMNS, FrameStatus, SessionStatus
from pipeline_lib.io.calibrations.files import read_calibration
from pipeline_lib.io.poses.read import read_poses, require_pose_key
from pipeline_lib.io.poses.session import (
    read_session_key,
    read_session_poses,
    write_session_poses,
)
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.io.timestamps import read_timestamps
from pipeline_lib.steps.provenance.checksums import Published, record_checksums
from pipeline_lib.steps.runs.plan import read_plan
from pipeline_lib.steps.runs.sessions import read_sessions, require_triangulation
from pipeline_lib.steps.triangulate.clocks import add_signal
from pipeline_lib.steps.triangulate.session import View, triangulate_session
from pipeline_lib.steps.triangulate.sources import SessionSources, SourceFinder, SourceView

_log = logging.getLogger(__name__)

Row = dict[str, Any]

# Attribute of the poses with the cells of the stage's table.
SUMMARY = "summary"


def run_triangulate(config: Config, results: Results, shard: str) -> None:
    """Triangulate the sessions that belong to a shard.

    A session that fails is recorded with its reason, and the others are processed. A camera that
    is missing, failed or not calibrated is left out and recorded. Poses whose key is unchanged
    are not computed again.

    Parameters
    ----------
    config
        Settings of the run: `triangulation`, and the model's name.
    results
        The results folder.
    shard
        Name of the shard; one without sessions gets an empty table.

    Raises
    ------
    ConfigError
        If sessions are not to be triangulated.
    StoreError
        If nothing was planned, or a table is damaged.
    """
    require_triangulation(config)
    sessions = read_sessions(results, read_plan(results)).group(shard)
    finder = SourceFinder(config, results)
    ended = [_end_session(config, results, finder, name, rows) for name, rows in sessions.items()]
    done = [row for row in ended if row["status"] == SessionStatus.DONE]
    _log.info("triangulate %s: %d of %d sessions done", shard, len(done), len(ended))
    model, files = config.training.name, results.shard(shard)
    published = [
        Published("triangulated", results.triangulated(model, row["session"]), key=row["key"])
        for row in done
    ]
    # Written before the table, so that a job that is killed in between is repeated.
    record_checksums(files.checksums("triangulate", model), results.root, published)
    write_table(files.table("triangulate", model), TRIANGULATION_COLUMNS, ended)


def describe_missing(sources: SessionSources) -> str:
    """Return the cameras that are not used, each with its reason, as a cell of a table."""
    return "; ".join(f"{camera}: {reason}" for camera, reason in sources.missing.items())


def summarise(poses: SessionPoses) -> Row:
    """Return the numbers of a session that its row of the table holds.

    Returns
    -------
    dict
        ``moments``; ``found``: share of the points of moments with two decoded cameras that have
        a position; ``error`` (px) and ``uncertainty`` (unit of the calibration): medians.
    """
    seen = poses.frame_status == FrameStatus.DECODED
    found = np.isfinite(poses.position[seen]).all(axis=-1)
    return {
        "moments": len(poses.time),
        "found": float(found.mean()) if found.size else 0.0,
        "error": _find_median(poses.error),
        "uncertainty": _find_median(poses.uncertainty),
        "unit": poses.unit or "",
    }


def _find_median(values: NDArray[np.float32]) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else None


def _end_session(
    config: Config, results: Results, finder: SourceFinder, name: str, rows: list[dict[str, str]]
) -> Row:
    """Triangulate one session; return its row of the table."""
    sources = finder.find(name, rows)
    row: Row = {
        "session": name,
        "status": sources.status,
        "reason": sources.reason,
        "cameras": ", ".join(view.camera for view in sources.views),
        "missing": describe_missing(sources),
        "calibration": sources.calibration,
    }
    if sources.status != SessionStatus.DONE:
        _log.warning("session %s: %s: %s", name, sources.status, sources.reason)
        return row
    began = time.perf_counter()
    path = results.triangulated(config.training.name, name)
    try:
        if read_session_key(path) == sources.key:
            attributes = read_session_poses(path, 0, 0).attributes
        else:
            attributes = _triangulate(config, results, finder, sources, path)
    except CohortposeError as error:
        _log.warning("session %s: %s", name, error)
        # Key of the failed attempt; only another key is tried again.
        failed = {"status": SessionStatus.FAILED, "reason": str(error), "key": sources.key}
        return {**row, **failed}
    seconds = time.perf_counter() - began
    summary: Row = attributes[SUMMARY]
    reasons = [
        sources.reason,
        "" if summary["found"] else "no point was found by two cameras",
        *_list_doubts(attributes),
    ]
    told = "; ".join(reason for reason in reasons if reason)
    return {**row, "reason": told, "seconds": seconds, "key": sources.key, **summary}


def _list_doubts(attributes: Mapping[str, Any]) -> list[str]:
    """Return the doubts about times and views of a session, of its attributes."""
    return [
        doubt
        for name in ("synchronisation", "agreement")
        for doubt in attributes.get(name, {}).get("doubts", ())
    ]


def _triangulate(
    config: Config, results: Results, finder: SourceFinder, sources: SessionSources, path: Path
) -> Row:
    """Write the poses of a session; return their attributes."""
    given = read_calibration(results.calibration(sources.calibration))
    views = [_read_view(finder, view) for view in sources.views]
    poses = triangulate_session(
        views, _rename(given, sources), finder.edges, config.triangulation, count_cores()
    )
    summary = summarise(poses)
    attributes = {
        **poses.attributes,
        "session": sources.session,
        "key": sources.key,
        "source_keys": {view.video: view.key for view in sources.views},
        "cameras_missing": dict(sources.missing),
        "calibration_name": sources.calibration,
        "triangulation": config.triangulation.result_settings(),
        "versions": {**poses.attributes.get("versions", {}), "triangulate": versions.TRIANGULATE},
        SUMMARY: summary,
    }
    write_session_poses(path, replace(poses, attributes=attributes))
    return attributes


def _rename(calibration: Calibration, sources: SessionSources) -> Calibration:
    """Return the cameras of a session under the names of the sheet."""
    chosen = calibration.choose(view.calibrated for view in sources.views)
    names = {view.calibrated: view.camera for view in sources.views}
    return Calibration(
        tuple(camera.rename(names[camera.name]) for camera in chosen.cameras),
        chosen.unit,
        {names[name]: error for name, error in chosen.errors.items()},
    )


def _read_view(finder: SourceFinder, view: SourceView) -> View:
    path = finder.locate(view.video)
    found = require_pose_key(path)
    if found != view.key:
        raise SessionError(
            f"{path}: its key is not that of the table of {finder.source.name}; run snakemake, "
            "which makes both again"
        )
    times = read_timestamps(Path(view.timestamps)) if view.timestamps else None
    made = View(view.camera, read_poses(path), view.offset, times)
    return add_signal(made, finder.find_video(view.video), finder.config)
