"""The network on PyTorch: what infers on GPUs; peaks are decoded on the device."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline_lib.core.errors import ModelError
from pipeline_lib.kernels.score_maps import decode_peaks
from pipeline_lib.models.backbone import Backbone
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.network import DeployedNetwork, PoseNetwork


class TorchRuntime:
    """A network in the memory of a device, ready to locate keypoints.

    Parameters
    ----------
    path
        State dict written by training.
    card
        Its model card.
    threads
        Threads of one forward pass on a CPU; None: PyTorch's choice.
    device
        ``cuda``, ``cpu`` …; None: the first GPU if there is one.

    Raises
    ------
    ModelError
        If the file is missing or holds another network's weights.
    """

    name = "torch"

    def __init__(
        self, path: Path, card: ModelCard, threads: int | None = None, device: str | None = None
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        backbone = Backbone(card.backbone, "none", card.stride)
        network = PoseNetwork(backbone, len(card.skeleton.bodyparts), card.head_channels)
        # Mean and standard deviation of the input are buffers, so they come with the weights.
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch, pickle and zipfile have no common base class
            # Its name only: PyTorch's message advises to load untrusted files.
            name = type(error).__name__
            raise ModelError(f"{path}: PyTorch cannot load it ({name}); run train") from error
        self._network = DeployedNetwork(network, card.refinement_scale).eval().to(self._device)
        self._stride = card.stride

    @torch.inference_mode()
    def locate(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Locate keypoints in network frames; see `pipeline_lib.models.prediction.Runtime`."""
        batch = torch.from_numpy(frames).to(self._device, non_blocking=True)
        score, offset = self._network(batch)
        position, confidence = decode_peaks(score, offset, self._stride)
        return position.cpu().numpy(), confidence.cpu().numpy()
