"""Convert weights between PyTorch's files and safetensors, which hold tensors and nothing else."""

import io
from collections.abc import Mapping

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.torch_runtime import build_network


def pack_weights(state: Mapping[str, Tensor]) -> bytes:
    """Return tensors as safetensors."""
    plain = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    content: bytes = safetensors.torch.save(plain)
    return content


def unpack_weights(content: bytes, card: ModelCard, where: str) -> dict[str, Tensor]:
    """Return the tensors of a network if every name, shape and type fits its card.

    Parameters
    ----------
    content
        Bytes of safetensors.
    card
        Card of the network.
    where
        Name of the file in messages.

    Raises
    ------
    ModelError
        If the bytes are no safetensors, or the weights of another network.
    """
    try:
        state: dict[str, Tensor] = safetensors.torch.load(content)
    except Exception as error:  # safetensors raises several kinds, of Rust and of Python
        raise ModelError(
            f"{where}: expected safetensors, tensors alone ({type(error).__name__}: {error})"
        ) from error
    # Without memory for weights, of which the card may ask for any amount.
    with torch.device("meta"):
        wanted = build_network(card).state_dict()
    for name in sorted(wanted.keys() | state.keys()):
        if name not in state:
            raise ModelError(f"{where}: lacks {name}: weights of another network than the card's")
        if name not in wanted:
            raise ModelError(f"{where}: {name[:200]!r} belongs to another network than the card's")
        found, expected = state[name], wanted[name]
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            raise ModelError(
                f"{where}: {name} is {tuple(found.shape)}, {found.dtype}, but the network of the "
                f"card has {tuple(expected.shape)}, {expected.dtype}"
            )
    return state


def format_weights(state: Mapping[str, Tensor]) -> bytes:
    """Return tensors as a file of PyTorch, as training writes it; equal ones give equal bytes."""
    memory = io.BytesIO()
    torch.save(dict(state), memory)
    return memory.getvalue()
