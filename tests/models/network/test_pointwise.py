"""Pointwise convolutions as matrix products: the same numbers, on the layers that qualify."""

import pytest
import torch
from torch import nn

from pipeline_lib.models.network.pointwise import is_pointwise, multiply, multiply_pointwise


def test_products_equal_convolutions():
    torch.manual_seed(0)
    plain, strided = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1, stride=2)
    grouped, wide = nn.Conv2d(6, 4, 1, groups=2), nn.Conv2d(6, 4, 3)
    bare = nn.Conv2d(6, 4, 1, bias=False)
    network = nn.ModuleList([plain, strided, grouped, wide, bare]).double()
    assert [is_pointwise(layer) for layer in network] == [True, False, False, False, True]
    image = torch.rand(2, 6, 5, 7).double().to(memory_format=torch.channels_last)
    image.requires_grad_()
    expected = [layer(image) for layer in network]
    slopes = torch.autograd.grad([one.sin().sum() for one in expected], [image, plain.weight])
    with multiply_pointwise(network):
        assert [("forward" in layer.__dict__) for layer in network] == [True, *3 * [False], True]
        found = [layer(image) for layer in network]
        others = torch.autograd.grad([one.sin().sum() for one in found], [image, plain.weight])
    assert not any("forward" in layer.__dict__ for layer in network)
    for one, other in zip([*expected, *slopes], [*found, *others], strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-12)
    assert found[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(2, 6, 1, 1), (1, 6, 3, 1), (2, 6, 1, 5), (3, 6, 4, 4)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_any_size_and_layout_is_multiplied(shape, layout):
    torch.manual_seed(0)
    weight, bias = torch.randn(4, 6, 1, 1).double(), torch.randn(4).double()
    image = torch.randn(shape).double().contiguous(memory_format=layout).requires_grad_()
    values = [image, weight.requires_grad_(), bias.requires_grad_()]
    expected = torch.nn.functional.conv2d(*values)
    found = multiply(*values)
    # Activations are computed in place.
    slopes = [
        torch.autograd.grad(one.clamp_(-0.5, 0.5).square().sum(), values)
        for one in (expected.clone(), found)
    ]
    for one, other in zip(
        [expected.clamp(-0.5, 0.5), *slopes[0]], [found, *slopes[1]], strict=True
    ):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-12)


def test_one_image_of_one_channel_is_multiplied():
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    found = multiply(image, torch.tensor([[[[2.0]]], [[[3.0]]]]), None)
    assert found.tolist() == [[[[0, 2, 4], [6, 8, 10]], [[0, 3, 6], [9, 12, 15]]]]
