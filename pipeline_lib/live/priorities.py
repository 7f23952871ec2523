"""Give threads the priorities that a closed loop needs, as far as the system allows it."""

import contextlib
import os
import threading

# Of a thread with usual priority that others shall come before.
_NICE = 5
_PRIORITY = 10


def raise_priority() -> str:
    """Ask for real-time priority; return why there is none, empty if there is."""
    if not hasattr(os, "sched_setscheduler"):
        return "this system has no real-time priorities"
    try:
        # 0 is the calling thread. Children have usual priorities.
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(_PRIORITY))
    except OSError as error:
        return (
            f"the system allows none ({error.strerror}): an administrator can, by `rtprio` in "
            "/etc/security/limits.conf"
        )
    return ""


def allows_real_time() -> bool:
    """Tell whether threads of this process get real-time priority."""
    found: list[str] = []
    # In a thread of its own, which ends.
    thread = threading.Thread(target=lambda: found.append(raise_priority()))
    thread.start()
    thread.join()
    return found == [""]


def lower_priority() -> None:
    """Let other threads come before the calling one, where they have no real-time priority."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
