"""Run the exported network with ONNX Runtime, on any CPU and without importing torch."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.inference.decoding import Located, MapDecoder
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
        self._session = open_session(path, threads)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._decoder = decoder

    def draw(self, frames: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Return the maps of frames by name, as `DeployedNetwork` draws them.

        Parameters
        ----------
        frames
            Shape (batch, height, width, 3), uint8 RGB, sides multiples of 32.
        """
        maps = self._session.run(self._outputs, {"frames": frames})
        return dict(zip(self._outputs, maps, strict=True))

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
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    # The threads of ONNX Runtime's own pool would spin while they wait.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.inter_op_num_threads = 1
    # Of detectors it warns that the number of their boxes is free.
    options.log_severity_level = _ERRORS
    content = read_onnx(path)
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no common base class
        raise ModelError(f"{path}: ONNX Runtime cannot load it ({error}); run train") from error
