"""Frozen backbones: the same maps and gradients as batch norms in evaluation mode."""

import copy

import pytest
import torch
from torch import nn

from pipeline_lib.models.network.backbone import Backbone
from pipeline_lib.models.network.batch_norm import GlobalBatchNorm
from pipeline_lib.models.network.freezing import freeze_statistics, freeze_stem
from pipeline_lib.models.network.network import PoseNetwork
from pipeline_lib.models.network.pointwise import multiply_pointwise
from tests.models.synthetic import TINY_BACKBONE

BACKBONES = [TINY_BACKBONE, "resnet10t", "tf_efficientnet_lite0"]


def make_backbone(name: str) -> Backbone:
    """Return a backbone with statistics, scales and offsets that differ between channels."""
    torch.manual_seed(0)
    backbone = Backbone(name, "none", 8).double()
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.2, 0.2)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.2, 0.2)
    return backbone.to(memory_format=torch.channels_last)


def draw_images() -> torch.Tensor:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    return images.to(memory_format=torch.channels_last)


def differentiate(backbone: Backbone) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """Return the maps, and the gradients of a curved function of them."""
    maps = backbone(draw_images())
    sum(one.sin().sum() for one in maps).backward()
    gradients = {n: p.grad for n, p in backbone.named_parameters() if p.grad is not None}
    return [one.detach() for one in maps], gradients


@pytest.mark.parametrize("name", BACKBONES)
def test_folded_statistics_give_the_maps_and_gradients_of_evaluation_mode(name):
    plain, folded = make_backbone(name), make_backbone(name)
    maps, gradients = differentiate(plain.eval())
    before = copy.deepcopy(folded.state_dict())
    restore = freeze_statistics(folded)
    count = sum(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    replaced = [layer for layer in folded.modules() if "forward" in layer.__dict__]
    assert sum(isinstance(layer, nn.Conv2d) for layer in replaced) >= 0.9 * count > 5
    # In training mode, where batch norms would use the batch.
    with multiply_pointwise(folded):
        found, steps = differentiate(folded.train())
    for one, other in zip(maps, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-11)
    assert steps.keys() == gradients.keys()
    for key, value in gradients.items():
        torch.testing.assert_close(steps[key], value, rtol=1e-8, atol=1e-9, msg=key)
    restore()
    assert not any({"forward", "frozen"} & layer.__dict__.keys() for layer in folded.modules())
    assert all(torch.equal(value, before[key]) for key, value in folded.state_dict().items())
    assert all(map(torch.equal, folded.eval()(draw_images()), plain(draw_images())))


def test_layers_in_another_order_than_they_are_listed_are_not_folded(monkeypatch):
    """The wrong pairs change the maps, which is found out."""
    backbone = make_backbone("resnet10t")
    expected = backbone.eval()(draw_images())
    from pipeline_lib.models.network import freezing  # noqa: PLC0415

    pairs = freezing._pair(backbone)
    same = [i for i, (_, norm) in enumerate(pairs) if norm.num_features == 64][:2]
    norms = [pairs[i][1] for i in same]
    wrong = [(pairs[same[0]][0], norms[1]), (pairs[same[1]][0], norms[0])]
    monkeypatch.setattr(freezing, "_pair", lambda _: wrong)
    freeze_statistics(backbone)
    assert not any(
        "forward" in layer.__dict__ for layer in backbone.modules() if isinstance(layer, nn.Conv2d)
    )
    for one, other in zip(expected, backbone.train()(draw_images()), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-11)


def test_statistics_of_frozen_layers_do_not_become_those_of_all_devices():
    """Lightning replaces the batch norms of a distributed training; not these."""
    network = PoseNetwork(make_backbone(TINY_BACKBONE), 2, 8)
    freeze_statistics(network.backbone)
    own = {id(layer): layer.__dict__.get("forward") for layer in network.backbone.modules()}
    GlobalBatchNorm().apply(network)
    assert all(
        layer.__dict__.get("forward") is own[id(layer)] for layer in network.backbone.modules()
    )
    norms = [layer for layer in network.head.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms
    assert all("forward" in layer.__dict__ for layer in norms)


@pytest.mark.parametrize(("stride", "last"), [(8, "blocks.1.1.bn3"), (4, "blocks.0.0.bn2")])
def test_the_stem_is_what_finer_maps_than_the_stride_need(stride, last):
    backbone = Backbone("tf_efficientnet_lite0", "none", stride)
    state = torch.random.get_rng_state()
    count = freeze_stem(backbone)
    frozen = [n for n, p in backbone.network.named_parameters() if not p.requires_grad]
    trained = [n for n, p in backbone.network.named_parameters() if p.requires_grad]
    assert len(frozen) == count
    assert frozen[0] == "conv_stem.weight"
    assert frozen[-1] == f"{last}.bias"
    # Nothing behind them, and none of them left out.
    assert trained[0] == f"blocks.{2 if stride == 8 else 1}.0.conv_pw.weight"
    assert torch.equal(state, torch.random.get_rng_state())
    maps = backbone(torch.rand(1, 3, 64, 64))
    sum(one.sum() for one in maps).backward()
    assert all(backbone.network.get_parameter(name).grad is None for name in frozen)
    assert all(backbone.network.get_parameter(name).grad is not None for name in trained)


@pytest.mark.parametrize("size", [(64, 64), (65, 64), (64, 33), (31, 7)])
def test_uneven_padding_is_part_of_the_kernel_where_nothing_is_differentiated(size):
    """Images of odd and even sides, which timm pads by 1 or 2, and by 3 or 4."""
    backbone = make_backbone("tf_efficientnet_lite0")
    image = torch.randn(1, 3, *size).double().to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = backbone.eval().network(image)
        freeze_statistics(backbone)
        found = backbone.train().network(image)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-11)
