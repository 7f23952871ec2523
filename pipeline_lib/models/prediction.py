"""Locating keypoints in frames of any size, whatever the runtime."""

import os
import shutil
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.models.card import ModelCard, read_card
from pipeline_lib.models.preprocessing import FrameFit, lay_frame

RuntimeName = Literal["auto", "onnx", "torch"]


class Runtime(Protocol):
    """What runs a network."""

    name: str

    def locate(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Locate keypoints in network frames.

        Parameters
        ----------
        frames
            Shape (batch, height, width, 3), uint8 RGB, sides multiples of 32.

        Returns
        -------
        position
            Shape (batch, keypoint, 2), x and y in network px.
        confidence
            Shape (batch, keypoint), 0..1.
        """
        ...


class Predictor:
    """A network with what surrounds it: shrinking and padding before, coordinates after.

    Parameters
    ----------
    card
        The model card.
    runtime
        What runs the network.
    """

    def __init__(self, card: ModelCard, runtime: Runtime) -> None:
        self.card, self.runtime = card, runtime

    def predict(
        self, frames: Sequence[NDArray[np.uint8]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Locate keypoints in frames of one size.

        Parameters
        ----------
        frames
            Each of shape (height, width, 3), uint8 RGB.

        Returns
        -------
        position
            Shape (frame, 2, keypoint, individual), float32, px of the frame as it is.
        confidence
            Shape (frame, keypoint, individual), float32, 0..1.
        """
        height, width = frames[0].shape[:2]
        fit = FrameFit.of(height, width, self.card.scale)
        batch = np.stack([lay_frame(frame, fit) for frame in frames])
        position, confidence = self.runtime.locate(batch)
        full = fit.to_frame(position)
        return full.transpose(0, 2, 1)[..., np.newaxis], confidence[..., np.newaxis]


def load_predictor(
    files: ModelFiles, runtime: RuntimeName = "auto", threads: int | None = None
) -> Predictor:
    """Load a trained network.

    Parameters
    ----------
    files
        The model.
    runtime
        ``onnx``, ``torch``, or ``auto``: PyTorch where there is a GPU, else ONNX Runtime.
    threads
        Threads of one forward pass; None: all cores.

    Raises
    ------
    ModelError
        If the model is missing or cannot be loaded.
    """
    card = read_card(files.card)
    if choose_runtime(runtime) == "torch":
        from pipeline_lib.models.torch_runtime import TorchRuntime  # noqa: PLC0415 - seconds

        return Predictor(card, TorchRuntime(files.weights, card, threads))
    from pipeline_lib.models.onnx_runtime import OnnxRuntime  # noqa: PLC0415

    return Predictor(card, OnnxRuntime(files.network, card, threads))


def choose_runtime(runtime: RuntimeName) -> Literal["onnx", "torch"]:
    """Resolve ``auto`` by the machine's hardware."""
    if runtime != "auto":
        return runtime
    return "torch" if count_gpus() else "onnx"


def count_gpus() -> int:
    """Return the number of GPUs this process may use, without importing torch where none is."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return 0
    if shutil.which("nvidia-smi") is None:
        return 0
    import torch  # noqa: PLC0415 - seconds

    return torch.cuda.device_count()
