"""Give threads the priorities that a closed loop needs, as far as the system allows it."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline_lib.core.process import count_cores

# Of a thread with usual priority that others shall come before.
_NICE = 5
# The time of a frame is that of its arrival, whatever else is computed.
CAPTURE, PREDICT, NETWORK = 12, 11, 10
_TASKS = Path("/proc/self/task")
# A process that uses more of the cores for two such whiles in a row leaves others nothing.
_MOST_SHARE = 0.85
_WHILE = 2.0
_TOLD = (
    "this run uses {:.0f} % of its cores: threads of networks have usual priority from now on, so "
    "that video and system go on; a lighter network, live.prediction.cropping or fewer frames per "
    "second leave time"
)


def raise_priority(level: int = PREDICT, thread: int = 0) -> str:
    """Ask for real-time priority; return why there is none, empty if there is.

    Parameters
    ----------
    level
        Those of a higher one come first.
    thread
        Native id of a thread of this process; 0: the calling one.
    """
    if not hasattr(os, "sched_setscheduler"):
        return "this system has no real-time priorities"
    try:
        # Children have usual priorities.
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(thread, policy, os.sched_param(level))
    except OSError as error:
        return (
            f"the system allows none ({error.strerror}): an administrator can, by `rtprio` of at "
            f"least {CAPTURE} in /etc/security/limits.conf"
        )
    return ""


def allows_real_time() -> bool:
    """Tell whether threads of this process get real-time priority."""
    found: list[str] = []
    # In a thread of its own, which ends.
    thread = threading.Thread(target=lambda: found.append(raise_priority(CAPTURE)))
    thread.start()
    thread.join()
    return found == [""]


def lower_priority() -> None:
    """Let other threads come before the calling one, where they have no real-time priority."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def list_native_threads() -> dict[int, int]:
    """Return for how long each thread of this process that is not Python's has run, ns (Linux)."""
    ours = {thread.native_id for thread in threading.enumerate()}
    found = {}
    for path in _TASKS.iterdir() if _TASKS.is_dir() else ():
        # Threads end meanwhile, and kernels may be built without these counts.
        with contextlib.suppress(OSError, ValueError, IndexError):
            thread = int(path.name)
            if thread not in ours:
                found[thread] = int((path / "schedstat").read_text(encoding="ascii").split()[0])
    return found


class NetworkThreads:
    """Give the threads that compute networks beside the calling one real-time priority, too.

    OpenVINO, ONNX Runtime and PyTorch have threads of their own, and a frame is done when the last
    of them is. They are those that ran, or were started, while networks were loaded and became
    warm. Threads that decode the camera's pictures are among them, since frames come meanwhile.
    They get usual priority again for good when this process leaves the cores too little time: a
    network that cannot follow its camera would take the whole machine.

    Parameters
    ----------
    wanted
        Whether they get it at all.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._threads: set[int] = set()
        self._before: dict[int, int] | None = None
        self._lock = threading.Lock()
        self._began, self._used = time.monotonic(), time.process_time()
        self._busy = 0

    @contextlib.contextmanager
    def find(self) -> Iterator[None]:
        """Raise the threads that run within the block, in which networks load or become warm."""
        before = list_native_threads() if self._wanted else {}
        yield
        with self._lock:
            self._raise(before)
            # On a busy machine one may not have had its turn yet.
            self._before = before
            self._began, self._used = time.monotonic(), time.process_time()

    def _raise(self, before: dict[int, int]) -> None:
        if not self._wanted:
            return
        ran = {
            thread for thread, spent in list_native_threads().items() if spent != before.get(thread)
        }
        self._threads |= {one for one in ran if not raise_priority(NETWORK, one)}

    def see(self) -> str:
        """Look now and then whether there is time left; the loops call it with each frame.

        Returns
        -------
        str
            What is to be told; mostly nothing.
        """
        passed = time.monotonic() - self._began
        if passed < _WHILE or not self._wanted or not self._lock.acquire(blocking=False):
            return ""
        try:
            if self._before is not None:
                self._raise(self._before)
                self._before = None
            used = time.process_time()
            share = (used - self._used) / (passed * count_cores())
            self._began, self._used = time.monotonic(), used
            self._busy = self._busy + 1 if share > _MOST_SHARE else 0
            if self._busy < 2:
                return ""
            self._lower()
            return _TOLD.format(100 * share)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Give them usual priority again, as nothing is predicted any more."""
        with self._lock:
            self._lower()

    def _lower(self) -> None:
        self._wanted = False
        for thread in self._threads:
            # One that has ended needs nothing.
            with contextlib.suppress(OSError):
                policy = os.SCHED_OTHER | os.SCHED_RESET_ON_FORK
                os.sched_setscheduler(thread, policy, os.sched_param(0))
        self._threads = set()
