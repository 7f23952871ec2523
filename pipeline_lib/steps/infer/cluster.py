"""The Dask cluster that infers: which kind, and where its workers are."""

import importlib
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import dask
import distributed
from distributed import Client, LocalCluster

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.models.inference.predictor import count_gpus
from pipeline_lib.steps.infer.workers import count_decoders, count_workers, uses_gpus

logger = logging.getLogger(__name__)

_BYTES_PER_GIGABYTE = 10**9
_DASK_SETTINGS = {
    # A worker that dies is judged by our own count of attempts.
    "distributed.scheduler.allowed-failures": 0,
    # Results are on the disk: there is nothing to spill, and a worker that pauses until it needs
    # less memory would wait forever if it is the network that needs it.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}
# Workers in jobs leave this long before the job's end, not all at the same time.
_MINUTES_BEFORE_END = 5
_SECONDS_FOR_WORKERS = 24 * 3600


@contextmanager
def connect_workers(settings: InferenceSettings, segments: int) -> Iterator[Client]:
    """Yield a client of the Dask cluster that the settings name, with at least one worker.

    Parameters
    ----------
    settings
        ``cluster`` names the kind, or the address of a scheduler.
    segments
        Number of segments to infer: more workers would be idle.

    Raises
    ------
    ConfigError
        If the kind of cluster needs a package that is not there.
    """
    openers = {"local": _open_local, "slurm": _open_slurm, "dask-cuda": _open_cuda}
    opener = openers.get(settings.cluster)
    if opener is None:
        with Client(settings.cluster, timeout="60s") as client:
            logger.info("%s; dashboard at %s", settings.cluster, client.dashboard_link)
            client.wait_for_workers(1, timeout=_SECONDS_FOR_WORKERS)
            yield client
        return
    with (
        dask.config.set(_DASK_SETTINGS),
        opener(settings, segments) as cluster,
        Client(cluster) as client,
    ):
        logger.info("dashboard at %s", cluster.dashboard_link)
        client.register_plugin(_DeafToInterrupts())
        if settings.cluster == "local" and uses_gpus(settings):
            client.register_plugin(_OwnGpu(count_gpus()))
        client.wait_for_workers(1, timeout=_SECONDS_FOR_WORKERS)
        yield client


def _open_local(settings: InferenceSettings, segments: int) -> LocalCluster:
    workers = max(1, min(count_workers(settings), segments))
    logger.info("%d local workers", workers)
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=count_decoders(settings),
        processes=True,
        dashboard_address=":0",
        memory_limit=_limit_memory(settings),
        silence_logs=logging.ERROR,
    )


def _open_cuda(settings: InferenceSettings, segments: int) -> Any:  # noqa: ANN401 - dask-cuda's
    """Start a worker per GPU of this node, each with the memory and the cores next to it."""
    package = _import("dask_cuda", "dask-cuda", settings)
    return package.LocalCUDACluster(
        n_workers=max(1, min(count_workers(settings), segments)),
        threads_per_worker=count_decoders(settings),
        dashboard_address=":0",
        memory_limit=_limit_memory(settings),
        silence_logs=logging.ERROR,
    )


def _open_slurm(settings: InferenceSettings, segments: int) -> Any:  # noqa: ANN401 - jobqueue's
    """Ask SLURM for jobs with a worker each, as many as there is work for."""
    package = _import("dask_jobqueue", "dask-jobqueue", settings)
    cluster = package.SLURMCluster(**describe_jobs(settings))
    number = max(1, min(settings.cluster_jobs.number, segments))
    # Not `scale`, which would not replace a job that has come to its end.
    cluster.adapt(minimum_jobs=number, maximum_jobs=number)
    logger.info("%d jobs asked for, with a worker each", number)
    return cluster


def describe_jobs(settings: InferenceSettings) -> dict[str, Any]:
    """Return what dask-jobqueue's ``SLURMCluster`` is told."""
    jobs = settings.cluster_jobs
    directives = [f"--gpus={jobs.gpus}"] if jobs.gpus else []
    end = max(1, jobs.minutes - _MINUTES_BEFORE_END)
    return {
        "queue": jobs.partition,
        "account": jobs.account,
        "cores": jobs.cores,
        "processes": 1,
        "memory": f"{jobs.gigabytes:g}GB",
        "walltime": str(jobs.minutes),
        "interface": jobs.interface,
        "scheduler_options": {"dashboard_address": ":0"},
        "job_extra_directives": [*directives, *jobs.directives],
        # The job's cores are for the network: a worker has a thread per segment at a time.
        "worker_extra_args": [
            "--nthreads",
            str(count_decoders(settings)),
            "--lifetime",
            f"{end}m",
            "--lifetime-stagger",
            "2m",
        ],
        "silence_logs": logging.ERROR,
    }


def _limit_memory(settings: InferenceSettings) -> int:
    """Return a worker's limit in bytes; 0: none, since Dask's guess would stop one at work."""
    limit = settings.worker_gigabytes
    return 0 if limit is None else int(limit * _BYTES_PER_GIGABYTE)


def _import(module: str, package: str, settings: InferenceSettings) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        problem = f"`cluster` {settings.cluster} needs the package {package} ({error}): install it"
        raise ConfigError("inference", [problem]) from None


class _DeafToInterrupts(distributed.WorkerPlugin):  # type: ignore[misc]
    """Lets Ctrl-C, which reaches the workers, too, end the run instead of each by itself."""

    def setup(self, worker: Any) -> None:  # noqa: ANN401 - Dask's
        del worker
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class _OwnGpu(distributed.WorkerPlugin):  # type: ignore[misc]
    """Lets each local worker see one GPU only."""

    def __init__(self, gpus: int) -> None:
        self._gpus = gpus

    def setup(self, worker: Any) -> None:  # noqa: ANN401 - Dask's
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = visible.split(",") if visible else [str(gpu) for gpu in range(self._gpus)]
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[int(worker.name) % len(devices)]
