"""The exported network on ONNX Runtime: CPUs of every kind, without importing torch."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipeline_lib.core.errors import ModelError
from pipeline_lib.kernels.score_maps import decode_peaks
from pipeline_lib.models.card import ModelCard


class OnnxRuntime:
    """A network in memory, ready to locate keypoints in float32.

    Each call takes one core, that of its thread; calls from several threads run side by side.

    Parameters
    ----------
    path
        The exported network.
    card
        Its model card.

    Raises
    ------
    ModelError
        If the file is no network.
    """

    name = "onnx"

    def __init__(self, path: Path, card: ModelCard) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        # One thread: no pool of ONNX Runtime's own, whose threads spin while they wait.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime has no common base class
            raise ModelError(f"{path}: ONNX Runtime cannot load it ({error}); run train") from error
        self._stride = card.stride

    def locate(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Locate keypoints in network frames; see `pipeline_lib.models.prediction.Runtime`."""
        score, offset = self._session.run(["score", "offset"], {"frames": frames})
        return decode_peaks(score, offset, self._stride)
