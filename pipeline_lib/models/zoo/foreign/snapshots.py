"""Read the tensors of a checkpoint that another tool wrote, and nothing that could run."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.core.errors import ModelError

# Settings that Lightning saves with the weights of tools that use OmegaConf.
OMEGACONF = frozenset(
    {
        "builtins.bool",
        "builtins.dict",
        "builtins.float",
        "builtins.int",
        "builtins.list",
        "builtins.str",
        "collections.defaultdict",
        "omegaconf.base.ContainerMetadata",
        "omegaconf.base.Metadata",
        "omegaconf.dictconfig.DictConfig",
        "omegaconf.listconfig.ListConfig",
        "omegaconf.nodes.AnyNode",
        "omegaconf.nodes.BooleanNode",
        "omegaconf.nodes.FloatNode",
        "omegaconf.nodes.IntegerNode",
        "omegaconf.nodes.StringNode",
        "typing.Any",
    }
)


class Inert(dict[Any, Any]):
    """Stand for an object that is not read: it takes anything, and keeps and does nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def __setstate__(self, _: object) -> None:
        """Forget what the object was."""


def load_plain(path: Path, inert: Collection[str] = ()) -> Any:  # noqa: ANN401 - whatever is there
    """Return the tensors and plain values of a file of PyTorch (``weights_only``).

    Parameters
    ----------
    path
        The file.
    inert
        Full names of classes and functions for which `Inert` stands: none of them is called.

    Raises
    ------
    ModelError
        If it is missing, or damaged, or holds anything else: objects that would run code.
    """
    try:
        with torch.serialization.safe_globals([(Inert, name) for name in inert]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, pickle and zipfile have no common base class
        # Its name only: PyTorch's message advises to load untrusted files.
        raise ModelError(
            f"{path}: expected tensors and plain values alone, PyTorch refuses it "
            f"({_name_reason(path, error, inert)})"
        ) from error


def _name_reason(path: Path, error: Exception, inert: Collection[str]) -> str:
    """Return which objects a file holds that could run code, else the kind of the error."""
    try:
        # It reads the names alone.
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # noqa: BLE001 - of a damaged file
        found = []
    names = sorted(set(found) - set(inert))
    return f"it holds {', '.join(names[:3])[:200]}" if names else type(error).__name__


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
