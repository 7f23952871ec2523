"""Examine files in processes of their own, each with a limit of time and memory.

A file can make a decoder crash, hang, or ask for more memory than there is. A process reads one
file at a time and many in turn; when a file ends it, the next file gets a new process.
"""

import contextlib
import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pipeline_lib.core.errors import CohortposeError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

Found = TypeVar("Found")

_GIGABYTE = 1e9
# A process ends itself at its limit; one that cannot (its file server hangs) is given up then.
_GRACE_SECONDS = 30.0
_PAGES = Path("/proc/self/statm")


@dataclass(frozen=True)
class Limits:
    """Limit the time and memory that the examination of one file may take.

    Attributes
    ----------
    seconds
        Longest time, whatever the size of the file.
    seconds_per_gigabyte
        Time that is added for each gigabyte of the file.
    gigabytes
        Most memory, besides that of the program itself.
    """

    seconds: float = 300.0
    seconds_per_gigabyte: float = 300.0
    gigabytes: float = 2.0

    def allow(self, path: str) -> float:
        """Return the seconds that a file may take."""
        try:
            size = Path(path).stat().st_size
        except (OSError, ValueError):
            size = 0
        return self.seconds + self.seconds_per_gigabyte * size / _GIGABYTE


@dataclass(frozen=True)
class Lost:
    """Explain why the examination of a file gave nothing."""

    reason: str


def examine_apart(
    paths: Sequence[str],
    examine: Callable[[str], Found],
    *,
    processes: int,
    limits: Limits | None = None,
    prepare: Callable[[], None] | None = None,
) -> Iterator[Found | Lost]:
    """Examine files in a few processes; a file that ends its process loses only itself.

    Parameters
    ----------
    paths
        Files.
    examine
        Importable function of one path.
    processes
        At most so many at a time.
    limits
        Of one file; None: the defaults.
    prepare
        Importable function that loads what `examine` needs: its memory is not counted.

    Yields
    ------
    object
        What `examine` returns, in the order of `paths`; `Lost` for a file whose examination
        crashed or passed a limit.

    Raises
    ------
    CohortposeError
        If processes cannot be started.
    Exception
        What `examine` raises.
    """
    limits = limits or Limits()
    found: dict[int, Found | Lost] = {}
    waiting = list(range(len(paths)))[::-1]
    workers: list[_Worker[Found]] = [
        _Worker(examine, limits, prepare) for _ in range(min(processes, len(paths)))
    ]
    try:
        for number in range(len(paths)):
            while number not in found:
                for worker in workers:
                    if worker.idle and waiting:
                        following = waiting.pop()
                        worker.start(following, paths[following])
                ended = _collect(workers)
                found |= ended
            yield found.pop(number)
    finally:
        for worker in workers:
            worker.end()


class _Worker(Generic[Found]):
    """Run a process that examines one file after the other, and replace it when it ends."""

    def __init__(
        self,
        examine: Callable[[str], Found],
        limits: Limits,
        prepare: Callable[[], None] | None,
    ) -> None:
        self._task = (examine, limits.gigabytes, prepare)
        self._limits = limits
        self._process: BaseProcess | None = None
        self.connection: Connection | None = None
        self.number = -1
        self.deadline = math.inf
        self._seconds = 0.0
        self._spawn()

    @property
    def idle(self) -> bool:
        """Tell whether the process waits for a file."""
        return self.number < 0

    def start(self, number: int, path: str) -> None:
        """Start to examine a file."""
        self.number, self._seconds = number, self._limits.allow(path)
        if self.connection is None:
            self._spawn()
        self._wait_until_ready()
        self._get_connection().send((path, self._seconds))
        self.deadline = time.monotonic() + self._seconds + _GRACE_SECONDS

    def finish(self) -> Found | Lost:
        """Return the result of the file after an answer or the end of the process."""
        self.number, self.deadline = -1, math.inf
        try:
            result, error = self._get_connection().recv()
        except (EOFError, ConnectionError):
            return self._explain_end()
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def give_up(self) -> Lost:
        """End the process because it exceeded its limit."""
        self.number, self.deadline = -1, math.inf
        self.end()
        return self._say_overdue()

    def end(self) -> None:
        """Kill the process, if there is one."""
        if self._process is not None and self.connection is not None:
            self._process.kill()
            self.connection.close()
            self._process.join(timeout=_GRACE_SECONDS)
        self._process = self.connection = None

    def _spawn(self) -> None:
        # A forked process would share locks with threads that it does not have.
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self._process = context.Process(target=_examine_all, args=(other, *self._task), daemon=True)
        self._process.start()
        other.close()
        self._ready = False

    def _wait_until_ready(self) -> None:
        """Wait until the process has loaded its modules; a failure to do so is no file's fault."""
        if self._ready:
            return
        try:
            self._get_connection().recv()
        except (EOFError, ConnectionError):
            raise CohortposeError(
                "a process that examines videos ended before it had a video: see above; is there "
                "memory for it?"
            ) from None
        self._ready = True

    def _get_connection(self) -> Connection:
        if self.connection is None:
            raise AssertionError("the process has been ended")
        return self.connection

    def _explain_end(self) -> Lost:
        code = None
        if self._process is not None:
            self._process.join(timeout=_GRACE_SECONDS)
            code = self._process.exitcode
        self.end()
        if code == -signal.SIGALRM:
            return self._say_overdue()
        if code == -signal.SIGKILL:
            return Lost("the system ended the process that read it, perhaps for want of memory")
        return Lost("FFmpeg crashed while it read the file")

    def _say_overdue(self) -> Lost:
        return Lost(f"reading it took more than {self._seconds:.0f} s: given up")


def _collect(workers: Sequence[_Worker[Found]]) -> dict[int, Found | Lost]:
    """Wait until at least one file has been examined or has exceeded its limit."""
    busy = {worker.connection: worker for worker in workers if not worker.idle}
    until = min(worker.deadline for worker in busy.values())
    ready = wait([one for one in busy if one is not None], max(0.0, until - time.monotonic()))
    found: dict[int, Found | Lost] = {}
    for connection in ready:
        worker = busy[connection]  # type: ignore[index]
        number = worker.number
        found[number] = worker.finish()
    for worker in workers:
        if not worker.idle and worker.deadline <= time.monotonic():
            number = worker.number
            found[number] = worker.give_up()
    return found


def _examine_all(
    connection: Connection,
    examine: Callable[[str], Any],
    gigabytes: float,
    prepare: Callable[[], None] | None,
) -> None:
    """Examine files in a process of their own until the parent asks no more."""
    if prepare is not None:
        prepare()
    connection.send(None)
    _limit_memory(gigabytes)
    # Ends the process, also in the midst of a decoder's loop.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            path, seconds = connection.recv()
            signal.setitimer(signal.ITIMER_REAL, seconds)
            answer: tuple[Any, Exception | None]
            try:
                answer = (examine(path), None)
            except Exception as error:  # noqa: BLE001 - it is the caller's to handle
                answer = (None, error)
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send(answer)


def _limit_memory(gigabytes: float) -> None:
    """Limit the memory that this process may take from now on, if the system reports it."""
    if not _PAGES.exists():
        return
    import resource  # noqa: PLC0415 - only where there is one

    now = int(_PAGES.read_text().split()[0]) * resource.getpagesize()
    most = now + int(gigabytes * _GIGABYTE)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
