"""Define SLEAP-NN's U-Net with confidence maps, so that its weights load under their own names."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.models.card import SleapLayout

# Side in cells of the square around a peak in which its position is a mean.
_PATCH = 5
_GREY = (0.2989, 0.587, 0.114)


class SleapNetwork(nn.Module):
    """Predict confidence maps with a network of SLEAP-NN for single animals.

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

    ramps: Tensor

    def __init__(self, layout: SleapLayout, keypoints: int) -> None:
        super().__init__()
        self.outputs: tuple[str, ...] = ("score", "offset")
        self.layout = layout
        self.backbone = _UNet(layout)
        channels = self.backbone.widths[layout.output_stride]
        head = nn.Sequential(nn.Conv2d(channels, keypoints, 1))
        heads = nn.ModuleDict({"SingleInstanceConfmapsHead": head})
        self.head_layers = nn.ModuleList([heads])
        # Sum, and sums weighted by columns and rows, over the patch around each cell.
        steps = torch.arange(_PATCH, dtype=torch.float32) - _PATCH // 2
        ones = torch.ones(_PATCH, _PATCH)
        ramps = torch.stack([ones, ones * steps, ones * steps[:, None]])[:, None]
        self.register_buffer("ramps", ramps, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Draw confidence maps.

        Parameters
        ----------
        image
            Shape (batch, channel, height, width), float, 0..1; sides are multiples of the stride.

        Returns
        -------
        Tensor
            Shape (batch, keypoint, rows, columns).
        """
        maps = self.backbone(image)
        # There is one head, of one layer.
        for layer in self.head_layers[0].children():
            maps = layer(maps)
        return cast("Tensor", maps)

    def locate(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best cell of each map, moved to the mean around it, and its value.

        Returns
        -------
        position
            Shape (batch, keypoint, 2), x and y in px of the image.
        confidence
            Shape (batch, keypoint).
        """
        columns = maps.shape[3]
        flat = maps.flatten(2)
        best = flat.argmax(-1, keepdim=True)
        planes = maps.flatten(0, 1)[:, None]
        sums = functional.conv2d(planes, self.ramps, padding=_PATCH // 2).flatten(2)
        place = best.flatten()[:, None, None].expand(-1, 3, 1)
        total, across, down = sums.gather(2, place)[..., 0].unbind(1)
        cell = best[..., 0]
        x = cell % columns + (across / total).view_as(cell)
        y = torch.div(cell, columns, rounding_mode="floor") + (down / total).view_as(cell)
        return torch.stack([x, y], -1) * self.layout.output_stride, flat.gather(2, best)[..., 0]


class DeployedSleap(nn.Module):
    """Run a network of SLEAP-NN from uint8 frames to keypoints.

    Positions are refined around the best cell, so its maps have one cell each: the confidence,
    and the position as an offset.
    """

    def __init__(self, network: SleapNetwork) -> None:
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
            Shape (batch, height, width, 3), uint8, RGB; sides are multiples of the stride.

        Returns
        -------
        score
            Shape (batch, keypoint, 1, 1).
        offset
            Shape (batch, keypoint, 2, 1, 1), x and y in px.
        """
        image = frames.permute(0, 3, 1, 2).to(self.network.ramps.dtype)
        if self.network.layout.channels == 1:
            image = self._mix(image)
        position, confidence = self.network.locate(self.network(image / 255.0))
        return confidence[..., None, None], position[..., None, None]

    def _mix(self, image: Tensor) -> Tensor:
        """Return grey values: those of grey frames as they are, of colours a mean."""
        red, green, blue = image[:, :1], image[:, 1:2], image[:, 2:]
        mean = red * _GREY[0] + green * _GREY[1] + blue * _GREY[2]
        if self.network.layout.whole_greys:
            mean = mean.floor()
        return torch.where((red == green) & (green == blue), red, mean)


class _UNet(nn.Module):
    """Shrink features by maxima and enlarge them again, with what was seen on the way down.

    Attributes
    ----------
    widths
        Number of channels by stride, of what is enlarged.
    """

    def __init__(self, layout: SleapLayout) -> None:
        super().__init__()
        self._layout = layout
        down = int(math.log2(layout.max_stride))
        widths = [int(layout.filters * layout.filters_rate**depth) for depth in range(down + 1)]
        count, size = layout.convs_per_block, layout.kernel_size
        blocks = [
            _Block(f"stack0_enc{depth}", channels, widths[depth], count, size)
            for depth, channels in enumerate([layout.channels, *widths[: down - 1]])
        ]
        encoder = nn.Module()
        encoder.encoder_stack = nn.ModuleList(blocks)
        self.encoders = nn.ModuleList([encoder])
        name = f"stack0_enc{down + 1}_middle_"
        last = f"stack0_enc{down + 2}_middle_"
        self.middle_blocks = nn.ModuleList(
            [
                _Block(f"{name}expand", widths[down - 1], widths[down], count - 1, size),
                _Block(f"{last}contract", widths[down], widths[down], 1, size),
            ]
        )
        decoder = nn.Module()
        steps, self.widths = [], {}
        for depth in range(down - 1, int(math.log2(layout.output_stride)) - 1, -1):
            steps.append(_Rise(layout, down - 1 - depth, depth, widths))
            self.widths[2**depth] = widths[depth]
        decoder.decoder_stack = nn.ModuleList(steps)
        self.decoders = nn.ModuleList([decoder])

    def forward(self, image: Tensor) -> Tensor:
        """Return features at the stride of the maps."""
        features, seen = image, []
        for number, block in enumerate(self.encoders[0].encoder_stack):  # type: ignore[arg-type]
            features = functional.max_pool2d(features, 2) if number else features
            features = block(features)
            seen.append(features)
        features = functional.max_pool2d(features, 2)
        for block in self.middle_blocks:
            features = block(features)
        for step in self.decoders[0].decoder_stack:  # type: ignore[union-attr]
            features = step(features, seen.pop())
        return features


class _Block(nn.Module):
    """Convolve some times, with rectifiers between."""

    def __init__(self, name: str, before: int, after: int, count: int, size: int) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {}
        for number in range(count):
            channels = after if number else before
            layers[f"{name}_conv{number}"] = nn.Conv2d(channels, after, size, padding="same")
            layers[f"{name}_act{number}_relu"] = nn.ReLU()
        self.blocks = nn.ModuleDict(layers)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same size."""
        for layer in self.blocks.values():
            features = layer(features)
        return features


class _Rise(nn.Module):
    """Double the size of features, and join them with others of that size."""

    def __init__(self, layout: SleapLayout, number: int, depth: int, widths: list[int]) -> None:
        super().__init__()
        name = f"stack0_dec{number}_s{2 ** (depth + 1)}_to_s{2**depth}"
        below, own = widths[depth + 1], widths[depth]
        layers: dict[str, nn.Module] = {}
        if layout.up_interpolate:
            layers[f"{name}_interp_bilinear"] = nn.Upsample(scale_factor=2, mode="bilinear")
        else:
            layers[f"{name}_trans_conv"] = nn.ConvTranspose2d(
                below, own, 3, stride=2, padding=1, output_padding=1
            )
            layers[f"{name}_trans_conv_act_relu"] = nn.ReLU()
        self._joined = len(layers)
        for step in range(layout.convs_per_block):
            before = own if step else own + (below if layout.up_interpolate else own)
            layers[f"{name}_refine_conv{step}"] = nn.Conv2d(
                before, own, layout.kernel_size, padding="same"
            )
            layers[f"{name}_refine_conv{step}_act_relu"] = nn.ReLU()
        self.blocks = nn.ModuleDict(layers)

    def forward(self, features: Tensor, seen: Tensor) -> Tensor:
        """Return features of the size of those that were seen on the way down."""
        for number, layer in enumerate(self.blocks.values()):
            if number == self._joined:
                features = torch.cat((seen, features), 1)
            features = layer(features)
        return features
