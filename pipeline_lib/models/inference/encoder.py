"""Describe frames by what a trained network sees in them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL
from pipeline_lib.kernels.maps.peaks import find_peaks
from pipeline_lib.models.card import ModelCard, read_card
from pipeline_lib.models.inference.predictor import count_gpus
from pipeline_lib.models.inference.preprocessing import FrameFit, fit_frame
from pipeline_lib.models.inference.torch_runtime import load_network
from pipeline_lib.models.network.network import PoseNetwork

_LOWEST_PEAK = 0.02
# Peaks nearer than this many cells mean the same point.
_SEPARATION = 3


class EncodedFrame(NamedTuple):
    """Hold what a network sees in a frame.

    Attributes
    ----------
    embedding
        Shape (channel,), float32: means of the encoder's deepest map over the frame, and of the
        head's map where the score maps are high, which is around the animals.
    surplus
        Shape (keypoint,), float32 in 0..1: score of the best peak beyond as many as there are
        animals; 0: there is none.
    """

    embedding: NDArray[np.float32]
    surplus: NDArray[np.float32]


class FrameEncoder:
    """Compute embeddings and surplus peaks of frames with PyTorch.

    On a CPU each frame is computed by one core, several at a time, so that results do not depend
    on the number of cores. Frames are seen whole, also by a network of windows.

    Parameters
    ----------
    files
        Files of the model.

    Attributes
    ----------
    bodyparts
        Names along the keypoint axis.

    Raises
    ------
    ModelError
        If the card or the weights are missing or damaged.
    """

    def __init__(self, files: ModelFiles) -> None:
        self._card = read_card(files.card)
        self.bodyparts = tuple(self._card.skeleton.bodyparts)
        self._device = torch.device("cuda" if count_gpus() else "cpu")
        if self._device.type == "cpu":
            torch.set_num_threads(1)
        network = load_network(files.weights, self._card).eval()
        if not isinstance(network, PoseNetwork):
            raise ModelError(
                f"{files.folder}: is a network of DeepLabCut, and only networks that were trained "
                "here describe frames"
            )
        self._network = network.to(self._device)
        self._most = _count_animals(self._card)
        threads = count_cores() if self._device.type == "cpu" else 1
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="encoder")

    def encode(self, frames: Sequence[NDArray[np.uint8]]) -> list[EncodedFrame]:
        """Describe frames, each of shape (height, width, 3), uint8, RGB."""
        return list(self._threads.map(self._encode, frames))

    @torch.inference_mode()
    def _encode(self, frame: NDArray[np.uint8]) -> EncodedFrame:
        fit = FrameFit.of(frame.shape[0], frame.shape[1], self._card.scale)
        pixels = torch.from_numpy(np.ascontiguousarray(fit_frame(frame, fit))).to(self._device)
        image = pixels.permute(2, 0, 1)[None].float() / 255.0
        maps = self._network.backbone((image - self._network.mean) / self._network.std)
        head = self._network.head(maps)
        score = torch.sigmoid(self._network.score(head))
        where = score.amax(dim=1, keepdim=True)
        near = (head * where).sum(dim=(2, 3)) / where.sum(dim=(2, 3))
        whole = functional.adaptive_avg_pool2d(maps[-1], 1)[:, :, 0, 0]
        return EncodedFrame(
            torch.cat([whole, near], dim=1)[0].cpu().numpy(), self._measure_surplus(score[0].cpu())
        )

    def _measure_surplus(self, score: torch.Tensor) -> NDArray[np.float32]:
        stride = self._card.stride
        _, confidence = find_peaks(
            score,
            None,
            stride,
            threshold=_LOWEST_PEAK,
            most=int(self._most.max()) + 1,
            separation=_SEPARATION * stride,
        )
        found = np.nan_to_num(np.asarray(confidence))
        surplus: NDArray[np.float32] = np.take_along_axis(found, self._most[:, None], axis=1)[:, 0]
        return surplus


def _count_animals(card: ModelCard) -> NDArray[np.int64]:
    """Return how many peaks each keypoint may have."""
    animals = sum(name != UNIQUE_INDIVIDUAL for name in card.individuals)
    unique = card.skeleton.unique_bodyparts
    return np.array([1 if name in unique else max(1, animals) for name in card.skeleton.bodyparts])
