"""Pointwise convolutions as matrix products: the same numbers, on the layers that qualify."""

import torch
from torch import nn

from pipeline_lib.models.network.pointwise import is_pointwise, multiply_pointwise


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
