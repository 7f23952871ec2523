"""Checkpoints from which a killed training goes on as if nothing had happened."""

from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
from pytorch_lightning.callbacks import Checkpoint

from pipeline_lib.core.errors import ModelError, PreemptedError
from pipeline_lib.models.preemption import REQUEUE_SIGNAL, StopSignals, requeue_slurm_job


class LastCheckpoint(Checkpoint):
    """Keep the state after the newest of some epochs, after the last one, and when told to stop.

    Lightning's own checkpoint of the last state has gaps that matter here: with validation it is
    taken inside the epoch, so that a resumed training lacks that epoch's metrics; and the last
    epoch is left out where it is no multiple of the interval. Its own answer to signals talks to
    the other devices from inside of the signal handler, where they may be amid something else,
    and leaves a checkpoint that it prefers ever after, whatever the settings are by then.

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
        """Check that all devices begin at the same place."""
        del pl_module, stage
        found = trainer.ckpt_path is not None
        agree = trainer.strategy.reduce_boolean_decision
        if agree(found, all=False) != agree(found, all=True):
            raise ModelError(
                f"{self._path}: only some of the processes see this checkpoint; the results must "
                "be on a file system that all nodes share"
            )

    def on_train_start(self, *_: Any) -> None:  # noqa: ANN401 - Lightning's
        """Listen from here on: Lightning has set its own handlers by now."""
        self._signals.listen()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Save and stop, if told to; the last batch's epoch is ended first."""
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if not last and self._must_stop(trainer):
            self._save(trainer)
            self._stop(trainer)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Save, if it is this epoch's turn; other callbacks have seen the epoch by now."""
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
        """Tell, and on all devices the same, whether one of them was told to stop."""
        told = self._signals.received is not None
        return trainer.strategy.reduce_boolean_decision(told, all=False)

    def _save(self, trainer: lightning.Trainer) -> None:
        part = self._path.with_name(f".part-{self._path.name}")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            part.replace(self._path)
        # No device may look for the file before it is there.
        trainer.strategy.barrier("last checkpoint")

    def _stop(self, trainer: lightning.Trainer) -> None:
        wanted = trainer.strategy.reduce_boolean_decision(
            self._signals.received is REQUEUE_SIGNAL, all=False
        )
        requeued = wanted and trainer.is_global_zero and requeue_slurm_job()
        then = "SLURM will start it again" if requeued else "the same command goes on from there"
        raise PreemptedError(
            f"training was told to stop, and is saved after {trainer.global_step} steps in "
            f"{self._path}; {then}"
        )
