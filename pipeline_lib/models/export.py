"""Exporting a trained network for the runtimes that infer with it."""

import contextlib
import io
import logging
import warnings
from pathlib import Path

import torch

from pipeline_lib.models.network import DeployedNetwork, PoseNetwork

OUTPUTS = ("score", "offset")
_EXAMPLE_SIDE = 64  # any multiple of 32: batch, height and width are free in the exported graph


def export_onnx(network: PoseNetwork, refinement_scale: float, path: Path) -> None:
    """Write a network as ONNX: uint8 frames in, scores and offsets out (`DeployedNetwork`)."""
    deployed = DeployedNetwork(network, refinement_scale).eval().cpu()
    example = torch.zeros(2, _EXAMPLE_SIDE, 2 * _EXAMPLE_SIDE, 3, dtype=torch.uint8)
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
                output_names=list(OUTPUTS),
                dynamic_axes={
                    "frames": {0: "batch", 1: "height", 2: "width"},
                    "score": {0: "batch", 2: "rows", 3: "columns"},
                    "offset": {0: "batch", 3: "rows", 4: "columns"},
                },
                # The exporter by torch.export spends minutes in symbolic shape algebra when
                # height and width are free (measured: over 9 minutes for EfficientNet-Lite0).
                dynamo=False,
            )
    finally:
        quiet.setLevel(level)


def save_weights(network: PoseNetwork, path: Path) -> None:
    """Write the state dict that `pipeline_lib.models.torch_runtime` reads."""
    torch.save(network.state_dict(), path)
