"""A real SLURM of one node, for tests: from Debian's packages, with two pretend GPUs.

It needs root, and the packages ``slurm-wlm`` and ``munge``. There is no accounting database, no
systemd and no cgroups; memory limits hold by polling.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo", "munged")
# Steps of jobs are started without SLURM_CONF: this is the only place they look.
CONFIGURATION = Path("/etc/slurm")
GPUS = ("/dev/tty0", "/dev/tty1")

_SETTINGS = """\
ClusterName=ci
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
SlurmctldPort=16817
SlurmdPort=16818
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
KillWait=5
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
def start_cluster(folder: Path) -> Iterator[None]:
    """Start SLURM with its files in a folder; stop it and what runs on it in the end."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    host = socket.gethostname().split(".")[0]
    files = {
        "slurm.conf": _SETTINGS.format(host=host, folder=folder),
        "gres.conf": f"Name=gpu File={','.join(GPUS)}\n",
    }
    CONFIGURATION.mkdir(exist_ok=True)
    for name, text in files.items():
        (CONFIGURATION / name).write_text(text)
    try:
        _start_munge()
        for daemon in ("slurmctld", "slurmd"):
            subprocess.run([_find(daemon)], check=True, stdin=subprocess.DEVNULL)
        _wait_until_idle()
        yield
    finally:
        subprocess.run([_find("scancel"), "--user", "root"], check=False)
        for name in ("slurmd", "slurmctld"):
            _stop(folder / f"{name}.pid")
        _stop(Path("/run/munge/munged.pid"))
        for name in files:
            (CONFIGURATION / name).unlink(missing_ok=True)


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


def _start_munge() -> None:
    for path, mode in (("/run/munge", 0o755), ("/var/log/munge", 0o700), ("/var/lib/munge", 0o700)):
        Path(path).mkdir(parents=True, exist_ok=True)
        Path(path).chmod(mode)
        shutil.chown(path, "munge", "munge")
    if not Path("/etc/munge/munge.key").exists():
        subprocess.run([_find("mungekey"), "--create"], check=True)
        shutil.chown("/etc/munge/munge.key", "munge", "munge")
    command = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", _find("munged")]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _wait_until_idle() -> None:
    def is_idle() -> bool:
        said = subprocess.run(
            [_find("sinfo"), "--noheader", "--format", "%t"],
            capture_output=True,
            text=True,
            check=False,
        )
        return said.stdout.strip() == "idle"

    _wait(is_idle, "the node to be idle")


def _wait(condition, what: str, seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.2)


def _stop(file: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        process = int(file.read_text())
        os.kill(process, signal.SIGTERM)
        limit = time.monotonic() + 10
        while Path(f"/proc/{process}").exists() and time.monotonic() < limit:
            time.sleep(0.05)


def _find(program: str) -> str:
    return shutil.which(program, path=_search_path()) or program


def _search_path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
