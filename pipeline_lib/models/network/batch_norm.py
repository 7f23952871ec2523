"""Normalise over the global batch, independent of the number of devices."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from pytorch_lightning.plugins import LayerSync
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


class GlobalBatchNorm(LayerSync):
    """Make the batch-norm layers of a model use the statistics of the global batch.

    Lightning applies it when several devices train. torch's `SyncBatchNorm` runs on GPUs only, so
    that tests without a GPU could not check it, and its conversion drops the activations inside
    timm's layers.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Make the layers compute global statistics; parameters and names stay the same."""
        for layer in _batch_norms(model):
            layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Restore the layers' own computation."""
        for layer in _batch_norms(model):
            layer.__dict__.pop("forward", None)
        return model


@contextmanager
def untracked_statistics(model: nn.Module) -> Iterator[None]:
    """Let layers normalise by their own batch alone, and leave their running statistics alone.

    Other images than those that are learned from, such as whole frames beside crops, would become
    a part of what the network expects at inference. Images that are the same in all processes
    would count once for each.
    """
    layers = _batch_norms(model)
    kept = [(layer.momentum, layer.__dict__.pop("forward", None)) for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, (momentum, forward) in zip(layers, kept, strict=True):
            layer.momentum = momentum
            if forward is not None:
                layer.forward = forward  # type: ignore[method-assign]


def normalise_globally(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise channels by mean and variance over the batches of all processes.

    Parameters
    ----------
    x
        Shape (batch, channel, ...). This process's part of the batch, equally large in all.
    weight, bias
        Shape (channel,), or None.
    eps
        Constant added to the variance.

    Returns
    -------
    normalised
        Same shape and dtype as `x`.
    mean, variance
        Shape (channel,). The variance is biased; neither has a gradient.
    """
    result: tuple[Tensor, Tensor, Tensor] = _Normalise.apply(x, weight, bias, eps)
    return result


class _Normalise(torch.autograd.Function):
    """Normalise a batch, with gradients through the statistics of all processes."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives it no type
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        variance, mean = torch.var_mean(_widen(x), dim=_axes(x), correction=0)
        own = torch.stack([mean, variance])
        parts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, own)
        means, variances = torch.stack(parts, dim=1)
        mean = means.mean(dim=0)
        # All parts have the same size. Sums of squares would lose digits.
        variance = (variances + (means - mean) ** 2).mean(dim=0)
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps))
        ctx.mark_non_differentiable(mean, variance)
        return functional.batch_norm(x, mean, variance, weight, bias, eps=eps), mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:  # noqa: ANN401
        x, weight, mean, scale = ctx.saved_tensors
        gradient, axes = _widen(gradients[0]), _axes(x)
        shape = (-1, *(1 for _ in axes[1:]))
        scale = scale.view(shape)
        normalised = (_widen(x) - mean.view(shape)) * scale
        own = torch.stack([gradient.sum(axes), (gradient * normalised).sum(axes)])
        # DDP averages these gradients over the processes, as for any other parameter.
        to_bias, to_weight = own.unbind()
        total = own.clone()
        distributed.all_reduce(total)
        count = x.numel() // x.shape[1] * distributed.get_world_size()
        shared, along = (total / count).view(2, *shape).unbind()
        if weight is not None:
            scale = scale * weight.view(shape)
        to_x = (gradient - shared - normalised * along) * scale
        if weight is None:
            return to_x.to(x.dtype), None, None, None
        return to_x.to(x.dtype), to_weight.to(weight.dtype), to_bias.to(weight.dtype), None


def _forward(layer: Any, x: Tensor) -> Tensor:  # noqa: ANN401 - timm's layers have more
    if not layer.training:
        own: Tensor = type(layer).forward(layer, x)
        return own
    x, mean, variance = normalise_globally(x, layer.weight, layer.bias, layer.eps)
    if layer.track_running_stats:
        _track(layer, mean, variance, x.numel() // x.shape[1] * distributed.get_world_size())
    # timm's layers apply these inside.
    for name in ("drop", "act"):
        if hasattr(layer, name):
            x = getattr(layer, name)(x)
    return x


@torch.no_grad()
def _track(layer: Any, mean: Tensor, variance: Tensor, count: int) -> None:  # noqa: ANN401
    layer.num_batches_tracked.add_(1)
    share = layer.momentum
    if share is None:
        share = 1.0 / float(layer.num_batches_tracked)
    unbiased = variance * (count / (count - 1))
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), share)
    layer.running_var.lerp_(unbiased.to(layer.running_var.dtype), share)


def _batch_norms(model: nn.Module) -> list[_BatchNorm]:
    # Frozen ones have no statistics of a batch.
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, _BatchNorm) and not getattr(layer, "frozen", False)
    ]


def _axes(x: Tensor) -> list[int]:
    return [axis for axis in range(x.ndim) if axis != 1]


def _widen(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
