"""Plan the inference of a shard: list its videos, and find, copy and claim results.

Results are identified by their key, not by the name of the video. A video with the same bytes as
another one, in this shard or in any other, gets a copy of its result.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import (
    MANIFEST_COLUMNS,
    PROBE_COLUMNS,
    VideoStatus,
)
from pipeline_lib.io.poses.read import count_frames, read_pose_key
from pipeline_lib.io.poses.segments import KeyLock, SegmentFolder
from pipeline_lib.io.poses.write import copy_poses
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.models.inference.predictor import RuntimeOptions
from pipeline_lib.models.members import count_members
from pipeline_lib.models.precision import settle_precision
from pipeline_lib.steps.infer.tasks import NetworkTask, Outcome, VideoTask
from pipeline_lib.steps.infer.workers import count_decoders, count_threads
from pipeline_lib.steps.runs.plan import read_plan
from pipeline_lib.steps.runs.result_keys import identify_content, make_network_keys, pose_key
from pipeline_lib.steps.runs.shard_tables import read_shard_table

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_TRIES = 1.0


def describe_network(config: Config, results: Results) -> NetworkTask:
    """Return the network and how it runs, from the settings and this machine.

    Raises
    ------
    ModelError
        If the precision is to be measured first.
    """
    config = settle_precision(config, results)
    return NetworkTask(
        folder=str(results.model(config.training.name).folder.resolve()),
        options=RuntimeOptions.of(config.inference, count_threads(config.inference)),
        locating=config.locating,
        assembly=config.assembly,
        decoders=count_decoders(config.inference),
        members=count_members(config, results),
    )


def list_tasks(
    config: Config, results: Results, shard: str, rows: Iterable[dict[str, str]]
) -> list[VideoTask]:
    """Return a task for each good video of a shard whose poses no other tool found.

    Parameters
    ----------
    config, results, shard
        The run.
    rows
        Rows of the shard's probe table.

    Raises
    ------
    ModelError
        If the model is missing.
    StoreError
        If the tables of the shard do not belong together.
    """
    given = list(rows)
    rows = [row for row in given if not row.get("poses")]
    if len(rows) < len(given) and not any(row["status"] == VideoStatus.DONE for row in rows):
        # Beside existing poses, no other video needs a network.
        return []
    network = describe_network(config, results)
    manifest = {
        row["video"]: row for row in read_table(results.shard(shard).manifest, MANIFEST_COLUMNS)
    }
    make_key = make_network_keys(config, results)
    tasks = []
    for row in rows:
        if row["status"] != VideoStatus.DONE:
            continue
        video = row["video"]
        if video not in manifest or not row["frames"].isdecimal():
            raise StoreError(
                f"{results.shard(shard).probe}: video {video} has no frame count or is not in the "
                "manifest; run probe again"
            )
        own = config.for_video(video)
        key = pose_key(identify_content(row), make_key(own))
        tasks.append(
            VideoTask(
                video=video,
                # Workers may have another working directory.
                path=str(Path(row["path"]).absolute()),
                frames=int(row["frames"]),
                fps=float(row["fps"]),
                fingerprint=row["fingerprint"],
                size=int(manifest[video]["bytes"]),
                modified=int(manifest[video]["modified_ns"]),
                key=key,
                output=str(results.poses(config.training.name, video).resolve()),
                segments=str(results.segments(config.training.name, key).resolve()),
                crop=own.inference.crop,
                network=network,
                patience=config.reading.seconds_per_frame,
                still_frames=config.inference.still_frames if config.inference.skips_still else 0,
            )
        )
    return tasks


def divide_tasks(tasks: Iterable[VideoTask]) -> tuple[list[VideoTask], list[VideoTask]]:
    """Return the tasks whose pose file exists under the same key, and the others."""
    finished: list[VideoTask] = []
    missing: list[VideoTask] = []
    for task in tasks:
        published = read_pose_key(Path(task.output)) == task.key
        (finished if published else missing).append(task)
    return finished, missing


def remove_leftovers(task: VideoTask) -> None:
    """Remove segments and lock that a killed run, or a late worker, left of a finished video."""
    if not (Path(task.segments).exists() or _find_lock(task).exists()):
        return
    lock = KeyLock(_find_lock(task))
    if lock.try_acquire():
        try:
            SegmentFolder(Path(task.segments)).remove()
        finally:
            lock.release()


def describe_finished(task: VideoTask) -> Outcome:
    """Return the outcome of a video whose pose file exists, without timings."""
    counts = count_frames(Path(task.output))
    return Outcome(
        video=task.video,
        status=VideoStatus.DONE,
        key=task.key,
        frames=counts.frames,
        undecodable=counts.undecodable,
        still=counts.still if task.still_frames else None,
    )


def copy_duplicates(
    tasks: Iterable[VideoTask], results: Results, model: str
) -> tuple[list[VideoTask], list[Outcome]]:
    """Copy results from videos with the same bytes, in any shard.

    Parameters
    ----------
    tasks
        Videos without a result.
    results
        The results folder.
    model
        Name of the model.

    Returns
    -------
    missing
        Tasks whose result no other video has.
    outcomes
        Outcomes of the other tasks.
    """
    waiting = list(tasks)
    if not waiting:
        return [], []
    twins = _find_twins(results, {task.fingerprint for task in waiting})
    missing, outcomes = [], []
    for task in waiting:
        names = (name for name in twins[task.fingerprint] if name != task.video)
        paths = (results.poses(model, name) for name in names)
        known = next((path for path in paths if read_pose_key(path) == task.key), None)
        if known is None:
            missing.append(task)
            continue
        outcomes.append(copy_outcome(task, known))
    return missing, outcomes


def copy_outcome(task: VideoTask, known: Path) -> Outcome:
    """Copy the result of a video with the same bytes.

    Parameters
    ----------
    task
        Video without a result.
    known
        Pose file of the other video.
    """
    logger.info("%s: the same video as %s, copied", task.video, known.stem)
    copy_poses(known, Path(task.output), {"video": task.video})
    return describe_finished(task)


def _find_twins(results: Results, fingerprints: set[str]) -> dict[str, list[str]]:
    """Return the videos with these fingerprints, by fingerprint, from all shards ever planned."""
    twins: dict[str, list[str]] = defaultdict(list)
    if not results.plan.exists():
        return twins
    for shard in read_plan(results).all_shards:
        path = results.shard(shard).probe
        for row in read_shard_table(path, PROBE_COLUMNS) or ():
            if row["fingerprint"] in fingerprints:
                twins[row["fingerprint"]].append(row["video"])
    return twins


@contextmanager
def claim_tasks(tasks: Iterable[VideoTask]) -> Iterator[tuple[list[VideoTask], list[VideoTask]]]:
    """Yield the tasks claimed for this run, and those that another run works on.

    Tasks with the same key are claimed together. All claims are released at the end.
    """
    locks: dict[str, KeyLock] = {}
    own, taken = [], []
    try:
        for task in tasks:
            lock = locks.get(task.key) or KeyLock(_find_lock(task))
            if task.key in locks or lock.try_acquire():
                locks[task.key] = lock
                own.append(task)
            else:
                taken.append(task)
        if taken:
            logger.info(
                "another run works on %d of these videos; waiting for it after our own", len(taken)
            )
        yield own, taken
    finally:
        for lock in locks.values():
            lock.release()


def wait_for_any(tasks: Iterable[VideoTask]) -> None:
    """Wait until another run has released one of these tasks, finished or not."""
    waiting = list(tasks)
    while True:
        for task in waiting:
            lock = KeyLock(_find_lock(task))
            if lock.try_acquire():
                lock.release()
                return
        time.sleep(_SECONDS_BETWEEN_TRIES)


def _find_lock(task: VideoTask) -> Path:
    return Path(f"{task.segments}.lock")
