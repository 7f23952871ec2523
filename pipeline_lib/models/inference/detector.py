"""Run the detector of a network of DeepLabCut: boxes around animals, best first."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.predictor import Image, RuntimeOptions

_OUTPUTS = ("boxes", "scores")
_SIDES = 4


class Boxes(NamedTuple):
    """Hold the boxes of a frame.

    Attributes
    ----------
    box
        Shape (box, 4), float32, left, top, right and bottom in px from the corner of the frame.
    score
        Shape (box,), 0..1, falling.
    """

    box: NDArray[np.float32]
    score: NDArray[np.float32]


def read_boxes(found: Mapping[str, NDArray[np.float32]], where: str) -> Boxes:
    """Return what a detector found, if it is boxes with a score each.

    Parameters
    ----------
    found
        What it gives, by name.
    where
        File of the detector, for messages.

    Raises
    ------
    ModelError
        If the shapes are others.
    """
    box, score = found["boxes"], found["scores"]
    if score.ndim != 1 or box.shape != (len(score), _SIDES):
        raise ModelError(
            f"{where}: it gives boxes of shape {box.shape} and scores of shape {score.shape}; "
            "expected (box, 4) and (box,): it is no detector; get it again"
        )
    return Boxes(box, score)


class Detector(Protocol):
    """Find the animals of frames; several threads may call it."""

    def find(self, frame: Image) -> Boxes:
        """Return the boxes of a frame of shape (height, width, 3), uint8, RGB."""
        ...


class OnnxDetector:
    """Run an exported detector with ONNX Runtime, one core for each call.

    Parameters
    ----------
    path
        The exported detector.

    Raises
    ------
    ModelError
        If the file is not a network, or refers to other files; later, if it is no detector.
    """

    def __init__(self, path: Path) -> None:
        from pipeline_lib.models.inference import onnx_runtime  # noqa: PLC0415 - only on CPUs

        self._path, self._run = path, onnx_runtime.run_session
        self._session = onnx_runtime.open_session(path)

    def find(self, frame: Image) -> Boxes:
        """Return the boxes of a frame; see `Detector.find`."""
        found = self._run(self._session, _OUTPUTS, frame[None], str(self._path))
        return read_boxes(found, str(self._path))


class TorchDetector:
    """Run a detector with PyTorch, on a GPU if there is one, in float32.

    Parameters
    ----------
    path, card
        Weights and card of the detector.

    Raises
    ------
    ModelError
        If the file is missing or has the weights of another network.
    """

    def __init__(self, path: Path, card: ModelCard) -> None:
        import torch  # noqa: PLC0415 - seconds

        from pipeline_lib.models.inference.torch_runtime import load_network  # noqa: PLC0415

        self._torch = torch
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = load_network(path, card).eval().to(self._device)

    def find(self, frame: Image) -> Boxes:
        """Return the boxes of a frame; see `Detector.find`."""
        with self._torch.inference_mode():
            sent = self._torch.from_numpy(np.ascontiguousarray(frame))[None].to(self._device)
            box, score = self._network(sent)
        return Boxes(box.cpu().numpy(), score.cpu().numpy())


class BoxFinder:
    """Find the animals of several frames at a time.

    Parameters
    ----------
    card
        Card of the detector.
    detector
        The detector.
    parallel
        Number of frames at a time, over all callers.
    """

    def __init__(self, card: ModelCard, detector: Detector, parallel: int = 1) -> None:
        self.card = card
        self._detector = detector
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="detector")

    def find(self, frames: Sequence[Image], most: int) -> list[Boxes]:
        """Return the best boxes of frames, at most `most` of each."""
        found = self._threads.map(self._detector.find, frames)
        return [Boxes(one.box[:most], one.score[:most]) for one in found]


def load_detector(
    files: ModelFiles, card: ModelCard, options: RuntimeOptions, cores: int
) -> BoxFinder:
    """Load a detector; it runs with PyTorch where the network does, else with ONNX Runtime.

    Parameters
    ----------
    files, card
        Files and card of the detector.
    options
        Runtime of the network.
    cores
        Number of frames at a time on CPUs.

    Raises
    ------
    ModelError
        If it is missing or damaged.
    """
    if options.runtime == "torch":
        return BoxFinder(card, TorchDetector(files.weights, card))
    return BoxFinder(card, OnnxDetector(files.network), cores)
