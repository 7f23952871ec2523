"""Judge the views of sessions: keypoints that the other cameras see elsewhere."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.cameras.records import read_description
from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.core.errors import CohortposeError, SessionError
from pipeline_lib.core.formats.criteria import find_criterion
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import ADDED_INDIVIDUALS
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import TRIANGULATION_COLUMNS, SessionStatus
from pipeline_lib.io.poses.read import read_poses, read_times, require_pose_key
from pipeline_lib.io.poses.session import (
    read_session_key,
    read_session_poses,
    read_session_times,
)
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.kernels.geometry.sessions.disagreement import measure_disagreement
from pipeline_lib.kernels.geometry.sessions.matching import NO_SLOT
from pipeline_lib.kernels.geometry.sessions.moments import NO_FRAME, Moments
from pipeline_lib.kernels.refinement import views as criterion
from pipeline_lib.kernels.refinement.blocks import PoseNames, Scored
from pipeline_lib.steps.refine.scoring import save_scores
from pipeline_lib.steps.runs.plan import read_plan
from pipeline_lib.steps.runs.sessions.shards import read_sessions
from pipeline_lib.steps.triangulate.points import observe
from pipeline_lib.steps.triangulate.sources import SourceFinder
from pipeline_lib.steps.triangulate.views import Rig, View

_log = logging.getLogger(__name__)

VIEWS = "views"
# Moments judged at a time; sessions, and moments of each, that show what is usual.
_MOMENTS, _SAMPLED_SESSIONS, _RUN, _RUNS = 4096, 100, 256, 8
_TASKS_PER_CORE = 8
# Starting processes takes as long as judging so many moments.
_FEW_MOMENTS = 50_000


class _Judged(NamedTuple):
    """Name the files of a view: what was triangulated, what is judged, and the key of the former.

    The poses that are judged are those of all criteria: as the network or the tracker gave them.
    """

    camera: str
    video: str
    source: Path
    raw: Path
    key: str


@dataclass(frozen=True)
class _Session:
    name: str
    path: Path
    key: str
    views: tuple[_Judged, ...]


@dataclass(frozen=True)
class ViewJudge:
    """Judge the views of the sessions of a run that were triangulated."""

    sessions: tuple[_Session, ...]

    @classmethod
    def find(cls, config: Config, results: Results, poses: Mapping[str, Path]) -> Self | None:
        """Find the sessions of a run; None if no criterion asks for them, or there are none.

        Parameters
        ----------
        config, results
            The run.
        poses
            File of the poses to judge, by video.
        """
        wanted = [one for one in config.refinement.criteria if find_criterion(one).judges == VIEWS]
        if not wanted or not STAGES["triangulate"].wanted(config):
            return None
        found = tuple(_list_sessions(config, results, poses))
        if not found:
            _log.warning("no session was triangulated: the criterion `views` finds nothing")
        return cls(found) if found else None

    def fit(self, names: PoseNames, seed: int) -> criterion.UsualDistances:
        """Learn from a sample of the sessions which distances between views are usual."""
        random = np.random.default_rng(seed)
        drawn = np.sort(random.permutation(len(self.sessions))[:_SAMPLED_SESSIONS])
        sample = []
        for place in drawn.tolist():
            try:
                sample += _take_sample(self.sessions[place], names, random)
            except (CohortposeError, ValueError):
                # Its scoring tells why.
                continue
        return criterion.fit(sample, names)

    def _guess_moments(self) -> int:
        """Return about how many moments the sessions have, without opening them all."""
        for session in self.sessions:
            try:
                return len(read_session_times(session.path)) * len(self.sessions)
            except CohortposeError:
                continue
        return 0

    def score(self, usual: criterion.UsualDistances, folder: Path) -> dict[str, Path]:
        """Write the scores of every view, on all cores; return the file of each video."""
        cores = min(count_cores(), len(self.sessions))
        size = max(1, math.ceil(len(self.sessions) / (max(1, cores) * _TASKS_PER_CORE)))
        batches = [
            self.sessions[start : start + size] for start in range(0, len(self.sessions), size)
        ]
        if cores < 2 or self._guess_moments() < _FEW_MOMENTS:
            found = [_score_batch(batch, usual, folder) for batch in batches]
        else:
            import dask  # noqa: PLC0415 - slow to import

            tasks = [
                dask.delayed(_score_batch, pure=False)(batch, usual, folder) for batch in batches
            ]
            found = list(dask.compute(*tasks, scheduler="processes", num_workers=cores))
        written: dict[str, Path] = {}
        for files, problems in found:
            written |= files
            for problem in problems:
                _log.warning("the criterion `views` leaves out %s", problem)
        return written


def _list_sessions(
    config: Config, results: Results, poses: Mapping[str, Path]
) -> Iterator[_Session]:
    finder, model = SourceFinder(config, results), config.training.name
    planned = read_sessions(results, read_plan(results))
    for shard in planned.shards:
        table = STAGES["triangulate"].find_table(config, results, shard)
        rows = {row["session"]: row for row in read_table(table, TRIANGULATION_COLUMNS)}
        for name, own in planned.group(shard).items():
            row = rows.get(name)
            if row is None or row["status"] != SessionStatus.DONE:
                continue
            views = tuple(
                _Judged(
                    *(view.camera, view.video, finder.locate(view.video)),
                    *(poses.get(view.video, finder.locate(view.video)), view.key),
                )
                for view in finder.find(name, own).views
            )
            yield _Session(name, results.triangulated(model, name), row["key"], views)


def _score_batch(
    sessions: Sequence[_Session], usual: criterion.UsualDistances, folder: Path
) -> tuple[dict[str, Path], list[str]]:
    """Write the scores of the views of some sessions; return files by video, and problems."""
    written, problems = {}, []
    for session in sessions:
        try:
            scored = _score_session(session, usual)
        except (CohortposeError, ValueError) as error:
            problems.append(f"session {session.name}: {error}")
            continue
        for video, own in scored.items():
            written[video] = folder / f"{video}.npz"
            save_scores(written[video], own)
    return written, problems


def _score_session(session: _Session, usual: criterion.UsualDistances) -> dict[str, Scored]:
    scores = {}
    for view in session.views:
        count = len(read_times(view.raw))
        scores[view.video] = Scored(np.full(count, np.nan, np.float32), np.zeros(count, np.int32))
    for view, frames, distances in _judge(session):
        found = criterion.score(distances, usual)
        scores[view.video].score[frames] = found.score
        scores[view.video].culprit[frames] = found.culprit
    return scores


def _take_sample(
    session: _Session, names: PoseNames, random: np.random.Generator
) -> list[NDArray[np.float32]]:
    """Return distances of some runs of moments, with the keypoints of the cohort."""
    keypoints = len(names.bodyparts)
    return [
        distances for _, _, distances in _judge(session, random) if distances.shape[2] == keypoints
    ]


def _judge(
    session: _Session, random: np.random.Generator | None = None
) -> Iterator[tuple[_Judged, NDArray[np.int32], NDArray[np.float32]]]:
    """Yield the distances of each view, some moments at a time.

    Yields
    ------
    view, frames, distances
        The view; its frames, and of each, (individual, keypoint) as in its poses, the
        distance in px from where the other views see it.

    Raises
    ------
    CohortposeError, ValueError
        If files are missing, damaged, or not those that were triangulated.
    """
    if read_session_key(session.path) != session.key:
        raise SessionError(f"{session.path}: its key is not that of its table; run snakemake")
    for view in session.views:
        if require_pose_key(view.source) != view.key:
            raise SessionError(
                f"{view.source}: has changed since it was triangulated; run snakemake"
            )
    head = read_session_poses(session.path, 0, 0)
    calibration = read_description(head.attributes["calibration"])
    by_camera = {view.camera: view for view in session.views}
    if by_camera.keys() != set(calibration.names):
        raise SessionError(f"{session.path}: was made from other cameras; run snakemake")
    views = [by_camera[name] for name in calibration.names]
    for start, count in _list_parts(session, random):
        part = read_session_poses(session.path, start, start + count)
        for place, (frames, distances) in enumerate(_measure(part, calibration, views)):
            yield views[place], frames, distances


def _list_parts(session: _Session, random: np.random.Generator | None) -> Iterator[tuple[int, int]]:
    """Yield first moment and number of moments: of all, or of some runs drawn at random."""
    moments = len(read_session_times(session.path))
    if random is None:
        yield from ((start, _MOMENTS) for start in range(0, moments, _MOMENTS))
        return
    starts = np.arange(0, max(1, moments), _RUN)
    yield from ((start, _RUN) for start in np.sort(random.permutation(starts)[:_RUNS]).tolist())


def _measure(
    part: SessionPoses, calibration: Calibration, views: Sequence[_Judged]
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
    cut, gate = part.attributes["pcutoff"], part.attributes["gate"]
    has = part.camera_frame != NO_FRAME
    first = np.where(has, part.camera_frame, np.iinfo(np.int32).max).min(axis=0)
    stop = np.where(has, part.camera_frame, -1).max(axis=0) + 1
    first = np.minimum(first, stop)
    moments = Moments(part.time, np.where(has, part.camera_frame - first, NO_FRAME))
    spans = list(zip(first.tolist(), stop.tolist(), strict=True))
    raw = _read_rig(part, calibration, [view.raw for view in views], spans)
    source = raw
    if any(view.raw != view.source for view in views):
        source = _read_rig(part, calibration, [view.source for view in views], spans)
    slots, whole = part.camera_individual, slice(None)
    seen = observe(source, moments, slots, whole, cut)
    judged = seen if source is raw else observe(raw, moments, slots, whole, cut)
    agrees = np.isfinite(part.camera_error) & np.isfinite(part.position[..., 0])[:, None]
    if gate is not None:
        agrees &= np.nan_to_num(part.camera_error, nan=np.inf) <= gate
    distances = measure_disagreement(
        calibration.cameras, seen.pixels, seen.confidence, agrees, judged.pixels
    )
    for place, rig_view in enumerate(raw.views):
        here = has[:, place]
        frames = part.camera_frame[here, place]
        own = np.full((len(frames), *rig_view.poses.position.shape[1:3]), np.nan, np.float32)
        known = np.flatnonzero(raw.keypoints[place] >= 0)
        row, individual = np.nonzero(slots[here, place] != NO_SLOT)
        slot = slots[here, place][row, individual]
        own[row[:, None], slot[:, None], raw.keypoints[place][known][None]] = distances[
            here, place
        ][row, individual][:, known]
        added = rig_view.poses.attributes.get(ADDED_INDIVIDUALS, ())
        kept = [n for n, name in enumerate(rig_view.poses.individuals) if name not in added]
        yield frames, own[:, kept]


def _read_rig(
    part: SessionPoses,
    calibration: Calibration,
    paths: Sequence[Path],
    spans: Sequence[tuple[int, int]],
) -> Rig:
    views, keypoints = [], []
    for name, path, (first, stop) in zip(calibration.names, paths, spans, strict=True):
        poses = read_poses(path, first, stop)
        own = {bodypart: number for number, bodypart in enumerate(poses.bodyparts)}
        views.append(View(name, poses))
        keypoints.append(np.array([own.get(one, -1) for one in part.bodyparts], np.intp))
    return Rig(tuple(views), calibration, part.bodyparts, tuple(keypoints))
