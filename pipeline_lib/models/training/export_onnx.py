"""Export a trained network for the runtimes of inference."""

import contextlib
import copy
import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from timm.layers import Conv2dSame
from torch import nn

from pipeline_lib.models.inference.torch_runtime import deploy_network
from pipeline_lib.models.network.network import PoseNetwork

if TYPE_CHECKING:
    from pipeline_lib.models.inference.torch_runtime import AnyNetwork

_PLANES = {0: "batch", 2: "rows", 3: "columns"}
_VECTORS = {0: "batch", 3: "rows", 4: "columns"}
_FREE_AXES = {
    "score": _PLANES,
    "offset": _VECTORS,
    "affinity": _VECTORS,
    "identity": _PLANES,
    "boxes": {0: "box"},
    "scores": {0: "box"},
}
_EXAMPLE_SIDE = 64  # any multiple of 32: batch, height and width are free in the exported graph


def export_onnx(network: "AnyNetwork", refinement_scale: float, path: Path) -> None:
    """Write a network as ONNX: uint8 frames in, scores and offsets out (`DeployedNetwork`).

    A detector takes one frame of any size, and gives boxes and their scores.
    """
    deployed = deploy_network(copy.deepcopy(network), refinement_scale).eval().cpu()
    _fix_padding(deployed)
    finds = "boxes" in deployed.outputs
    batch = 1 if finds else 2
    example = torch.zeros(batch, _EXAMPLE_SIDE, 2 * _EXAMPLE_SIDE, 3, dtype=torch.uint8)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        # The exporter reports its progress on stdout, which belongs to the command line.
        with (
            torch.no_grad(),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                deployed,
                (example,),
                str(path),
                input_names=["frames"],
                output_names=list(deployed.outputs),
                dynamic_axes={
                    "frames": {1: "height", 2: "width"} | ({} if finds else {0: "batch"}),
                    **{name: _FREE_AXES[name] for name in deployed.outputs},
                },
                # The exporter by torch.export spends minutes in symbolic shape algebra when
                # height and width are free (measured: over 9 minutes for EfficientNet-Lite0).
                dynamo=False,
            )
    finally:
        quiet.setLevel(level)


def save_weights(network: PoseNetwork, path: Path) -> None:
    """Write the state dict that `pipeline_lib.models.inference.torch_runtime` reads."""
    # By name, torch writes the name into the file: the same weights would be other bytes.
    with path.open("wb") as file:
        torch.save(network.state_dict(), file)


def _fix_padding(network: nn.Module) -> None:
    """Replace convolutions that compute their padding from the size of their input.

    TensorFlow's "same" padding is a constant wherever the stride divides the sides of the input,
    as it does in a network whose input has sides that are multiples of 32. A runtime merges a
    constant padding with the convolution: EfficientNet-Lite0 takes a fifth less time on ONNX
    Runtime, and gives the same numbers.
    """
    for name, layer in network.named_children():
        # Its subclasses, if any, may do something else.
        if isinstance(layer, nn.Conv2d) and type(layer) is Conv2dSame:
            setattr(network, name, _pad_by_constant(layer))
        else:
            _fix_padding(layer)


def _pad_by_constant(layer: nn.Conv2d) -> nn.Sequential:
    sides: list[int] = []  # left, right, top, bottom
    for axis in (1, 0):
        reach = (layer.kernel_size[axis] - 1) * layer.dilation[axis]
        padding = max(reach + 1 - layer.stride[axis], 0)
        sides += [padding // 2, padding - padding // 2]
    inner = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        dilation=layer.dilation,  # type: ignore[arg-type]
        groups=layer.groups,
        bias=layer.bias is not None,
    )
    inner.load_state_dict(layer.state_dict())
    return nn.Sequential(nn.ZeroPad2d(tuple(sides)), inner)  # type: ignore[arg-type]
