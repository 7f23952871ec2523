"""Locate keypoints in frames of any size, with any runtime."""

import importlib.util
import logging
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import ConfigError, VideoError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.settings.base import AUTO
from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.models.card import ModelCard, read_card
from pipeline_lib.models.inference.decoding import Located, MapDecoder
from pipeline_lib.models.inference.preprocessing import FrameFit, fit_frames
from pipeline_lib.models.precision import Precision, RuntimeName
from pipeline_lib.models.stopwatch import lap

logger = logging.getLogger(__name__)

Image = NDArray[np.uint8]

PRECISIONS: dict[RuntimeName, tuple[Precision, ...]] = {
    "openvino": ("float32", "bfloat16", "int8"),
    "onnx": ("float32", "int8"),
    "torch": ("float32", "bfloat16", "float16"),
}
_GPU_BATCH = 32
# Two, so that data is copied from and to the GPU while it computes another batch.
_BATCHES_ON_GPU = 2


@dataclass(frozen=True)
class RuntimeOptions:
    """Choose the runtime of a network; sent to workers.

    Attributes
    ----------
    runtime
        ``openvino`` or ``onnx`` on CPUs; ``torch`` on a GPU if there is one.
    precision
        Arithmetic of the network.
    threads
        Number of CPU cores that the network may use; None for all that this process may use.
    batch_size
        Frames per forward pass; None for 1 on a CPU and 32 on a GPU.
    compile
        Whether to compile the network; only PyTorch on a GPU does.
    one_frame
        Whether all cores compute one frame, in the thread that asks, for the lowest latency; else
        each core computes a frame of its own, for the most frames per second.

    Raises
    ------
    ConfigError
        If the runtime does not support the precision.
    """

    runtime: RuntimeName
    precision: Precision = "float32"
    threads: int | None = None
    batch_size: int | None = None
    compile: bool = False
    one_frame: bool = False

    def __post_init__(self) -> None:
        known = PRECISIONS[self.runtime]
        if self.precision not in known:
            others = [name for name, those in PRECISIONS.items() if self.precision in those]
            problem = (
                f"`precision` {self.precision} is not available with `runtime` {self.runtime}; set "
                f"{' or '.join(known)}, or `runtime` {' or '.join(others)}"
            )
            raise ConfigError("inference", [problem])

    @classmethod
    def of(cls, settings: InferenceSettings, threads: int | None = None) -> "RuntimeOptions":
        """Return the options that the settings choose on this machine.

        Parameters
        ----------
        settings
            Settings of the inference; `choose_runtime` resolves ``runtime: auto``.
        threads
            Number of CPU cores; None for the setting, else all.

        Raises
        ------
        ConfigError
            If the runtime does not support the precision.
        ValueError
            If the precision is to be measured: see `pipeline_lib.models.precision`.
        """
        precision = settings.precision
        if precision == AUTO:
            raise ValueError("the precision is not settled")
        runtime = choose_runtime(settings.runtime, precision)
        if settings.compile and runtime != "torch":
            logger.warning("inference.compile has no effect with %s, only with torch", runtime)
        return cls(
            runtime=runtime,
            precision=precision,
            threads=settings.threads_per_worker if threads is None else threads,
            batch_size=settings.batch_size,
            compile=settings.compile,
        )


class Runtime(Protocol):
    """Run a network; several threads may call its methods at the same time."""

    name: str

    def locate(self, frames: Image) -> Located:
        """Locate keypoints in network frames.

        Parameters
        ----------
        frames
            Shape (batch, height, width, 3), uint8, RGB; sides are multiples of 32.

        Returns
        -------
        Located
            Positions in network px.
        """
        ...


class PosePredictor(Protocol):
    """Predict poses of frames with a network, or with several that work together.

    Attributes
    ----------
    card
        Model card of the network that locates keypoints.
    surplus
        Number of slots beyond the individuals of the card.
    """

    card: ModelCard
    surplus: int

    def predict(self, frames: Sequence[Image]) -> Located:
        """Locate keypoints; see `Predictor.predict`."""
        ...


class Predictor:
    """Shrink and pad frames, run a network, and convert its coordinates back.

    The result of a frame does not depend on the other frames of its batch: every forward pass has
    the same size, and black frames pad the last one.

    Parameters
    ----------
    card
        Model card of the network.
    runtime
        Runtime of the network.
    batch_size
        Frames per forward pass.
    parallel
        Number of forward passes that run in parallel, each in a thread, over all callers; 0: the
        passes of a call run one after the other in the thread of the caller.
    surplus
        Number of slots beyond the individuals of the card.
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
        self._threads = (
            ThreadPoolExecutor(parallel, thread_name_prefix=runtime.name) if parallel else None
        )

    def predict(self, frames: Sequence[Image]) -> Located:
        """Locate keypoints in frames of one size; several threads may call this.

        Parameters
        ----------
        frames
            Any number of frames, each of shape (height, width, 3), uint8, RGB.

        Returns
        -------
        Located
            Shapes (frame, individual, keypoint, 2) and (frame, individual, keypoint); positions
            in px of the frame as it is.

        Raises
        ------
        ValueError
            If the frames differ in size.
        VideoError
            If they are of another size than those that the network was trained on, where it does
            not know other ones.
        """
        sizes = {frame.shape for frame in frames}
        if len(sizes) > 1:
            raise ValueError(f"frames of one call must be of one size, not {sorted(sizes)}")
        found = allocate_located(self.card, len(frames), self.surplus)

        def locate(first: int) -> None:
            rows = slice(first, first + self.batch_size)
            store_located(found, rows, self._locate(frames[rows]))

        run = map if self._threads is None else self._threads.map
        list(run(locate, range(0, len(frames), self.batch_size)))
        return found

    def _locate(self, frames: Sequence[Image]) -> Located:
        """Locate keypoints in the frames of one forward pass, in px of these frames."""
        height, width = frames[0].shape[:2]
        wanted = self.card.frame_size
        if any(one not in (None, own) for one, own in zip(wanted, (height, width), strict=True)):
            raise VideoError(
                f"the network of {self.card.origin} was trained on frames of {wanted[1]} x "
                f"{wanted[0]} px, and these have {width} x {height}: resize the video"
            )
        fit = FrameFit.of(height, width, self.card.scale, self.card.padding)
        with lap("preprocess"):
            batch = fit_frames(frames, fit, self.batch_size)
        with lap("network"):
            found = self.runtime.locate(batch)
        count = len(frames)
        return Located(
            fit.to_frame(found.position[:count]),
            found.confidence[:count],
            None if found.identity is None else found.identity[:count],
        )


def allocate_located(
    card: ModelCard, frames: int, surplus: int = 0, *, spread: bool = False
) -> Located:
    """Return arrays for the keypoints of N frames, axes as in `Predictor.predict`.

    Parameters
    ----------
    card
        Model card of the network.
    frames
        Number of frames.
    surplus
        Number of slots beyond the individuals of the card.
    spread
        Whether there is a spread, of an ensemble.

    Returns
    -------
    Located
        All NaN, float32.
    """
    slots = len(card.individuals) + surplus
    shape = (frames, slots, len(card.skeleton.bodyparts))
    identities = (frames, slots, len(card.identities))
    return Located(
        np.full((*shape, 2), np.nan, np.float32),
        np.full(shape, np.nan, np.float32),
        np.full(identities, np.nan, np.float32) if card.identities else None,
        np.full(shape, np.nan, np.float32) if spread else None,
    )


def store_located(target: Located, rows: slice | list[int], found: Located) -> None:
    """Copy the keypoints of some frames into arrays of more frames.

    Parameters
    ----------
    target
        Arrays from `allocate_located`, changed in place.
    rows
        Rows of the frames in these arrays.
    found
        Keypoints of the frames.
    """
    target.position[rows] = found.position
    target.confidence[rows] = found.confidence
    if target.identity is not None and found.identity is not None:
        target.identity[rows] = found.identity
    if target.spread is not None and found.spread is not None:
        target.spread[rows] = found.spread


def load_predictor(
    files: ModelFiles, options: RuntimeOptions, assembly: AssemblySettings | None = None
) -> Predictor:
    """Load a trained network.

    On a CPU, each forward pass uses one core, and as many passes run in parallel as there are
    threads. This is faster than all cores on one frame (`benchmarks/inference/runtimes.py`), and
    results do not depend on the number of threads.

    Parameters
    ----------
    files
        Files of the model.
    options
        Runtime of the network.
    assembly
        Settings of the assembly of individuals; None uses the defaults, without surplus.

    Raises
    ------
    ModelError
        If the model is missing or cannot be loaded, or if the runtime is not installed or does
        not support the precision on this machine.
    """
    card = read_card(files.card)
    cores = options.threads or count_cores()
    size = options.batch_size or 1
    parallel = 0 if options.one_frame else cores
    decoder = MapDecoder(card, assembly)
    exported = files.quantised if options.precision == "int8" else files.network
    if options.runtime == "openvino":
        from pipeline_lib.models.inference.openvino_runtime import OpenVinoRuntime  # noqa: PLC0415

        network = OpenVinoRuntime(
            exported, decoder, cores, options.precision, one_frame=options.one_frame
        )
        return Predictor(card, network, size, parallel, surplus=decoder.surplus)
    if options.runtime == "onnx":
        from pipeline_lib.models.inference.onnx_runtime import OnnxRuntime  # noqa: PLC0415

        session = OnnxRuntime(exported, decoder, cores if options.one_frame else 1)
        return Predictor(card, session, size, parallel, surplus=decoder.surplus)
    if options.runtime != "torch":
        assert_never(options.runtime)
    from pipeline_lib.models.inference.torch_runtime import TorchRuntime  # noqa: PLC0415 - seconds

    runtime = TorchRuntime(
        files.weights,
        decoder,
        options.precision,
        options.compile,
        threads=cores if options.one_frame else 1,
    )
    if runtime.on_gpu and not options.one_frame:
        size, parallel = options.batch_size or _GPU_BATCH, _BATCHES_ON_GPU
    return Predictor(card, runtime, size, parallel, surplus=decoder.surplus)


def choose_runtime(
    runtime: Literal["auto"] | RuntimeName, precision: Precision = "float32"
) -> RuntimeName:
    """Resolve ``auto``: PyTorch if there is a GPU, else OpenVINO, else ONNX Runtime.

    Parameters
    ----------
    runtime
        The setting.
    precision
        Arithmetic of the network; 8-bit integers run on CPUs only.
    """
    if runtime != "auto":
        return runtime
    if precision in PRECISIONS["torch"] and count_gpus():
        return "torch"
    return "onnx" if importlib.util.find_spec("openvino") is None else "openvino"


def count_gpus() -> int:
    """Return the number of GPUs this process may use; torch is imported only if there is one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return 0
    if shutil.which("nvidia-smi") is None:
        return 0
    import torch  # noqa: PLC0415 - seconds

    return torch.cuda.device_count()
