"""Test the predictor around a runtime: options, batches, threads, frame coordinates."""

import pickle
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.core.errors import ConfigError, ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.predictor import (
    Predictor,
    RuntimeOptions,
    choose_runtime,
    count_gpus,
    load_predictor,
)
from tests.models.synthetic import BODYPARTS

CARD = ModelCard.model_construct(
    name="pose", scale=0.5, stride=8, skeleton=Skeleton(bodyparts=BODYPARTS)
)


class FixedRuntime:
    """Return every bodypart at a position given by its index and the value of the frame."""

    name = "fixed"

    def __init__(self):
        self.batches = []

    def locate(self, frames):
        self.batches.append(frames.copy())
        position = np.zeros((len(frames), 1, len(BODYPARTS), 2), np.float32)
        position[..., 0] = np.arange(len(BODYPARTS))
        position[..., 1] = frames[:, :1, :1, 0]
        return Located(position, np.full(position.shape[:3], 0.5, np.float32))


def make_frames(values, height=100, width=150):
    return [np.full((height, width, 3), value, np.uint8) for value in values]


def test_positions_are_in_pixels_of_the_frame():
    """Use half size: network pixel n has its centre at frame pixel 2n + 0.5."""
    runtime = FixedRuntime()
    position, confidence, *_ = Predictor(CARD, runtime).predict(make_frames([10, 11]))
    assert [batch.shape for batch in runtime.batches] == [(1, 64, 96, 3)] * 2
    assert position[1, 0].tolist() == [[0.5, 22.5], [2.5, 22.5], [4.5, 22.5]]
    assert position[0, 0, :, 1].tolist() == [20.5, 20.5, 20.5]
    assert confidence.shape == (2, 1, 3)
    assert position.dtype == confidence.dtype == np.float32


def test_every_pass_is_of_one_size():
    runtime = FixedRuntime()
    position, *_ = Predictor(CARD, runtime, batch_size=4).predict(make_frames([1, 2, 3, 4, 5, 6]))
    assert [batch.shape[0] for batch in runtime.batches] == [4, 4]
    assert [batch[:, 0, 0, 0].tolist() for batch in runtime.batches] == [[1, 2, 3, 4], [5, 6, 0, 0]]
    assert position[:, 0, 0, 1].tolist() == [2.5, 4.5, 6.5, 8.5, 10.5, 12.5]


@given(
    values=st.lists(st.integers(0, 255), max_size=20),
    batch_size=st.integers(1, 7),
    parallel=st.integers(1, 3),
)
def test_each_frame_has_its_own_result_in_any_batch_and_thread(values, batch_size, parallel):
    predictor = Predictor(CARD, FixedRuntime(), batch_size, parallel)
    position, confidence, *_ = predictor.predict(make_frames(values, 8, 8))
    assert position.shape == (len(values), 1, 3, 2)
    assert confidence.shape == (len(values), 1, 3)
    assert position[:, 0, 2, 1].tolist() == [2 * value + 0.5 for value in values]


def test_no_more_passes_at_a_time_than_are_allowed():
    """Check that this holds for any number of callers, and that as many run."""

    class MeetingRuntime(FixedRuntime):
        def __init__(self):
            super().__init__()
            self.meeting = threading.Barrier(2, timeout=60)
            self.inside, self.most = 0, 0
            self.lock = threading.Lock()

        def locate(self, frames):
            with self.lock:
                self.inside += 1
                self.most = max(self.most, self.inside)
            self.meeting.wait()  # fails unless two come
            with self.lock:
                self.inside -= 1
            return super().locate(frames)

    runtime = MeetingRuntime()
    predictor = Predictor(CARD, runtime, parallel=2)
    callers = [
        threading.Thread(target=predictor.predict, args=(make_frames([1, 2, 3, 4]),))
        for _ in range(3)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(runtime.batches) == 12
    assert runtime.most == 2


def test_frames_of_several_sizes_are_refused():
    frames = make_frames([1]) + make_frames([2], height=64)
    with pytest.raises(ValueError, match="of one size"):
        Predictor(CARD, FixedRuntime()).predict(frames)


def test_an_error_of_the_runtime_reaches_the_caller():
    class BrokenRuntime(FixedRuntime):
        def locate(self, frames):
            raise RuntimeError(f"no memory for {len(frames)}")

    with pytest.raises(RuntimeError, match="no memory for 2"):
        Predictor(CARD, BrokenRuntime(), batch_size=2).predict(make_frames([1, 2, 3]))


def test_auto_is_by_the_hardware(monkeypatch):
    monkeypatch.setattr("pipeline_lib.models.inference.predictor.count_gpus", lambda: 0)
    assert choose_runtime("auto") == "openvino"
    monkeypatch.setattr("pipeline_lib.models.inference.predictor.count_gpus", lambda: 2)
    assert choose_runtime("auto") == "torch"
    assert choose_runtime("onnx") == "onnx"


def test_auto_does_without_openvino(monkeypatch):
    monkeypatch.setattr("pipeline_lib.models.inference.predictor.count_gpus", lambda: 0)
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert choose_runtime("auto") == "onnx"
    assert RuntimeOptions.of(InferenceSettings()).runtime == "onnx"
    told = "runtime` onnx; set float32 or int8, or `runtime` openvino or"
    with pytest.raises(ConfigError, match=told):
        RuntimeOptions.of(InferenceSettings(precision="bfloat16"))


@pytest.mark.parametrize("visible", ["", "-1", " "])
def test_hidden_gpus_do_not_count(monkeypatch, visible):
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert count_gpus() == 0


def test_options_are_those_of_the_settings(monkeypatch):
    monkeypatch.setattr("pipeline_lib.models.inference.predictor.count_gpus", lambda: 1)
    settings = InferenceSettings(
        precision="float16", compile=True, batch_size=5, threads_per_worker=3
    )
    wanted = RuntimeOptions("torch", "float16", threads=3, batch_size=5, compile=True)
    assert RuntimeOptions.of(settings) == wanted
    assert RuntimeOptions.of(settings, threads=2).threads == 2
    assert pickle.loads(pickle.dumps(wanted)) == wanted  # noqa: S301 - our own
    assert RuntimeOptions.of(InferenceSettings(runtime="onnx")) == RuntimeOptions("onnx")


@pytest.mark.parametrize(
    ("runtime", "precision"),
    [("onnx", "bfloat16"), ("onnx", "float16"), ("openvino", "float16")],
)
def test_a_precision_that_a_runtime_does_not_have(runtime, precision):
    with pytest.raises(ConfigError, match=f"`precision` {precision} .* `runtime` {runtime}; set"):
        RuntimeOptions.of(InferenceSettings(runtime=runtime, precision=precision))


def test_compiling_where_nothing_is_compiled_is_said(caplog):
    RuntimeOptions.of(InferenceSettings(runtime="onnx", compile=True))
    assert "compile has no effect with onnx" in caplog.text


def test_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"model\.json: no model; run train"):
        load_predictor(ModelFiles(tmp_path), RuntimeOptions("onnx"))
