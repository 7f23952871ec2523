"""Refuse tensors from files that are not the plain, finite numbers of a network."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline_lib.core.errors import ModelError

# Types that weights are kept in; what is kept in 8 bits means nothing without its scales.
_REAL = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def is_plain(value: Tensor) -> bool:
    """Tell whether a tensor holds its numbers as they are: all of them, real, and one by one."""
    whole = value.layout == torch.strided and not (value.is_quantized or value.is_meta)
    return whole and not value.is_complex()


def check_tensors(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], where: str) -> None:
    """Refuse tensors whose values a network cannot have.

    Weights are real numbers in 16 bits or more; only where the network counts, or keeps a table of
    positions, are they integers. All are finite, also when they have the network's type.

    Parameters
    ----------
    tensors
        Tensors from a file, by their names in the network. Others are not looked at.
    own
        Tensors of the network, of which only the types count.
    where
        Name of the file in messages.

    Raises
    ------
    ModelError
        Naming the first tensor that is of another kind, or not finite.
    """
    for name, value in tensors.items():
        if name in own and (problem := _find_problem(value, own[name].dtype)):
            raise ModelError(f"{where}: {name} {problem}")


def _find_problem(value: Tensor, wanted: torch.dtype) -> str:
    if not is_plain(value):
        return (
            "is a sparse, quantised, complex or empty tensor: expected plain numbers; save the "
            "network before it is compressed"
        )
    counts = not wanted.is_floating_point
    if value.dtype not in _REAL and not (counts and value.dtype in _WHOLE):
        return (
            f"is of {value.dtype}: expected {'integers' if counts else 'weights in float32'}, or "
            "another type of real numbers with 16 bits or more; save the network before it is "
            "compressed"
        )
    # A number of 64 bits may be infinite in 32.
    kept = value if counts else value.to(wanted)
    return "" if bool(torch.isfinite(kept).all()) else "has values that are not finite"
