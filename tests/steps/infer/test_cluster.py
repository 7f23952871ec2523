"""Test the choice of the Dask cluster, as far as possible without its hardware."""

import sys
import types

import pytest
from distributed import Security

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.settings.videos import ClusterJobSettings, InferenceSettings
from pipeline_lib.steps.infer import cluster as infer_cluster
from pipeline_lib.steps.infer.closed_servers import ClosedWorker
from pipeline_lib.steps.infer.cluster import connect_workers, describe_jobs
from pipeline_lib.steps.infer.workers import count_decoders, count_threads, count_workers

FILES = Security(
    tls_ca_file="/a b/ca.pem", tls_worker_cert="/a b/certificate.pem", tls_worker_key="/a b/key.pem"
)


def test_a_job_is_described_as_slurm_wants_it():
    jobs = ClusterJobSettings(
        number=3,
        cores=6,
        gigabytes=12.5,
        minutes=90,
        gpus=1,
        partition="gpu",
        account="lab",
        interface="ib0",
        directives=("--qos=long",),
    )
    settings = InferenceSettings(cluster="slurm", runtime="torch", cluster_jobs=jobs)
    told = describe_jobs(settings, FILES)
    assert (told["queue"], told["account"], told["interface"]) == ("gpu", "lab", "ib0")
    assert (told["cores"], told["memory"], told["walltime"]) == (6, "12.5GB", "90")
    assert told["job_extra_directives"] == ["--gpus=1", "--qos=long"]
    arguments = told["worker_extra_args"]
    # Gone before SLURM ends the job; six cores feed the GPU.
    assert arguments[arguments.index("--lifetime") + 1] == "85m"
    assert arguments[arguments.index("--nthreads") + 1] == "6"
    assert count_workers(settings) == 3
    assert count_threads(settings) == 6


def test_jobs_without_a_gpu_decode_one_segment_with_all_cores_for_the_network():
    settings = InferenceSettings(cluster="slurm", cluster_jobs=ClusterJobSettings(cores=4))
    assert (count_threads(settings), count_decoders(settings)) == (4, 1)
    assert describe_jobs(settings, FILES)["job_extra_directives"] == []


@pytest.mark.parametrize(
    ("cluster", "module", "package"),
    [("slurm", "dask_jobqueue", "dask-jobqueue"), ("dask-cuda", "dask_cuda", "dask-cuda")],
)
def test_a_missing_package_is_named(monkeypatch, cluster, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    settings = InferenceSettings(cluster=cluster)
    with (
        pytest.raises(ConfigError, match=f"`cluster` {cluster} needs the package {package}"),
        connect_workers(settings, 1),
    ):
        pass


def test_dask_cuda_is_told_what_it_understands(monkeypatch):
    """Replace the package, whose import needs a GPU, by a mock.

    Its arguments are those of dask-cuda 25's `LocalCUDACluster`; that it starts was not tested.
    """
    told = {}

    class LocalCUDACluster:
        def __init__(
            self,
            *,
            n_workers,
            threads_per_worker,
            memory_limit,
            silence_logs,
            worker_class,
            **local_cluster,
        ):
            told.update(n=n_workers, threads=threads_per_worker, memory=memory_limit)
            told.update(local_cluster, worker_class=worker_class)
            del silence_logs
            raise RuntimeError("no GPU")

    package = types.SimpleNamespace(LocalCUDACluster=LocalCUDACluster)
    monkeypatch.setitem(sys.modules, "dask_cuda", package)
    monkeypatch.setattr("pipeline_lib.steps.infer.workers.count_gpus", lambda: 4)
    monkeypatch.setattr("pipeline_lib.steps.infer.workers.count_cores", lambda: 16)
    settings = InferenceSettings(cluster="dask-cuda", runtime="torch", worker_gigabytes=2)
    with pytest.raises(RuntimeError, match="no GPU"), connect_workers(settings, 100):
        pass
    assert told.pop("security").require_encryption
    assert told == {
        "n": 4,
        "threads": 4,
        "memory": 2 * 10**9,
        "host": "127.0.0.1",
        "protocol": "tls://",
        "dashboard_address": None,
        "worker_class": ClosedWorker,
    }


def test_workers_of_a_scheduler_are_used_as_they_are(monkeypatch):
    asked = []

    class Stop(Exception):  # noqa: N818
        pass

    def client(address, *, security, timeout):
        asked.append((address, security.require_encryption, timeout))
        raise Stop

    monkeypatch.setattr(infer_cluster, "Client", client)
    settings = InferenceSettings(cluster="tcp://node:8786", cluster_security={"insecure": True})
    with pytest.raises(Stop), connect_workers(settings, 1):
        pass
    assert asked == [("tcp://node:8786", False, "60s")]
