"""Signals by which a cluster asks a training to stop, and what it answers."""

import logging
import os
import signal
import subprocess
import threading
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)

# Of `sbatch --signal=USR1@120`, before the time is over.
REQUEUE_SIGNAL = signal.SIGUSR1
_SIGNALS = (signal.SIGTERM, REQUEUE_SIGNAL)


class StopSignals:
    """Remember SIGTERM and SIGUSR1 instead of dying of them.

    Attributes
    ----------
    received
        The first signal that came; None: none yet.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def listen(self) -> None:
        """Take the signals; Python lets the main thread only."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}

    def stop_listening(self) -> None:
        """Let the signals do what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, _: FrameType | None) -> None:
        # Nothing is logged here: the signal may have come amid a line of the log.
        self.received = self.received or signal.Signals(number)


def requeue_slurm_job() -> bool:
    """Ask SLURM to start this job again; tell whether it will."""
    job = os.environ.get("SLURM_JOB_ID")
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if job is None:
        return False
    try:
        subprocess.run(  # noqa: S603
            ["scontrol", "requeue", job],  # noqa: S607 - where it is differs by cluster
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        logger.warning("SLURM job %s is not requeued: %s", job, reason)
        return False
    return True
