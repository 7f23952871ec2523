"""Run the verb `correct-views`: correct the poses of each view of a session by the others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core import versions
from pipeline_lib.core.cameras.calibration import Camera
from pipeline_lib.core.cameras.records import read_description
from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.core.errors import SessionError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import ADDED_INDIVIDUALS, Poses, find_decoded
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import (
    CORRECTED_VIEWS_COLUMNS,
    PointSource,
    SessionStatus,
    TrackStatus,
)
from pipeline_lib.io.poses.read import read_pose_key, read_poses, require_pose_key
from pipeline_lib.io.poses.session import read_session_key, read_session_poses
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.publish import publish_folder
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.kernels.geometry.sessions.matching import NO_SLOT
from pipeline_lib.kernels.geometry.sessions.moments import NO_FRAME
from pipeline_lib.kernels.geometry.sessions.reprojection import CorrectionRules, correct_view
from pipeline_lib.steps.provenance.checksums import Published, record_checksums
from pipeline_lib.steps.runs.sessions.outcomes import Views, end_sessions
from pipeline_lib.steps.triangulate.individuals import find_track_status
from pipeline_lib.steps.triangulate.sources import SessionSources, SourceFinder

# Attribute of corrected poses: numbers of points by where they come from.
COUNTS = "points"
_COUNTED = {
    "kept": PointSource.KEPT,
    "corrected": PointSource.CORRECTED,
    "filled": PointSource.FILLED,
    "doubted": PointSource.DOUBTED,
}
# Attributes of the source that are not true of the corrected poses.
_DROPPED = ("identities", ADDED_INDIVIDUALS)


def run_correct_views(config: Config, results: Results, shard: str) -> None:
    """Correct the views of the sessions of a shard that have been triangulated.

    The poses that were triangulated stay as they are; corrected ones are files of their own, with
    the individuals of the session in its order. A session that fails is recorded with its
    reason, and the others are processed; one that was not triangulated keeps its status and
    reason. Files whose key is unchanged stay.

    Parameters
    ----------
    config
        Settings of the run: `triangulation`, and the model's name.
    results
        The results folder.
    shard
        Name of the shard.

    Raises
    ------
    StoreError
        If the table of `triangulate` is missing.
    """
    model, files = config.training.name, results.shard(shard)
    finder = SourceFinder(config, results)

    def work(row: Mapping[str, str], views: Views) -> Mapping[str, Any]:
        key = correction_key(config, row["key"])
        found = finder.find(row["session"], views)
        return {"key": key, **_correct(config, results, finder, found, key)}

    ended = end_sessions("correct-views", config, results, shard, work)
    published = [
        Published("corrected views", results.corrected_views(model, row["session"]), key=row["key"])
        for row in ended
        if row["status"] == SessionStatus.DONE
    ]
    record_checksums(files.checksums("correct-views", model), results.root, published)
    table = STAGES["correct-views"].find_table(config, results, shard)
    write_table(table, CORRECTED_VIEWS_COLUMNS, ended)


def correction_key(config: Config, pose_key: str) -> str:
    """Return the key of the corrected views of a session, given the key of its poses."""
    return hash_settings(pose_key, STAGES["correct-views"].hash_settings(config))


def correct_poses(
    poses: Poses, session: SessionPoses, camera: Camera, rules: CorrectionRules
) -> Poses:
    """Fill and correct the poses of one view.

    Parameters
    ----------
    poses
        Of the view, as they were triangulated.
    session
        With the camera among its cameras.
    camera
        In the axes of the session.
    rules
        When to correct.

    Returns
    -------
    Poses
        Of every frame, with the individuals and the bodyparts of the session. What the view saw
        of no individual of the session is left out (attribute ``detections_left_out``). Frames
        that could not be decoded have no points.
    """
    index = session.cameras.index(camera.name)
    moment = _find_moments(session.camera_frame[:, index], len(poses.time))
    seen = _gather(poses, session, moment, index)
    has = session.camera_frame[:, index] != NO_FRAME
    own = session.camera_frame[has, index]
    position = np.full((*session.confidence.shape, 2), np.nan, np.float32)
    confidence = np.full(session.confidence.shape, np.nan, np.float32)
    position[has], confidence[has] = seen.position[own], seen.confidence[own]
    found = correct_view(position, confidence, session, camera, rules)
    source = np.where(
        np.isfinite(seen.position).all(axis=-1), PointSource.KEPT, PointSource.NONE
    ).astype(np.uint8)
    good = find_decoded(poses.frame_status[own])[:, None, None]
    seen.position[own] = np.where(good[..., None], found.position[has], seen.position[own])
    seen.confidence[own] = np.where(good, found.confidence[has], seen.confidence[own])
    source[own] = np.where(good, found.source[has], source[own])
    kept = {name: value for name, value in poses.attributes.items() if name not in _DROPPED}
    counts = {name: int((source == value).sum()) for name, value in _COUNTED.items()}
    return Poses(
        position=seen.position,
        confidence=seen.confidence,
        frame_status=poses.frame_status,
        time=poses.time,
        bodyparts=session.bodyparts,
        individuals=session.individuals,
        attributes={
            **kept,
            "camera": camera.name,
            COUNTS: counts,
            "detections_left_out": seen.left_out,
        },
        track_status=_find_status(session, source, moment),
        point_source=source,
    )


class _Seen(NamedTuple):
    """Hold what a view saw, frame by frame, in the order of the session; changed in place."""

    position: NDArray[np.float32]
    confidence: NDArray[np.float32]
    left_out: int


def _find_moments(frame_of: NDArray[np.int32], count: int) -> NDArray[np.intp]:
    """Return the moment of each frame; of a frame that has none, that of the nearest frame."""
    moments = np.flatnonzero(frame_of != NO_FRAME)
    if not len(moments):
        return np.zeros(count, np.intp)
    known, order = np.unique(frame_of[moments], return_index=True)
    places = np.arange(count)
    after = np.searchsorted(known, places).clip(max=len(known) - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.abs(known[before] - places) < np.abs(known[after] - places)
    return np.asarray(moments[order[np.where(nearer, before, after)]], np.intp)


def _gather(poses: Poses, session: SessionPoses, moment: NDArray[np.intp], index: int) -> _Seen:
    """Put what a view saw into the order of the session."""
    shape = (len(poses.time), len(session.individuals), len(session.bodyparts))
    position = np.full((*shape, 2), np.nan, np.float32)
    confidence = np.full(shape, np.nan, np.float32)
    slots = session.camera_individual[moment, index]
    own = {name: number for number, name in enumerate(poses.bodyparts)}
    shared = [number for number, name in enumerate(session.bodyparts) if name in own]
    there = [own[session.bodyparts[number]] for number in shared]
    frame, individual = np.nonzero(slots != NO_SLOT)
    taken = (frame[:, None], slots[frame, individual][:, None], np.array(there, np.intp)[None])
    put = (frame[:, None], individual[:, None], np.array(shared, np.intp)[None])
    position[put], confidence[put] = poses.position[taken], poses.confidence[taken]
    left = np.asarray(np.isfinite(poses.position).all(axis=-1).any(axis=-1))
    left[frame, slots[frame, individual]] = False
    return _Seen(position, confidence, int(left.sum()))


def _find_status(
    session: SessionPoses, source: NDArray[np.uint8], moment: NDArray[np.intp]
) -> NDArray[np.uint8] | None:
    found = np.asarray((source != PointSource.NONE).any(axis=-1))
    if session.track_status is None:
        return find_track_status(found, np.zeros_like(found))
    return find_track_status(found, session.track_status[moment] == TrackStatus.UNCERTAIN)


def _correct(
    config: Config, results: Results, finder: SourceFinder, sources: SessionSources, key: str
) -> dict[str, int]:
    """Write the corrected views of a session, unless they are those of the key; count points."""
    model, name = config.training.name, sources.session
    path = results.triangulated(model, name)
    if read_session_key(path) != sources.key:
        raise SessionError(
            f"{path}: was made from other poses than the present ones; run snakemake"
        )
    files = {view.camera: results.corrected_view(model, name, view.video) for view in sources.views}
    if {read_pose_key(file) for file in files.values()} == {key}:
        counted = [read_poses(file, 0, 0).attributes[COUNTS] for file in files.values()]
        return {one: sum(counts[one] for counts in counted) for one in _COUNTED}
    session = read_session_poses(path)
    calibration = read_description(session.attributes["calibration"])
    rules = CorrectionRules(
        session.attributes["gate"],
        session.attributes["pcutoff"],
        config.triangulation.corrected_views.fewest_views,
    )
    total = dict.fromkeys(_COUNTED, 0)
    with publish_folder(results.corrected_views(model, name)) as part:
        for view in sources.views:
            poses = _read_source(finder.locate(view.video), view.key)
            fixed = correct_poses(poses, session, calibration.find(view.camera), rules)
            own = {"key": key, "source_key": sources.key, "session": name, "video": view.video}
            fixed.attributes.update(own, versions=_add_version(poses))
            write_poses(part / files[view.camera].name, fixed)
            for one in _COUNTED:
                total[one] += fixed.attributes[COUNTS][one]
    return total


def _read_source(path: Path, key: str) -> Poses:
    if require_pose_key(path) != key:
        raise SessionError(
            f"{path}: has changed since its session was triangulated; run snakemake, which makes "
            "both again"
        )
    return read_poses(path)


def _add_version(poses: Poses) -> dict[str, Any]:
    return {**poses.attributes.get("versions", {}), "correct-views": versions.CORRECT_VIEWS}
