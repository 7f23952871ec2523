"""Pretrain a backbone on frames of a video without labels, by masked image modelling.

Patches of 32 px are painted over, and a light decoder on the backbone's maps has to tell their
pixels (He et al. 2022, "Masked autoencoders are scalable vision learners", with a convolutional
network as in Gao et al. 2022, "MCMAE"). The file that is written goes into `training.weights`;
`benchmarks/accuracy/unlabelled.py --weights` compares it with the weights it began with.
"""

import argparse
import itertools
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.models.network.backbone import Backbone

PATCH = 32  # px that are painted over together
HIDDEN = 0.6  # share of the patches
STRIDE = 8
CHANNELS = 96
_CALM = 100  # steps in which statistics of whole images replace those of masked ones

Images = NDArray[np.uint8]

_LOG = logging.getLogger(__name__)


class Decoder(nn.Module):
    """Tell the pixels of each cell of stride 8 from all maps of a backbone."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, CHANNELS, 1) for width in backbone.channels)
        self.mix = nn.Sequential(
            nn.GELU(),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(CHANNELS, 3 * STRIDE**2, 1),
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return pixels, shape (batch, 192, height / 8, width / 8)."""
        size = maps[0].shape[-2:]
        joined = torch.stack(
            [
                functional.interpolate(lateral(image), size, mode="bilinear", align_corners=False)
                for lateral, image in zip(self.lateral, maps, strict=True)
            ]
        ).sum(0)
        pixels: Tensor = self.mix(joined)
        return pixels


def read_frames(video: Path, scale: float, most: int) -> Images:
    """Return evenly spaced frames, shape (frames, height, width, 3), uint8."""
    reader = VideoReader(video)
    step = -(-reader.facts.frames // most)
    wanted = reader.read(step=step)
    images = [
        cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for _, image in wanted
        if image is not None
    ]
    return np.stack(images).astype(np.uint8, copy=False)


def draw_batches(images: Images, crop: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Yield random crops, turned and mirrored at random, shape (batch, 3, crop, crop), 0..1."""
    random = np.random.default_rng(seed)
    height, width = images.shape[1:3]
    while True:
        crops = []
        for number in random.integers(len(images), size=batch):
            top, left = random.integers(height - crop + 1), random.integers(width - crop + 1)
            image = images[number, top : top + crop, left : left + crop]
            image = np.rot90(image, int(random.integers(4)))
            crops.append(image[:, ::-1] if random.random() < 0.5 else image)
        yield torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


def hide(images: Tensor, random: torch.Generator) -> Tensor:
    """Return where patches are painted over, shape (batch, 1, height / 8, width / 8), bool."""
    sides = [side // PATCH for side in images.shape[-2:]]
    drawn = torch.rand((len(images), 1, *sides), generator=random)
    hidden = drawn < torch.quantile(drawn.flatten(1), HIDDEN, dim=1)[:, None, None, None]
    return hidden.repeat_interleave(PATCH // STRIDE, 2).repeat_interleave(PATCH // STRIDE, 3)


def normalise_cells(images: Tensor) -> Tensor:
    """Return the pixels of each cell of stride 8 without its mean, over its spread."""
    cells = functional.pixel_unshuffle(images, STRIDE)
    spread, mean = torch.std_mean(cells, dim=1, keepdim=True)
    return (cells - mean) / (spread + 0.02)


def pretrain(backbone: Backbone, batches: Iterator[Tensor], seconds: float, rate: float) -> None:
    """Train a backbone for some processor seconds; changed in place."""
    decoder, random = Decoder(backbone), torch.Generator().manual_seed(0)
    rates = (rate, 5 * rate)
    groups = [{"params": part.parameters()} for part in (backbone, decoder)]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.05)
    mean = torch.tensor(backbone.mean)[:, None, None]
    std = torch.tensor(backbone.std)[:, None, None]
    begun, losses = time.process_time(), []
    backbone.train()
    for step in itertools.count():
        share = (time.process_time() - begun) / seconds
        if share >= 1:
            break
        images = next(batches)
        hidden = hide(images, random)
        painted = functional.interpolate(hidden.float(), images.shape[-2:], mode="nearest")
        seen = (images - mean) / std * (1 - painted)
        told = decoder(backbone(seen.contiguous(memory_format=torch.channels_last)))
        off = (told - normalise_cells(images)).square().mean(1, keepdim=True)
        loss = off[hidden].mean()
        for group, full in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = full * min(1.0, (step + 1) / 50) * 0.5 * (1 + np.cos(np.pi * share))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if step % 50 == 49:
            _LOG.info("step %d: loss %.4f", step + 1, np.mean(losses[-50:]))
    settle(backbone, ((next(batches) - mean) / std for _ in range(_CALM)))


@torch.no_grad()
def settle(backbone: Backbone, images: Iterator[Tensor]) -> None:
    """Measure the statistics of batch norms anew, on whole images."""
    norms = [part for part in backbone.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    for batch in images:
        backbone(batch)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("file", type=Path, help="receives the weights, as safetensors")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", default="package", help="to begin with")
    parser.add_argument("--scale", type=float, default=0.5, help="of the frames")
    parser.add_argument("--crop", type=int, default=160, help="a multiple of 32, px")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-4, help="learning rate of the backbone")
    parser.add_argument("--minutes", type=float, default=10, help="of one processor")
    parser.add_argument("--frames", type=int, default=2500, help="at most")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    backbone = Backbone(given.backbone, given.weights, STRIDE)
    backbone.to(memory_format=torch.channels_last)
    images = read_frames(given.video, given.scale, given.frames)
    batches = draw_batches(images, given.crop, given.batch, seed=0)
    pretrain(backbone, batches, 60 * given.minutes, given.rate)
    state = {key: value.contiguous() for key, value in backbone.network.state_dict().items()}
    safetensors.torch.save_file(state, given.file)


if __name__ == "__main__":
    main()
