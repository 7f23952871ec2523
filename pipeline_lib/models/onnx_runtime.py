"""The exported network on ONNX Runtime: what infers on CPUs, without importing torch."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipeline_lib.core.errors import ModelError
from pipeline_lib.kernels.score_maps import decode_peaks
from pipeline_lib.models.card import ModelCard


class OnnxRuntime:
    """A network in memory, ready to locate keypoints.

    Parameters
    ----------
    path
        The exported network.
    card
        Its model card.
    threads
        Threads of one forward pass; None: all cores.

    Raises
    ------
    ModelError
        If the file is no network.
    """

    name = "onnx"

    def __init__(self, path: Path, card: ModelCard, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
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
