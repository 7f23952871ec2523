"""Run the network with PyTorch, as on GPUs; peaks are decoded on the device."""

import contextlib
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.decoding import Located, MapDecoder
from pipeline_lib.models.inference.map_shapes import check_maps
from pipeline_lib.models.network.backbone import Backbone
from pipeline_lib.models.network.deeplabcut import DeepLabCutNetwork, DeployedDeepLabCut
from pipeline_lib.models.network.network import DeployedNetwork, PoseNetwork

if TYPE_CHECKING:
    from pipeline_lib.models.network.detector import DetectorNetwork
    from pipeline_lib.models.network.lightning_pose import (
        DeployedLightningPose,
        LightningPoseNetwork,
    )
    from pipeline_lib.models.network.sleap_nn import DeployedSleap, SleapNetwork

    ForeignNetwork = DeepLabCutNetwork | DetectorNetwork | LightningPoseNetwork | SleapNetwork
    AnyNetwork = PoseNetwork | ForeignNetwork
    ForeignDeployed = DeployedDeepLabCut | DetectorNetwork | DeployedLightningPose | DeployedSleap
    AnyDeployed = DeployedNetwork | ForeignDeployed

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchRuntime:
    """Locate keypoints with a network on a device.

    Calls from several threads run in parallel. On a GPU, each thread has its own stream, so that
    the frames of one are copied while the network computes those of another. On a CPU, PyTorch's
    number of threads is set for the whole process.

    Parameters
    ----------
    path
        State dict written by training.
    decoder
        Decoder of the maps, with the model card.
    precision
        ``float32`` (without TF32, which rounds to 10 bits), ``bfloat16`` or ``float16`` (GPUs
        only). Normalisation and the last layers always use float32.
    compile
        Whether to compile the network for each input shape, which delays the first frames by
        minutes.
    device
        ``cuda``, ``cpu`` …; None for the first GPU, or the CPU if there is none.
    threads
        Number of cores of a call on a CPU.

    Raises
    ------
    ModelError
        If the file is missing or has the weights of another network, or for float16 on a CPU.
    """

    name = "torch"

    def __init__(  # noqa: PLR0913 - one for each choice
        self,
        path: Path,
        decoder: MapDecoder,
        precision: str = "float32",
        compile: bool = False,  # noqa: A002 - the setting's name
        device: str | None = None,
        *,
        threads: int = 1,
    ) -> None:
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._dtype = _DTYPES[precision]
        if self.on_gpu:
            _switch_off_tf32()
        elif self._dtype == torch.float16:
            raise ModelError(
                "inference.precision: float16 needs a GPU and PyTorch sees none here; set "
                "bfloat16 or float32"
            )
        else:
            torch.set_num_threads(threads)
        loaded = load_network(path, decoder.card)
        network = deploy_network(loaded, decoder.card.refinement_scale).eval()
        if self._dtype != torch.float32 and isinstance(loaded, PoseNetwork):
            _lower_precision(loaded, self._dtype)
        network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # A compiled module is called like the original one.
        self._network = cast("nn.Module", torch.compile(network)) if compile else network
        self._path, self._decoder = path, decoder
        self._outputs = network.outputs
        self._of_thread = threading.local()

    @property
    def on_gpu(self) -> bool:
        """Return whether the network is on a GPU."""
        return self._device.type == "cuda"

    @torch.inference_mode()
    def locate(self, frames: NDArray[np.uint8]) -> Located:
        """Locate keypoints in frames; see `pipeline_lib.models.inference.predictor.Runtime`."""
        lowered = torch.autocast(
            self._device.type, self._dtype, enabled=self._dtype != torch.float32
        )
        with self._own_stream(), lowered:
            drawn = self._network(self._send(torch.from_numpy(frames)))
            maps = dict(zip(self._outputs, drawn, strict=True))
            check_maps(maps, self._decoder.card, frames.shape, str(self._path))
            return self._decoder.decode(maps, _fetch)

    def _send(self, frames: Tensor) -> Tensor:
        """Return frames on the device, copied through pinned memory to a GPU."""
        if not self.on_gpu:
            return frames
        return frames.pin_memory().to(self._device, non_blocking=True)

    def _own_stream(self) -> contextlib.AbstractContextManager[object]:
        """Return a context in which this thread uses its own stream."""
        if not self.on_gpu:
            return contextlib.nullcontext()
        if not hasattr(self._of_thread, "stream"):
            self._of_thread.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return torch.cuda.stream(self._of_thread.stream)


def _fetch(tensors: Iterable[Tensor]) -> list[NDArray[np.float32]]:
    """Copy tensors to main memory, waiting for one copy only."""
    parts = [tensor.float() for tensor in tensors]
    values = torch.cat([part.reshape(-1) for part in parts]).cpu().numpy()
    ends = np.cumsum([part.numel() for part in parts])[:-1]
    return [
        piece.reshape(part.shape) for piece, part in zip(np.split(values, ends), parts, strict=True)
    ]


class _InFloat32(nn.Module):
    """Run a layer in float32 where the others have a lower precision.

    In bfloat16, all probabilities from 0.998 to 1 would be equal, and neighbouring cells too.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return cast("Tensor", self.layer(features.float()))


def load_network(path: Path, card: ModelCard) -> "AnyNetwork":
    """Load the weights that training wrote.

    Raises
    ------
    ModelError
        If the file is missing or has the weights of another network.
    """
    network = build_network(card)
    # Mean and standard deviation of the input are buffers, so they come with the weights.
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch, pickle and zipfile have no common base class
        # Only the name of the error: PyTorch's message advises loading untrusted files.
        name = type(error).__name__
        raise ModelError(f"{path}: PyTorch cannot load it ({name}); run train") from error
    return network


def build_network(card: ModelCard) -> "AnyNetwork":
    """Return the network of a card, with random weights."""
    if card.origin:
        return _build_foreign(card)
    return PoseNetwork(
        Backbone(card.backbone, "none", card.stride),
        len(card.skeleton.bodyparts),
        card.head_channels,
        context=card.head_context,
        stages=card.head_stages,
        edges=len(card.edges),
        identities=len(card.identities),
    )


# torchvision takes a second to import: only networks of other tools pay.
def _build_foreign(card: ModelCard) -> "ForeignNetwork":
    keypoints = len(card.skeleton.bodyparts)
    if card.detector is not None:
        from pipeline_lib.models.network.detector import DetectorNetwork  # noqa: PLC0415

        return DetectorNetwork(card.detector)
    if card.lightning_pose is not None:
        from pipeline_lib.models.network.lightning_pose import (  # noqa: PLC0415
            LightningPoseNetwork,
        )

        return LightningPoseNetwork(card.lightning_pose, keypoints)
    if card.sleap_nn is not None:
        from pipeline_lib.models.network.sleap_nn import SleapNetwork  # noqa: PLC0415

        return SleapNetwork(card.sleap_nn, keypoints)
    if card.deeplabcut is None:
        raise ValueError(f"{card.name} is of no other tool")
    return DeepLabCutNetwork(card.deeplabcut, keypoints)


def deploy_network(network: "AnyNetwork", refinement_scale: float) -> "AnyDeployed":
    """Return a network as it runs: from uint8 frames to scores and pixels, or to boxes."""
    if isinstance(network, PoseNetwork):
        return DeployedNetwork(network, refinement_scale)
    if isinstance(network, DeepLabCutNetwork):
        return DeployedDeepLabCut(network, refinement_scale)
    from pipeline_lib.models.network.lightning_pose import (  # noqa: PLC0415
        DeployedLightningPose,
        LightningPoseNetwork,
    )
    from pipeline_lib.models.network.sleap_nn import DeployedSleap, SleapNetwork  # noqa: PLC0415

    if isinstance(network, LightningPoseNetwork):
        return DeployedLightningPose(network)
    return DeployedSleap(network) if isinstance(network, SleapNetwork) else network


def _lower_precision(network: PoseNetwork, dtype: torch.dtype) -> None:
    """Convert all weights but the last layers', which autocast would convert in every call."""
    last = {getattr(network, name) for name in network.outputs}
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer not in last:
            layer.to(dtype)
    for name in network.outputs:
        setattr(network, name, _InFloat32(getattr(network, name)))


def _switch_off_tf32() -> None:
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
