"""Save and load checkpoints: tensors and plain values of one training, published whole.

A pickle is a program. So nothing is loaded here but what PyTorch's restricted unpickler takes
(``weights_only=True``), whatever Lightning asks for, and nothing else is written: a state that
could not be resumed from would fail when it is saved.

Each file holds the key of its training, the hash of settings and targets. The key shows which
training a file belongs to; it is no signature. Who may write into the results folder can put
other numbers into a checkpoint, as into a network, but no code.
"""

import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.process import is_first_rank
from pipeline_lib.io.publish import publish_file

logger = logging.getLogger(__name__)

LAST, BEST = "last.ckpt", "best.ckpt"
_KEY = "cohortpose_training"
_PLAIN = (str, int, float, bool, type(None), torch.Tensor)


class CheckpointFiles(CheckpointIO):
    """Save and load checkpoints for Lightning.

    Lightning's own writes to the folder for temporary files first, which is small on many
    clusters and hands its mode and its group on, and loads any file.

    Parameters
    ----------
    key
        Of the training.
    """

    def __init__(self, key: str) -> None:
        self._key = key

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None
    ) -> None:
        """Publish a checkpoint.

        Raises
        ------
        TypeError
            If the state holds anything that could not be loaded again.
        """
        del storage_options
        _check_plain(checkpoint, "checkpoint")
        # By name, torch would write the name into the file.
        with publish_file(Path(path)) as part, part.open("wb") as file:
            torch.save({**checkpoint, _KEY: self._key}, file)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: object = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Load a checkpoint of this training into main memory; see `read_checkpoint`."""
        del map_location, weights_only
        return read_checkpoint(Path(path), self._key)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Refuse to remove: checkpoints are replaced, and the name might come out of a file."""
        raise RuntimeError(f"{path}: no checkpoint is ever removed")


def read_checkpoint(path: Path, key: str) -> dict[str, Any]:
    """Load a checkpoint of one training without running any code in it.

    Raises
    ------
    ModelError
        If it is no file of tensors and plain values, or of another training.
    """
    if not path.is_file():
        raise ModelError(f"{path}: expected a checkpoint, found no regular file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # torch, pickle and zipfile have no common base class
        # Its name only: PyTorch's message advises to load untrusted files.
        name = type(error).__name__
        raise ModelError(
            f"{path}: expected tensors and plain values alone, PyTorch refuses it ({name})"
        ) from error
    found = state.get(_KEY) if isinstance(state, dict) else None
    if found != key:
        raise ModelError(f"{path}: expected a checkpoint of the training {key}, found {found!r}")
    checkpoint: dict[str, Any] = state
    return checkpoint


def find_resumable(folder: Path, key: str) -> Path | None:
    """Return the checkpoint to resume from; None: training starts anew.

    If a checkpoint is damaged or of another training, the first process sets all of them aside
    under names that end with ``.refused``.

    Parameters
    ----------
    folder
        Of the checkpoints.
    key
        Of the training.
    """
    last = folder / LAST
    try:
        # In the reverse of the order below: all processes then decide alike.
        for path in (folder / BEST, last):
            if path.exists() or path.is_symlink():
                read_checkpoint(path, key)
    except ModelError as error:
        if is_first_rank():
            logger.warning("training starts anew, checkpoints are set aside: %s", error)
            for path in (last, folder / BEST):
                if path.exists() or path.is_symlink():
                    path.replace(path.with_name(f"{path.name}.refused"))
        return None
    except FileNotFoundError:
        return None
    return last if last.exists() else None


def _check_plain(value: object, where: str) -> None:
    if type(value) in (dict, OrderedDict):
        for name, item in value.items():  # type: ignore[attr-defined]
            _check_plain(name, where)
            _check_plain(item, f"{where}.{name}")
    elif type(value) in (list, tuple):
        for number, item in enumerate(value):  # type: ignore[arg-type]
            _check_plain(item, f"{where}.{number}")
    elif type(value) not in _PLAIN:
        raise TypeError(f"{where}: {type(value).__name__} is no plain value")
