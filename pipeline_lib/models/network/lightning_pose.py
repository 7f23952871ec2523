"""Define Lightning Pose's networks with heat maps; its weights load under their own names."""

import math

import torch
import torchvision.models
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.models.card import LightningPoseLayout
from pipeline_lib.models.network.deeplabcut import MEAN, STD

_BACKBONE_STRIDE = 32
# Sharpness of the soft maximum in which a keypoint lies.
_TEMPERATURE = 1000.0
# Confidence is what lies within this number of cells of the keypoint along each axis.
_REACH = 2
# Where the centre of the first cell lies after a map was enlarged some times, in px.
_SHIFTS = {1: 0.5, 2: 1.5, 3: 2.5}


class LightningPoseNetwork(nn.Module):
    """Predict heat maps with a network of Lightning Pose.

    Parameters
    ----------
    layout
        Layout of the network.
    keypoints
        Number of bodyparts.

    Attributes
    ----------
    outputs
        Names of what a deployed network gives.
    """

    mean: Tensor
    std: Tensor
    blur: Tensor

    def __init__(self, layout: LightningPoseLayout, keypoints: int) -> None:
        super().__init__()
        self.outputs: tuple[str, ...] = ("score", "offset")
        self.layout = layout
        self.backbone, channels = _create_backbone(layout.backbone)
        count = int(math.log2(_BACKBONE_STRIDE)) - layout.downsample_factor - 1
        self.upsampling_layers = nn.Sequential(
            nn.PixelShuffle(2),
            *(
                nn.ConvTranspose2d(
                    channels // 4 if number == 0 else keypoints,
                    keypoints,
                    kernel_size=3,
                    stride=2,
                    padding=1,
                    output_padding=1,
                )
                for number in range(count)
            ),
        )
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))
        line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0
        kernel = (line[:, None] * line).repeat(keypoints, 1, 1, 1)
        self.register_buffer("blur", kernel, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Draw heat maps, each of which sums to 1.

        Parameters
        ----------
        image
            Shape (batch, 3, height, width), float, RGB in 0..1, of the size of the layout.

        Returns
        -------
        Tensor
            Shape (batch, keypoint, rows, columns).
        """
        return _soften(self.upsampling_layers(self.backbone((image - self.mean) / self.std)))

    def locate(self, heatmap: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean position of each enlarged and sharpened heat map, and its confidence.

        Returns
        -------
        position
            Shape (batch, keypoint, 2), x and y in px of the network's input.
        confidence
            Shape (batch, keypoint), 0..1: what lies near the position.
        """
        for _ in range(self.layout.downsample_factor):
            heatmap = self._enlarge(heatmap)
        sharp = _soften(heatmap * _TEMPERATURE)
        rows, columns = (
            torch.arange(sharp.shape[axis], dtype=sharp.dtype, device=sharp.device)
            for axis in (2, 3)
        )
        x = (sharp.sum(2) * columns).sum(-1)
        y = (sharp.sum(3) * rows).sum(-1)
        down, across = (
            ((cells - middle.floor()[..., None]).abs() <= _REACH).to(sharp.dtype)
            for cells, middle in ((rows, y), (columns, x))
        )
        confidence = ((sharp * across[:, :, None]).sum(-1) * down).sum(-1)
        return torch.stack([x, y], -1) - _SHIFTS[self.layout.downsample_factor], confidence

    def _enlarge(self, maps: Tensor) -> Tensor:
        """Double rows and columns, and blur by a binomial filter."""
        larger = functional.interpolate(maps, scale_factor=2, mode="bicubic", align_corners=False)
        return functional.conv2d(larger, self.blur, padding=2, groups=len(self.blur))


class DeployedLightningPose(nn.Module):
    """Run a network of Lightning Pose from uint8 frames of any size to keypoints.

    It resizes frames as Lightning Pose does when it reads a video. Keypoints are means of whole
    maps, so its maps have one cell each: the confidence, and the position as an offset.
    """

    def __init__(self, network: LightningPoseNetwork) -> None:
        super().__init__()
        self.network = network

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the maps that `forward` returns."""
        return self.network.outputs

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Locate the keypoints of frames.

        Parameters
        ----------
        frames
            Shape (batch, height, width, 3), uint8, RGB.

        Returns
        -------
        score
            Shape (batch, keypoint, 1, 1).
        offset
            Shape (batch, keypoint, 2, 1, 1), x and y in px of the frame.
        """
        layout = self.network.layout
        image = frames.permute(0, 3, 1, 2).to(self.network.mean.dtype) / 255.0
        size = (layout.height, layout.width)
        image = functional.interpolate(image, size, mode="bilinear", align_corners=False)
        position, confidence = self.network.locate(self.network(image))
        # It takes the corner of the frame for 0, in both sizes.
        x = position[..., 0] * (frames.shape[2] / layout.width)
        y = position[..., 1] * (frames.shape[1] / layout.height)
        return confidence[..., None, None], torch.stack([x, y], -1)[..., None, None]


def _soften(maps: Tensor) -> Tensor:
    """Return maps of which each sums to 1."""
    return maps.flatten(2).softmax(-1).view_as(maps)


def _create_backbone(name: str) -> tuple[nn.Sequential, int]:
    """Return a backbone without what follows its last map, and the channels of this map."""
    network = getattr(torchvision.models, name)(weights=None)
    # Average and classifier are last.
    layers = list(network.children())[:-2]
    classifier = network.fc if name.startswith("resnet") else network.classifier[-1]
    return nn.Sequential(*layers), classifier.in_features
