"""The exported network: the same numbers in every runtime, batch and size."""

import logging
import sys

import numpy as np
import onnxruntime
import pytest
import torch

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.kernels.score_maps import decode_peaks
from pipeline_lib.models.backbone import Backbone
from pipeline_lib.models.export import export_onnx
from pipeline_lib.models.network import DeployedNetwork, PoseNetwork
from pipeline_lib.models.prediction import Predictor, choose_runtime, count_gpus, load_predictor
from tests.models.synthetic import BODYPARTS, TINY_BACKBONE, write_tiny_model
from tests.models.synthetic import REFINEMENT_SCALE as SCALE


def make_network(name=TINY_BACKBONE, stride=8):
    """A network whose batch-norm statistics fit its input, so that signals keep their size."""
    torch.manual_seed(0)
    network = PoseNetwork(Backbone(name, "none", stride), len(BODYPARTS), head_channels=8)
    network.train()
    with torch.no_grad():
        for _ in range(40):
            network(torch.rand(4, 3, 64, 96))
    return network.eval()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder as training leaves it, untrained."""
    files = ModelFiles(tmp_path_factory.mktemp("model"))
    write_tiny_model(files, scale=0.5)
    return files


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
    """Its hash is in the key of every pose file."""
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


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_predictions_do_not_depend_on_the_batch(model, runtime):
    predictor = load_predictor(model, runtime, threads=1)
    frames = list(make_frames(8, 100, 150))
    whole, confidence = predictor.predict(frames)
    assert whole.shape == (8, 2, len(BODYPARTS), 1)
    assert confidence.shape == (8, len(BODYPARTS), 1)
    for size in (1, 3):
        parts = [predictor.predict(frames[at : at + size]) for at in range(0, 8, size)]
        position = np.concatenate([part[0] for part in parts])
        np.testing.assert_allclose(position, whole, atol=1e-3)
        np.testing.assert_allclose(np.concatenate([p[1] for p in parts]), confidence, atol=1e-4)


def test_runtimes_agree(model):
    frames = list(make_frames(3, 100, 150))
    position, confidence = load_predictor(model, "onnx", threads=1).predict(frames)
    by_torch, confidence_by_torch = load_predictor(model, "torch", threads=1).predict(frames)
    np.testing.assert_allclose(by_torch, position, atol=1e-2)
    np.testing.assert_allclose(confidence_by_torch, confidence, atol=1e-4)
    assert position.dtype == by_torch.dtype == np.float32


class FixedRuntime:
    """Says that every bodypart is at a place of the network's input, by its number."""

    name = "fixed"

    def __init__(self):
        self.shapes = []

    def locate(self, frames):
        self.shapes.append(frames.shape)
        position = np.zeros((len(frames), len(BODYPARTS), 2), np.float32)
        position[..., 0] = np.arange(len(BODYPARTS))
        position[..., 1] = 10 + np.arange(len(frames))[:, None]
        return position, np.full(position.shape[:2], 0.5, np.float32)


def test_positions_are_in_pixels_of_the_frame(model):
    """At half size, network pixel n has its centre at frame pixel 2n + 0.5."""
    runtime = FixedRuntime()
    predictor = Predictor(load_predictor(model, "onnx", threads=1).card, runtime)
    position, confidence = predictor.predict(list(make_frames(2, 100, 150)))
    assert runtime.shapes == [(2, 64, 96, 3)]
    assert position[1, :, :, 0].tolist() == [[0.5, 2.5, 4.5], [22.5, 22.5, 22.5]]
    assert position[0, 1, :, 0].tolist() == [20.5, 20.5, 20.5]
    assert confidence.shape == (2, 3, 1)


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
@pytest.mark.parametrize("content", [None, b"", b"no network"])
def test_a_model_that_cannot_be_loaded(model, tmp_path, runtime, content):
    files = ModelFiles(tmp_path)
    files.card.write_bytes(model.card.read_bytes())
    if content is not None:
        files.network.write_bytes(content)
        files.weights.write_bytes(content)
    with pytest.raises(ModelError, match=r"network\.(onnx|pt): .* cannot load it .*; run train"):
        load_predictor(files, runtime)


def test_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"model\.json: no model; run train"):
        load_predictor(ModelFiles(tmp_path))


def test_auto_is_by_the_hardware(monkeypatch):
    monkeypatch.setattr("pipeline_lib.models.prediction.count_gpus", lambda: 0)
    assert choose_runtime("auto") == "onnx"
    monkeypatch.setattr("pipeline_lib.models.prediction.count_gpus", lambda: 2)
    assert choose_runtime("auto") == "torch"
    assert choose_runtime("onnx") == "onnx"


@pytest.mark.parametrize("visible", ["", "-1", " "])
def test_hidden_gpus_do_not_count(monkeypatch, visible):
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert count_gpus() == 0
