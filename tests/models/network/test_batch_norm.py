"""Test batch normalisation over devices; test_train_distributed compares two with one."""

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import distributed, nn

from pipeline_lib.models.network import batch_norm as subject
from pipeline_lib.models.network.batch_norm import GlobalBatchNorm, untracked_statistics


@pytest.fixture(scope="module", autouse=True)
def group(tmp_path_factory):
    """Start a group of one process, in which the layers must compute as usual."""
    store = tmp_path_factory.mktemp("group") / "store"
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def make_layer(kind: str) -> nn.Module:
    torch.manual_seed(0)
    layer = {
        "plain": lambda: nn.BatchNorm2d(3),
        "timm": lambda: BatchNormAct2d(3, act_layer=nn.SiLU),
        "cumulative": lambda: nn.BatchNorm2d(3, momentum=None),
        "fixed": lambda: nn.BatchNorm2d(3, affine=False),
        "unremembered": lambda: nn.BatchNorm2d(3, track_running_stats=False),
    }[kind]()
    if layer.affine:
        nn.init.uniform_(layer.weight, 0.5, 2.0)
        nn.init.uniform_(layer.bias, -1.0, 1.0)
    return layer.double()


@pytest.mark.parametrize("kind", ["plain", "timm", "cumulative", "fixed", "unremembered"])
def test_one_process_computes_what_the_layer_does(kind):
    """Compare output, gradients of a curved function, and statistics, in training and after."""
    layer = nn.Sequential(make_layer(kind))
    other = GlobalBatchNorm().apply(copy.deepcopy(layer))
    assert other.state_dict().keys() == layer.state_dict().keys()
    for _ in range(3):
        x = (100.0 + torch.randn(4, 3, 5, 6, dtype=torch.float64)).requires_grad_()
        y = x.detach().clone().requires_grad_()
        a, b = layer(x), other(y)
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9)
        (a**3).sum().backward()
        (b**3).sum().backward()
        torch.testing.assert_close(y.grad, x.grad, rtol=1e-7, atol=1e-7)
    for one, two in zip(layer.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, rtol=1e-7, atol=1e-7)
    for name, value in layer.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, msg=name)
    layer.eval()
    other.eval()
    torch.testing.assert_close(other(y), layer(x))


def test_images_that_are_not_tracked_are_normalised_by_themselves(monkeypatch):
    """0 and 4, of mean 2 and deviation 2, become -1 and 1 and leave no trace."""
    layer = GlobalBatchNorm().apply(nn.Sequential(nn.BatchNorm2d(1, eps=1e-9, momentum=0.3)))
    norm = layer[0]
    x = torch.tensor([0.0, 4.0]).view(2, 1, 1, 1)
    expected = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1)
    forward = norm.forward
    # No process asks another one: the same images would count once for each of them.
    monkeypatch.setattr(subject, "normalise_globally", None)
    with untracked_statistics(layer):
        torch.testing.assert_close(layer(x), expected)
    assert (norm.running_mean.item(), norm.running_var.item(), norm.momentum) == (0.0, 1.0, 0.3)
    assert norm.forward is forward
    with pytest.raises(TypeError):
        layer(x)


def test_images_that_are_not_tracked_leave_one_process_its_layers():
    norm = nn.BatchNorm2d(1)
    with untracked_statistics(norm):
        norm(torch.randn(2, 1, 3, 3))
    assert norm.running_mean.item() == 0.0
    assert "forward" not in norm.__dict__


def test_the_variance_keeps_its_digits_beside_a_large_mean():
    """Keep a variance of 1 beside a mean of 10,000, which a float32 sum of squares would lose."""
    layer = GlobalBatchNorm().apply(nn.BatchNorm2d(1))
    x = torch.tensor([9999.0, 10001.0]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    expected = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    torch.testing.assert_close(layer(x), expected)
    assert layer.running_mean.item() == pytest.approx(1000.0)
    # 32 / 31 of the variance, with a share of a tenth, beside nine tenths of 1.
    assert layer.running_var.item() == pytest.approx(0.9 + 0.1 * 32 / 31)


def test_half_precision_is_summed_in_single():
    layer = GlobalBatchNorm().apply(nn.BatchNorm2d(2))
    x = torch.randn(4, 2, 16, 16, dtype=torch.bfloat16).requires_grad_()
    y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float().mean(dim=(0, 2, 3)), torch.zeros(2), atol=5e-3, rtol=0)
    y.sum().backward()
    assert x.grad.dtype == torch.bfloat16
    assert layer.weight.grad.dtype == torch.float32


def test_reverting_leaves_no_trace():
    layer = nn.Sequential(nn.BatchNorm2d(2))
    plugin = GlobalBatchNorm()
    assert "forward" in plugin.apply(layer)[0].__dict__
    assert "forward" not in plugin.revert(layer)[0].__dict__
