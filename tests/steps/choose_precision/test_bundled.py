"""Test the precision of a bundle: what it holds, what a run of it takes, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.stages import STAGES
from pipeline_lib.io.checksums import hash_path
from pipeline_lib.live.networks import load_networks
from pipeline_lib.live.networks import settle_precision as settle_live
from pipeline_lib.models.inference import openvino_runtime
from pipeline_lib.models.inference.predictor import RuntimeOptions, load_predictor
from pipeline_lib.models.precision import read_precision, settle_precision
from pipeline_lib.models.zoo.archive import read_bundle
from pipeline_lib.steps.bundle import run_bundle
from pipeline_lib.steps.choose_precision import bundled, choice, measure, run
from pipeline_lib.steps.choose_precision.run import run_choose_precision
from pipeline_lib.steps.import_model import run_import_model
from pipeline_lib.steps.infer.plan import describe_network
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.runs.result_keys import network_key
from pipeline_lib.steps.zoo import verify_bundle
from tests.models.synthetic import tiny_config, write_tiny_labels, write_tiny_model
from tests.models.zoo.bundles import TEXTS, change, read_members

MAKERS = {
    ("openvino", "float32"): 70.0,
    ("onnx", "float32"): 60.0,
    ("openvino", "bfloat16"): 71.0,
    ("openvino", "int8"): 200.0,
    ("onnx", "int8"): 100.0,
}


@pytest.fixture(autouse=True)
def pretended(monkeypatch):
    """Give every machine the same speeds, bfloat16, and no GPU; no error is too large."""
    monkeypatch.setattr(
        measure, "measure_rates", lambda loaded, *_, **__: {one: MAKERS[one] for one in loaded}
    )
    monkeypatch.setattr(openvino_runtime, "has_bfloat16", lambda: True)
    monkeypatch.setattr(measure, "count_gpus", lambda: 0)
    monkeypatch.setattr(
        bundled, "measure_rates", lambda loaded, _: {one: MAKERS[one] for one in loaded}
    )
    monkeypatch.setattr(bundled, "describe_processor", lambda: "theirs")
    monkeypatch.setattr(run, "describe_processor", lambda: "theirs")
    for module in (choice, run):
        monkeypatch.setattr(module, "MOST_GROWTH", 1e9)


def configure(precision, bundle=None, runtime="auto", **training):
    config = tiny_config(**training)
    inference = config.inference.model_copy(update={"precision": precision, "runtime": runtime})
    model = config.model.model_copy(update={"bundle": None if bundle is None else str(bundle)})
    return config.model_copy(update={"inference": inference, "model": model})


def write_bundle_of(folder, precision, ensemble=1):
    """Write a bundle whose precision was measured; return it and its results."""
    results = Results(folder / "theirs")
    write_tiny_labels(results, train=6, test=2)
    run_make_targets(tiny_config(), results)
    write_tiny_model(results.model("pose"))
    config = configure(precision, ensemble=ensemble)
    for number in range(2, ensemble + 1):
        write_tiny_model(results.model("pose").member(number), seed=number)
    run_choose_precision(config, results)
    return run_bundle(config, results, TEXTS, folder / "pose.cohortpose"), results


@pytest.fixture
def int8(tmp_path):
    return write_bundle_of(tmp_path, "auto")


def adopt(tmp_path, config):
    """Return the record and the results of a run of a bundle."""
    results = Results(tmp_path / "ours")
    run_import_model(config, results)
    run_choose_precision(config, results)
    return read_precision(results.model("pose").precision), results


def pretend_speeds(monkeypatch, int8_rate):
    monkeypatch.setattr(bundled, "describe_processor", lambda: "ours")
    monkeypatch.setattr(run, "describe_processor", lambda: "ours")
    rates = MAKERS | {("openvino", "int8"): int8_rate, ("onnx", "int8"): int8_rate / 2}
    monkeypatch.setattr(
        bundled, "measure_rates", lambda loaded, _: {one: rates[one] for one in loaded}
    )


def test_a_bundle_holds_the_precision_that_was_chosen_and_its_network(int8):
    bundle, theirs = read_bundle(int8[0]), int8[1].model("pose")
    assert bundle.precision == read_precision(theirs.precision)
    assert bundle.precision.precision == "int8"
    assert bundle.read("network-int8.onnx") == theirs.quantised.read_bytes()
    assert f"| precision | {bundle.precision.reason} |" in bundle.readme
    assert "6 files as listed" in verify_bundle(str(int8[0]))


def test_a_bundle_of_stated_float32_holds_none(tmp_path, int8):
    path = run_bundle(configure("float32"), int8[1], TEXTS, tmp_path / "plain.cohortpose")
    assert read_bundle(path).precision is None
    assert "network-int8.onnx" not in read_members(path)
    for stated in ("auto", "int8"):
        record, ours = adopt(tmp_path, configure(stated, path))
        told = "float32: the bundle has no measured precision, and no labelled frames"
        assert (record.precision, record.reason) == ("float32", told)
        assert not ours.model("pose").quantised.exists()


@pytest.mark.parametrize("stated", ["auto", "int8"])
def test_a_run_of_a_bundle_takes_its_precision(tmp_path, int8, stated):
    config = configure(stated, int8[0])
    record, ours = adopt(tmp_path, config)
    theirs = read_precision(int8[1].model("pose").precision)
    assert (record.precision, record.runtime) == ("int8", "openvino")
    assert record.reason == f"int8: chosen where the bundle was written ({theirs.reason})"
    assert record.measured == theirs.measured
    files = ours.model("pose")
    assert record.quantised == {".": hash_path(files.quantised)} == theirs.quantised
    assert settle_precision(config, ours).inference.precision == "int8"
    assert describe_network(config, ours).options.precision == "int8"
    assert network_key(config, ours) != network_key(configure("float32", int8[0]), ours)


def test_networks_of_an_ensemble_go_together(tmp_path):
    path, theirs = write_bundle_of(tmp_path, "int8", ensemble=2)
    record, ours = adopt(tmp_path, configure("auto", path))
    assert record.precision == "int8"
    assert set(record.quantised) == {".", "members/2"}
    listed = STAGES["choose-precision"].files(configure("auto", path), ours)
    paths = [file.path for file in listed]
    assert all(one.quantised in paths for one in ours.model("pose").list_members(2))
    for one, other in zip(
        ours.model("pose").list_members(2), theirs.model("pose").list_members(2), strict=True
    ):
        assert one.quantised.read_bytes() == other.quantised.read_bytes()


def test_another_processor_measures_its_speed(tmp_path, int8, monkeypatch):
    pretend_speeds(monkeypatch, 140.0)
    record, _ = adopt(tmp_path, configure("auto", int8[0]))
    assert (record.precision, record.runtime) == ("int8", "openvino")
    assert record.reason.endswith("; 2.00 times the frames/s of float32 on this processor")
    assert record.processor == "ours"
    own = {(one.runtime, one.precision): one for one in record.measured}
    # bfloat16 was not what the bundle has, and is not measured again.
    assert {precision for _, precision in own} == {"float32", "int8"}
    assert own["onnx", "int8"].frames_per_second == 70.0
    theirs = {(one.runtime, one.precision): one for one in read_bundle(int8[0]).precision.measured}
    assert own["onnx", "int8"].moved == theirs["onnx", "int8"].moved


def test_another_processor_that_gains_nothing_stays_in_float32(tmp_path, int8, monkeypatch):
    pretend_speeds(monkeypatch, 75.0)
    record, ours = adopt(tmp_path, configure("auto", int8[0]))
    assert (record.precision, record.runtime) == ("float32", "openvino")
    assert record.reason == (
        "float32: int8, which the bundle has, has 1.07 times the frames/s of float32 on this "
        "processor"
    )
    assert not ours.model("pose").quantised.exists()
    # Whoever asks for 8-bit integers gets them.
    assert adopt(tmp_path, configure("int8", int8[0]))[0].precision == "int8"


def test_auto_does_not_take_what_was_asked_for_whatever_it_costs(tmp_path, monkeypatch):
    path, theirs = write_bundle_of(tmp_path, "int8")
    for module in (choice, run):
        monkeypatch.setattr(module, "MOST_GROWTH", -99.0)
    record, ours = adopt(tmp_path, configure("auto", path))
    assert record.precision == "float32"
    assert record.reason.startswith(
        "float32: chosen where the bundle was written (float32: too inexact is int8: "
    )
    assert not ours.model("pose").quantised.exists()
    assert (settle_live(path, "auto"), settle_live(path, "int8")) == ("float32", "int8")
    record, _ = adopt(tmp_path, configure("int8", path))
    assert record.quantised == read_precision(theirs.model("pose").precision).quantised


def test_a_precision_that_this_machine_lacks_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setitem(MAKERS, ("openvino", "bfloat16"), 500.0)
    path, _ = write_bundle_of(tmp_path, "auto")
    assert read_bundle(path).precision.precision == "bfloat16"
    assert settle_live(path, "auto") == "bfloat16"
    record, _ = adopt(tmp_path, configure("auto", path))
    assert (record.precision, record.runtime, record.quantised) == ("bfloat16", "openvino", {})
    record, _ = adopt(tmp_path, configure("int8", path))
    assert record.reason == "float32: the bundle has no network in 8-bit integers"
    monkeypatch.setattr(openvino_runtime, "has_bfloat16", lambda: False)
    record, _ = adopt(tmp_path, configure("auto", path))
    assert record.reason == (
        "float32: bfloat16, which the bundle has: this processor has no bfloat16 arithmetic"
    )
    assert settle_live(path, "auto") == "float32"


def test_a_live_network_of_a_bundle_runs_in_8_bit_integers(int8):
    path, theirs = int8
    assert settle_live(path, "auto") == settle_live(path, "int8") == "int8"
    options = RuntimeOptions("onnx", "int8", threads=1)
    frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    live = load_networks(path, options).whole.predict([frame])
    offline = load_predictor(theirs.model("pose"), options).predict([frame])
    plain = load_predictor(theirs.model("pose"), RuntimeOptions("onnx", "float32", threads=1))
    assert np.array_equal(live.position, offline.position)
    assert np.array_equal(live.confidence, offline.confidence)
    assert not np.array_equal(live.confidence, plain.predict([frame]).confidence)


def test_a_live_network_of_a_bundle_without_8_bit_integers_says_how_to_get_them(tmp_path, int8):
    path = run_bundle(configure("float32"), int8[1], TEXTS, tmp_path / "plain.cohortpose")
    assert settle_live(path, "auto") == "float32"
    with pytest.raises(
        ModelError, match=r"has no network in 8-bit integers; .* who wrote the bundle"
    ):
        settle_live(path, "int8")


def test_a_network_that_was_changed_is_not_bundled(tmp_path, int8):
    results = Results(tmp_path / "copy")
    shutil.copytree(int8[1].root, results.root)
    results.model("pose").quantised.write_bytes(b"changed")
    with pytest.raises(ModelError, match=r"network-int8\.onnx: is missing or changed; run"):
        run_bundle(configure("auto"), results, TEXTS, tmp_path / "two.cohortpose")


def test_texts_of_a_record_control_no_terminal_and_are_short(tmp_path, int8):
    members = read_members(int8[0])
    texts = {"reason": "int8\x1b[2J\u202eabc" + "x" * 5000, "processor": "a\nb"}
    path = change(int8[0], tmp_path / "h.cohortpose", precision_json=edit_record(members, **texts))
    record = read_bundle(path).precision
    assert record.reason.startswith("int8 [2J abcxx")
    assert (len(record.reason), record.processor) == (2000, "a b")


def edit_record(members, **values):
    record = json.loads(members["precision.json"]) | values
    return json.dumps(record).encode()


def test_a_record_of_other_networks_is_refused(tmp_path, int8):
    members = read_members(int8[0])
    other = edit_record(members, networks={".": "0" * 64})
    path = change(int8[0], tmp_path / "a.cohortpose", precision_json=other)
    with pytest.raises(ModelError, match=r"precision\.json is of other networks than those"):
        read_bundle(path)
    for quantised in ({}, {".": "0" * 64}, {"locator": "0" * 64}):
        other = edit_record(members, quantised=quantised)
        path = change(int8[0], tmp_path / "b.cohortpose", precision_json=other)
        with pytest.raises(ModelError, match=r"do not go together: .* get it again"):
            read_bundle(path)
    other = edit_record(members, precision="float32")
    path = change(int8[0], tmp_path / "e.cohortpose", precision_json=other)
    with pytest.raises(ModelError, match="do not go together"):
        read_bundle(path)
    for values in ({"points": 10**400}, {"points": -5}, {"images": 1e30}):
        other = edit_record(members, **values)
        path = change(int8[0], tmp_path / "f.cohortpose", precision_json=other)
        with pytest.raises(ModelError, match=r"precision\.json: not a record of precisions"):
            read_bundle(path)
    other = edit_record(members, reason="x" * 2**21)
    path = change(int8[0], tmp_path / "g.cohortpose", precision_json=other)
    with pytest.raises(ModelError, match="expected a small file of measurements"):
        read_bundle(path)
    path = change(int8[0], tmp_path / "c.cohortpose", precision_json=b"[" * 9000)
    with pytest.raises(ModelError, match=r"precision\.json: not a record of precisions"):
        read_bundle(path)


def test_a_gpu_is_not_left_for_8_bit_integers(tmp_path, int8, monkeypatch):
    monkeypatch.setattr(bundled, "count_gpus", lambda: 1)
    record, _ = adopt(tmp_path, configure("auto", int8[0]))
    told = "float32: the GPU does not compute in 8-bit integers, which the bundle has"
    assert (record.precision, record.reason) == ("float32", told)
    assert settle_live(int8[0], "auto") == "float32"
    # Whoever states a runtime of CPUs, or asks for them, has them.
    assert adopt(tmp_path, configure("auto", int8[0], "onnx"))[0].precision == "int8"
    assert settle_live(int8[0], "auto", runtime="onnx") == "int8"
    assert settle_live(int8[0], "auto", runtime="torch") == "float32"
    assert adopt(tmp_path, configure("int8", int8[0]))[0].precision == "int8"


def test_a_network_that_no_runtime_loads_is_not_taken(tmp_path, int8, caplog):
    import onnx  # noqa: PLC0415

    members = read_members(int8[0])
    model = onnx.load_model_from_string(members["network-int8.onnx"])
    del model.graph.node[len(model.graph.node) // 2]
    content = model.SerializeToString()
    path = change(
        int8[0],
        tmp_path / "broken.cohortpose",
        network_int8_onnx=content,
        precision_json=edit_record(members, quantised={".": hash_bytes(content, tmp_path)}),
    )
    record, ours = adopt(tmp_path, configure("int8", path))
    assert record.precision == "float32"
    assert record.reason.startswith("float32: int8, which the bundle has: the runtime of")
    assert "int8 was asked for and cannot be had: precision float32: int8" in caplog.text
    assert not ours.model("pose").quantised.exists()


def test_another_bundle_leaves_no_precision_of_the_one_before(tmp_path, int8):
    plain = run_bundle(configure("float32"), int8[1], TEXTS, tmp_path / "plain.cohortpose")
    _, ours = adopt(tmp_path, configure("auto", int8[0]))
    config = configure("auto", plain)
    run_import_model(config, ours)
    assert not ours.model("pose").quantised.exists()
    with pytest.raises(ModelError, match="the precision was not measured"):
        network_key(config, ours)


def test_a_bundle_without_a_measured_precision_says_so(tmp_path, int8, caplog):
    results = Results(tmp_path / "copy")
    shutil.copytree(int8[1].root, results.root)
    results.model("pose").precision.unlink()
    path = run_bundle(configure("auto"), results, TEXTS, tmp_path / "three.cohortpose")
    assert read_bundle(path).precision is None
    assert "the bundle has no precision, because none was measured; run" in caplog.text


def test_a_network_in_8_bit_integers_is_checked_like_the_other(tmp_path, int8):
    import onnx  # noqa: PLC0415

    members = read_members(int8[0])
    model = onnx.load_model_from_string(members["network-int8.onnx"])
    node = model.graph.node[len(model.graph.node) // 2]
    node.domain = "com.stranger"
    content = model.SerializeToString()
    digest = {".": hash_bytes(content, tmp_path)}
    path = change(
        int8[0],
        tmp_path / "d.cohortpose",
        network_int8_onnx=content,
        precision_json=edit_record(members, quantised=digest),
    )
    with pytest.raises(ModelError, match=r"network-int8\.onnx: uses operators of 'com\.stranger'"):
        read_bundle(path)


def hash_bytes(content, folder):
    path = Path(folder) / "content"
    path.write_bytes(content)
    return hash_path(path)
