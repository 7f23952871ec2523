"""Let a head see the whole image: context in its coarsest map, and a second stage.

Opposite paws look alike near by; what tells them apart is where the rest of the animal is.
"""

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

_HEAD_CHANNELS = 32  # Channels of one head of attention.
_DILATIONS = (1, 2, 4)


class PooledContext(nn.Module):
    """Add what the whole map shows on average to each of its cells.

    It changes nothing before it is trained.

    Parameters
    ----------
    channels
        Channels of the map.

    References
    ----------
    .. [1] Liu et al., ParseNet: Looking Wider to See Better, 2015.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels, 1)
        self.expand = _start_at_zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the same shape (batch, channel, rows, columns)."""
        average = x.mean(dim=(2, 3), keepdim=True)
        changed: Tensor = x + self.expand(functional.relu(self.reduce(average)))
        return changed


class AttendedContext(nn.Module):
    """Let each cell of a map attend to all others: one block of a transformer.

    A depthwise convolution tells cells where they are, so that maps may have any size. The block
    changes nothing before it is trained.

    Parameters
    ----------
    channels
        Channels of the map.

    References
    ----------
    .. [1] Vaswani et al., Attention Is All You Need, NeurIPS 2017.
    .. [2] Chu et al., Conditional Positional Encodings for Vision Transformers, ICLR 2023.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.position = _start_at_zero(nn.Conv2d(channels, channels, 3, padding=1, groups=channels))
        self.norm = LayerNorm2d(channels)
        self.project = nn.Conv2d(channels, 3 * channels, 1)
        self.merge = _start_at_zero(nn.Conv2d(channels, channels, 1))
        self.mix = nn.Sequential(
            LayerNorm2d(channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.GELU(),
            _start_at_zero(nn.Conv2d(2 * channels, channels, 1)),
        )
        even = channels % _HEAD_CHANNELS == 0
        self._heads = channels // _HEAD_CHANNELS if even else 1

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the same shape (batch, channel, rows, columns)."""
        x = x + self.position(x)
        # (batch, head, cell, channel of the head) each.
        parts = self.project(self.norm(x)).flatten(2).unflatten(1, (3, self._heads, -1))
        query, key, value = parts.transpose(3, 4).unbind(1)
        seen = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.merge(seen.transpose(2, 3).flatten(1, 2).reshape(x.shape))
        changed: Tensor = x + self.mix(x)
        return changed


class SecondStage(nn.Module):
    """Revise features in view of the score maps that were read from them.

    An hourglass: down to stride 32, dilated convolutions that reach over the whole image, and up
    again. It changes nothing before it is trained.

    Parameters
    ----------
    channels
        Channels of the features.
    keypoints
        Number of score maps.
    levels
        How often the map is halved.

    References
    ----------
    .. [1] Newell et al., Stacked Hourglass Networks for Human Pose Estimation, ECCV 2016.
    """

    def __init__(self, channels: int, keypoints: int, levels: int) -> None:
        super().__init__()
        self.read = nn.Conv2d(keypoints, channels, 1)
        self.down = nn.ModuleList(separable(channels, stride=2) for _ in range(levels))
        self.reach = nn.ModuleList(separable(channels, dilation=wide) for wide in _DILATIONS)
        self.up = nn.ModuleList(separable(channels) for _ in range(levels))
        self.revise = _start_at_zero(nn.Conv2d(channels, channels, 1))

    def forward(self, features: Tensor, score: Tensor) -> Tensor:
        """Return revised features.

        Parameters
        ----------
        features
            Shape (batch, channel, rows, columns); rows and columns can be halved `levels` times.
        score
            Shape (batch, keypoint, rows, columns), 0..1.
        """
        x = features + self.read(score)
        finer = []
        for layer in self.down:
            finer.append(x)
            x = layer(x)
        for layer in self.reach:
            x = x + layer(x)
        for layer, skipped in zip(self.up, reversed(finer), strict=True):
            x = layer(skipped + functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        revised: Tensor = features + self.revise(x)
        return revised


def separable(channels: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Return a depthwise 3 x 3 and a pointwise convolution, each normalised and rectified."""
    return nn.Sequential(
        nn.Conv2d(
            channels,
            channels,
            3,
            stride,
            padding=dilation,
            dilation=dilation,
            groups=channels,
            bias=False,
        ),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def make_context(kind: str, channels: int) -> nn.Module:
    """Return the layer of ``training.head_context``: ``none``, ``pool`` or ``attention``."""
    if kind == "pool":
        return PooledContext(channels)
    return AttendedContext(channels) if kind == "attention" else nn.Identity()


@torch.no_grad()
def _start_at_zero(layer: nn.Conv2d) -> nn.Conv2d:
    layer.weight.zero_()
    if layer.bias is not None:
        layer.bias.zero_()
    return layer
