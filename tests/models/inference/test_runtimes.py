"""Test that all runtimes give the same keypoints, in any batch, thread and order."""

import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.models.card import read_card
from pipeline_lib.models.inference import torch_runtime
from pipeline_lib.models.inference.decoding import MapDecoder
from pipeline_lib.models.inference.openvino_runtime import OpenVinoRuntime
from pipeline_lib.models.inference.predictor import RuntimeOptions, load_predictor
from pipeline_lib.models.inference.torch_runtime import TorchRuntime
from tests.models.synthetic import write_tiny_model

RUNTIMES = ("openvino", "onnx", "torch")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Write a model folder as training does, with an untrained network."""
    files = ModelFiles(tmp_path_factory.mktemp("model"))
    write_tiny_model(files, scale=0.5)
    return files


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request):
    return request.param


def make_frames(count, height=100, width=150):
    stream = np.random.default_rng(0)
    return list(stream.integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def join(parts):
    return tuple(
        np.concatenate(arrays) for arrays in zip(*(part[:2] for part in parts), strict=True)
    )


def assert_same_bytes(found, wanted):
    for a, b in zip(found[:2], wanted[:2], strict=True):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("other", ["openvino", "torch"])
def test_runtimes_agree(model, other):
    """Compare in float32, since confidences in bfloat16 are 1e-3 apart."""
    frames = make_frames(8)
    wanted, confidence, *_ = load_predictor(model, RuntimeOptions("onnx")).predict(frames)
    found, other_confidence, *_ = load_predictor(model, RuntimeOptions(other)).predict(frames)
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    np.testing.assert_allclose(other_confidence, confidence, atol=1e-5)
    # A network that says the same of every frame would agree with anything.
    assert wanted.std(axis=0).min() > 1


def test_grouping_and_threads_change_no_byte(model, runtime):
    frames = make_frames(9)
    wanted = load_predictor(model, RuntimeOptions(runtime, threads=1)).predict(frames)
    predictor = load_predictor(model, RuntimeOptions(runtime, threads=3))
    for size in (1, 4, 9):
        parts = [predictor.predict(frames[at : at + size]) for at in range(0, 9, size)]
        assert_same_bytes(join(parts), wanted)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda frame: predictor.predict([frame]), frames * 3))
    for repeat in range(3):
        assert_same_bytes(join(parts[repeat * 9 : repeat * 9 + 9]), wanted)


def test_the_batch_size_changes_no_position(model, runtime):
    frames = make_frames(7)
    wanted, confidence, *_ = load_predictor(model, RuntimeOptions(runtime)).predict(frames)
    predictor = load_predictor(model, RuntimeOptions(runtime, batch_size=3, threads=1))
    position, own_confidence, *_ = predictor.predict(frames)
    np.testing.assert_allclose(position, wanted, atol=1e-3)
    np.testing.assert_allclose(own_confidence, confidence, atol=1e-5)
    # The last batch is filled up, so its frame has company of another kind.
    assert_same_bytes(predictor.predict(frames[6:]), (position[6:], own_confidence[6:]))


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_bfloat16_is_close(model, name):
    """Compare scores: an untrained network has near ties, so that the best cell may differ."""
    frames = make_frames(8)
    wanted, confidence, *_ = load_predictor(model, RuntimeOptions(name)).predict(frames)
    lower = load_predictor(model, RuntimeOptions(name, "bfloat16"))
    position, own_confidence, *_ = lower.predict(frames)
    np.testing.assert_allclose(own_confidence, confidence, atol=0.02)
    far = np.linalg.norm(position - wanted, axis=-1)
    assert np.median(far) < 0.5
    if name == "torch":
        assert not np.array_equal(own_confidence, confidence)
    assert position.dtype == own_confidence.dtype == np.float32


def test_last_layers_stay_in_float32(model):
    """Check the precision: in bfloat16 a confidence near 1 would be a multiple of 1/256."""
    card = read_card(model.card)
    runtime = TorchRuntime(model.weights, MapDecoder(card), "bfloat16")
    _, confidence, *_ = runtime.locate(np.stack(make_frames(4, 64, 96)))
    rounded = torch.from_numpy(confidence).bfloat16().float().numpy()
    assert (rounded != confidence).mean() > 0.5


def test_videos_of_many_sizes_do_not_fill_the_memory(model):
    runtime = OpenVinoRuntime(model.network, MapDecoder(read_card(model.card)))
    first = runtime.locate(np.stack(make_frames(1, 32, 32)))
    for width in (64, 96, 128, 160, 192):
        runtime.locate(np.stack(make_frames(1, 32, width)))
        assert len(runtime._compiled) <= 4
    assert (1, 32, 32, 3) not in runtime._compiled
    assert_same_bytes(runtime.locate(np.stack(make_frames(1, 32, 32))), first)


@pytest.mark.parametrize("content", [None, b"", b"no network"])
def test_a_model_that_cannot_be_loaded(model, tmp_path, runtime, content):
    files = ModelFiles(tmp_path)
    files.card.write_bytes(model.card.read_bytes())
    if content is not None:
        files.network.write_bytes(content)
        files.weights.write_bytes(content)
    with pytest.raises(ModelError, match=r"network\.(onnx|pt): .* cannot load it .*; run train"):
        load_predictor(files, RuntimeOptions(runtime))


def test_without_openvino_it_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModelError, match=r"runtime: openvino cannot be imported .*pip install"):
        load_predictor(model, RuntimeOptions("openvino"))


def test_openvino_reports_to_nobody(model, tmp_path):
    """Block the import, which would send an event and write an identifier into the home folder."""
    script = f"""
import sys
calls = []
sys.addaudithook(lambda event, _: calls.append(event) if event.startswith("socket.") else None)
from pathlib import Path
from pipeline_lib.models.card import read_card
from pipeline_lib.models.inference.decoding import MapDecoder
from pipeline_lib.models.inference.openvino_runtime import OpenVinoRuntime
OpenVinoRuntime(Path({str(model.network)!r}), MapDecoder(read_card(Path({str(model.card)!r}))))
import openvino
assert "openvino_telemetry" not in sys.modules
assert not calls, calls
"""
    # Without CI in the environment, in which OpenVINO is silent by itself.
    environment = {"HOME": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def test_float16_needs_a_gpu(model):
    decoder = MapDecoder(read_card(model.card))
    with pytest.raises(ModelError, match=r"float16 needs a GPU .* set bfloat16 or float32"):
        TorchRuntime(model.weights, decoder, "float16", device="cpu")


def test_compiling_is_pytorchs(model, monkeypatch):
    compiled = []

    def compile_network(network):
        compiled.append(network)
        return network

    monkeypatch.setattr(torch, "compile", compile_network)
    options = RuntimeOptions("torch", compile=True)
    position, *_ = load_predictor(model, options).predict(make_frames(1))
    assert len(compiled) == 1
    wanted, *_ = load_predictor(model, dataclasses.replace(options, compile=False)).predict(
        make_frames(1)
    )
    np.testing.assert_array_equal(position, wanted)
    assert len(compiled) == 1


def test_float32_is_float32_on_gpus(monkeypatch):
    """Check that cuDNN does not round the factors of convolutions to 10 bits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    torch_runtime._switch_off_tf32()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
