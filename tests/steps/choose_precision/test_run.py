"""Test `choose-precision` on a tiny network: files, keys, and what keeps a network in float32."""

import json
import shutil

import numpy as np
import pytest

from pipeline_lib.core.errors import ConfigError, ModelError
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.io.checksums import hash_path
from pipeline_lib.io.images import write_png
from pipeline_lib.live.networks import settle_precision as settle_live
from pipeline_lib.models.card import format_card, read_card
from pipeline_lib.models.inference import openvino_runtime
from pipeline_lib.models.inference.tuning import quantisation
from pipeline_lib.models.precision import (
    PrecisionRecord,
    format_precision,
    in_float32,
    read_precision,
    settle_precision,
)
from pipeline_lib.steps.choose_precision import choice, measure, run
from pipeline_lib.steps.choose_precision.run import run_choose_precision
from pipeline_lib.steps.infer.plan import describe_network
from pipeline_lib.steps.infer.workers import uses_gpus
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.runs.result_keys import network_key
from tests.models.synthetic import tiny_config, write_tiny_labels, write_tiny_model

SPEEDS = {
    ("openvino", "float32"): 70.0,
    ("onnx", "float32"): 60.0,
    ("openvino", "bfloat16"): 140.0,
    ("openvino", "int8"): 200.0,
    ("onnx", "int8"): 100.0,
}


def configure(precision, runtime="onnx", **training):
    config = tiny_config(**training)
    inference = config.inference.model_copy(update={"precision": precision, "runtime": runtime})
    return config.model_copy(update={"inference": inference})


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    results = Results(tmp_path_factory.mktemp("labelled"))
    write_tiny_labels(results, train=6, test=2)
    run_make_targets(tiny_config(), results)
    write_tiny_model(results.model("pose"))
    return results


@pytest.fixture
def results(labelled, tmp_path):
    shutil.copytree(labelled.root, tmp_path / "results")
    return Results(tmp_path / "results")


@pytest.fixture(autouse=True)
def pretended(monkeypatch):
    """Give every machine the same speeds, bfloat16, and no GPU; no error is too large."""
    monkeypatch.setattr(
        measure, "measure_rates", lambda loaded, *_, **__: {one: SPEEDS[one] for one in loaded}
    )
    monkeypatch.setattr(openvino_runtime, "has_bfloat16", lambda: True)
    monkeypatch.setattr(measure, "count_gpus", lambda: 0)
    for module in (choice, run):
        monkeypatch.setattr(module, "MOST_GROWTH", 1e9)


def choose(config, results):
    run_choose_precision(config, results)
    return read_precision(results.model("pose").precision)


def write_record(files):
    """Write what was measured of a network by hand."""
    record = PrecisionRecord(
        stated="int8",
        precision="int8",
        reason="int8: as measured",
        networks={".": read_card(files.card).network_sha256},
        quantised={".": "0" * 64},
    )
    files.precision.write_text(format_precision(record))


def test_int8_makes_a_network_and_is_in_the_key(results):
    files, config = results.model("pose"), configure("int8")
    with pytest.raises(ModelError, match="the precision was not measured; run `cohortpose choose"):
        network_key(config, results)
    record = choose(config, results)
    assert (record.precision, record.runtime) == ("int8", "onnx")
    assert record.quantised == {".": hash_path(files.quantised)}
    assert record.networks == {".": read_card(files.card).network_sha256}
    assert record.calibrated_on == 6
    assert (record.judged_on, record.images, record.points) == ("all", 8, 23)
    rates = {(one.runtime, one.precision): one.frames_per_second for one in record.measured}
    assert rates == {("onnx", "float32"): 60.0, ("onnx", "int8"): 100.0}
    own = {(one.runtime, one.precision): one for one in record.measured}
    assert own["onnx", "float32"].moved == pytest.approx(0, abs=1e-3)
    assert own["onnx", "int8"].moved > 0
    task = describe_network(config, results)
    assert (task.options.precision, task.options.runtime) == ("int8", "onnx")
    assert not uses_gpus(settle_precision(config, results).inference)
    key = network_key(config, results)
    # The checksum of the network counts, which the record names.
    values = json.loads(files.precision.read_text())
    values["quantised"]["."] = "0" * 64
    files.precision.write_text(json.dumps(values))
    assert network_key(config, results) != key
    choose(config, results)
    assert network_key(config, results) == key
    assert key != network_key(in_float32(config), results)
    # Whoever states float32 has the key of before there was this, whatever was measured.
    assert network_key(configure("float32"), results) == network_key(tiny_config(), results)


def test_auto_resolves_to_the_same_results_as_the_stated_precision(results, monkeypatch):
    config = configure("auto", runtime="openvino")
    monkeypatch.setitem(SPEEDS, ("openvino", "bfloat16"), 300.0)
    record = choose(config, results)
    assert record.precision == "bfloat16"
    assert record.quantised == {}
    assert not results.model("pose").quantised.exists()
    assert network_key(config, results) == network_key(configure("bfloat16"), results)
    assert network_key(config, results) != network_key(configure("float32"), results)
    # Results that would need int8 need its measurement.
    with pytest.raises(ModelError, match=r"was measured for inference\.precision auto"):
        network_key(configure("int8"), results)
    monkeypatch.setitem(SPEEDS, ("openvino", "bfloat16"), 1.0)
    assert choose(config, results).precision == "int8"
    assert network_key(config, results) == network_key(configure("int8"), results)
    assert settle_live(results.root, "float16") == "float16"


def test_a_processor_without_bfloat16_is_not_asked_for_it(results, monkeypatch):
    monkeypatch.setattr(openvino_runtime, "has_bfloat16", lambda: False)
    record = choose(configure("auto", runtime="openvino"), results)
    found = {one.precision: one for one in record.measured}
    assert found["bfloat16"].reason == "this processor has no bfloat16 arithmetic"
    assert found["bfloat16"].frames_per_second is None
    assert found["int8"].frames_per_second == 200.0
    assert {one.runtime for one in record.measured} == {"openvino"}


def test_frames_that_are_all_alike_leave_the_network_in_float32(results, caplog):
    caplog.set_level("INFO")
    for path in sorted((results.root / "images").glob("*.png")):
        write_png(path, np.full((64, 64, 3), 90, np.uint8))
    run_make_targets(tiny_config(), results)
    record = choose(configure("int8"), results)
    assert record.precision == "float32"
    assert record.reason.startswith("float32 instead of int8: the 6 labelled training frames are")
    assert record.reason in caplog.text
    assert not results.model("pose").quantised.exists()
    assert network_key(configure("int8"), results) == network_key(tiny_config(), results)
    assert describe_network(configure("int8"), results).options.precision == "float32"


def test_a_network_that_cannot_be_converted_stays_in_float32(results, monkeypatch):
    def fail(*_):
        raise RuntimeError("unheard-of operation\nin a long story")

    monkeypatch.setattr(quantisation, "_quantise", fail)
    record = choose(configure("auto"), results)
    assert record.precision == "float32"
    reasons = {one.runtime: one.reason for one in record.measured if one.precision == "int8"}
    told = "network.onnx cannot be converted to 8-bit integers (RuntimeError: unheard-of operation)"
    assert reasons == {"onnx": told}
    assert network_key(configure("auto"), results) == network_key(tiny_config(), results)


def test_sensitive_layers_stay_in_float_and_what_is_inexact_is_not_taken(
    results, monkeypatch, caplog
):
    """The maps of an untrained network are so flat that rounding moves their peaks."""
    caplog.set_level("INFO")
    for module in (choice, run):
        monkeypatch.setattr(module, "MOST_GROWTH", -99.0)
    kept = []
    convert = quantisation._quantise

    def note(network, frames, path, keep):
        kept.append(keep)
        convert(network, frames, path, keep)

    monkeypatch.setattr(quantisation, "_quantise", note)
    record = choose(configure("auto"), results)
    assert kept == ["ends", "head"]
    assert "mean error too large with the first and last layers in float" in caplog.text
    assert record.precision == "float32"
    assert record.reason.startswith("float32: too inexact is int8: 1.67 times the frames/s")
    assert not results.model("pose").quantised.exists()
    # Who asks for 8-bit integers gets them, and is told what they cost.
    caplog.clear()
    assert choose(configure("int8"), results).precision == "int8"
    assert "int8 was asked for: its mean error on labelled frames is" in caplog.text


def test_members_are_converted_together(results, monkeypatch):
    files, config = results.model("pose"), configure("int8", ensemble=2)
    write_tiny_model(files.member(2), seed=1)
    record = choose(config, results)
    assert set(record.quantised) == {".", "members/2"}
    assert record.quantised["."] != record.quantised["members/2"]
    key = network_key(config, results)
    with pytest.raises(ModelError, match="is of other networks"):
        network_key(configure("int8"), results)
    # Of two networks one cannot be converted: both stay as they are.
    convert = quantisation._quantise

    def fail_second(network, frames, path, keep):
        if network.parent.name == "2":
            raise RuntimeError("no")
        convert(network, frames, path, keep)

    monkeypatch.setattr(quantisation, "_quantise", fail_second)
    record = choose(config, results)
    assert record.precision == "float32"
    assert "members/2: network.onnx cannot be converted" in record.reason
    assert not any(one.quantised.exists() for one in files.list_members(2))
    assert network_key(config, results) != key


def test_another_training_needs_another_measurement(results):
    config, files = configure("int8"), results.model("pose")
    write_record(files)
    assert settle_precision(config, results).inference.precision == "int8"
    card = read_card(files.card).model_copy(update={"network_sha256": "1" * 64})
    files.card.write_text(format_card(card))
    for resolve in (network_key, describe_network):
        with pytest.raises(ModelError, match=r"precision.json: is of other networks; run"):
            resolve(config, results)


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"precision": "int4"}', "{" * 50, " " * (2**20 + 1)],
    ids=["empty", "list", "unknown", "deep", "large"],
)
def test_a_damaged_record_is_one_clear_error(results, content):
    results.model("pose").precision.write_text(content)
    with pytest.raises(ModelError, match=r"precision\.json: .*run choose-precision"):
        network_key(configure("auto"), results)


def test_a_record_names_no_file_elsewhere(results):
    files = results.model("pose")
    write_record(files)
    values = json.loads(files.precision.read_text())
    values["networks"] = {"../../elsewhere": "0" * 64}
    files.precision.write_text(json.dumps(values))
    with pytest.raises(ModelError, match="not a record of precisions"):
        read_precision(files.precision)


def test_a_stated_precision_is_not_measured(results):
    with pytest.raises(ConfigError, match="bfloat16 needs no measurement"):
        run_choose_precision(configure("bfloat16"), results)
    assert not results.model("pose").precision.exists()


def test_quantised_files_are_named_beside_their_networks(tmp_path):
    files = ModelFiles(tmp_path)
    assert files.quantised == tmp_path / "network-int8.onnx"
    assert files.member(2).quantised == tmp_path / "members" / "2" / "network-int8.onnx"
