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
from pipeline_lib.models.network.plain_tensors import check_tensors

# Buffers that hold what the card says of the input.
STATISTICS = ("mean", "std")
# Of the rounding of a number of the card to 32 bits.
_ROUNDING = 1e-6


def pack_weights(state: Mapping[str, Tensor]) -> bytes:
    """Return tensors as safetensors.

    Raises
    ------
    ModelError
        If they are not real and finite: nobody could run the network.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    check_tensors(plain, plain, "the network cannot be packed")
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
        If the bytes are no safetensors, the weights of another network, or not finite.
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
    check_tensors(state, wanted, where)
    _check_statistics(state, card, where)
    return state


def _check_statistics(state: Mapping[str, Tensor], card: ModelCard, where: str) -> None:
    """Refuse weights that normalise their input otherwise than the card says."""
    for name in STATISTICS:
        told = torch.tensor(getattr(card, name))
        if name in state and not torch.allclose(state[name].flatten(), told, rtol=_ROUNDING):
            raise ModelError(
                f"{where}: `{name}` is {state[name].flatten().tolist()}, but the card says "
                f"{list(getattr(card, name))}: weights of another network than the card's"
            )


def format_weights(state: Mapping[str, Tensor]) -> bytes:
    """Return tensors as a file of PyTorch, as training writes it; equal ones give equal bytes."""
    memory = io.BytesIO()
    torch.save(dict(state), memory)
    return memory.getvalue()
