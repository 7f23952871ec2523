"""Choose the precision of a training from the devices there are."""

from typing import NamedTuple

import torch

_SINGLE, _BRAIN, _HALF = "32-true", "bf16-mixed", "16-mixed"
# Lightning's names. Weights stay in single precision in all of these.
_NAMES = {"32": _SINGLE, "bf16": _BRAIN, "16": _HALF}
# CUDA's compute capabilities from which a GPU multiplies in bfloat16, and in half precision.
_HAS_BRAIN, _HAS_HALF = (8, 0), (7, 0)
_ON_GPU = frozenset({"auto", "gpu", "cuda"})


class ChosenPrecision(NamedTuple):
    """Hold Lightning's name of a precision, and the reason for it in half a sentence."""

    name: str
    reason: str


def choose_precision(stated: str, accelerator: str = "auto") -> ChosenPrecision:
    """Return the precision that a training computes in.

    Mixed precision is chosen where every visible GPU multiplies in it by hardware: bfloat16, whose
    range is that of single precision, before half precision, whose gradients must be scaled.

    Parameters
    ----------
    stated
        ``training.precision``: ``auto``, ``32``, ``bf16``, ``16``, or a name of Lightning's.
    accelerator
        ``training.accelerator``.
    """
    if stated != "auto":
        return ChosenPrecision(_NAMES.get(stated, stated), "training.precision")
    if accelerator not in _ON_GPU or not torch.cuda.is_available():
        return ChosenPrecision(_SINGLE, "no NVIDIA or AMD GPU is used")
    numbers = range(torch.cuda.device_count())
    weakest = min(numbers, key=torch.cuda.get_device_capability)
    capability = torch.cuda.get_device_capability(weakest)
    device = torch.cuda.get_device_name(weakest)
    if capability >= _HAS_BRAIN:
        return ChosenPrecision(_BRAIN, f"{device} multiplies in bfloat16")
    if capability >= _HAS_HALF:
        return ChosenPrecision(_HALF, f"{device} multiplies in half precision, not in bfloat16")
    return ChosenPrecision(_SINGLE, f"{device} multiplies in single precision alone")
