"""Freeze what a pretrained backbone knows already: batch-norm statistics, and the first stages.

A frozen batch norm is a factor and an offset for each channel. They are folded into the
convolution before it, so that no layer reads and writes the whole map for them, forward or
backward; gradients of weight and bias of both layers stay exact.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline_lib.models.network.backbone import Backbone
from pipeline_lib.models.network.pointwise import is_pointwise, multiply

# Largest difference of maps by rounding, relative to their largest value.
_ROUNDING = 1e-4
_SIDE = 96


def freeze_statistics(backbone: Backbone) -> Callable[[], None]:
    """Keep the statistics of all batch norms, folded into convolutions where possible.

    Parameters
    ----------
    backbone
        Its weights and the scales and offsets of its batch norms are still trained.

    Returns
    -------
    Callable
        Restores the layers' own computation; parameters and names are those of before.
    """
    norms = [layer for layer in backbone.modules() if isinstance(layer, _BatchNorm)]
    for norm in norms:
        norm.forward = partial(_normalise, norm)  # type: ignore[method-assign]
        norm.frozen = True  # type: ignore[assignment]
    pairs = _pair(backbone)
    expected = _look(backbone)
    for convolution, norm in pairs:
        convolution.forward = partial(  # type: ignore[method-assign]
            _convolve, convolution, norm
        )
        norm.forward = partial(_activate, norm)  # type: ignore[method-assign]
    found = _look(backbone)
    if not all(map(_agree, found, expected)):
        # The layers follow each other in another way than they are listed.
        for convolution, norm in pairs:
            convolution.__dict__.pop("forward", None)
            norm.forward = partial(_normalise, norm)  # type: ignore[method-assign]

    def restore() -> None:
        for layer in (*norms, *(convolution for convolution, _ in pairs)):
            layer.__dict__.pop("forward", None)
            layer.__dict__.pop("frozen", None)

    return restore


def freeze_stem(backbone: Backbone) -> int:
    """Keep the weights of the stages that are finer than the backbone's maps.

    Returns
    -------
    int
        Number of the frozen parameter tensors.
    """
    fine = [
        number
        for number, reduction in enumerate(backbone.network.feature_info.reduction())  # type: ignore[operator, union-attr]
        if reduction < backbone.stride
    ]
    if not fine:
        return 0
    parameters = list(backbone.network.parameters())
    with _evaluating(backbone):
        maps = backbone.network(_draw_image(backbone))
        value = torch.stack([maps[number].sum() for number in fine]).sum()
    gradients = torch.autograd.grad(value, parameters, allow_unused=True)
    frozen = [one for one, found in zip(parameters, gradients, strict=True) if found is not None]
    for parameter in frozen:
        parameter.requires_grad = False
    return len(frozen)


def _pair(backbone: Backbone) -> list[tuple[nn.Conv2d, _BatchNorm]]:
    """Return the convolutions that a batch norm follows in the list of layers."""
    pairs: list[tuple[nn.Conv2d, _BatchNorm]] = []
    last: nn.Conv2d | None = None
    for layer in backbone.modules():
        if isinstance(layer, _BatchNorm):
            if last is not None and last.out_channels == layer.num_features:
                pairs.append((last, layer))
            last = None
        elif isinstance(layer, nn.Conv2d):
            last = layer
        elif not list(layer.children()):
            # Such as an activation between the two.
            last = None
    return pairs


def _normalise(norm: Any, image: Tensor) -> Tensor:  # noqa: ANN401 - timm's layers have more
    """Return what the layer returns in evaluation mode, in whatever mode it is."""
    image = functional.batch_norm(
        image, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
    )
    return _activate(norm, image)


def _activate(norm: Any, image: Tensor) -> Tensor:  # noqa: ANN401 - as above
    # timm's layers apply these inside.
    for name in ("drop", "act"):
        if hasattr(norm, name):
            image = getattr(norm, name)(image)
    return image


def _convolve(layer: Any, norm: _BatchNorm, image: Tensor) -> Tensor:  # noqa: ANN401
    """Return the normalised result of a convolution."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch norm without statistics cannot be folded")
    factor = torch.rsqrt(norm.running_var + norm.eps) * norm.weight
    weight = layer.weight * factor[:, None, None, None]
    bias = norm.bias - norm.running_mean * factor
    if layer.bias is not None:
        bias = bias + layer.bias * factor
    if is_pointwise(layer):
        return multiply(image, weight, bias)
    padding = layer.padding
    # timm's `Conv2dSame` pads as much as the size of the image needs.
    if type(layer) is not nn.Conv2d:
        if weight.requires_grad or image.requires_grad or layer.dilation != (1, 1):
            image, padding = _pad_same(layer, image), 0
        else:
            weight, padding = _widen_same(layer, weight, image.shape[2:])
    return functional.conv2d(
        image, weight, bias, layer.stride, padding, layer.dilation, layer.groups
    )


def _pad_same(layer: Any, image: Tensor) -> Tensor:  # noqa: ANN401 - timm's layer
    padded: Tensor = pad_same(image, layer.kernel_size, layer.stride, layer.dilation)
    return padded


def _widen_same(layer: Any, weight: Tensor, size: torch.Size) -> tuple[Tensor, tuple[int, int]]:  # noqa: ANN401
    """Return a kernel and an even padding that do what an uneven padding does.

    torch pads both sides alike. One more zero before a kernel shifts it by a pixel, which copies no
    image. The gradients of such kernels are slow.
    """
    before, both = [0, 0], [0, 0]
    for axis, length in enumerate(size):
        step, reach = layer.stride[axis], layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        total = max((math.ceil(length / step) - 1) * step + reach - length, 0)
        before[axis], both[axis] = total % 2, math.ceil(total / 2)
    return functional.pad(weight, (before[1], 0, before[0], 0)), (both[0], both[1])


@contextmanager
def _evaluating(backbone: Backbone) -> Iterator[None]:
    """Switch to evaluation mode, and restore the modes of all layers afterwards."""
    modes = {part: part.training for part in backbone.modules()}
    backbone.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _draw_image(backbone: Backbone) -> Tensor:
    """Return an image of noise; it takes no number of torch's random stream."""
    parameter = next(backbone.parameters())
    stream = torch.Generator().manual_seed(0)
    image = torch.randn((1, 3, _SIDE, _SIDE), generator=stream, dtype=torch.float32)
    return image.to(parameter.device, parameter.dtype)


@torch.no_grad()
def _look(backbone: Backbone) -> list[Tensor]:
    with _evaluating(backbone):
        maps: list[Tensor] = backbone.network(_draw_image(backbone))
    return maps


def _agree(found: Tensor, expected: Tensor) -> bool:
    largest = expected.abs().max()
    return bool((found - expected).abs().max() <= _ROUNDING * largest)
