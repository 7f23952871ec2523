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
from pipeline_lib.core.poses import find_decoded
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import TRIANGULATION_COLUMNS, SessionStatus
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
from pipeline_lib.steps.runs.sessions.shards import read_sessions, require_triangulation
from pipeline_lib.steps.triangulate.clocks import add_signal
from pipeline_lib.steps.triangulate.session import View, triangulate_session
from pipeline_lib.steps.triangulate.sources import SessionSources, SourceFinder, SourceView

_log = logging.getLogger(__name__)

Row = dict[str, Any]

# Attribute of the poses with the cells of the stage's table.
SUMMARY = "summary"
# Share of the moments without a frame of a camera, above which its times are doubtful.
_DOUBTFUL_SHARE = 0.2


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
    seen = find_decoded(poses.frame_status)
    found = np.isfinite(poses.position[seen]).all(axis=-1)
    return {
        "moments": len(poses.time),
        "found": float(found.mean()) if found.size else 0.0,
        "error": _find_median(poses.error),
        "uncertainty": _find_median(poses.uncertainty),
        "unit": poses.unit or "",
    }


def list_doubts(attributes: Mapping[str, Any]) -> list[str]:
    """Return what may be wrong with a session, by the attributes of its poses, one text each."""
    told = attributes.get("synchronisation", {})
    refinement = attributes.get("refinement", {}).get("refused")
    alignment = attributes.get("alignment", {})
    refused = [
        f"{name} was not set: {alignment[key]}"
        for name, key in (("the scale", "scale_refused"), ("the floor", "floor_refused"))
        if alignment.get(key)
    ]
    return [
        *told.get("doubts", ()),
        *_find_gaps(told),
        *attributes.get("agreement", {}).get("doubts", ()),
        *([f"the cameras were not refined: {refinement}"] if refinement else []),
        *refused,
    ]


def _find_gaps(told: Mapping[str, Any]) -> list[str]:
    """Explain which cameras lack many moments: they dropped frames, began late or ended early."""
    moments, cameras = told.get("moments", 0), told.get("cameras", {})
    if told.get("method") == "frames":
        return _find_early_ends(moments, cameras)
    least = max(1, _DOUBTFUL_SHARE * moments)
    return [
        f"camera {name} has no frame at {one['moments_without_frame']:,} of {moments:,} moments"
        for name, one in cameras.items()
        if one["moments_without_frame"] >= least
    ]


def _find_early_ends(moments: int, cameras: Mapping[str, Any]) -> list[str]:
    """Explain which cameras aligned by frame number end early: they may have dropped frames.

    Moments before the first frame of a camera are no doubt: its offset was stated. Neither are
    those after the last one if all cameras have the same number of frames.
    """
    if len({one["frames"] for one in cameras.values()}) < 2:
        return []
    last = {
        name: -1 if one["last_moment"] is None else one["last_moment"]
        for name, one in cameras.items()
    }
    return [
        f"camera {name} has no frame at the end, at {moments - 1 - end:,} of {moments:,} moments: "
        "frames of one number may be of different moments"
        for name, end in last.items()
        if end < moments - 1
    ]


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
            made = read_session_poses(path, 0, 0).attributes
        else:
            made = _triangulate(config, results, finder, sources, path)
    except CohortposeError as error:
        _log.warning("session %s: %s", name, error)
        # Key of the failed attempt; only another key is tried again.
        failed = {"status": SessionStatus.FAILED, "reason": str(error), "key": sources.key}
        return {**row, **failed}
    seconds = time.perf_counter() - began
    summary = {**made[SUMMARY], "doubts": "; ".join(list_doubts(made))}
    if summary["doubts"]:
        _log.warning("session %s: %s", name, summary["doubts"])
    reasons = [sources.reason, "" if summary["found"] else "no point was found by two cameras"]
    told = "; ".join(reason for reason in reasons if reason)
    return {**row, "reason": told, "seconds": seconds, "key": sources.key, **summary}


def _triangulate(
    config: Config, results: Results, finder: SourceFinder, sources: SessionSources, path: Path
) -> Row:
    """Write the poses of a session; return their attributes."""
    given = read_calibration(results.calibration(sources.calibration))
    views = [_read_view(finder, view) for view in sources.views]
    poses = triangulate_session(
        views, _rename(given, sources), finder.edges, config.triangulation, count_cores()
    )
    attributes = {
        **poses.attributes,
        "session": sources.session,
        "key": sources.key,
        "source_keys": {view.video: view.key for view in sources.views},
        "cameras_missing": dict(sources.missing),
        "calibration_name": sources.calibration,
        "triangulation": config.triangulation.result_settings(),
        "versions": {**poses.attributes.get("versions", {}), "triangulate": versions.TRIANGULATE},
        SUMMARY: summarise(poses),
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
