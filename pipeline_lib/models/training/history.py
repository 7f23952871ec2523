"""Write learning curves as a table, and as lines in the log."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as lightning
import torch
from torch import Tensor

from pipeline_lib.core.tables import HISTORY_COLUMNS
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.models.training.measurement import CurveMeasurement

if TYPE_CHECKING:
    from pipeline_lib.models.training.module import PoseTraining

logger = logging.getLogger(__name__)


class HistoryWriter(lightning.Callback):
    """Publish the metrics of every epoch.

    The rows, and the steps of the epoch so far, are part of each checkpoint: a resumed training
    goes on with the curves it had at that checkpoint, and not with those of the steps it is going
    to repeat.

    Parameters
    ----------
    path
        Table to write (columns `HISTORY_COLUMNS`).
    measurement
        Measures stored samples after some of the epochs; None: nothing is measured.
    """

    def __init__(self, path: Path, measurement: CurveMeasurement | None = None) -> None:
        self._path, self._measurement = path, measurement
        self._rows: list[dict[str, Any]] = []
        self._steps: list[dict[str, Tensor]] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the rows written so far, and the steps since."""
        steps = [{name: value.cpu() for name, value in step.items()} for step in self._steps]
        return {"rows": list(self._rows), "steps": steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows and steps from a checkpoint."""
        self._rows = list(state_dict["rows"])
        self._steps = list(state_dict.get("steps", ()))

    def list_values(self, metric: str) -> list[float]:
        """Return the values of a metric so far, epoch by epoch."""
        return [float(row["value"]) for row in self._rows if row["metric"] == metric]

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,  # noqa: ANN401 - Lightning's
        *_: Any,  # noqa: ANN401
    ) -> None:
        """Keep the losses of the step on its device, without waiting for it."""
        del trainer, pl_module
        self._steps.append(outputs["metrics"])

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Add this epoch's metrics."""
        metrics = self._average_steps()
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        if validated:
            metrics |= {
                name: float(value)
                for name, value in trainer.callback_metrics.items()
                if name.startswith("validation")
            }
        measured = self._measure(trainer, pl_module)
        metrics |= measured
        metrics["learning_rate"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        epoch, step = trainer.current_epoch, trainer.global_step
        self._rows += [
            {"epoch": epoch, "step": step, "metric": name, "value": value}
            for name, value in metrics.items()
        ]
        if trainer.is_global_zero:
            self._publish()
            shown = ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))
            level = logging.INFO if validated or measured else logging.DEBUG
            logger.log(level, "epoch %d of %s: %s", epoch + 1, trainer.max_epochs, shown)

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Publish the curves also if no epoch was left to train."""
        del pl_module
        if trainer.is_global_zero:
            self._publish()

    def _measure(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> dict[str, float]:
        """Return the measurements after this epoch; empty if none is due."""
        measurement = self._measurement
        epochs = trainer.current_epoch + 1
        if measurement is None or not measurement.is_due(epochs, trainer.max_epochs):
            return {}
        return measurement.measure(trainer, cast("PoseTraining", module))

    def _average_steps(self) -> dict[str, float]:
        """Return the means over the epoch, with equal weights of the steps."""
        steps, self._steps = self._steps, []
        return {
            name: float(torch.stack([step[name].cpu() for step in steps]).double().mean())
            for name in steps[0]
        }

    def _publish(self) -> None:
        write_table(self._path, HISTORY_COLUMNS, self._rows)
