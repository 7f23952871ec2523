"""The exported network on ONNX Runtime: CPUs of every kind, without importing torch."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.inference.decoding import Located, MapDecoder
from pipeline_lib.models.inference.onnx_file import read_onnx


class OnnxRuntime:
    """A network in memory, ready to locate keypoints in float32.

    Each call takes one core, that of its thread; calls from several threads run side by side.

    Parameters
    ----------
    path
        The exported network.
    decoder
        Reads its maps.

    Raises
    ------
    ModelError
        If the file is no network, or names other files.
    """

    name = "onnx"

    def __init__(self, path: Path, decoder: MapDecoder) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        # One thread: no pool of ONNX Runtime's own, whose threads spin while they wait.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        content = read_onnx(path)
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime has no common base class
            raise ModelError(f"{path}: ONNX Runtime cannot load it ({error}); run train") from error
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._decoder = decoder

    def locate(self, frames: NDArray[np.uint8]) -> Located:
        """Locate keypoints in frames; see `pipeline_lib.models.inference.predictor.Runtime`."""
        maps = self._session.run(self._outputs, {"frames": frames})
        return self._decoder.decode(dict(zip(self._outputs, maps, strict=True)))
