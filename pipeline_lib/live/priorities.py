"""Give the calling thread real-time priority where the system allows it."""

import os

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
