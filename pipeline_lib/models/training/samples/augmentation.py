"""Change training images at random, with keypoints that follow.

Every sample draws from its own random stream, numbered by (seed, epoch, sample): what happens
to a frame does not depend on the batch or the device it lands on, nor on an interruption.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline_lib.core.settings.network import AugmentationSettings

_BLUR_KERNEL = (0.25, 0.5, 0.25)


@dataclass(frozen=True)
class Warp:
    """Hold the affine maps of a batch.

    Attributes
    ----------
    matrix
        Shape (batch, 2, 3), float32: output px from input px, both with pixel centres at
        integers.
    mirrored
        Shape (batch,), bool: the map turns left into right.
    """

    matrix: Tensor
    mirrored: Tensor


def random_streams(seed: int, epoch: int, samples: list[int]) -> list[np.random.Generator]:
    """Return one random stream for each sample of a batch."""
    return [np.random.default_rng((seed, epoch, sample)) for sample in samples]


def draw_warp(
    settings: AugmentationSettings,
    streams: list[np.random.Generator],
    anchor: NDArray[np.floating],
    size: tuple[int, int],
) -> Warp:
    """Draw one affine map per sample.

    Parameters
    ----------
    settings
        How far to rotate, zoom, shift, and whether to mirror.
    streams
        One random stream per sample.
    anchor
        Shape (batch, 2), x and y of the input point that goes to the output's centre, before
        the shift.
    size
        Height and width of the output, px.
    """
    matrices, mirrored = [], []
    height, width = size
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    for stream, (x, y) in zip(streams, anchor, strict=True):
        angle = math.radians(stream.uniform(-settings.rotation, settings.rotation))
        low, high = settings.scale
        zoom = math.exp(stream.uniform(math.log(low), math.log(high)))
        mirror = settings.mirror and stream.random() < 0.5
        shift = stream.uniform(-settings.translation, settings.translation, 2) * (width, height)
        linear = zoom * np.array(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        if mirror:
            linear = linear @ np.diag([-1.0, 1.0])
        move = centre + shift - linear @ (x, y)
        matrices.append(np.column_stack([linear, move]))
        mirrored.append(mirror)
    return Warp(torch.from_numpy(np.stack(matrices).astype(np.float32)), torch.tensor(mirrored))


def warp_images(image: Tensor, warp: Warp, size: tuple[int, int]) -> Tensor:
    """Resample images through affine maps; pixels from outside are black.

    Parameters
    ----------
    image
        Shape (batch, channel, height, width), float.
    warp
        The maps, on any device.
    size
        Height and width of the result.
    """
    matrix = warp.matrix.to(image.device, torch.float64)
    inverse = torch.linalg.inv(matrix[:, :, :2])
    back = torch.cat([inverse, -inverse @ matrix[:, :, 2:]], dim=2).to(image.dtype)
    rows = torch.arange(size[0], device=image.device, dtype=image.dtype)
    columns = torch.arange(size[1], device=image.device, dtype=image.dtype)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    output = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    source = torch.einsum("bij,rcj->brci", back, output)
    last = torch.tensor([image.shape[3] - 1, image.shape[2] - 1], device=image.device)
    grid = source * (2.0 / last) - 1.0
    return functional.grid_sample(image, grid, padding_mode="zeros", align_corners=True)


def warp_keypoints(position: Tensor, warp: Warp, mirrored_order: tuple[int, ...]) -> Tensor:
    """Move keypoints through affine maps; a mirroring map exchanges left and right.

    Parameters
    ----------
    position
        Shape (batch, individual, keypoint, 2), px; NaN stays NaN.
    warp
        The maps.
    mirrored_order
        Partner of each keypoint (`Skeleton.mirrored_order`).
    """
    matrix = warp.matrix.to(position.device, position.dtype)
    moved = torch.einsum("bij,bnkj->bnki", matrix[:, :, :2], position)
    moved = moved + matrix[:, None, None, :, 2]
    swapped = moved[:, :, list(mirrored_order)]
    return torch.where(warp.mirrored.to(position.device)[:, None, None, None], swapped, moved)


def mirror_names(
    absent: Tensor | None, warp: Warp, mirrored_order: tuple[int, ...]
) -> Tensor | None:
    """Exchange left and right bodyparts where the map mirrors; None stays None.

    Parameters
    ----------
    absent
        Shape (batch, keypoint), any dtype.
    warp, mirrored_order
        As in `warp_keypoints`.
    """
    if absent is None:
        return None
    swapped = absent[:, list(mirrored_order)]
    return torch.where(warp.mirrored.to(absent.device)[:, None], swapped, absent)


def change_appearance(
    image: Tensor, settings: AugmentationSettings, streams: list[np.random.Generator]
) -> Tensor:
    """Change brightness, contrast and sharpness, paint over a patch and add noise.

    Parameters
    ----------
    image
        Shape (batch, 3, height, width), float in 0..1.

    Returns
    -------
    Tensor
        Of the same shape, clipped to 0..1.
    """
    changed = [
        _change_one(one, settings, stream) for one, stream in zip(image, streams, strict=True)
    ]
    return torch.stack(changed).clamp_(0.0, 1.0)


def _change_one(
    image: Tensor, settings: AugmentationSettings, stream: np.random.Generator
) -> Tensor:
    gain = 1.0 + stream.uniform(-settings.contrast, settings.contrast)
    lift = stream.uniform(-settings.brightness, settings.brightness)
    middle = image.mean()
    image = (image - middle) * gain + middle + lift
    if stream.random() < settings.blur:
        image = _blur(image, passes=int(stream.integers(1, 4)))
    if stream.random() < settings.erase:
        image = _erase(image, stream)
    strength = stream.uniform(0.0, settings.noise)
    if strength > 0:
        generator = torch.Generator(image.device).manual_seed(int(stream.integers(2**62)))
        # One value per pixel: sensor noise of gray cameras, and a third of the cost.
        noise = torch.randn(image.shape[1:], generator=generator, device=image.device)
        image = image + strength * noise
    return image


def _blur(image: Tensor, passes: int) -> Tensor:
    line = torch.tensor(_BLUR_KERNEL, device=image.device, dtype=image.dtype)
    kernel = torch.outer(line, line).expand(image.shape[0], 1, 3, 3)
    for _ in range(passes):
        padded = functional.pad(image[None], (1, 1, 1, 1), mode="replicate")
        image = functional.conv2d(padded, kernel, groups=image.shape[0])[0]
    return image


def _erase(image: Tensor, stream: np.random.Generator) -> Tensor:
    height, width = image.shape[1:]
    patch_height, patch_width = (int(side * stream.uniform(0.05, 0.2)) for side in (height, width))
    top = int(stream.integers(0, height - patch_height + 1))
    left = int(stream.integers(0, width - patch_width + 1))
    image = image.clone()
    image[:, top : top + patch_height, left : left + patch_width] = stream.random()
    return image
