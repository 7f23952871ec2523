"""Checkpoints from which a killed training goes on as if nothing had happened."""

from pathlib import Path

import pytorch_lightning as lightning
from pytorch_lightning.callbacks import Checkpoint


class LastCheckpoint(Checkpoint):
    """Keep the state after the newest of some epochs, and after the last one.

    Lightning's own checkpoint of the last state has gaps that matter here: with validation it is
    taken inside the epoch, so that a resumed training lacks that epoch's metrics; and the last
    epoch is left out where it is no multiple of the interval.

    Parameters
    ----------
    path
        The file, replaced in one step: a job may be killed at any moment.
    every
        Epochs between two states.
    """

    def __init__(self, path: Path, every: int) -> None:
        self._path, self._every = path, every

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Save, if it is this epoch's turn; other callbacks have seen the epoch by now."""
        del pl_module
        done = trainer.current_epoch + 1
        if done % self._every and done != trainer.max_epochs:
            return
        part = self._path.with_name(f".part-{self._path.name}")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            part.replace(self._path)
