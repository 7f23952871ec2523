"""Define the pose network: a backbone, a feature pyramid, and one output per kind of map."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.models.network.backbone import DEEPEST_STRIDE, Backbone
from pipeline_lib.models.network.context import SecondStage, make_context, separable

PRIOR_SCORE = 0.01  # Score of every cell before training: most cells show no bodypart.


class PyramidHead(nn.Module):
    """Merge the feature maps of all strides into the finest one (a light feature pyramid).

    Parameters
    ----------
    channels_in
        Channels of each feature map, finest first.
    channels
        Channels of the merged map.
    context
        What the coarsest map is told of the whole image: ``none``, ``pool`` or ``attention``.

    References
    ----------
    .. [1] Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017.
    """

    def __init__(self, channels_in: tuple[int, ...], channels: int, context: str = "none") -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, channels, 1, bias=False), nn.BatchNorm2d(channels))
            for count in channels_in
        )
        self.smooth = nn.ModuleList(separable(channels) for _ in channels_in)
        self.context = make_context(context, channels)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return one map of the finest stride, shape (batch, channels, rows, columns)."""
        merged: Tensor = self.context(self.smooth[-1](self.lateral[-1](maps[-1])))
        for level in range(len(maps) - 2, -1, -1):
            up = functional.interpolate(merged, scale_factor=2.0, mode="nearest")
            merged = self.smooth[level](up + self.lateral[level](maps[level]))
        return merged


class PoseNetwork(nn.Module):
    """Predict score maps and location refinement; for several animals also affinity and identity.

    Parameters
    ----------
    backbone
        Network that computes feature maps.
    keypoints
        Number of bodyparts.
    head_channels
        Channels of the head.
    context
        What the head's coarsest map is told of the whole image: ``none``, ``pool`` or
        ``attention``.
    stages
        2: a second stage sees the score maps of the first, and draws all maps.
    edges
        Number of part affinity fields.
    identities
        Number of individuals to tell apart by appearance.

    Attributes
    ----------
    outputs
        Names of the maps that `forward` returns.
    """

    mean: Tensor
    std: Tensor

    def __init__(  # noqa: PLR0913 - what the maps depend on
        self,
        backbone: Backbone,
        keypoints: int,
        head_channels: int,
        *,
        context: str = "none",
        stages: int = 1,
        edges: int = 0,
        identities: int = 0,
    ) -> None:
        super().__init__()
        self.outputs: tuple[str, ...] = ("score", "offset")
        self.backbone = backbone
        self.head = PyramidHead(backbone.channels, head_channels, context)
        self.score = nn.Conv2d(head_channels, keypoints, 1)
        self.offset = nn.Conv2d(head_channels, 2 * keypoints, 1)
        _expect_nothing(self.score)
        nn.init.normal_(self.offset.weight, std=0.001)
        if edges:
            self.outputs += ("affinity",)
            self.affinity = nn.Conv2d(head_channels, 2 * edges, 1)
            nn.init.normal_(self.affinity.weight, std=0.001)
        if identities:
            self.outputs += ("identity",)
            self.identity = nn.Conv2d(head_channels, identities, 1)
        self.stages = stages
        if stages > 1:
            # The stride of the finest map is that of the coarsest, halved as often.
            levels = int(math.log2(DEEPEST_STRIDE // backbone.stride))
            self.first_score = nn.Conv2d(head_channels, keypoints, 1)
            _expect_nothing(self.first_score)
            self.second = SecondStage(head_channels, keypoints, levels)
        self.register_buffer("mean", torch.tensor(backbone.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.std).view(3, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Predict the maps of images.

        Parameters
        ----------
        image
            Shape (batch, 3, height, width), float, RGB in 0..1; sides are multiples of 32.

        Returns
        -------
        score
            Logits, shape (batch, keypoint, rows, columns).
        offset
            Shape (batch, keypoint, 2, rows, columns), in units of the refinement scale.
        affinity
            Shape (batch, edge, 2, rows, columns), approximately unit vectors along the edge; only
            if the network has edges.
        identity
            Logits, shape (batch, identity, rows, columns); only if it has identities.
        """
        return self.draw(image)[0]

    def draw(self, image: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Predict the maps of images, and the score maps of the first of two stages.

        Parameters
        ----------
        image
            As for `forward`.

        Returns
        -------
        maps
            As from `forward`.
        first
            Logits, shape (batch, keypoint, rows, columns); None with one stage.
        """
        features = self.head(self.backbone((image - self.mean) / self.std))
        first = None
        if self.stages > 1:
            first = self.first_score(features)
            features = self.second(features, torch.sigmoid(first))
        maps = [getattr(self, name)(features) for name in self.outputs]
        shaped = tuple(
            values.unflatten(1, (-1, 2)) if name in ("offset", "affinity") else values
            for name, values in zip(self.outputs, maps, strict=True)
        )
        return shaped, first


class DeployedNetwork(nn.Module):
    """Run a network as it is exported: from uint8 frames to probabilities and pixels."""

    def __init__(self, network: PoseNetwork, refinement_scale: float) -> None:
        super().__init__()
        self.network = network
        self.refinement_scale = refinement_scale

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the maps that `forward` returns."""
        return self.network.outputs

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Predict the maps of frames.

        Parameters
        ----------
        frames
            Shape (batch, height, width, 3), uint8, RGB; sides are multiples of 32.

        Returns
        -------
        score
            Shape (batch, keypoint, rows, columns), 0..1.
        offset
            Shape (batch, keypoint, 2, rows, columns), network px.
        affinity
            Shape (batch, edge, 2, rows, columns), as from `PoseNetwork`.
        identity
            Shape (batch, identity, rows, columns), 0..1; the identities of a cell sum to 1.
        """
        image = frames.permute(0, 3, 1, 2).to(self.network.mean.dtype) / 255.0
        score, offset, *more = self.network(image)
        others = [
            torch.softmax(values, dim=1) if name == "identity" else values
            for name, values in zip(self.outputs[2:], more, strict=True)
        ]
        return torch.sigmoid(score), offset * self.refinement_scale, *others


def _expect_nothing(layer: nn.Conv2d) -> None:
    nn.init.constant_(layer.bias, -math.log((1 - PRIOR_SCORE) / PRIOR_SCORE))  # type: ignore[arg-type]
