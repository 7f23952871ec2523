"""Run the exported network with OpenVINO, the fastest runtime on CPUs and the one with bfloat16."""

import logging
import sys
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.inference.decoding import MAPS, Located, MapDecoder
from pipeline_lib.models.inference.map_shapes import check_maps
from pipeline_lib.models.inference.onnx_file import read_onnx

logger = logging.getLogger(__name__)

# What 8-bit integers leave in float is computed in float32.
_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
# Compiled networks kept; each has its own copy of the weights, and videos have few sizes.
_MOST_SHAPES = 4


class OpenVinoRuntime:
    """Locate keypoints with an exported network.

    Calls from several threads run in parallel. The network is compiled for
    each input shape, which takes up to a second: OpenVINO is slower with dynamic shapes.

    Parameters
    ----------
    path
        The exported network.
    decoder
        Decoder of its maps.
    parallel
        Number of calls that run in parallel, each on one core; further calls wait.
    precision
        ``float32``, ``bfloat16``, or ``int8`` of a network in 8-bit integers.
    one_frame
        Whether one call at a time uses `parallel` cores instead.

    Raises
    ------
    ModelError
        If OpenVINO is not installed, or if the file is not a network or refers to other files.
    """

    name = "openvino"

    def __init__(
        self,
        path: Path,
        decoder: MapDecoder,
        parallel: int = 1,
        precision: str = "float32",
        *,
        one_frame: bool = False,
    ) -> None:
        self._core = import_openvino().Core()
        content = read_onnx(path)
        try:
            self._network = self._core.read_model(content)
        except Exception as error:  # OpenVINO raises bare RuntimeErrors
            # Only the last line: the others point into OpenVINO's source.
            reason = str(error).strip().rpartition("\n")[2]
            raise ModelError(f"{path}: OpenVINO cannot load it ({reason}); run train") from error
        if precision == "bfloat16" and not has_bfloat16():
            logger.warning("this CPU has no bfloat16 arithmetic: float32 would be as fast")
        self._path, self._decoder = path, decoder
        self._settings = {
            # By default OpenVINO computes in bfloat16 where the CPU can.
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY" if one_frame else "THROUGHPUT",
            "NUM_STREAMS": 1 if one_frame else parallel,
            "INFERENCE_NUM_THREADS": parallel,
            # By default, all workers of a machine would use its first cores.
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled: OrderedDict[tuple[int, ...], _CompiledNetwork] = OrderedDict()
        self._lock = threading.Lock()

    def locate(self, frames: NDArray[np.uint8]) -> Located:
        """Locate keypoints in frames; see `pipeline_lib.models.inference.predictor.Runtime`."""
        return self._compile(frames.shape).locate(frames, self._decoder, str(self._path))

    def _compile(self, shape: tuple[int, ...]) -> "_CompiledNetwork":
        """Return the network compiled for an input shape; the latest ones are cached."""
        with self._lock:
            compiled = self._compiled.pop(shape, None)
            if compiled is None:
                compiled = _CompiledNetwork(self._compile_anew(shape))
            self._compiled[shape] = compiled
            if len(self._compiled) > _MOST_SHAPES:
                self._compiled.popitem(last=False)
            return compiled

    def _compile_anew(self, shape: tuple[int, ...]) -> Any:  # noqa: ANN401 - OpenVINO is not typed
        network = self._network.clone()
        try:
            network.reshape(list(shape))
            return self._core.compile_model(network, "CPU", self._settings)
        except Exception as error:  # OpenVINO raises bare RuntimeErrors
            raise ModelError(_describe(self._path, shape, error)) from error


def _describe(path: Path | str, shape: tuple[int, ...], error: Exception) -> str:
    # Only the last line: the others point into OpenVINO's source.
    reason = str(error).strip().rpartition("\n")[2]
    return f"{path}: OpenVINO cannot run it on frames of shape {shape} ({reason})"


def has_bfloat16() -> bool:
    """Tell whether this processor computes in bfloat16.

    Raises
    ------
    ModelError
        If OpenVINO is not installed.
    """
    known = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in known


def import_openvino() -> Any:  # noqa: ANN401 - OpenVINO is not typed
    """Import OpenVINO without its telemetry.

    Otherwise the import would report to Google Analytics and write an identifier into the home
    folder. OpenVINO works without the module that does so if that cannot be imported.

    Raises
    ------
    ModelError
        If OpenVINO is not installed.
    """
    reporter = "openvino_telemetry"
    hidden = "openvino" not in sys.modules and reporter not in sys.modules
    if hidden:
        sys.modules[reporter] = None  # type: ignore[assignment]
    try:
        import openvino  # noqa: PLC0415 - there are platforms without it
    except ImportError as error:
        raise ModelError(
            f"inference.runtime: openvino cannot be imported ({error}); run `pip install "
            "openvino`, or set `onnx` or `auto`"
        ) from error
    finally:
        if hidden:
            del sys.modules[reporter]
    # The first array initialises OpenVINO's access to NumPy. Two threads that do so at the same
    # time deadlock: one holds Python's lock, the other OpenVINO's.
    openvino.Tensor(np.zeros(1, np.uint8)).data[:] = 0
    return openvino


class _CompiledNetwork:
    """Hold a network compiled for one input shape, and its idle inference requests."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - OpenVINO is not typed
        self._model = model
        # An output may have further names, those of intermediate operations.
        names = [output.get_names() for output in model.outputs]
        self._outputs = [one for one in MAPS if any(one in those for those in names)]
        self._idle: list[Any] = []

    def locate(self, frames: NDArray[np.uint8], decoder: MapDecoder, where: str) -> Located:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._model.create_infer_request()
        # Arrays are shared, not copied; the next call overwrites the outputs.
        try:
            request.infer({"frames": np.ascontiguousarray(frames)}, share_inputs=True)
        except Exception as error:  # OpenVINO raises bare RuntimeErrors
            raise ModelError(_describe(where, frames.shape, error)) from error
        maps = {name: request.get_tensor(name).data for name in self._outputs}
        check_maps(maps, decoder.card, frames.shape, where)
        located = decoder.decode(maps)
        self._idle.append(request)
        return located
