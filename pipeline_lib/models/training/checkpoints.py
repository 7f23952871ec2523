"""Write checkpoints from which a killed training resumes with the same result."""

import logging
import math
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as lightning
from pytorch_lightning.callbacks import Callback, Checkpoint

from pipeline_lib.core.errors import ModelError, PreemptedError
from pipeline_lib.core.process import is_first_rank
from pipeline_lib.io.publish import publish_text

_LONGEST_NUMBER = 32  # bytes


class LastCheckpoint(Checkpoint):
    """Save the state at intervals of epochs, after the last one, and after a stop signal.

    Lightning's own last checkpoint does not suffice: with validation it is saved inside the epoch,
    so that a resumed training lacks the metrics of that epoch; and it omits the last epoch if that
    is no multiple of the interval. Lightning answers a signal by talking to the other devices from
    inside the signal handler, while they may be doing something else, and leaves a checkpoint
    that it then always prefers, whatever the settings are by then.

    Parameters
    ----------
    path
        The file, replaced in one step: a job may be killed at any moment.
    every
        Epochs between two states.

    Raises
    ------
    PreemptedError
        From `fit`, on all devices, after the batch in which one of them got SIGTERM or SIGUSR1.
    ModelError
        If the devices do not agree whether there is a checkpoint.
    """

    def __init__(self, path: Path, every: int) -> None:
        self._path, self._every = path, every
        self._signals = StopSignals()

    def setup(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Check that all devices begin with the same checkpoint."""
        del pl_module, stage
        found = trainer.ckpt_path is not None
        agree = trainer.strategy.reduce_boolean_decision
        if agree(found, all=False) != agree(found, all=True):
            raise ModelError(
                f"{self._path}: only some of the processes see this checkpoint; the results must "
                "be on a file system that all nodes share"
            )

    def on_train_start(self, *_: Any) -> None:  # noqa: ANN401 - Lightning's
        """Start to listen; Lightning has set its own handlers by now."""
        self._signals.listen()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Save and stop after a stop signal, unless the epoch ends with this batch."""
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if not last and self._must_stop(trainer):
            self._save(trainer)
            self._stop(trainer)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Save if the epoch is due; other callbacks have handled the epoch by now."""
        del pl_module
        done = trainer.current_epoch + 1
        stop = done != trainer.max_epochs and self._must_stop(trainer)
        if stop or done % self._every == 0 or done == trainer.max_epochs:
            self._save(trainer)
        if stop:
            self._stop(trainer)

    def on_train_end(self, *_: Any) -> None:  # noqa: ANN401
        """Listen no more."""
        self._signals.stop_listening()

    def on_exception(self, *_: Any) -> None:  # noqa: ANN401
        """Listen no more."""
        self._signals.stop_listening()

    def _must_stop(self, trainer: lightning.Trainer) -> bool:
        """Tell whether any device received a stop signal; all devices get the same answer."""
        signalled = self._signals.received is not None
        return trainer.strategy.reduce_boolean_decision(signalled, all=False)

    def _save(self, trainer: lightning.Trainer) -> None:
        # Whole or not at all: see `CheckpointFiles`. All devices wait until it is there.
        trainer.save_checkpoint(self._path)

    def _stop(self, trainer: lightning.Trainer) -> None:
        wanted = trainer.strategy.reduce_boolean_decision(
            self._signals.received is REQUEUE_SIGNAL, all=False
        )
        requeued = wanted and trainer.is_global_zero and requeue_slurm_job()
        then = "SLURM will start it again" if requeued else "the same command resumes from there"
        raise PreemptedError(
            f"training was stopped by a signal and saved after {trainer.global_step} steps in "
            f"{self._path}; {then}"
        )


class BestCheckpoint(Checkpoint):
    """Save the state after the epoch with the smallest validation error.

    Lightning's own stores absolute paths in each checkpoint: it loses the smallest error when
    the results have been moved, and removes whatever file a checkpoint names.

    Parameters
    ----------
    path
        The file, replaced in one step.
    every
        Epochs between two validations.
    """

    def __init__(self, path: Path, every: int) -> None:
        self._path, self._every = path, every
        # None: nothing is saved yet.
        self._least: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the smallest error so far."""
        return {"least": self._least}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the smallest error from a checkpoint."""
        least = state_dict["least"]
        self._least = None if least is None else float(least)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Save if this epoch was validated and has the smallest error so far.

        Not in the middle of the epoch, where validation is: its result is there still.
        """
        del pl_module
        if (trainer.current_epoch + 1) % self._every:
            return
        error = float(trainer.callback_metrics["validation_error"])
        error = math.inf if math.isnan(error) else error
        if self._least is None or error < self._least:
            self._least = error
            trainer.save_checkpoint(self._path)


class TrainingTime(Callback):
    """Count the seconds of a training over all processes that it was resumed in.

    They are written beside the checkpoints, which are the same whatever time a training takes. What
    a killed process did after its last checkpoint does not count: it is done again.

    Parameters
    ----------
    path
        File of the seconds until the last checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._before = path, 0.0
        # Of this process; None: it has not begun, or has ended.
        self._begin: float | None = None

    @property
    def seconds(self) -> float:
        """Return the wall time in s, up to now or to the end."""
        own = 0.0 if self._begin is None else time.monotonic() - self._begin
        return self._before + own

    def on_fit_start(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Begin to count, from the seconds of the checkpoint if there is one."""
        self._begin = time.monotonic()
        if trainer.ckpt_path is not None:
            self._before = self._read()

    def on_save_checkpoint(self, *_: Any) -> None:  # noqa: ANN401 - Lightning's
        """Write the seconds so far."""
        if is_first_rank():
            publish_text(self._path, f"{self.seconds:.1f}\n")

    def on_fit_end(self, *_: Any) -> None:  # noqa: ANN401 - Lightning's
        """Count no more."""
        self._before, self._begin = self.seconds, None

    def _read(self) -> float:
        """Return the seconds of the file; 0 if there is none, or it is damaged."""
        if not self._path.is_file():
            return 0.0
        try:
            with self._path.open("rb") as file:
                seconds = float(file.read(_LONGEST_NUMBER))
        except (OSError, ValueError):
            return 0.0
        return seconds if 0.0 <= seconds < math.inf else 0.0


logger = logging.getLogger(__name__)

# As sent by `sbatch --signal=USR1@120` before the time limit.
REQUEUE_SIGNAL = signal.SIGUSR1
_SIGNALS = (signal.SIGTERM, REQUEUE_SIGNAL)


class StopSignals:
    """Note SIGTERM and SIGUSR1 instead of ending the process.

    Attributes
    ----------
    received
        The first signal that came; None: none yet.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def listen(self) -> None:
        """Install the signal handlers, which Python allows in the main thread only."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}

    def stop_listening(self) -> None:
        """Restore the earlier signal handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, _: FrameType | None) -> None:
        # Nothing is logged here: the signal may have come in the middle of a line of the log.
        self.received = self.received or signal.Signals(number)


def requeue_slurm_job() -> bool:
    """Ask SLURM to start this job again; return whether it will."""
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
