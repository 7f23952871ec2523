"""Start a real SLURM of one node for tests, from Debian's packages, with two mock GPUs.

It needs root and the packages ``slurm-wlm`` and ``munge``. There is no accounting database, no
systemd and no cgroups; memory limits are enforced by polling. It has its own ports, keys and
sockets, so that another SLURM on the machine is not disturbed. Only the folder /etc/slurm is
shared; its files are restored at the end, also after a killed run of the tests.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo", "munged", "mungekey")
# Steps of jobs are started without SLURM_CONF: this is the only place they look.
CONFIGURATION = Path("/etc/slurm")
GPUS = ("/dev/tty0", "/dev/tty1")

_LOCK = Path("/run/cohortpose-slurm.lock")
_MARK = "# of the tests of cohortpose, in "
_ASIDE = ".before-tests"
_DAEMONS = ("slurmd", "slurmctld", "munged")

_SETTINGS = """\
{mark}{folder}
ClusterName=ci
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmctldPort={port}
SlurmdPort={node_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1
KillWait=2
ReturnToService=2
SlurmdParameters=config_overrides
MinJobAge=300
MaxArraySize=10001
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 Boards=1 SocketsPerBoard=1 CoresPerSocket=2 \
ThreadsPerCore=1 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def find_obstacle() -> str | None:
    """Return why no SLURM can be started here; None if it can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_search_path()) is None]
    if missing:
        return f"needs Debian's slurm-wlm and munge: no {', '.join(missing)}"
    if os.getuid() != 0:
        return "needs root, to start slurmd and munged"
    return None


@contextmanager
def start_cluster() -> Iterator[None]:
    """Start SLURM; stop it and what runs on it in the end. Others who want one wait meanwhile."""
    CONFIGURATION.mkdir(exist_ok=True)
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _clear_leftovers()
        folder = Path(tempfile.mkdtemp(prefix="cohortpose-slurm-", dir="/run"))
        folder.chmod(0o755)
        try:
            _write_configuration(folder)
            _start_munge(folder / "munge")
            for daemon in ("slurmctld", "slurmd"):
                # Daemons do not get the lock.
                subprocess.run([_find(daemon)], check=True, stdin=subprocess.DEVNULL)
            _wait(_is_idle, "the node to be idle")
            yield
        finally:
            with contextlib.suppress(OSError):
                subprocess.run([_find("scancel"), "--user", "root"], check=False, timeout=20)
            _stop_daemons(folder)
            _remove_configuration()
            shutil.rmtree(folder, ignore_errors=True)


def list_jobs() -> dict[str, str]:
    """Return the state of each job that is queued or runs, by its number."""
    said = subprocess.run(
        [_find("squeue"), "--noheader", "--format", "%i %T"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return dict(line.split() for line in said.splitlines())


def cancel_jobs() -> None:
    """Cancel every job and wait until they are gone."""
    subprocess.run([_find("scancel"), "--user", "root"], check=True)
    _wait(lambda: not list_jobs(), "jobs to be cancelled")


def _write_configuration(folder: Path) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host = socket.gethostname().split(".")[0]
    port, node_port = _find_free_ports(2)
    text = _SETTINGS.format(mark=_MARK, host=host, folder=folder, port=port, node_port=node_port)
    for name, content in (("slurm.conf", text), ("gres.conf", f"Name=gpu File={','.join(GPUS)}\n")):
        path = CONFIGURATION / name
        if path.exists():
            path.rename(path.with_name(name + _ASIDE))
        path.write_text(content)


def _remove_configuration() -> None:
    for name in ("slurm.conf", "gres.conf"):
        path = CONFIGURATION / name
        path.unlink(missing_ok=True)
        aside = path.with_name(name + _ASIDE)
        if aside.exists():
            aside.rename(path)


def _clear_leftovers() -> None:
    """Stop and remove a cluster whose tests were killed; whose it is says its configuration."""
    with contextlib.suppress(FileNotFoundError):
        first = (CONFIGURATION / "slurm.conf").read_text().partition("\n")[0]
        if first.startswith(_MARK):
            folder = Path(first.removeprefix(_MARK))
            _stop_daemons(folder)
            _remove_configuration()
            shutil.rmtree(folder, ignore_errors=True)


def _find_free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _start_munge(folder: Path) -> None:
    folder.mkdir()
    shutil.chown(folder, "munge", "munge")
    as_munge = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups"]
    key = folder / "key"
    subprocess.run([*as_munge, _find("mungekey"), "--create", f"--keyfile={key}"], check=True)
    files = [
        f"--{what}={folder / name}"
        for what, name in (
            ("socket", "socket"),
            ("key-file", "key"),
            ("pid-file", "munged.pid"),
            ("log-file", "munged.log"),
            ("seed-file", "seed"),
        )
    ]
    subprocess.run([*as_munge, _find("munged"), *files], check=True, stdin=subprocess.DEVNULL)


def _is_idle() -> bool:
    said = subprocess.run(
        [_find("sinfo"), "--noheader", "--format", "%t"],
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() == "idle"


def _wait(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.2)


def _stop_daemons(folder: Path) -> None:
    for daemon in _DAEMONS:
        place = folder / "munge" if daemon == "munged" else folder
        with contextlib.suppress(OSError, ValueError):
            process = int((place / f"{daemon}.pid").read_text())
            # The number may be another's by now.
            if Path(f"/proc/{process}/comm").read_text().strip() == daemon:
                _stop(process)


def _stop(process: int) -> None:
    os.kill(process, signal.SIGTERM)
    limit = time.monotonic() + 10
    while Path(f"/proc/{process}").exists():
        if time.monotonic() > limit:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.05)


def _find(program: str) -> str:
    return shutil.which(program, path=_search_path()) or program


def _search_path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
