"""Test networks in 8-bit integers: near float, the same bytes each time, refused with a reason."""

import numpy as np
import onnx
import pytest

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.models.card import read_card
from pipeline_lib.models.inference.decoding import MapDecoder
from pipeline_lib.models.inference.onnx_runtime import OnnxRuntime
from pipeline_lib.models.inference.predictor import RuntimeOptions, load_predictor
from pipeline_lib.models.inference.tuning.quantisation import (
    QuantisationError,
    check_frames,
    list_float_layers,
    quantise,
)
from tests.models.synthetic import draw_discs, draw_points, write_tiny_model

SIDE = 96


@pytest.fixture(scope="module")
def frames():
    return [draw_discs(points, (SIDE, SIDE)) for points in draw_points(8, (SIDE, SIDE))]


@pytest.fixture(scope="module")
def files(tmp_path_factory, frames):
    files = ModelFiles(tmp_path_factory.mktemp("model"))
    write_tiny_model(files)
    quantise(files.network, frames, files.quantised)
    return files


def draw(files, path, frame):
    return OnnxRuntime(path, MapDecoder(read_card(files.card))).draw(frame[None])


def test_maps_are_near_those_of_the_network_in_float(files, frames):
    exact = draw(files, files.network, frames[0])
    rounded = draw(files, files.quantised, frames[0])
    for name, limit in (("score", 0.1), ("offset", 0.1)):
        scale = np.ptp(exact[name])
        off = np.abs(rounded[name] - exact[name])
        # Not the same, or nothing was rounded; and of different frames they differ by more.
        assert 0 < off.mean() < limit * scale
        other = np.abs(draw(files, files.network, frames[1])[name] - exact[name])
        assert off.mean() < other.mean()
    smaller = files.quantised.stat().st_size / files.network.stat().st_size
    assert smaller < 0.6


def test_first_and_last_layers_stay_in_float(files):
    graph = onnx.load(str(files.quantised)).graph
    made = {name: node for node in graph.node for name in node.output}
    fed = {
        node.name: made[node.input[0]].op_type if node.input[0] in made else "input"
        for node in graph.node
        if node.op_type == "Conv"
    }
    last = {name for name in fed if name.startswith(("/network/score/", "/network/offset/"))}
    stems = {name for name in fed if "conv_stem" in name}
    assert len(last) == 2
    assert len(stems) == 1
    # They may read rounded features, but their own weights are not rounded.
    weights = {node.name: node.input[1] for node in graph.node if node.op_type == "Conv"}
    stored = {one.name for one in graph.initializer}
    assert {name for name in fed if weights[name] in stored} == last | stems
    assert list(fed.values()).count("DequantizeLinear") >= len(fed) - 3
    # The maps themselves are never rounded.
    for output in graph.output:
        assert made[output.name].op_type in ("Sigmoid", "Mul")


def test_the_whole_head_can_stay_in_float(files):
    graph = onnx.load(str(files.network)).graph
    ends, head = (set(list_float_layers(graph, keep)) for keep in ("ends", "head"))
    assert ends < head
    more = {name for name in head - ends if name}
    assert any("/network/head/" in name for name in more)
    assert not any("/network/backbone/" in name for name in more)


def test_the_same_frames_give_the_same_bytes(files, frames, tmp_path):
    quantise(files.network, frames, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == files.quantised.read_bytes()
    quantise(files.network, frames[:4], tmp_path / "others.onnx")
    assert (tmp_path / "others.onnx").read_bytes() != files.quantised.read_bytes()


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_grouping_and_threads_change_no_byte(files, frames, runtime):
    wanted = load_predictor(files, RuntimeOptions(runtime, "int8", threads=1)).predict(frames)
    several = load_predictor(files, RuntimeOptions(runtime, "int8", threads=3))
    parts = [several.predict(frames[at : at + 3]) for at in range(0, len(frames), 3)]
    for field in ("position", "confidence"):
        joined = np.concatenate([getattr(part, field) for part in parts])
        np.testing.assert_array_equal(joined, getattr(wanted, field))
    exact = load_predictor(files, RuntimeOptions(runtime, threads=1)).predict(frames)
    assert not np.array_equal(exact.confidence, wanted.confidence)


def test_frames_that_are_all_alike_are_refused(frames):
    noise = np.random.default_rng(0).normal(0, 3, (6, SIDE, SIDE, 3))
    still = [np.clip(frames[0] + one, 0, 255).astype(np.uint8) for one in noise]
    with pytest.raises(QuantisationError, match="6 labelled training frames are all alike"):
        check_frames(still)
    moved = [*still[:5], frames[1]]
    check_frames(moved)
    with pytest.raises(QuantisationError, match="3 labelled training frames, and at least 4"):
        check_frames(frames[:3])
    with pytest.raises(QuantisationError, match="0 labelled training frames"):
        check_frames([])


def test_a_network_that_cannot_be_converted_is_refused(files, frames, tmp_path):
    model = onnx.load(str(files.network))
    named = next(node for node in model.graph.node if node.op_type == "Conv")
    named.op_type = "Convolution of tomorrow"
    strange = tmp_path / "strange.onnx"
    onnx.save(model, str(strange))
    with pytest.raises(QuantisationError, match=r"strange\.onnx cannot be converted"):
        quantise(strange, frames, tmp_path / "made.onnx")
    nothing = tmp_path / "nothing.onnx"
    nothing.write_bytes(b"no network")
    with pytest.raises(ModelError, match="no ONNX model"):
        quantise(nothing, frames, tmp_path / "made.onnx")
    identity = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["frames"], ["score"], name="only")],
        "none",
        [onnx.helper.make_tensor_value_info("frames", 1, [1, SIDE, SIDE, 3])],
        [onnx.helper.make_tensor_value_info("score", 1, [1, SIDE, SIDE, 3])],
    )
    plain = tmp_path / "plain.onnx"
    onnx.save(onnx.helper.make_model(identity, ir_version=9), str(plain))
    with pytest.raises(QuantisationError, match="no layer that 8-bit integers speed up"):
        quantise(plain, frames, tmp_path / "made.onnx")
    assert not (tmp_path / "made.onnx").exists()
