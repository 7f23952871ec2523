"""Define torchvision's detectors as DeepLabCut uses them; its weights load by their names."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import detection

from pipeline_lib.models.card import DetectorLayout
from pipeline_lib.models.network.deeplabcut import MEAN, STD

_SSD = "ssdlite320_mobilenet_v3_large"
_CLASSES = 2  # background and animal
_COUNT = ".num_batches_tracked"


class DetectorNetwork(nn.Module):
    """Draw boxes around animals.

    Parameters
    ----------
    layout
        Layout of the detector.

    Attributes
    ----------
    outputs
        Names of what `forward` returns.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layout: DetectorLayout) -> None:
        super().__init__()
        self.outputs: tuple[str, ...] = ("boxes", "scores")
        self.layout = layout
        self.model = _create_detector(layout)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Find the animals of a frame.

        Parameters
        ----------
        frames
            Shape (1, height, width, 3), uint8, RGB.

        Returns
        -------
        boxes
            Shape (box, 4), left, top, right and bottom in px, from the corner of the frame.
        scores
            Shape (box,), 0..1, falling.
        """
        image = frames[0].permute(2, 0, 1).to(self.mean.dtype) / 255.0
        # DeepLabCut normalises, and torchvision once more.
        found = self.model([(image - self.mean) / self.std])[0]
        return found["boxes"], found["scores"]


def complete_counts(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with the numbers of batches that frozen normalisations do not count.

    Parameters
    ----------
    state
        Weights of a detector.
    wanted
        Weights of the network that they are for.
    """
    counts = {name: value for name, value in wanted.items() if name.endswith(_COUNT)}
    return {**counts, **state}


def _create_detector(layout: DetectorLayout) -> nn.Module:
    options: dict[str, Any] = {
        "weights": None,
        "weights_backbone": None,
        "num_classes": _CLASSES,
        # SSDlite takes no notice of it, neither here nor in DeepLabCut.
        "box_score_thresh": layout.score_threshold,
    }
    network: nn.Module = getattr(detection, layout.variant)(**options)
    return network
