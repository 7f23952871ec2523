"""The Dask cluster that infers: which kind, where its workers are, and who may talk to them."""

import importlib
import logging
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import dask
import distributed
from distributed import Client, LocalCluster, Nanny, Security

from pipeline_lib.core.errors import CohortposeError, ConfigError
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.models.inference.predictor import count_gpus
from pipeline_lib.steps.infer.closed_servers import ClosedWorker, close_scheduler
from pipeline_lib.steps.infer.credentials import create_security, read_security, share_security
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
def connect_workers(
    settings: InferenceSettings, segments: int, shared: Path = Path()
) -> Iterator[Client]:
    """Yield a client of the Dask cluster that the settings name, with at least one worker.

    Every link of a cluster that is started here is encrypted, and both of its ends show the
    credentials of this run.

    Parameters
    ----------
    settings
        ``cluster`` names the kind, or the address of a scheduler.
    segments
        Number of segments to infer: more workers would be idle.
    shared
        Folder that all nodes see; workers in jobs find their credentials in it.

    Raises
    ------
    ConfigError
        If the kind of cluster needs a package that is not there, or if the credentials for the
        scheduler at an address cannot be read.
    CohortposeError
        If there is no scheduler at the address that takes them.
    StoreError
        If others could read the credentials of the workers.
    """
    openers = {"local": _open_local, "slurm": _open_slurm, "dask-cuda": _open_cuda}
    opener = openers.get(settings.cluster)
    if opener is None:
        with _connect_to(settings) as client:
            client.wait_for_workers(1, timeout=_SECONDS_FOR_WORKERS)
            yield client
        return
    with ExitStack() as stack:
        security = create_security()
        if settings.cluster == "slurm":
            security = stack.enter_context(share_security(security, shared))
        stack.enter_context(dask.config.set(_DASK_SETTINGS))
        cluster = stack.enter_context(opener(settings, segments, security))
        client = stack.enter_context(Client(cluster, security=security))
        if settings.dashboard:
            logger.info("dashboard at %s", cluster.dashboard_link)
        client.register_plugin(_DeafToInterrupts())
        if settings.cluster == "local" and uses_gpus(settings):
            client.register_plugin(_OwnGpu(count_gpus()))
        client.wait_for_workers(1, timeout=_SECONDS_FOR_WORKERS)
        yield client


def _connect_to(settings: InferenceSettings) -> Client:
    security = read_security(settings.cluster_security)
    try:
        return Client(settings.cluster, timeout="60s", security=security)
    except OSError as error:
        raise CohortposeError(
            f"`inference.cluster` {settings.cluster}: cannot connect ({error}); see that a "
            "scheduler runs there, and that `cluster_security` has the files it was started with"
        ) from error


def _open_local(settings: InferenceSettings, segments: int, security: Security) -> LocalCluster:
    workers = max(1, min(count_workers(settings), segments))
    logger.info("%d local workers", workers)
    return _choose_scheduler(LocalCluster, settings)(
        n_workers=workers,
        threads_per_worker=count_decoders(settings),
        processes=True,
        worker_class=partial(Nanny, worker_class=ClosedWorker),
        memory_limit=_limit_memory(settings),
        **_keep_to_this_node(settings, security),
    )


def _open_cuda(settings: InferenceSettings, segments: int, security: Security) -> Any:  # noqa: ANN401 - dask-cuda's
    """Start a worker per GPU of this node, each with the memory and the cores next to it."""
    package = _import("dask_cuda", "dask-cuda", settings)
    return _choose_scheduler(package.LocalCUDACluster, settings)(
        n_workers=max(1, min(count_workers(settings), segments)),
        threads_per_worker=count_decoders(settings),
        # Which dask-cuda gives to a nanny.
        worker_class=ClosedWorker,
        memory_limit=_limit_memory(settings),
        **_keep_to_this_node(settings, security),
    )


def _open_slurm(settings: InferenceSettings, segments: int, security: Security) -> Any:  # noqa: ANN401 - jobqueue's
    """Ask SLURM for jobs with a worker each, as many as there is work for."""
    package = _import("dask_jobqueue", "dask-jobqueue", settings)
    kind = _choose_scheduler(package.SLURMCluster, settings)

    class Job(package.slurm.SLURMJob):  # type: ignore[misc, name-defined]
        """A job whose script has the files of the credentials as we quote them."""

        def __init__(self, *arguments: Any, security: Any = None, **more: Any) -> None:  # noqa: ANN401
            del security
            super().__init__(*arguments, **more)

    cluster = kind(job_cls=Job, **describe_jobs(settings, security))
    number = max(1, min(settings.cluster_jobs.number, segments))
    # Not `scale`, which would not replace a job that has come to its end.
    cluster.adapt(minimum_jobs=number, maximum_jobs=number)
    logger.info("%d jobs asked for, with a worker each", number)
    return cluster


def describe_jobs(settings: InferenceSettings, security: Security) -> dict[str, Any]:
    """Return what dask-jobqueue's ``SLURMCluster`` is told.

    Parameters
    ----------
    settings
        ``cluster_jobs`` describes the jobs.
    security
        Credentials in files, of `share_security`; the jobs' scripts hold their paths.

    Raises
    ------
    ValueError
        If the credentials are in memory: the scripts, which many can read, would hold the key.
    """
    files = (security.tls_ca_file, security.tls_worker_cert, security.tls_worker_key)
    if any(file is None or "\n" in file for file in files):
        raise ValueError("expected credentials in files")
    jobs = settings.cluster_jobs
    directives = [f"--gpus={jobs.gpus}"] if jobs.gpus else []
    end = max(1, jobs.minutes - _MINUTES_BEFORE_END)
    arguments = {
        # The job's cores are for the network: a worker has a thread per segment at a time.
        "--nthreads": count_decoders(settings),
        "--lifetime": f"{end}m",
        "--lifetime-stagger": "2m",
        "--worker-class": f"{ClosedWorker.__module__}.{ClosedWorker.__qualname__}",
        "--dashboard-address": "127.0.0.1:0",
        **dict(zip(("--tls-ca-file", "--tls-cert", "--tls-key"), files, strict=True)),
    }
    python = dask.config.get("jobqueue.slurm.python", None)
    return {
        "queue": jobs.partition,
        "account": jobs.account,
        "cores": jobs.cores,
        "processes": 1,
        "memory": f"{jobs.gigabytes:g}GB",
        "walltime": str(jobs.minutes),
        "interface": jobs.interface,
        "protocol": "tls://",
        "security": security,
        "scheduler_options": {"dashboard_address": _place_dashboard(settings)},
        # dask-jobqueue joins these by blanks to a line of the script.
        "python": python or shlex.quote(sys.executable),
        "job_extra_directives": [*directives, *jobs.directives],
        "worker_extra_args": [
            "--no-dashboard",
            *(shlex.quote(str(word)) for pair in arguments.items() for word in pair),
        ],
        "silence_logs": logging.ERROR,
    }


def _choose_scheduler(kind: type, settings: InferenceSettings) -> type:
    return kind if settings.dashboard else close_scheduler(kind)


def _keep_to_this_node(settings: InferenceSettings, security: Security) -> dict[str, Any]:
    """Return what a cluster on this node alone is told of its links and pages."""
    return {
        "host": "127.0.0.1",
        "protocol": "tls://",
        "security": security,
        "dashboard_address": _place_dashboard(settings),
        "silence_logs": logging.ERROR,
    }


def _place_dashboard(settings: InferenceSettings) -> str | None:
    """Return where this node alone finds the dashboard; None: there is none."""
    if not settings.dashboard:
        return None
    # True is no port.
    return f"127.0.0.1:{0 if settings.dashboard is True else settings.dashboard}"


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
