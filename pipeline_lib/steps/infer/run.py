"""Run the verb `infer`: predict the poses of every good video of a shard on Dask workers.

Poses that another tool found are taken over instead.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pipeline_lib.core.errors import CohortposeError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import PROBE_COLUMNS, STAGE_COLUMNS, VideoStatus
from pipeline_lib.io.poses.read import count_frames, read_pose_key
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.kernels.segments import count_segments
from pipeline_lib.models.precision import settle_precision
from pipeline_lib.steps.existing import take_over
from pipeline_lib.steps.infer.plan import (
    claim_tasks,
    copy_duplicates,
    copy_outcome,
    describe_finished,
    divide_tasks,
    list_tasks,
    remove_leftovers,
    wait_for_any,
)
from pipeline_lib.steps.infer.tasks import Outcome, VideoTask
from pipeline_lib.steps.infer.timings import TimingRecord
from pipeline_lib.steps.probe import run_probe
from pipeline_lib.steps.runs.ledger import BAD_STATUSES
from pipeline_lib.steps.runs.plan import keep_planned
from pipeline_lib.steps.runs.result_keys import existing_key

logger = logging.getLogger(__name__)

Row = dict[str, str]

# Frames in which nothing moved (empty: every frame was computed); frames per second of one worker;
# the shares of its time in which frames were decoded, the network ran, and it waited for frames.
INFER_COLUMNS = (
    *STAGE_COLUMNS,
    "frames",
    "undecodable",
    "still",
    "frames_per_second",
    "decode_share",
    "network_share",
    "wait_share",
)


def run_infer(config: Config, results: Results, shard: str) -> None:
    """Publish the poses of a shard's good videos, and a table with the outcome of each video.

    Existing results are recognised by their keys and kept; videos that failed are tried again.

    Parameters
    ----------
    config
        Settings of the run.
    results
        The results folder.
    shard
        Name of the shard.

    Raises
    ------
    ModelError
        If the model is missing or cannot be loaded.
    StoreError
        If the shard was not probed, or if the results folder cannot be written. The job can be
        tried again.
    CohortposeError
        If the Dask cluster is lost. The job can be tried again.
    """
    try:
        outcomes = _infer(config, results, shard)
    except OSError as error:
        if error.errno is None:
            # Errors of Dask's connections have no number, errors of file systems do.
            raise CohortposeError(
                f"lost the Dask cluster ({error}); run again: finished segments are kept"
            ) from error
        raise StoreError(
            f"{error.filename or results.root.resolve()}: {error.strerror}; make room or the "
            "folder writable and run again: finished segments are kept"
        ) from error
    _log_summary(shard, outcomes.values())


def _infer(config: Config, results: Results, shard: str) -> dict[str, Outcome]:
    model = config.training.name
    rows = read_table(results.shard(shard).probe, PROBE_COLUMNS)
    rows = keep_planned(rows, results, shard)
    tasks = list_tasks(config, results, shard, rows)
    outcomes = {
        row["video"]: Outcome(row["video"], VideoStatus(row["status"]), row["reason"])
        for row in rows
        if row["status"] != VideoStatus.DONE
    }
    outcomes |= {outcome.video: outcome for outcome in _take_over(config, results, rows)}
    record = TimingRecord(results.shard(shard).infer_record(model))
    for outcome in _infer_tasks(config, results, tasks):
        outcomes[outcome.video] = record.complete(outcome)
    ended = [outcomes[row["video"]] for row in rows]
    write_table(results.shard(shard).infer(model), INFER_COLUMNS, map(_describe_row, ended))
    return outcomes


def _take_over(config: Config, results: Results, rows: Iterable[Row]) -> Iterator[Outcome]:
    """Yield the outcome of each good row with poses that another tool found."""
    for row in rows:
        if row["status"] != VideoStatus.DONE or not row.get("poses_fingerprint"):
            continue
        video, key = row["video"], existing_key(config, row)
        output = results.poses(config.training.name, video)
        try:
            if read_pose_key(output) != key:
                take_over(config, row, key, output)
        except CohortposeError as error:
            logger.warning("%s: failed: %s", video, error)
            yield Outcome(video, VideoStatus.FAILED, str(error), key)
            continue
        counts = count_frames(output)
        yield Outcome(video, VideoStatus.DONE, "", key, counts.frames, counts.undecodable)


def _infer_tasks(config: Config, results: Results, tasks: Iterable[VideoTask]) -> Iterator[Outcome]:
    """Yield the outcome of every task, computed by this run or by another one."""
    waiting = list(tasks)
    while waiting:
        finished, missing = divide_tasks(waiting)
        for task in finished:
            remove_leftovers(task)
            yield describe_finished(task)
        with claim_tasks(missing) as (own, taken):
            yield from _infer_claimed(config, results, own)
        if taken:
            wait_for_any(taken)
        waiting = taken


def _infer_claimed(
    config: Config, results: Results, tasks: Iterable[VideoTask]
) -> Iterator[Outcome]:
    """Yield the outcome of every task that this run has claimed."""
    # Another run may have finished some of them before they were claimed.
    finished, missing = divide_tasks(tasks)
    yield from map(describe_finished, finished)
    missing, copied = copy_duplicates(missing, results, config.training.name)
    yield from copied
    while missing:
        # Of several videos with the same bytes the first one is inferred.
        leaders = {task.key: task for task in reversed(missing)}
        bad = set()
        for outcome in _compute(config, results, list(leaders.values())):
            yield outcome
            if outcome.status != VideoStatus.DONE:
                bad.add(outcome.video)
        others = [task for task in missing if leaders[task.key] is not task]
        missing = []
        for task in others:
            leader = leaders[task.key]
            if leader.video in bad:
                # Perhaps only that copy of the file is bad.
                missing.append(task)
            else:
                yield copy_outcome(task, Path(leader.output))


def _compute(config: Config, results: Results, tasks: list[VideoTask]) -> Iterator[Outcome]:
    # Imported here: loading Dask, FFmpeg and the runtimes takes longer than a finished shard.
    from pipeline_lib.steps.infer.cluster import connect_workers  # noqa: PLC0415
    from pipeline_lib.steps.infer.progress import follow_progress  # noqa: PLC0415
    from pipeline_lib.steps.infer.schedule import schedule_videos  # noqa: PLC0415
    from pipeline_lib.steps.infer.workers import settle_runtime, uses_gpus  # noqa: PLC0415

    frames = sum(task.frames for task in tasks)
    logger.info("%d videos to infer, %d frames", len(tasks), frames)
    inference = settle_precision(config, results).inference
    tasks = settle_runtime(config, results, tasks)
    # A job that has to wait for its turn, or a GPU, is not worth a part of a segment.
    whole = inference.cluster == "slurm" or uses_gpus(inference)
    lengths = [task.frames for task in tasks]
    segments = count_segments(lengths, inference.segment_frames, whole=whole)
    with (
        connect_workers(inference, segments, results.root) as client,
        follow_progress(client, tasks) as progress,
    ):
        for outcome in schedule_videos(client, tasks, inference):
            progress.add_outcome(outcome)
            yield outcome


def _describe_row(outcome: Outcome) -> dict[str, Any]:
    row: dict[str, Any] = {
        "video": outcome.video,
        "status": outcome.status,
        "reason": outcome.reason,
        "key": outcome.key,
        "frames": outcome.frames,
        "undecodable": outcome.undecodable,
        "still": outcome.still,
    }
    timings = outcome.timings
    if timings is None or outcome.frames is None or not timings.seconds:
        return row
    return row | {
        "seconds": round(timings.seconds, 3),
        "frames_per_second": round(outcome.frames / timings.seconds, 2),
        "decode_share": round(timings.decode / timings.seconds, 4),
        "network_share": round(timings.network / timings.seconds, 4),
        "wait_share": round(timings.wait / timings.seconds, 4),
    }


def _log_summary(shard: str, outcomes: Iterable[Outcome]) -> None:
    counts = Counter(outcome.status for outcome in outcomes)
    listed = ", ".join(f"{counts[status]} {status}" for status in VideoStatus if counts[status])
    logger.info("shard %s: %s", shard, listed or "no videos")


def retry_failed(config: Config, results: Results, shard: str) -> None:
    """Probe and infer the failed and quarantined videos of a shard again.

    A shard without inference so far, or with all videos done, remains unchanged.

    Parameters
    ----------
    config
        Settings of the run.
    results
        The results folder.
    shard
        Name of the shard.

    Raises
    ------
    ModelError, StoreError
        As in `run_probe` and `run_infer`.
    """
    table = results.shard(shard).infer(config.training.name)
    if not table.exists():
        logger.info("shard %s: not inferred yet, nothing to try again", shard)
        return
    rows = keep_planned(read_table(table, STAGE_COLUMNS), results, shard)
    bad = [row["video"] for row in rows if row["status"] in BAD_STATUSES]
    if not bad:
        logger.info("shard %s: every video is done", shard)
        return
    logger.info("shard %s: trying again %s", shard, ", ".join(bad))
    probed = read_table(results.shard(shard).probe, STAGE_COLUMNS)
    if any(row["video"] in bad and row["status"] != VideoStatus.DONE for row in probed):
        run_probe(config, results, shard)
    run_infer(config, results, shard)
