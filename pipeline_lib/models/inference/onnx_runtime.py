"""Run the exported network with ONNX Runtime, on any CPU and without importing torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.inference.decoding import Located, MapDecoder
from pipeline_lib.models.inference.map_shapes import check_maps
from pipeline_lib.models.inference.onnx_file import read_onnx

_ERRORS = 3


class OnnxRuntime:
    """Locate keypoints with an exported network, in float32 or in 8-bit integers.

    Calls from several threads run in parallel.

    Parameters
    ----------
    path
        The exported network.
    decoder
        Decoder of its maps.
    threads
        Number of cores of a call; with 1, that of the thread that calls.

    Raises
    ------
    ModelError
        If the file is not a network, or refers to other files.
    """

    name = "onnx"

    def __init__(self, path: Path, decoder: MapDecoder, threads: int = 1) -> None:
        self._path = path
        self._session = open_session(path, threads)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._decoder = decoder

    def draw(self, frames: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Return the maps of frames by name, as `DeployedNetwork` draws them.

        Parameters
        ----------
        frames
            Shape (batch, height, width, 3), uint8 RGB, sides multiples of 32.

        Raises
        ------
        ModelError
            If the network cannot take them, or draws other maps than its card says.
        """
        maps = run_session(self._session, self._outputs, frames, str(self._path))
        check_maps(maps, self._decoder.card, frames.shape, str(self._path))
        return maps

    def locate(self, frames: NDArray[np.uint8]) -> Located:
        """Locate keypoints in frames; see `pipeline_lib.models.inference.predictor.Runtime`."""
        return self._decoder.decode(self.draw(frames))


def open_session(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """Load an exported network into ONNX Runtime.

    Parameters
    ----------
    path
        The exported network.
    threads
        Number of cores of a call.

    Raises
    ------
    ModelError
        If the file is not a network, or refers to other files.
    """
    return load_session(read_onnx(path), str(path), threads)


def load_session(
    content: bytes, where: str, threads: int = 1, *, advice: str = "run train"
) -> onnxruntime.InferenceSession:
    """Load an exported network that passed `check_onnx` into ONNX Runtime.

    Parameters
    ----------
    content
        Bytes of the file.
    where, advice
        Name of the file in messages, and what they end with.
    threads
        Number of cores of a call.

    Raises
    ------
    ModelError
        If they are not a network.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    # The threads of ONNX Runtime's own pool would spin while they wait.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.inter_op_num_threads = 1
    # Of detectors it warns that the number of their boxes is free.
    options.log_severity_level = _ERRORS
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no common base class
        raise ModelError(f"{where}: ONNX Runtime cannot load it ({error}); {advice}") from error


def run_session(
    session: onnxruntime.InferenceSession,
    outputs: Sequence[str],
    frames: NDArray[np.uint8],
    where: str,
) -> dict[str, NDArray[np.float32]]:
    """Return what a network gives of frames, by name.

    Parameters
    ----------
    session
        The network.
    outputs
        Names of what it gives.
    frames
        Shape (batch, height, width, 3), uint8, RGB.
    where
        File of the network, for messages.

    Raises
    ------
    ModelError
        If it cannot take frames, or not those of this size.
    """
    try:
        found = session.run(list(outputs), {"frames": frames})
    except Exception as error:  # ONNX Runtime has no common base class
        raise ModelError(
            f"{where}: ONNX Runtime cannot run it on frames of shape {frames.shape} ({error})"
        ) from error
    return dict(zip(outputs, found, strict=True))
