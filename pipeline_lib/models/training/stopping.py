"""End a training at a plateau of its loss, and stop one that diverges."""

import logging
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytorch_lightning as lightning
import torch

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.settings.training.stopping import StopSettings
from pipeline_lib.kernels.plateau import has_flattened, plan_end

if TYPE_CHECKING:
    from pipeline_lib.models.training.history import HistoryWriter
    from pipeline_lib.models.training.module import PoseTraining

logger = logging.getLogger(__name__)

# Metric that is compared: the loss of training less that of perfect maps.
EXCESS_LOSS = "train_excess_loss"


class DivergenceStop(lightning.Callback):
    """Stop a training whose weights are no longer finite, before a checkpoint is written.

    No later step could make them finite again, and the network would find nothing.
    """

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Look at all weights and statistics.

        Raises
        ------
        ModelError
            Naming the first that has a value that is not finite. All devices raise it.
        """
        for name, value in pl_module.state_dict().items():
            if not torch.isfinite(value).all():
                raise ModelError(
                    f"training: it diverged by epoch {trainer.current_epoch + 1}: {name} has "
                    "values that are not finite; lower `training.learning_rate`, or set "
                    "`training.precision` to 32 if it is another one"
                )


class PlateauStop(lightning.Callback):
    """Begin the cool-down at a plateau of the training loss, and set the last epoch.

    The decision depends on the curve alone, which is part of each checkpoint: a resumed training
    ends like an uninterrupted one. All devices decide on the same curve and stop together.

    Parameters
    ----------
    settings
        When there is a plateau, and how long to cool down.
    epochs
        Largest number of epochs.
    history
        Has the curve.
    every
        Epochs between two validations: the last epoch is validated.

    Attributes
    ----------
    cool_from
        Number of epochs before the cool-down; None: it has not begun.
    """

    def __init__(
        self, settings: StopSettings, epochs: int, history: "HistoryWriter", every: int = 1
    ) -> None:
        self._settings, self._history = settings, history
        self._most, self._every = epochs, every
        self.cool_from: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return whether the cool-down has begun, and when."""
        return {"cool_from": self.cool_from}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the beginning of the cool-down from a checkpoint."""
        value = state_dict["cool_from"]
        self.cool_from = None if value is None else int(value)

    def on_fit_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Set the last epoch of a training that was resumed in its cool-down."""
        if self.cool_from is not None:
            self._cool(trainer, pl_module, self.cool_from)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Look at the curve, unless the cool-down has begun."""
        if self.cool_from is not None:
            return
        done, settings = trainer.current_epoch + 1, self._settings
        at_last = self._plan(done) == self._most
        flat = trainer.global_step >= settings.least_steps and has_flattened(
            np.array(self._history.list_values(EXCESS_LOSS)),
            span=settings.span,
            gain=settings.gain,
        )
        # The same curve on all devices; should they ever differ, none may wait for another one.
        if not trainer.strategy.reduce_boolean_decision(flat or at_last, all=False):
            return
        self._cool(trainer, pl_module, done)
        if trainer.is_global_zero:
            why = "the loss has flattened" if flat else f"{self._most} epochs are the most"
            logger.info("epoch %d: %s; cooling down until epoch %s", done, why, trainer.max_epochs)

    def _cool(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, done: int
    ) -> None:
        self.cool_from, end = done, self._plan(done)
        trainer.fit_loop.max_epochs = end
        cast("PoseTraining", pl_module).cool_down(done, end)

    def _plan(self, done: int) -> int:
        return plan_end(done, self._most, self._settings.cooldown, self._every)
