"""Read the tensors of a checkpoint that another tool wrote, and nothing that could run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.core.errors import ModelError


def load_plain(path: Path) -> Any:  # noqa: ANN401 - whatever is there
    """Return the tensors and plain values of a file of PyTorch (``weights_only``).

    Raises
    ------
    ModelError
        If it is missing, or damaged, or holds anything else: objects that would run code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, pickle and zipfile have no common base class
        # Its name only: PyTorch's message advises to load untrusted files.
        raise ModelError(
            f"{path}: expected tensors and plain values alone, PyTorch refuses it "
            f"({type(error).__name__})"
        ) from error


def rename_weights(weights: Any, prefixes: Mapping[str, str], path: Path) -> dict[str, Tensor]:  # noqa: ANN401
    """Return the weights of a checkpoint under our names.

    Parameters
    ----------
    weights
        What is said to be weights by name.
    prefixes
        First part of their names there, and what stands for it in ours.
    path
        Name of the checkpoint in messages.

    Raises
    ------
    ModelError
        If they are no weights, or those of other layers.
    """
    if not isinstance(weights, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise ModelError(f"{path}: expected the tensors of a network by name")
    state = {}
    for name, value in weights.items():
        prefix = next((one for one in prefixes if name.startswith(one)), None)
        if prefix is None:
            raise ModelError(f"{path}: {name[:200]!r} is no layer of a network of this kind")
        state[prefixes[prefix] + name.removeprefix(prefix)] = value
    return state


def read_snapshot(path: Path, prefixes: Mapping[str, str]) -> tuple[dict[str, Tensor], int]:
    """Return the weights of a snapshot of DeepLabCut under our names, and the number of epochs.

    Raises
    ------
    ModelError
        If it is missing, damaged, or of another network.
    """
    snapshot = load_plain(path)
    weights = snapshot.get("model") if isinstance(snapshot, dict) else None
    state = rename_weights(weights, prefixes, path)
    metadata = snapshot.get("metadata")
    epochs = metadata.get("epoch") if isinstance(metadata, Mapping) else 0
    return state, epochs if isinstance(epochs, int) else 0
