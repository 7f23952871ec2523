"""Start or join the Dask cluster that infers, with encrypted and authenticated links."""

import importlib
import logging
import multiprocessing
import os
import shlex
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from socket import AF_UNIX
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
    # The schedule counts the attempts after a worker's death itself.
    "distributed.scheduler.allowed-failures": 0,
    # Results are on the disk, so there is nothing to spill; a worker whose network fills the
    # memory would pause for ever.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}
# Local workers are forks of a process that has imported these, which no worker then does again. It
# has no threads and no GPU, and is killed with this process.
_FORKED_SETTINGS = {"distributed.worker.multiprocessing-method": "forkserver"}
_IMPORTED_FOR_WORKERS = (
    "distributed.nanny",
    "pipeline_lib.steps.infer.closed_servers",
    "pipeline_lib.steps.infer.schedule",
    "zarr",
)
# Workers in jobs leave this long before the end of the job, at slightly different times.
_MINUTES_BEFORE_END = 5
_SECONDS_FOR_WORKERS = 24 * 3600


@contextmanager
def connect_workers(
    settings: InferenceSettings, segments: int, shared: Path = Path()
) -> Iterator[Client]:
    """Yield a client of the Dask cluster that the settings name, with at least one worker.

    In a cluster that is started here, every link is encrypted and both ends present the
    credentials of this run.

    Parameters
    ----------
    settings
        Settings of the inference; ``cluster`` names the kind, or the address of a scheduler.
    segments
        Number of segments to infer: more workers would be idle.
    shared
        Folder that all nodes see; workers in jobs find their credentials in it.

    Raises
    ------
    ConfigError
        If the kind of cluster needs a package that is not installed, or if the credentials for
        the scheduler at an address cannot be read.
    CohortposeError
        If no scheduler at the address accepts them.
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
        if settings.cluster == "local" and sys.platform == "linux" and _may_listen():
            stack.enter_context(_fork_workers())
        cluster = stack.enter_context(opener(settings, segments, security))
        client = stack.enter_context(Client(cluster, security=security))
        if settings.dashboard:
            logger.info("dashboard at %s", cluster.dashboard_link)
        client.register_plugin(_IgnoreInterrupts())
        if settings.cluster == "local" and uses_gpus(settings):
            client.register_plugin(_AssignGpu(count_gpus()))
        client.wait_for_workers(1, timeout=_SECONDS_FOR_WORKERS)
        yield client


def _may_listen() -> bool:
    """Return whether a process may listen in a folder for temporary files, as forks need.

    Paths of sockets are short, and some file systems have none.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="pymp-") as folder, socket.socket(AF_UNIX) as one:
            one.bind(f"{folder}/listener-{'x' * 8}")
    except OSError:
        return False
    return True


@contextmanager
def _fork_workers() -> Iterator[None]:
    """Let Dask fork its workers of a process that imports once what all of them need."""
    # By default it would be what Dask names, which it imports into this process, too.
    distributed.utils._forkserver_preload_set = True  # noqa: SLF001
    multiprocessing.get_context("forkserver").set_forkserver_preload([*_IMPORTED_FOR_WORKERS])
    with dask.config.set(_FORKED_SETTINGS):
        yield


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
    """Start one worker per GPU of this node, each with the memory and cores close to its GPU."""
    package = _import("dask_cuda", "dask-cuda", settings)
    return _choose_scheduler(package.LocalCUDACluster, settings)(
        n_workers=max(1, min(count_workers(settings), segments)),
        threads_per_worker=count_decoders(settings),
        # dask-cuda runs this class in a nanny.
        worker_class=ClosedWorker,
        memory_limit=_limit_memory(settings),
        **_keep_to_this_node(settings, security),
    )


def _open_slurm(settings: InferenceSettings, segments: int, security: Security) -> Any:  # noqa: ANN401 - jobqueue's
    """Submit SLURM jobs with one worker each, at most one per segment."""
    package = _import("dask_jobqueue", "dask-jobqueue", settings)
    kind = _choose_scheduler(package.SLURMCluster, settings)

    class Job(package.slurm.SLURMJob):  # type: ignore[misc, name-defined]
        """Run a job whose script quotes the paths of the credentials."""

        def __init__(self, *arguments: Any, security: Any = None, **more: Any) -> None:  # noqa: ANN401
            del security
            super().__init__(*arguments, **more)

    cluster = kind(job_cls=Job, **describe_jobs(settings, security))
    number = max(1, min(settings.cluster_jobs.number, segments))
    # Not `scale`, which would not replace a job that has ended.
    cluster.adapt(minimum_jobs=number, maximum_jobs=number)
    logger.info("%d jobs asked for, with a worker each", number)
    return cluster


def describe_jobs(settings: InferenceSettings, security: Security) -> dict[str, Any]:
    """Return the arguments of dask-jobqueue's ``SLURMCluster``.

    Parameters
    ----------
    settings
        Settings of the inference; ``cluster_jobs`` describes the jobs.
    security
        Credentials in files, from `share_security`; the job scripts contain their paths.

    Raises
    ------
    ValueError
        If the credentials are in memory: the job scripts, which others can read, would contain
        the key.
    """
    files = (security.tls_ca_file, security.tls_worker_cert, security.tls_worker_key)
    if any(file is None or "\n" in file for file in files):
        raise ValueError("expected credentials in files")
    jobs = settings.cluster_jobs
    directives = [f"--gpus={jobs.gpus}"] if jobs.gpus else []
    end = max(1, jobs.minutes - _MINUTES_BEFORE_END)
    arguments = {
        # One thread per segment; the network uses the cores of the job.
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
        # dask-jobqueue joins these by blanks into a line of the script.
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
    """Return the arguments of a cluster whose links and pages stay on this node."""
    return {
        "host": "127.0.0.1",
        "protocol": "tls://",
        "security": security,
        "dashboard_address": _place_dashboard(settings),
        "silence_logs": logging.ERROR,
    }


def _place_dashboard(settings: InferenceSettings) -> str | None:
    """Return the address of the dashboard, on this node only; None if there is none."""
    if not settings.dashboard:
        return None
    # True means any free port.
    return f"127.0.0.1:{0 if settings.dashboard is True else settings.dashboard}"


def _limit_memory(settings: InferenceSettings) -> int:
    """Return a worker's memory limit in bytes; 0 for none: Dask's default kills busy workers."""
    limit = settings.worker_gigabytes
    return 0 if limit is None else int(limit * _BYTES_PER_GIGABYTE)


def _import(module: str, package: str, settings: InferenceSettings) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        problem = f"`cluster` {settings.cluster} needs the package {package} ({error}): install it"
        raise ConfigError("inference", [problem]) from None


class _IgnoreInterrupts(distributed.WorkerPlugin):  # type: ignore[misc]
    """Make workers ignore Ctrl-C, so that the main process ends the run in order."""

    def setup(self, worker: Any) -> None:  # noqa: ANN401 - Dask's
        del worker
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class _AssignGpu(distributed.WorkerPlugin):  # type: ignore[misc]
    """Make one GPU visible to each local worker."""

    def __init__(self, gpus: int) -> None:
        self._gpus = gpus

    def setup(self, worker: Any) -> None:  # noqa: ANN401 - Dask's
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = visible.split(",") if visible else [str(gpu) for gpu in range(self._gpus)]
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[int(worker.name) % len(devices)]
