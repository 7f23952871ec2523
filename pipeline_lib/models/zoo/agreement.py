"""Compare the exported networks of a bundle with its weights: both see the same frames.

Runs on CPUs use the exported network, those on GPUs and further training the weights. Nothing in
a file says that they are the same network; that they draw the same maps does.
"""

from collections.abc import Mapping

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.map_shapes import check_maps
from pipeline_lib.models.inference.onnx_runtime import load_session, run_session
from pipeline_lib.models.inference.torch_runtime import build_network, deploy_network
from pipeline_lib.models.zoo.archive import Bundle
from pipeline_lib.models.zoo.manifest import NETWORK, QUANTISED, WEIGHTS
from pipeline_lib.models.zoo.onnx_check import name_outputs
from pipeline_lib.models.zoo.weights import unpack_weights

Array = NDArray[np.float32]

# Frames of the comparison, whose sides differ and are multiples of all strides. Networks that were
# trained on frames of one size compute those of any.
_FRAMES, _HEIGHT, _WIDTH = 2, 128, 192
_BLOCK = 16
# Largest difference of two runtimes in float32, as a part of the largest value of a map. Networks
# in float32 differ by 1e-4 at most (trained ones, of sixteen kinds).
_PART = 0.01
# Differences that mean nothing whatever the map: of scores and fields, and of offsets in px.
_LEAST, _LEAST_PX = 1e-5, 1e-3
# Parts of a detector that name boxes and their scores.
_BOX_LAYERS = (".head.", ".roi_heads.")


def check_agreement(bundle: Bundle, *, quantised: bool = True) -> None:
    """Refuse a bundle whose exported networks are not those of its weights.

    Each network sees two small frames, with PyTorch and with ONNX Runtime, both in float32 on this
    processor, which takes seconds at most. Networks in 8-bit integers are checked only for shapes
    and finite values. Detectors are compared by the weights of their last layers, because such
    frames give no useful boxes.

    Parameters
    ----------
    bundle
        The verified bundle.
    quantised
        Check networks in 8-bit integers, too.

    Raises
    ------
    ModelError
        If weights do not fit their card, a network draws maps of other shapes than its card says or
        values that are not finite, or the two differ by more than a hundredth of a map's largest
        value.
    """
    for folder, card in bundle.networks.items():
        where = f"{bundle.path}: {folder}"
        state = unpack_weights(bundle.read(folder + WEIGHTS) or b"", card, where + WEIGHTS)
        exported = bundle.read(folder + NETWORK) or b""
        if card.detector is not None:
            _compare_detectors(exported, state, where)
            continue
        frames = _draw_frames()
        expected = _run_weights(state, card, frames, where + WEIGHTS)
        _compare(_run_exported(exported, card, frames, where + NETWORK), expected, card, where)
        integers = bundle.read(folder + QUANTISED) if quantised else None
        if integers is not None:
            _run_exported(integers, card, frames, where + QUANTISED)


def _draw_frames() -> NDArray[np.uint8]:
    """Return frames of smooth blobs with some noise, equal in every call."""
    random = np.random.default_rng(0)
    frames = np.empty((_FRAMES, _HEIGHT, _WIDTH, 3), np.uint8)
    for frame in frames:
        coarse = random.uniform(0, 255, (_HEIGHT // _BLOCK, _WIDTH // _BLOCK, 3))
        smooth = cv2.resize(coarse, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)
        frame[:] = np.clip(smooth + random.normal(0, 10, smooth.shape), 0, 255)
    return frames


@torch.inference_mode()
def _run_weights(
    state: Mapping[str, Tensor], card: ModelCard, frames: NDArray[np.uint8], where: str
) -> dict[str, Array]:
    network = build_network(card)
    network.load_state_dict(state)
    deployed = deploy_network(network, card.refinement_scale).eval()
    drawn = deployed(torch.from_numpy(frames))
    found = {name: values.numpy() for name, values in zip(deployed.outputs, drawn, strict=True)}
    _check_found(found, card, frames, where)
    return found


def _run_exported(
    content: bytes, card: ModelCard, frames: NDArray[np.uint8], where: str
) -> dict[str, Array]:
    session = load_session(content, where, advice="get the bundle again")
    found = run_session(session, name_outputs(card), frames, where)
    _check_found(found, card, frames, where)
    return found


def _check_found(
    found: Mapping[str, Array], card: ModelCard, frames: NDArray[np.uint8], where: str
) -> None:
    check_maps(found, card, frames.shape, where)
    for name, values in found.items():
        if not np.isfinite(values).all():
            raise ModelError(
                f"{where}: draws {name} with values that are not finite, of a frame of this "
                "program: expected finite ones; the network cannot be used"
            )


def _compare(
    found: Mapping[str, Array], expected: Mapping[str, Array], card: ModelCard, where: str
) -> None:
    """Refuse what the exported network draws if the weights draw something else."""
    for name, values in expected.items():
        least = _LEAST_PX if name == "offset" else _LEAST
        others = tuple(axis for axis in range(values.ndim) if axis != 1)
        limit = np.maximum(_PART * np.abs(values).max(axis=others, keepdims=True), least)
        # As a multiple of what is allowed.
        apart = np.abs(found[name] - values) / limit
        # Where two cells are equally good, runtimes may choose different ones.
        alone = card.lightning_pose is not None or card.sleap_nn is not None
        worst = float(np.median(apart) if alone else apart.max())
        if worst > 1.0:
            largest = float(np.abs(found[name] - values).max())
            raise _refuse(f"of the same frames, {name} differs by {largest:.3g}", where)


def _compare_detectors(exported: bytes, state: Mapping[str, Tensor], where: str) -> None:
    """Refuse an exported detector that has not the weights of the layers that name boxes.

    Export leaves layers with a bias as they are; others it merges with the normalisation after
    them.
    """
    import onnx  # noqa: PLC0415 - only where there is a detector

    graph = onnx.load_model_from_string(exported).graph
    constants = [one.t for node in graph.node for one in node.attribute if one.HasField("t")]
    tensors = [onnx.numpy_helper.to_array(one) for one in (*graph.initializer, *constants)]
    there = {one.tobytes() for one in tensors}
    for name, value in state.items():
        layer, _, kind = name.rpartition(".")
        named = any(part in name for part in _BOX_LAYERS) and kind == "weight"
        # The weights of a normalisation are a vector.
        if not named or value.ndim == 1 or f"{layer}.bias" not in state:
            continue
        own = value.numpy()
        if not {own.tobytes(), own.T.tobytes()} & there:
            raise _refuse(f"it has other weights for {name}", where)


def _refuse(difference: str, where: str) -> ModelError:
    return ModelError(
        f"{where}{NETWORK} is another network than {WEIGHTS} beside it and the card: "
        f"{difference}. Poses would depend on the runtime; get the bundle again, or ask whoever "
        "wrote it"
    )
