"""Learning curves as a table for machines and lines in the log for people."""

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning

from pipeline_lib.core.tables import HISTORY_COLUMNS
from pipeline_lib.io.stage_tables import write_table

logger = logging.getLogger(__name__)


class HistoryWriter(lightning.Callback):
    """Publish the metrics of every epoch.

    The rows are part of each checkpoint, so that a resumed training goes on with the curves it
    had at that checkpoint, and not with those of the epochs it is going to repeat.

    Parameters
    ----------
    path
        Table to write (columns `HISTORY_COLUMNS`).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the rows written so far."""
        return {"rows": list(self._rows)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows of a checkpoint."""
        self._rows = list(state_dict["rows"])

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Add this epoch's metrics."""
        del pl_module
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        optimizer = trainer.optimizers[0]
        metrics["learning_rate"] = float(optimizer.param_groups[0]["lr"])
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        for name, value in metrics.items():
            # callback_metrics keeps the last validation; repeat none of its values.
            if validated or not name.startswith("validation"):
                self._rows.append(
                    {
                        "epoch": trainer.current_epoch,
                        "step": trainer.global_step,
                        "metric": name,
                        "value": value,
                    }
                )
        if trainer.is_global_zero:
            self._publish()
            shown = ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))
            epochs = trainer.max_epochs
            level = logging.INFO if validated else logging.DEBUG
            logger.log(level, "epoch %d of %s: %s", trainer.current_epoch + 1, epochs, shown)

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Publish the curves of a training that had no epoch left to train, too."""
        del pl_module
        if trainer.is_global_zero:
            self._publish()

    def _publish(self) -> None:
        write_table(self._path, HISTORY_COLUMNS, self._rows)
