"""Create backbones: timm networks with pretrained weights from a hub, a package or a file."""

import difflib
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.network.backbone_weights import load_file, load_package

DEEPEST_STRIDE = 32


class Backbone(nn.Module):
    """Compute the feature maps of a timm network, from the given stride up to 32.

    Parameters
    ----------
    name
        Name of a timm model that supports `features_only`.
    weights
        ``none``, ``timm``, ``package`` or the path of a file.
    stride
        Stride of the finest map.

    Attributes
    ----------
    stride
        Stride of the finest map.
    channels
        Channels of each map, finest first.
    mean, std
        Mean and standard deviation of the RGB input in 0..1 that the pretrained weights expect.

    Raises
    ------
    ModelError
        If there is no such backbone, or its weights cannot be loaded or do not fit.
    """

    def __init__(self, name: str, weights: str, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.network = _create_network(name, weights)
        features: Any = self.network.feature_info
        reductions = features.reduction()
        wanted = [
            number
            for number, reduction in enumerate(reductions)
            if stride <= reduction <= DEEPEST_STRIDE
        ]
        if not wanted or reductions[wanted[0]] != stride:
            raise ModelError(
                f"training.backbone: {name} has feature maps of strides {reductions}, "
                f"none of stride {stride}; set targets.stride or take another backbone"
            )
        self._wanted = tuple(wanted)
        channels = features.channels()
        self.channels: tuple[int, ...] = tuple(channels[number] for number in wanted)
        self.mean, self.std = _input_statistics(name, weights)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the feature maps of normalised images, shape (batch, 3, height, width)."""
        maps = self.network(image)
        return [maps[number] for number in self._wanted]


def _create_network(name: str, weights: str) -> nn.Module:
    if ":" in name:
        # timm would take such a name for an address or a file and read it.
        raise ModelError(f"training.backbone: expected the name of a timm model, found {name!r}")
    try:
        network: nn.Module = timm.create_model(
            name, pretrained=weights == "timm", features_only=True
        )
    except Exception as error:  # the hub fails in many ways
        if not timm.is_model(name.partition(".")[0]):
            names = difflib.get_close_matches(name, timm.list_models(), n=5)
            near = ", ".join(names) or "none; see timm.list_models()"
            raise ModelError(
                f"training.backbone: timm has no model {name!r}; near: {near}"
            ) from None
        if weights != "timm":
            raise ModelError(f"training.backbone: {name} gives no feature maps ({error})") from None
        raise ModelError(
            f"training.weights: timm's hub did not give weights for {name} ({error}); "
            "download them elsewhere and name the file, or fill the hub's cache (see the "
            "how-to page on pretrained weights), or use `package` or `none`"
        ) from error
    if weights == "package":
        load_package(network, name)
    elif weights not in ("none", "timm"):
        load_file(network, name, Path(weights))
    return network


def _input_statistics(
    name: str, weights: str
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    if weights == "package":
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    config = timm.get_pretrained_cfg(name)
    if config is None:
        return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return tuple(config.mean), tuple(config.std)
