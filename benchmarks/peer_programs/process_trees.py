"""Run a command and measure the seconds, the processor time and the memory of all its processes."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_SECONDS_BETWEEN_LOOKS = 0.25


@dataclass(frozen=True)
class Used:
    """Hold what a command and all processes below it used.

    Attributes
    ----------
    status
        Exit status; negative for a signal, None if the time was up.
    seconds
        From its start to its end, s.
    cpu_seconds
        Processor time of all its processes, user and system, s.
    peak_bytes
        Largest sum of the memory of its processes, pages that several share counted once
        (proportional set size), in looks four times a second.
    """

    status: int | None
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def run_measured(
    command: Sequence[str],
    folder: Path,
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    most_seconds: float = 3600.0,
) -> Used:
    """Run a command to its end.

    Parameters
    ----------
    command
        Program and arguments.
    folder
        Its working directory.
    log
        File for what it prints.
    environment
        Its environment; None for ours.
    most_seconds
        Time after which it is ended, s.
    """
    peak, seen = 0, dict[int, float]()
    begin = time.perf_counter()
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            seconds = time.perf_counter() - begin
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                break
            if seconds > most_seconds:
                os.killpg(process.pid, signal.SIGKILL)
                _, _, usage = os.wait4(process.pid, 0)
                process.returncode = -signal.SIGKILL
                break
            memory, times = _look(process.pid)
            peak, seen = max(peak, memory), seen | times
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    # Processes that nobody waited for are missing from the first, the last moments from the second.
    work = max(usage.ru_utime + usage.ru_stime, sum(seen.values()))
    done = None if seconds > most_seconds else process.returncode
    return Used(done, seconds, work, peak)


def _look(pid: int) -> tuple[int, dict[int, float]]:
    """Return the memory of a process and all below it, and the processor time of each."""
    memory, times = 0, {}
    try:
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0, {}
    for one in tree:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            used = one.cpu_times()
            times[one.pid] = used.user + used.system
            memory += one.memory_full_info().pss
    return memory, times
