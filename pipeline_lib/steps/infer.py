"""infer: the poses of every good video of a shard, on warm Dask workers."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import distributed
from distributed import Client, LocalCluster

from pipeline_lib.core import versions
from pipeline_lib.core.config import hash_settings
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings import Config, InferenceSettings
from pipeline_lib.core.tables import PROBE_COLUMNS, STAGE_COLUMNS, VideoStatus
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.models.card import ModelCard, read_card
from pipeline_lib.models.prediction import choose_runtime, count_gpus
from pipeline_lib.steps.infer_video import InferenceTask, Outcome, infer_video, is_inferred
from pipeline_lib.steps.plan import keep_planned

logger = logging.getLogger(__name__)

INFER_COLUMNS = (*STAGE_COLUMNS, "frames", "undecodable")


def run_infer(config: Config, results: Results, shard: str) -> None:
    """Publish the poses of a shard's good videos and one row on how each ended.

    Raises
    ------
    ModelError
        If the model is missing or cannot be loaded.
    StoreError
        If the shard was not probed.
    OSError
        If writing fails: no verdict on a video, the job should be tried again.
    """
    model = config.training.name
    card = read_card(results.model(model).card)
    rows = read_table(results.shard(shard).probe, PROBE_COLUMNS)
    rows = keep_planned(rows, results, shard)
    tasks = [
        _make_task(config, results, row, card) for row in rows if row["status"] == VideoStatus.DONE
    ]
    outcomes = {task.video: Outcome.of_finished(task) for task in tasks if is_inferred(task)}
    # Longest first, so that no worker is left with a long video at the end.
    waiting = sorted(
        (task for task in tasks if task.video not in outcomes), key=lambda task: -task.frames
    )
    if waiting:
        logger.info("%d videos to infer, %d done before", len(waiting), len(outcomes))
        with connect_workers(config.inference, len(waiting)) as client:
            for outcome in _compute(client, waiting):
                outcomes[outcome.video] = outcome
    write_table(
        results.shard(shard).infer(model),
        INFER_COLUMNS,
        [
            vars(outcomes[row["video"]])
            if row["video"] in outcomes
            else {"video": row["video"], "status": row["status"], "reason": row["reason"]}
            for row in rows
        ],
    )


@contextmanager
def connect_workers(settings: InferenceSettings, videos: int) -> Iterator[Client]:
    """Yield a client of the Dask cluster that the settings name.

    Parameters
    ----------
    settings
        ``cluster: local`` starts worker processes here; anything else is a scheduler's address.
    videos
        Number of videos to infer: more local workers would be idle.
    """
    if settings.cluster != "local":
        with Client(settings.cluster, timeout="60s") as client:
            yield client
        return
    workers = min(count_workers(settings), videos)
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            # One video per worker at a time; Dask's own limits would restart a worker at work.
            memory_limit=0,
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        logger.info("%d workers; dashboard at %s", workers, cluster.dashboard_link)
        yield client


def count_workers(settings: InferenceSettings) -> int:
    """Return the number of local workers: as set, else one per GPU, else one per core."""
    if settings.workers is not None:
        return settings.workers
    if choose_runtime(settings.runtime) == "torch" and (gpus := count_gpus()):
        return gpus
    return count_cores()


def count_cores() -> int:
    """Return the cores this process may run on."""
    return len(os.sched_getaffinity(0))


def count_threads(settings: InferenceSettings) -> int:
    """Return the network's threads in each worker: as set, else the cores shared out."""
    if settings.threads_per_worker is not None:
        return settings.threads_per_worker
    return max(1, count_cores() // count_workers(settings))


def _compute(client: Client, tasks: list[InferenceTask]) -> Iterator[Outcome]:
    """Yield the outcome of each task; a task that kills its worker is tried once more alone."""
    futures = {client.submit(infer_video, task, pure=False): task for task in tasks}
    suspects = []
    for future in distributed.as_completed(list(futures)):
        task = futures.pop(future)
        try:
            yield future.result()
        except distributed.KilledWorker:
            # Dask blames every task that waited on a worker that died.
            suspects.append(task)
        future.release()
    for task in suspects:
        try:
            yield client.submit(infer_video, task, pure=False).result()
        except distributed.KilledWorker:
            reason = "the worker died each time it read this video"
            yield Outcome(task.video, VideoStatus.QUARANTINED, reason)


def _make_task(
    config: Config, results: Results, row: dict[str, str], card: ModelCard
) -> InferenceTask:
    model = config.training.name
    try:
        frames = int(row["frames"])
    except ValueError:
        raise StoreError(f"probe table: video {row['video']} has no frame count") from None
    return InferenceTask(
        video=row["video"],
        path=row["path"],
        frames=frames,
        fps=float(row["fps"]),
        fingerprint=row["fingerprint"],
        output=str(results.poses(model, row["video"]).resolve()),
        model=str(results.model(model).folder.resolve()),
        key=hash_settings(row["fingerprint"], card.key, card.network_sha256, versions.INFER),
        runtime=choose_runtime(config.inference.runtime),
        threads=count_threads(config.inference),
        batch_size=config.inference.batch_size,
    )
