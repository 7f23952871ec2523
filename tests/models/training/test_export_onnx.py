"""Test that the exported network gives PyTorch's numbers in every batch and size."""

import logging
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from timm.layers import Conv2dSame

from pipeline_lib.kernels.maps.score_maps import decode_peaks
from pipeline_lib.models.network.backbone import Backbone
from pipeline_lib.models.network.network import DeployedNetwork, PoseNetwork
from pipeline_lib.models.training.export_onnx import _pad_by_constant, export_onnx
from tests.models.synthetic import BODYPARTS, TINY_BACKBONE
from tests.models.synthetic import REFINEMENT_SCALE as SCALE


def make_network(name=TINY_BACKBONE, stride=8):
    """Make a network whose batch-norm statistics fit its input, so that signals keep their size."""
    torch.manual_seed(0)
    network = PoseNetwork(Backbone(name, "none", stride), len(BODYPARTS), head_channels=8)
    network.train()
    with torch.no_grad():
        for _ in range(40):
            network(torch.rand(4, 3, 64, 96))
    return network.eval()


def make_frames(count, height, width, seed=0):
    stream = np.random.default_rng(seed)
    return stream.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def gap_of_best_two(score):
    """Return how far the best cell is ahead of the second, which rounding must not overturn."""
    flat = np.sort(score.reshape(*score.shape[:2], -1), axis=-1)
    return (flat[..., -1] - flat[..., -2]).min()


@pytest.mark.parametrize(
    ("name", "stride"), [(TINY_BACKBONE, 4), ("tf_efficientnet_lite0", 8), ("resnet18", 8)]
)
def test_onnx_agrees_with_pytorch(tmp_path, name, stride):
    network = make_network(name, stride)
    path = tmp_path / "network.onnx"
    export_onnx(network, SCALE, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch, (height, width) in [(1, (64, 64)), (1, (96, 128)), (3, (64, 64)), (3, (96, 128))]:
        frames = make_frames(batch, height, width)
        score, offset = session.run(["score", "offset"], {"frames": frames})
        with torch.no_grad():
            expected = DeployedNetwork(network, SCALE)(torch.from_numpy(frames))
        assert score.shape == (batch, len(BODYPARTS), height // stride, width // stride)
        np.testing.assert_allclose(score, expected[0], atol=1e-4)
        assert gap_of_best_two(score) > 2e-6
        found, _ = decode_peaks(score, offset, stride)
        wanted, _ = decode_peaks(*expected, stride)
        np.testing.assert_allclose(found, wanted, atol=1e-3)
        # An untrained network that gave the same everywhere would agree with anything.
        assert score.std() > 1e-3


def test_exporting_twice_gives_the_same_file(tmp_path):
    """Check its bytes, whose hash is in the key of every pose file."""
    network = make_network()
    for name in ("a", "b"):
        export_onnx(network, SCALE, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_exporting_is_quiet_and_leaves_things_as_they_were(tmp_path, capfd):
    level = logging.getLogger("torch.onnx").level
    stdout = sys.stdout
    network = make_network()
    export_onnx(network, SCALE, tmp_path / "n.onnx")
    assert capfd.readouterr().out == ""
    assert logging.getLogger("torch.onnx").level == level
    assert sys.stdout is stdout


def test_padding_is_constant_in_the_file_and_as_it_was_in_the_network(tmp_path):
    """Export constant padding, which a runtime merges with the next convolution."""
    network = make_network("tf_efficientnet_lite0")
    padded = sum(type(layer) is Conv2dSame for layer in network.modules())
    assert padded == 5
    export_onnx(network, SCALE, tmp_path / "network.onnx")
    graph = onnx.load(str(tmp_path / "network.onnx")).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("Pad") == 5
    # "Same" padding is a matter of ceiling the quotient of size and stride.
    assert "Ceil" not in kinds
    assert sum(type(layer) is Conv2dSame for layer in network.modules()) == padded


@pytest.mark.parametrize("kernel", [2, 3, (3, 5), 7])
@pytest.mark.parametrize("stride", [1, 2, (2, 1)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_constant_padding_gives_what_same_padding_gives(kernel, stride, dilation):
    torch.manual_seed(0)
    layer = Conv2dSame(4, 6, kernel, stride, dilation=dilation, groups=2, bias=True)
    image = torch.rand(2, 4, 12, 20)
    with torch.no_grad():
        torch.testing.assert_close(_pad_by_constant(layer)(image), layer(image), rtol=0, atol=0)
