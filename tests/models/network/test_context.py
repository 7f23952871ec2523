"""Test that heads can see the whole image, and that they begin as heads that do not."""

import numpy as np
import onnxruntime
import pytest
import torch

from pipeline_lib.models.network.backbone import Backbone
from pipeline_lib.models.network.context import AttendedContext, PooledContext
from pipeline_lib.models.network.network import DeployedNetwork, PoseNetwork
from pipeline_lib.models.training.export_onnx import export_onnx
from pipeline_lib.models.training.transfer import match_channels, transfer_weights
from tests.models.synthetic import TINY_BACKBONE


def build(seed=0, keypoints=3, stride=8, **head):
    torch.manual_seed(seed)
    return PoseNetwork(Backbone(TINY_BACKBONE, "none", stride), keypoints, 64, **head).eval()


@torch.no_grad()
def scatter(module, size=0.2):
    """Give every parameter that starts at zero random values."""
    for value in module.parameters():
        if not value.any():
            value.add_(torch.randn_like(value) * size)
    return module.eval()


@pytest.mark.parametrize("head", [{"context": "pool"}, {"context": "attention"}, {"stages": 2}])
def test_an_untrained_context_changes_nothing(head):
    """The random numbers of the common layers differ, so they are copied."""
    plain, other = build(), build(1, **head)
    other.load_state_dict(plain.state_dict(), strict=False)
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        for found, expected in zip(other(image), plain(image), strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("kind", "channels"), [(PooledContext, 64), (AttendedContext, 64), (AttendedContext, 24)]
)
def test_each_cell_sees_the_farthest(kind, channels):
    torch.manual_seed(0)
    x = torch.rand(2, channels, 5, 7, requires_grad=True)
    scatter(kind(channels))(x)[0, :, 0, 0].sum().backward()
    seen = x.grad.abs().sum(dim=1)
    assert (seen[0] > 0).all()
    assert not seen[1].any()  # the other image of the batch


def test_attention_does_not_mix_positions_up():
    """Compare with the sum that defines attention, cell by cell, for two heads."""
    torch.manual_seed(0)
    layer = scatter(AttendedContext(64))
    with torch.no_grad():
        for part in (layer.position, layer.mix[-1]):
            part.weight.zero_()
            part.bias.zero_()
        x = torch.rand(1, 64, 2, 3)
        cells = layer.project(layer.norm(x))[0].flatten(1).T.double().numpy()  # (cell, 192)
        query, key, value = (cells[:, n * 64 : n * 64 + 64] for n in range(3))
        seen = np.empty((6, 64))
        for head in (slice(0, 32), slice(32, 64)):
            for cell in range(6):
                weight = np.exp(key[:, head] @ query[cell, head] / np.sqrt(32))
                seen[cell, head] = weight @ value[:, head] / weight.sum()
        weight = layer.merge.weight[:, :, 0, 0].double().numpy()
        change = seen @ weight.T + layer.merge.bias.double().numpy()
        found = (layer(x) - x)[0].flatten(1).T.double().numpy()
    np.testing.assert_allclose(found, change, atol=1e-5)


@pytest.mark.parametrize("stride", [4, 8])
def test_the_second_stage_sees_the_maps_of_the_whole_image(stride):
    network = scatter(build(stride=stride, stages=2))
    levels = {4: 3, 8: 2}[stride]
    assert len(network.second.down) == levels
    side = 256 // stride
    features, score = torch.rand(1, 64, side, side), torch.rand(1, 3, side, side)
    score.requires_grad_()
    network.second(features, score)[0, :, 0, 0].sum().backward()
    seen = score.grad.abs().sum(dim=(0, 1))
    # 15 cells of stride 32 in the dilated layers alone: all of this image.
    assert (seen[:: 2**levels, :: 2**levels] > 0).float().mean() > 0.5
    assert seen[-(2**levels) :, -(2**levels) :].any()


@pytest.mark.parametrize(
    "head", [{"context": "pool"}, {"context": "attention", "stages": 2}], ids=str
)
def test_the_exported_network_draws_the_same_at_any_size(tmp_path, head):
    network = scatter(build(**head))
    path = tmp_path / "network.onnx"
    export_onnx(network, 7.0, path)
    session = onnxruntime.InferenceSession(str(path))
    for shape in ((1, 64, 96, 3), (3, 160, 32, 3)):
        frames = torch.randint(0, 256, shape, dtype=torch.uint8)
        with torch.no_grad():
            expected = DeployedNetwork(network, 7.0)(frames)
        found = session.run(None, {"frames": frames.numpy()})
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other.numpy(), atol=2e-5)


def test_a_second_stage_is_handed_on():
    """Bodyparts in another order keep their channels of both stages."""
    old, new = scatter(build(0, stages=2)), build(1, keypoints=2, stages=2)
    sources = match_channels(("c", "a"), (), ("a", "b", "c"), (), {})
    transfer_weights(new, old.state_dict(), sources)
    for name in ("score", "first_score"):
        own, other = getattr(new, name).bias, getattr(old, name).bias
        assert torch.equal(own, other[[2, 0]])
    assert torch.equal(new.second.read.weight, old.second.read.weight[:, [2, 0]])
    assert torch.equal(new.second.read.bias, old.second.read.bias)
