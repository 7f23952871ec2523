"""Locating keypoints in frames of any size, whatever the runtime."""

import importlib.util
import logging
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cores import count_cores
from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.models.card import ModelCard, read_card
from pipeline_lib.models.inference.decoding import Located, MapDecoder
from pipeline_lib.models.inference.preprocessing import FrameFit, lay_frames

logger = logging.getLogger(__name__)

RuntimeName = Literal["openvino", "onnx", "torch"]
Precision = Literal["float32", "bfloat16", "float16"]
Image = NDArray[np.uint8]

_PRECISIONS: dict[RuntimeName, tuple[Precision, ...]] = {
    "openvino": ("float32", "bfloat16"),
    "onnx": ("float32",),
    "torch": ("float32", "bfloat16", "float16"),
}
_GPU_BATCH = 32
# Frames travel to the GPU and points back while it works on another batch.
_BATCHES_ON_GPU = 2


@dataclass(frozen=True)
class RuntimeOptions:
    """What runs a network, and how; it travels to workers.

    Attributes
    ----------
    runtime
        ``openvino`` or ``onnx`` on CPUs; ``torch`` on a GPU if there is one.
    precision
        Arithmetic of the network.
    threads
        Cores of a CPU that the network may use; None: all that this process may run on.
    batch_size
        Frames per forward pass; None: 1 on CPUs, 32 on GPUs.
    compile
        Compile the network; PyTorch on a GPU only.

    Raises
    ------
    ConfigError
        If the runtime has no such arithmetic.
    """

    runtime: RuntimeName
    precision: Precision = "float32"
    threads: int | None = None
    batch_size: int | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        known = _PRECISIONS[self.runtime]
        if self.precision not in known:
            others = [name for name, those in _PRECISIONS.items() if self.precision in those]
            problem = (
                f"`precision` {self.precision} cannot be had with `runtime` {self.runtime}; set "
                f"{' or '.join(known)}, or `runtime` {' or '.join(others)}"
            )
            raise ConfigError("inference", [problem])

    @classmethod
    def of(cls, settings: InferenceSettings, threads: int | None = None) -> "RuntimeOptions":
        """Return the options that the settings ask for on this machine.

        Parameters
        ----------
        settings
            ``runtime: auto`` is resolved by `choose_runtime`.
        threads
            Cores of the CPU; None: as set, else all.

        Raises
        ------
        ConfigError
            If the runtime does not have the precision.
        """
        runtime = choose_runtime(settings.runtime)
        if settings.compile and runtime != "torch":
            logger.warning("inference.compile has no effect with %s, only with torch", runtime)
        return cls(
            runtime=runtime,
            precision=settings.precision,
            threads=settings.threads_per_worker if threads is None else threads,
            batch_size=settings.batch_size,
            compile=settings.compile,
        )


class Runtime(Protocol):
    """What runs a network; its methods may be called from several threads at a time."""

    name: str

    def locate(self, frames: Image) -> Located:
        """Locate keypoints in network frames.

        Parameters
        ----------
        frames
            Shape (batch, height, width, 3), uint8 RGB, sides multiples of 32.

        Returns
        -------
        Located
            Positions in network px.
        """
        ...


class PosePredictor(Protocol):
    """What gives poses of frames: a network, or several that work together.

    Attributes
    ----------
    card
        Of the network that locates keypoints.
    surplus
        Individuals beyond the card's that have a place in what is predicted.
    """

    card: ModelCard
    surplus: int

    def predict(self, frames: Sequence[Image]) -> Located:
        """Locate keypoints; see `Predictor.predict`."""
        ...


class Predictor:
    """A network with what surrounds it: shrinking and padding before, coordinates after.

    A frame's result does not depend on the frames that it is predicted with: every forward pass
    is of the same size, the last one filled up with black frames.

    Parameters
    ----------
    card
        The model card.
    runtime
        What runs the network.
    batch_size
        Frames per forward pass.
    parallel
        Forward passes at a time, each in a thread of its own, whoever asks for them.
    surplus
        Individuals beyond the card's that the runtime has places for.
    """

    def __init__(
        self,
        card: ModelCard,
        runtime: Runtime,
        batch_size: int = 1,
        parallel: int = 1,
        *,
        surplus: int = 0,
    ) -> None:
        self.card, self.runtime, self.batch_size = card, runtime, batch_size
        self.surplus = surplus
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix=runtime.name)

    def predict(self, frames: Sequence[Image]) -> Located:
        """Locate keypoints in frames of one size; several threads may ask at a time.

        Parameters
        ----------
        frames
            Any number, each of shape (height, width, 3), uint8 RGB.

        Returns
        -------
        Located
            Shapes (frame, individual, keypoint, 2) and (frame, individual, keypoint); positions
            in px of the frame as it is.

        Raises
        ------
        ValueError
            If the frames differ in size.
        """
        sizes = {frame.shape for frame in frames}
        if len(sizes) > 1:
            raise ValueError(f"frames of one call must be of one size, not {sorted(sizes)}")
        found = make_room(self.card, len(frames), self.surplus)

        def locate(first: int) -> None:
            rows = slice(first, first + self.batch_size)
            put_located(found, rows, self._locate(frames[rows]))

        list(self._threads.map(locate, range(0, len(frames), self.batch_size)))
        return found

    def _locate(self, frames: Sequence[Image]) -> Located:
        """Locate keypoints in the frames of one forward pass, in px of these frames."""
        height, width = frames[0].shape[:2]
        fit = FrameFit.of(height, width, self.card.scale)
        position, confidence, identity = self.runtime.locate(
            lay_frames(frames, fit, self.batch_size)
        )
        count = len(frames)
        return Located(
            fit.to_frame(position[:count]),
            confidence[:count],
            None if identity is None else identity[:count],
        )


def make_room(card: ModelCard, frames: int, surplus: int = 0) -> Located:
    """Return arrays of NaN for what a network finds in a number of frames."""
    places = len(card.individuals) + surplus
    shape = (frames, places, len(card.skeleton.bodyparts))
    identities = (frames, places, len(card.identities))
    return Located(
        np.full((*shape, 2), np.nan, np.float32),
        np.full(shape, np.nan, np.float32),
        np.full(identities, np.nan, np.float32) if card.identities else None,
    )


def put_located(room: Located, rows: slice | list[int], found: Located) -> None:
    """Copy what was found in some frames to their rows."""
    room.position[rows] = found.position
    room.confidence[rows] = found.confidence
    if room.identity is not None and found.identity is not None:
        room.identity[rows] = found.identity


def load_predictor(
    files: ModelFiles, options: RuntimeOptions, assembly: AssemblySettings | None = None
) -> Predictor:
    """Load a trained network.

    On a CPU each forward pass has one core, and as many frames are worked on at a time as
    there are threads: faster than all cores on one frame (`benchmarks/runtimes.py`), and the
    results do not depend on their number.

    Parameters
    ----------
    files
        The model.
    options
        What runs it.
    assembly
        How keypoints of several animals are joined; None: by the defaults, without surplus.

    Raises
    ------
    ModelError
        If the model is missing or cannot be loaded, or the runtime is not installed or does not
        have the precision here.
    """
    card = read_card(files.card)
    cores = options.threads or count_cores()
    size = options.batch_size or 1
    decoder = MapDecoder(card, assembly)
    if options.runtime == "openvino":
        from pipeline_lib.models.inference.openvino_runtime import OpenVinoRuntime  # noqa: PLC0415

        network = OpenVinoRuntime(files.network, decoder, cores, options.precision)
        return Predictor(card, network, size, cores, surplus=decoder.surplus)
    if options.runtime == "onnx":
        from pipeline_lib.models.inference.onnx_runtime import OnnxRuntime  # noqa: PLC0415

        return Predictor(
            card, OnnxRuntime(files.network, decoder), size, cores, surplus=decoder.surplus
        )
    from pipeline_lib.models.inference.torch_runtime import TorchRuntime  # noqa: PLC0415 - seconds

    runtime = TorchRuntime(files.weights, decoder, options.precision, options.compile)
    if runtime.on_gpu:
        size, cores = options.batch_size or _GPU_BATCH, _BATCHES_ON_GPU
    return Predictor(card, runtime, size, cores, surplus=decoder.surplus)


def choose_runtime(runtime: Literal["auto"] | RuntimeName) -> RuntimeName:
    """Resolve ``auto``: PyTorch where there is a GPU, else OpenVINO, else ONNX Runtime."""
    if runtime != "auto":
        return runtime
    if count_gpus():
        return "torch"
    return "onnx" if importlib.util.find_spec("openvino") is None else "openvino"


def count_gpus() -> int:
    """Return the number of GPUs this process may use, without importing torch where none is."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return 0
    if shutil.which("nvidia-smi") is None:
        return 0
    import torch  # noqa: PLC0415 - seconds

    return torch.cuda.device_count()
