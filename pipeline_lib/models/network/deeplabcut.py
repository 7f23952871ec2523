"""Define DeepLabCut 3's networks with heat maps, so that its weights load under their own names."""

import re
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.card import DeconvolutionLayout, DeepLabCutLayout

_MODEL_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")
# What DeepLabCut normalises images by.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DeepLabCutNetwork(nn.Module):
    """Predict heat maps and location refinement with a network of DeepLabCut.

    Parameters
    ----------
    layout
        Layout of the network.
    keypoints
        Number of bodyparts.

    Attributes
    ----------
    outputs
        Names of the maps that `forward` returns.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layout: DeepLabCutLayout, keypoints: int) -> None:
        super().__init__()
        self.outputs: tuple[str, ...] = ("score", "offset")
        self.layout, self.keypoints = layout, keypoints
        self.backbone = _create_backbone(layout)
        self.heatmap_head = _Deconvolutions(layout.heatmap)
        self.locref_head = None if layout.locref is None else _Deconvolutions(layout.locref)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the maps of images.

        Parameters
        ----------
        image
            Shape (batch, 3, height, width), float, RGB in 0..1.

        Returns
        -------
        score
            Shape (batch, keypoint, rows, columns): logits, or scores where the layout has no
            sigmoid.
        offset
            Shape (batch, keypoint, 2, rows, columns), in units of the refinement scale.
        """
        features = self._extract((image - self.mean) / self.std)
        score = self.heatmap_head(features)
        if self.locref_head is None:
            return score, torch.zeros_like(score)[:, :, None].expand(-1, -1, 2, -1, -1)
        return score, self.locref_head(features).unflatten(1, (-1, 2))

    def _extract(self, image: Tensor) -> Tensor:
        if self.layout.backbone == "ResNet":
            features: Tensor = self.backbone.forward_features(image)  # type: ignore[operator]
            return features
        first, *others = self.backbone(image)
        if not self.layout.interpolate_branches:
            branch: Tensor = first
            return branch
        size = first.shape[2:]
        return torch.cat(
            [first, *(functional.interpolate(one, size, mode="bilinear") for one in others)], 1
        )


class DeployedDeepLabCut(nn.Module):
    """Run a network of DeepLabCut from uint8 frames to scores and pixels, as ours is deployed."""

    def __init__(self, network: DeepLabCutNetwork, refinement_scale: float) -> None:
        super().__init__()
        self.network, self.refinement_scale = network, refinement_scale

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the maps that `forward` returns."""
        return self.network.outputs

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the maps of frames; see `pipeline_lib.models.network.network.DeployedNetwork`.

        Scores without a sigmoid may lie beyond 0..1: the highest one counts before it is cut.
        """
        image = frames.permute(0, 3, 1, 2).to(self.network.mean.dtype) / 255.0
        score, offset = self.network(image)
        if self.network.layout.sigmoid:
            score = torch.sigmoid(score)
        # For DeepLabCut the centre of the first cell is at half a stride, for us half a px before.
        return score, offset * self.refinement_scale + 0.5


class _Deconvolutions(nn.Module):
    """Enlarge features by transposed convolutions; a convolution may follow."""

    def __init__(self, layout: DeconvolutionLayout) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = layout.channels
        for number, (size, stride) in enumerate(
            zip(layout.kernel_size, layout.strides, strict=True)
        ):
            pair = channels[number], channels[number + 1]
            layers += [nn.ConvTranspose2d(*pair, size, stride), nn.ReLU()]
        self.deconv_layers = nn.Sequential(*layers[:-1])
        self.final_conv: nn.Module = nn.Identity()
        if layout.final_kernel:
            self.final_conv = nn.Conv2d(channels[-1], layout.final_channels, layout.final_kernel)

    def forward(self, features: Tensor) -> Tensor:
        found: Tensor = self.final_conv(self.deconv_layers(features))
        return found


def _create_backbone(layout: DeepLabCutLayout) -> nn.Module:
    resnet = layout.backbone == "ResNet"
    options: dict[str, Any] = {"output_stride": layout.output_stride}
    if not resnet:
        options = {
            "features_only": True,
            "feature_location": "incre" if layout.increased_channel_count else "",
            # The first map, of stride 2, is none of the four branches.
            "out_indices": (1, 2, 3, 4),
        }
    # timm would take other names for addresses or files and read them.
    if not _MODEL_NAME.fullmatch(layout.model_name):
        raise ModelError(f"{layout.model_name[:200]!r} is no name of a network of timm")
    try:
        network: nn.Module = timm.create_model(layout.model_name, pretrained=False, **options)
    except Exception as error:  # timm has no common base class
        raise ModelError(
            f"timm cannot make the backbone {layout.model_name[:200]!r} of DeepLabCut ({error})"
        ) from error
    if resnet:
        network.fc = nn.Identity()
    return network
