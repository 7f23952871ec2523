"""Test the choice of the runtime of an inference: measured once per processor, in no key."""

from dataclasses import replace

import pytest

from pipeline_lib.core import processor
from pipeline_lib.core.layout import Results
from pipeline_lib.models.card import read_card
from pipeline_lib.models.inference.tuning import rates, runtime_choice
from pipeline_lib.models.inference.tuning.rates import measure_rates
from pipeline_lib.models.precision import PrecisionRecord, format_precision
from pipeline_lib.steps.infer import workers
from pipeline_lib.steps.infer.plan import describe_network
from pipeline_lib.steps.infer.tasks import VideoTask
from pipeline_lib.steps.infer.workers import settle_runtime
from pipeline_lib.steps.runs.result_keys import network_key
from tests.models.synthetic import tiny_config, write_tiny_model

RATES = {"openvino": 60.0, "onnx": 90.0}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    results = Results(tmp_path_factory.mktemp("results"))
    write_tiny_model(results.model("pose"))
    return results


@pytest.fixture(autouse=True)
def measured(monkeypatch, tmp_path):
    """Remember in an empty cache, and count the measurements."""
    monkeypatch.setenv("COHORTPOSE_CACHE", str(tmp_path / "cache"))
    calls = []

    def pretend(loaded, _):
        calls.append(sorted(loaded))
        return {name: RATES[name] for name in loaded}

    monkeypatch.setattr(runtime_choice, "measure_rates", pretend)
    monkeypatch.setattr(runtime_choice, "load_predictor", lambda *_: None)
    return calls


def make_tasks(config, results, frames):
    network = describe_network(config, results)
    return [VideoTask(name, "", frames, 30.0, "", 1, 1, "", "", "", None, network) for name in "ab"]


def choose(config, results, frames):
    found = {one.network.options.runtime for one in settle_runtime(config, results, frames)}
    assert len(found) == 1
    return found.pop()


def test_many_frames_are_worth_a_measurement_which_is_remembered(results, measured):
    config = tiny_config()
    few, many = (make_tasks(config, results, frames) for frames in (9_999, 10_000))
    assert choose(config, results, few) == "openvino"
    assert measured == []
    key = network_key(config, results)
    assert choose(config, results, many) == "onnx"
    assert measured == [["onnx", "openvino"]]
    # From now on for few frames, too, so that a resumed run goes on as it began.
    assert choose(config, results, few) == "onnx"
    assert choose(config, results, many) == "onnx"
    assert len(measured) == 1
    assert network_key(config, results) == key
    # The tasks are otherwise what they were.
    changed = settle_runtime(config, results, many)[0]
    options = replace(changed.network.options, runtime="openvino")
    assert replace(changed, network=replace(changed.network, options=options)) == many[0]


def test_another_processor_is_measured_anew(results, measured, monkeypatch):
    config = tiny_config()
    many = make_tasks(config, results, 10_000)
    assert choose(config, results, many) == "onnx"
    for module in (runtime_choice, workers):
        monkeypatch.setattr(module, "describe_processor", lambda: "another one")
    monkeypatch.setitem(RATES, "onnx", 65.0)
    # Noise of some percent changes nothing: the usual runtime is kept.
    assert choose(config, results, many) == "openvino"
    assert len(measured) == 2


def test_a_stated_runtime_and_precision_leave_nothing_to_measure(results, measured):
    config = tiny_config()
    stated = config.inference.model_copy(update={"runtime": "openvino"})
    config = config.model_copy(update={"inference": stated})
    assert choose(config, results, make_tasks(config, results, 10_000)) == "openvino"
    assert measured == []
    brain = tiny_config()
    inference = brain.inference.model_copy(update={"precision": "bfloat16"})
    brain = brain.model_copy(update={"inference": inference})
    assert choose(brain, results, make_tasks(brain, results, 10_000)) == "openvino"
    # Only one runtime has it.
    assert measured == []


def test_the_record_of_a_precision_tells_the_runtime_of_its_processor(results, measured):
    files, config = results.model("pose"), tiny_config()
    inference = config.inference.model_copy(update={"precision": "auto"})
    config = config.model_copy(update={"inference": inference})
    record = PrecisionRecord(
        stated="auto",
        precision="float32",
        runtime="onnx",
        reason="float32: as measured",
        networks={".": read_card(files.card).network_sha256},
        processor=processor.describe_processor(),
        versions=runtime_choice.list_versions(),
    )
    files.precision.write_text(format_precision(record))
    try:
        few = make_tasks(config, results, 1)
        assert choose(config, results, few) == "onnx"
        elsewhere = record.model_copy(update={"processor": "another one"})
        files.precision.write_text(format_precision(elsewhere))
        assert choose(config, results, few) == "openvino"
        assert measured == []
    finally:
        files.precision.unlink()


def test_a_cache_that_cannot_be_written_or_read_is_no_error(results, measured, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    config = tiny_config()
    many = make_tasks(config, results, 10_000)
    assert choose(config, results, many) == "onnx"
    assert choose(config, results, many) == "onnx"
    assert len(measured) == 2


def test_rates_are_those_of_the_fastest_round(monkeypatch):
    now, costs = [0.0], {"slow": [9.0, 4.0, 2.0, 4.0, 4.0, 4.0], "fast": [9.0, 1.0] + [1.5] * 4}

    class Pretended:
        def __init__(self, name):
            self.left = iter(costs[name])

        def predict(self, frames):
            assert len(frames) in (1, 4)
            now[0] += next(self.left)

    monkeypatch.setattr(rates.time, "process_time", lambda: now[0])
    found = measure_rates({name: Pretended(name) for name in costs}, [None] * 4)
    # The first call, in which networks are compiled, does not count.
    assert found == {"slow": 2.0, "fast": 4.0}
