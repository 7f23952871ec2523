"""Convert an exported network to 8-bit integers, calibrated on frames.

Weights are quantised per channel, activations per tensor (static post-training quantisation [1]_).
The result is one ONNX file with pairs of QuantizeLinear and DequantizeLinear, which ONNX Runtime
and OpenVINO both merge with the layers between them.

References
----------
.. [1] Jacob et al., Quantization and Training of Neural Networks for Efficient
   Integer-Arithmetic-Only Inference, CVPR 2018.
"""

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.inference.onnx_file import read_onnx

Image = NDArray[np.uint8]
# What stays in float: the first layer and those that draw the maps, or all but the backbone.
FloatPart = Literal["ends", "head"]

# Fewest frames to calibrate on, and the side of blocks of them that are compared, network px.
LEAST_FRAMES = 4
_BLOCK = 16
# Grey levels by which some block must vary: sensor noise of 8 varies its mean by about as much.
_LEAST_RANGE = 2.0
_BACKBONE = "/network/backbone/"


class QuantisationError(ModelError):
    """Explain why a network cannot be converted to 8-bit integers."""


def check_frames(frames: Sequence[Image]) -> None:
    """Raise an error if frames cannot show how far the values of a network range.

    Parameters
    ----------
    frames
        Frames to calibrate on, of any sizes.

    Raises
    ------
    QuantisationError
        If they are too few or all alike.
    """
    if len(frames) < LEAST_FRAMES:
        raise QuantisationError(
            f"{len(frames)} labelled training frames, and at least {LEAST_FRAMES} are needed to "
            "calibrate 8-bit integers"
        )
    if len({frame.shape for frame in frames}) > 1:
        return
    blocks = np.stack([_average_blocks(frame) for frame in frames])
    if float(np.ptp(blocks, axis=0).max()) < _LEAST_RANGE:
        raise QuantisationError(
            f"the {len(frames)} labelled training frames are all alike: they do not show how far "
            "the values of the network range"
        )


def _average_blocks(frame: Image) -> NDArray[np.float64]:
    rows, columns = (max(side // _BLOCK, 1) for side in frame.shape[:2])
    cut = frame[: rows * _BLOCK, : columns * _BLOCK]
    parts = cut.reshape(rows, cut.shape[0] // rows, columns, cut.shape[1] // columns, 3)
    return np.asarray(parts.mean(axis=(1, 3)))


def quantise(network: Path, frames: Sequence[Image], path: Path, keep: FloatPart = "ends") -> None:
    """Write a network in 8-bit integers; the same network and frames give the same bytes.

    Parameters
    ----------
    network
        The exported network.
    frames
        Frames to calibrate on, each of shape (height, width, 3), uint8, RGB, network px; sides are
        multiples of 32.
    path
        File to write.
    keep
        What stays in float: the ``ends`` (the first layer and those that draw the maps), or the
        whole ``head`` as well.

    Raises
    ------
    QuantisationError
        If the frames are too few or all alike, or the network cannot be converted.
    ModelError
        If the file is not a network.
    """
    check_frames(frames)
    read_onnx(network)
    try:
        _quantise(network, frames, path, keep)
    except QuantisationError:
        raise
    except Exception as error:  # the library has no common base class
        reason = str(error).strip().partition("\n")[0]
        raise QuantisationError(
            f"{network.name} cannot be converted to 8-bit integers "
            f"({type(error).__name__}: {reason})"
        ) from error


def _quantise(network: Path, frames: Sequence[Image], path: Path, keep: FloatPart) -> None:
    # onnx and its tools take a second to import: only this step pays.
    import onnx  # noqa: PLC0415
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static  # noqa: PLC0415
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="cohortpose-int8-") as folder, _quiet():
        plain = Path(folder) / "plain.onnx"
        # Constants are folded, so that paddings become part of their convolutions.
        quant_pre_process(str(network), str(plain), skip_symbolic_shape=True)
        graph = onnx.load(str(plain)).graph
        kept = list_float_layers(graph, keep)
        if all(node.name in kept for node in graph.node if node.op_type == "Conv"):
            raise QuantisationError(f"{network.name} has no layer that 8-bit integers speed up")
        quantize_static(
            str(plain),
            str(path),
            _Frames(frames),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # 7 bits: sums of 8-bit products overflow on processors without VNNI.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
        )


def list_float_layers(graph: Any, keep: FloatPart) -> list[str]:  # noqa: ANN401 - not typed
    """Return the names of the layers of a graph that stay in float.

    Parameters
    ----------
    graph
        Graph of an ONNX model.
    keep
        As in `quantise`.
    """
    before, after = _list_ends(graph.node), _list_ends(reversed(graph.node), backwards=True)
    kept = [node.name for node in graph.node if node.name in before | after]
    if keep == "head":
        kept += [node.name for node in graph.node if not node.name.startswith(_BACKBONE)]
    return list(dict.fromkeys(kept))


def _list_ends(nodes: Iterable[Any], *, backwards: bool = False) -> set[str]:
    """Return the names of the layers up to the first convolution of every path, inclusive."""
    ends, passed = set(), set[str]()
    for node in nodes:
        given, made = (node.output, node.input) if backwards else (node.input, node.output)
        behind = not passed.isdisjoint(given)
        if not behind:
            ends.add(node.name)
        if behind or node.op_type == "Conv":
            passed.update(made)
    return ends


class _Frames:
    """Give frames one by one to the calibration, as its reader."""

    def __init__(self, frames: Sequence[Image]) -> None:
        self._left: Iterator[Image] = iter(frames)

    def get_next(self) -> dict[str, Image] | None:
        frame = next(self._left, None)
        return None if frame is None else {"frames": np.ascontiguousarray(frame[None])}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the library, which warns of what was decided here."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
