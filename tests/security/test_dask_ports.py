"""Test Dask's ports: who gets in, who can read the credentials, and what listens where.

What listens is asked of the operating system, for the processes of the run alone. The intruder is
a process of its own (`intruder.py`), of another user where the tests run as root.
"""

import contextlib
import json
import os
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dask
import dask_jobqueue
import psutil
import pytest
from distributed import Client, LocalCluster

from pipeline_lib.core.errors import CohortposeError, ConfigError, StoreError
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.steps.infer import cluster as infer_cluster
from pipeline_lib.steps.infer import credentials
from pipeline_lib.steps.infer.cluster import connect_workers, describe_jobs
from pipeline_lib.steps.infer.credentials import create_security, share_security

NOBODY = 65534
WORKERS = 2
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def list_ports(*processes):
    """Return HOST:PORT of everything that listens in some processes and their children."""
    found = set()
    for process in processes:
        for one in (process, *process.children(recursive=True)):
            for link in one.net_connections(kind="inet"):
                if link.status == psutil.CONN_LISTEN or link.type == socket.SOCK_DGRAM:
                    found.add(f"{link.laddr.ip}:{link.laddr.port}")
    return found


def break_in(addresses, folder, user=None, stolen=None):
    """Let an intruder try; return how each try ended and which of them ran code."""
    folder.mkdir()
    asked = {
        "addresses": sorted(addresses),
        "folder": str(folder),
        "user": user,
        "credentials": None if stolen is None else str(stolen),
    }
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("intruder.py"))],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout), sorted(mark.name for mark in folder.iterdir())


@pytest.fixture(scope="module")
def temporary(tmp_path_factory):
    """Make a folder for temporary files of this process and its children."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", None)
        yield folder
    tempfile.tempdir = None


@pytest.fixture(scope="module")
def own_credentials():
    """Return credentials that the tests know too."""
    return create_security()


@pytest.fixture(scope="module")
def ports(temporary, own_credentials):
    """Return the listening ports of a local cluster with two workers."""
    del temporary
    this = psutil.Process()
    before = list_ports(this)
    settings = InferenceSettings(workers=WORKERS, threads_per_worker=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(infer_cluster, "create_security", lambda: own_credentials)
        with connect_workers(settings, 10) as client:
            client.wait_for_workers(WORKERS, timeout=60)
            yield list_ports(this) - before


def test_a_local_cluster_listens_on_loopback_and_has_no_pages(ports):
    """Find a scheduler, two nannies and two workers, and nothing else such as a dashboard."""
    assert {port.rsplit(":", 1)[0] for port in ports} == {"127.0.0.1"}
    assert len(ports) == 1 + 2 * WORKERS


def test_ports_do_not_answer_http(ports):
    for port in ports:
        host, number = port.split(":")
        with socket.create_connection((host, int(number)), timeout=10) as link:
            link.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                assert not link.recv(4096).startswith(b"HTTP")


def test_nobody_runs_code_without_credentials_not_even_the_owner(ports, tmp_path):
    ended, inside = break_in(ports, tmp_path / "marks")
    assert len(ended) == 3 * len(ports)
    assert inside == []
    assert "answered" not in ended.values()


@as_root
def test_another_user_runs_no_code(ports, tmp_path):
    ended, inside = break_in(ports, tmp_path / "marks", user=NOBODY)
    assert len(ended) == 3 * len(ports)
    assert inside == []
    assert "answered" not in ended.values()


@pytest.mark.parametrize("user", [None, pytest.param(NOBODY, marks=as_root)])
def test_the_intruder_gets_into_every_port_with_the_credentials(
    ports, own_credentials, user, tmp_path
):
    """Check that the intruder works, without which its failures would show nothing."""
    with share_security(own_credentials, tmp_path) as shared:
        stolen = Path(shared.tls_ca_file).parent
        _, inside = break_in(ports, tmp_path / "marks", user, stolen)
    assert inside == [f"{number}-stolen" for number in range(len(ports))]


def test_the_intruder_gets_into_an_open_cluster(tmp_path):
    open_to_all = LocalCluster(
        n_workers=0, processes=False, protocol="tcp://", dashboard_address=None
    )
    with open_to_all as cluster:
        address = cluster.scheduler_address.removeprefix("tcp://")
        _, inside = break_in([address], tmp_path / "marks")
    assert inside == ["0-tcp"]


def test_the_key_of_a_local_cluster_is_written_nowhere(ports, temporary):
    del ports
    files = [path for path in temporary.rglob("*") if path.is_file()]
    assert [path for path in files if b"PRIVATE KEY" in path.read_bytes()] == []
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        told = " ".join(process.cmdline()) + json.dumps(process.environ())
        assert "PRIVATE KEY" not in told


def test_each_run_has_credentials_of_its_own():
    first, second = create_security(), create_security()
    assert first.tls_worker_key != second.tls_worker_key
    assert first.tls_ca_file != second.tls_ca_file


def test_a_dashboard_is_asked_for_and_stays_on_loopback():
    this = psutil.Process()
    before = list_ports(this)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = InferenceSettings(workers=1, threads_per_worker=1, dashboard=port)
    with connect_workers(settings, 1):
        found = list_ports(this) - before
        assert {one.rsplit(":", 1)[0] for one in found} == {"127.0.0.1"}
        assert len(found) == 4
        assert f"127.0.0.1:{port}" in found
        with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
            link.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert link.recv(4096).startswith(b"HTTP/1.1 200")


# In jobs


def test_shared_credentials_are_the_owner_s_alone_and_go_with_the_run(tmp_path):
    before = os.umask(0)
    try:
        tmp_path.chmod(0o2777)
        with share_security(create_security(), tmp_path) as shared:
            (folder,) = tmp_path.iterdir()
            assert stat.S_IMODE(folder.stat().st_mode) & 0o777 == 0o700
            files = sorted(folder.iterdir())
            assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600] * 3
            assert {path.stat().st_uid for path in (folder, *files)} == {os.geteuid()}
            assert {shared.tls_ca_file, shared.tls_worker_cert, shared.tls_worker_key} == {
                str(path) for path in files
            }
            assert "PRIVATE KEY" in Path(shared.tls_worker_key).read_text()
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(ZeroDivisionError), share_security(create_security(), tmp_path):
            _ = 1 / 0
        assert list(tmp_path.iterdir()) == []
    finally:
        os.umask(before)


@as_root
def test_another_user_cannot_read_shared_credentials():
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        place.chmod(0o777)
        with share_security(create_security(), place) as shared:
            for path in (shared.tls_ca_file, shared.tls_worker_cert, shared.tls_worker_key):
                ended = subprocess.run(
                    ["cat", path],
                    check=False,
                    user=NOBODY,
                    group=NOBODY,
                    extra_groups=[],
                    capture_output=True,
                )
                assert ended.returncode != 0
                assert ended.stdout == b""
                assert b"Permission denied" in ended.stderr
    finally:
        place.rmdir()


def test_a_file_system_that_keeps_no_secret_is_refused(tmp_path, monkeypatch):
    """Simulate a mount with one mode for all files, or one that changes their owner."""
    made = tempfile.mkdtemp

    def open_to_all(**arguments):
        folder = made(**arguments)
        Path(folder).chmod(0o755)
        return folder

    monkeypatch.setattr(credentials.tempfile, "mkdtemp", open_to_all)
    with (
        pytest.raises(StoreError, match=r"found owner .* and mode 755.*keeps no secret"),
        share_security(create_security(), tmp_path),
    ):
        pass
    monkeypatch.undo()
    monkeypatch.setattr(credentials.os, "geteuid", lambda: 12345)
    with (
        pytest.raises(StoreError, match="only user 12345 may read"),
        share_security(create_security(), tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """Open a cluster without submitting jobs, with results in a folder that needs quoting."""
    place = tmp_path / "a cohort; touch $(echo in) 'here'"
    monkeypatch.setattr(dask_jobqueue.SLURMCluster, "adapt", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path)
    settings = InferenceSettings(
        cluster="slurm", cluster_jobs={"cores": 1, "gigabytes": 1, "interface": "lo"}
    )
    with (
        share_security(create_security(), place) as security,
        infer_cluster._open_slurm(settings, 1, security) as cluster,
    ):
        yield cluster, security


def test_the_script_of_a_job_holds_no_secret(jobs):
    cluster, security = jobs
    script = cluster.job_script()
    for path in (security.tls_worker_key, security.tls_worker_cert, security.tls_ca_file):
        lines = [line for line in Path(path).read_text().splitlines() if "-----" not in line]
        assert lines
        assert [line for line in lines if line in script] == []
    assert "PRIVATE KEY" not in script
    assert cluster.scheduler_address.startswith("tls://")
    command = script.splitlines()[-1]
    assert f" {cluster.scheduler_address} " in command
    assert " --no-dashboard " in command
    assert " --protocol tls://" in command
    assert "--worker-class pipeline_lib.steps.infer.closed_servers.ClosedWorker" in command


def test_a_worker_of_a_job_joins_and_listens_to_its_cluster_only(jobs, tmp_path):
    """Run the script as the job would: its worker trusts the run and nobody else."""
    cluster, security = jobs
    this = psutil.Process()
    scheduler = {port for port in list_ports(this) if cluster.scheduler_address.endswith(port)}
    assert len(scheduler) == 1
    script = tmp_path / "job.sh"
    script.write_text(cluster.job_script())
    with (tmp_path / "log").open("w") as log:
        job = subprocess.Popen(["bash", script], stdout=log, stderr=log, cwd=tmp_path)
    try:
        with Client(cluster, security=security) as client:
            client.wait_for_workers(1, timeout=60)
            assert client.submit(lambda: 6 * 7).result() == 42
            found = list_ports(psutil.Process(job.pid))
            assert len(found) == 2, (tmp_path / "log").read_text()
            ended, inside = break_in(found | scheduler, tmp_path / "marks")
            assert len(ended) == 9
            assert inside == []
    finally:
        for process in (*psutil.Process(job.pid).children(recursive=True), job):
            process.terminate()
        job.wait()
    assert not (tmp_path / "in").exists()


def test_slurm_s_scheduler_has_no_pages(jobs):
    cluster, _ = jobs
    assert cluster.scheduler.services == {}
    assert cluster.scheduler.security.require_encryption


# At an address


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """Start a foreign TLS scheduler and a worker; yield its address and credentials."""
    folder = tmp_path_factory.mktemp("foreign")
    program, about = str(Path(sys.executable).with_name("dask")), folder / "scheduler.json"
    with share_security(create_security(), folder) as security:
        secure = ["--tls-ca-file", security.tls_ca_file, "--tls-cert", security.tls_worker_cert]
        secure += ["--tls-key", security.tls_worker_key, "--host", "127.0.0.1"]
        secure += ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        options = {"stderr": subprocess.DEVNULL, "cwd": folder}
        started = [
            subprocess.Popen(
                [program, "scheduler", *secure, "--port", "0", "--scheduler-file", about], **options
            )
        ]
        try:
            while not about.exists():
                assert started[0].poll() is None
                time.sleep(0.05)
            address = json.loads(about.read_text())["address"]
            started.append(
                subprocess.Popen([program, "worker", address, *secure, "--no-nanny"], **options)
            )
            yield address, security
        finally:
            for process in started:
                process.kill()
                process.wait()


def describe_foreign(address, security, **other):
    files = {
        "ca_file": security.tls_ca_file,
        "cert": security.tls_client_cert,
        "key": security.tls_client_key,
    }
    return InferenceSettings(cluster=address, cluster_security={**files, **other})


def test_a_scheduler_at_an_address_takes_the_credentials_of_the_settings(foreign):
    with connect_workers(describe_foreign(*foreign), 1) as client:
        assert client.submit(lambda: 6 * 7).result() == 42


def test_the_key_may_be_in_the_file_of_the_certificate(foreign, tmp_path):
    """Check that this file must belong to its owner alone."""
    address, security = foreign
    both = tmp_path / "both.pem"
    both.write_text(
        Path(security.tls_client_cert).read_text() + Path(security.tls_client_key).read_text()
    )
    settings = describe_foreign(address, security, cert=str(both), key=None)
    both.chmod(0o600)
    with connect_workers(settings, 1) as client:
        assert client.submit(lambda: 6 * 7).result() == 42
    both.chmod(0o604)
    with pytest.raises(ConfigError, match=r"both\.pem has mode 604"), connect_workers(settings, 1):
        pass


def test_dask_s_own_settings_will_do(foreign):
    address, security = foreign
    own = {
        "distributed.comm.tls.ca-file": security.tls_ca_file,
        "distributed.comm.tls.client.cert": security.tls_client_cert,
        "distributed.comm.tls.client.key": security.tls_client_key,
    }
    with dask.config.set(own), connect_workers(InferenceSettings(cluster=address), 1) as client:
        assert client.submit(lambda: 6 * 7).result() == 42


def test_dask_s_own_settings_do_not_weaken_a_run():
    """Check that they are not mixed with its credentials."""
    weak = {
        "distributed.comm.require-encryption": False,
        "distributed.comm.tls.max-version": 1.2,
        "distributed.comm.tls.ciphers": "NULL",
        "distributed.comm.tls.ca-file": "/no/such.pem",
    }
    with dask.config.set(weak):
        security = create_security()
    assert security.require_encryption is True
    assert security.tls_min_version == ssl.TLSVersion.TLSv1_3
    assert (security.tls_max_version, security.tls_ciphers) == (None, None)
    assert "BEGIN CERTIFICATE" in security.tls_ca_file


def test_a_scheduler_with_other_credentials_is_refused(foreign, tmp_path):
    address, _ = foreign
    with (
        share_security(create_security(), tmp_path) as other,
        pytest.raises(CohortposeError, match=r"(?i)cannot connect \(.*certificate.*security"),
        connect_workers(describe_foreign(address, other), 1),
    ):
        pass


def test_a_key_that_others_read_is_refused(foreign, tmp_path):
    address, security = foreign
    key = tmp_path / "key.pem"
    key.write_text(Path(security.tls_client_key).read_text())
    key.chmod(0o640)
    with (
        pytest.raises(ConfigError, match="has mode 640, others may read it: `chmod 600` it"),
        connect_workers(describe_foreign(address, security, key=str(key)), 1),
    ):
        pass


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"key": "/no/such.pem"}, "/no/such.pem: No such file or directory"),
        ({"ca_file": "/no/such.pem"}, "No such file or directory; expected PEM files"),
        ({"cert": "/dev/null"}, "expected PEM files"),
    ],
)
def test_files_that_are_no_credentials_are_named(foreign, other, told):
    with (
        pytest.raises(ConfigError, match=told),
        connect_workers(describe_foreign(*foreign, **other), 1),
    ):
        pass


def test_an_encrypted_address_without_credentials_says_what_to_give():
    with (
        pytest.raises(ConfigError, match="expected `cluster_security` with `ca_file`"),
        connect_workers(InferenceSettings(cluster="tls://127.0.0.1:1"), 1),
    ):
        pass


def test_jobs_are_described_without_a_dashboard(tmp_path):
    settings = InferenceSettings(cluster="slurm")
    with share_security(create_security(), tmp_path) as security:
        told = describe_jobs(settings, security)
        asked = describe_jobs(settings.model_copy(update={"dashboard": 8787}), security)
    assert told["protocol"] == "tls://"
    assert told["scheduler_options"] == {"dashboard_address": None}
    assert "--no-dashboard" in told["worker_extra_args"]
    assert asked["scheduler_options"] == {"dashboard_address": "127.0.0.1:8787"}
    assert "--no-dashboard" in asked["worker_extra_args"]


def test_a_key_in_memory_is_not_written_to_scripts():
    with pytest.raises(ValueError, match="expected credentials in files"):
        describe_jobs(InferenceSettings(cluster="slurm"), create_security())


ABANDON = """
import os, signal, sys
from pathlib import Path
from pipeline_lib.steps.infer.credentials import create_security, share_security
with share_security(create_security(), Path(sys.argv[1])):
    print("shared", flush=True)
    signal.pause()
"""


def test_credentials_of_a_process_that_was_killed_are_removed(tmp_path):
    """Those of one that is at work stay, and so does what is not ours."""
    foreign = tmp_path / ".dask-of-somebody"
    foreign.mkdir()
    with share_security(create_security(), tmp_path):
        (own,) = set(tmp_path.glob(".dask-*")) - {foreign}
        process = subprocess.Popen(
            [sys.executable, "-c", ABANDON, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "shared\n"
        (left,) = set(tmp_path.glob(".dask-*")) - {foreign, own}
        process.kill()
        process.communicate()
        assert (left / "key.pem").is_file()
        with share_security(create_security(), tmp_path):
            assert not left.exists()
            assert (own / "key.pem").is_file()
    assert set(tmp_path.glob(".dask-*")) == {foreign}
