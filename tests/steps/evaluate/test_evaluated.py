"""Test that errors of one network are never shown or handed on as those of another."""

import json
import logging
import shutil
from collections import Counter
from pathlib import Path

import pytest

import pipeline_lib.steps.evaluate.run as subject
from pipeline_lib.core.layout import Results
from pipeline_lib.io.labels.table import read_labels
from pipeline_lib.models.card import BundleRecord, format_card, read_card
from pipeline_lib.models.zoo.archive import read_bundle
from pipeline_lib.steps.bundle import run_bundle
from pipeline_lib.steps.evaluate.evaluated import find_mismatch
from pipeline_lib.steps.evaluate.run import run_evaluate
from pipeline_lib.steps.provenance.outputs import record_outputs
from pipeline_lib.steps.refine.label_errors import list_label_errors
from pipeline_lib.steps.report.inputs import read_inputs
from pipeline_lib.steps.report.labelling.iterations import compare_iterations
from pipeline_lib.steps.report.page import write_report
from pipeline_lib.steps.verify.run import _verify_evaluation
from tests.models.synthetic import tiny_config, write_tiny_labels, write_tiny_model
from tests.models.zoo.bundles import TEXTS

CONFIG = tiny_config()
ALL = ("all", "test", "median_error")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    results = Results(tmp_path_factory.mktemp("evaluated") / "results")
    write_tiny_labels(results, train=2, test=1)
    write_tiny_model(results.model("pose"))
    run_evaluate(CONFIG, results)
    return results


@pytest.fixture
def results(evaluated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v.mp4").write_bytes(b"no video")
    (tmp_path / "cohort.tsv").write_text("video\tpath\nv\tv.mp4\n")
    shutil.copytree(evaluated.root, "results")
    return Results(Path("results"))


def adopt(results):
    """Let the network's card say that it came from a bundle."""
    path = results.model("pose").card
    record = BundleRecord(file="x.cohortpose", sha256="1" * 64)
    path.write_text(format_card(read_card(path).model_copy(update={"bundle": record})))


def test_an_evaluation_names_its_network(results):
    digest = read_card(results.model("pose").card).network_sha256
    record = json.loads(results.evaluated_networks("pose").read_text())
    assert record == {"format_version": 1, "networks": {".": digest}}
    assert find_mismatch(CONFIG, results) == ""
    inputs = read_inputs(CONFIG, results)
    assert (ALL in inputs.metrics, len(inputs.predictions), inputs.gaps) == (True, 9, [])
    packed = read_bundle(run_bundle(CONFIG, results, TEXTS, Path("own.cohortpose")))
    assert packed.read("metrics.tsv") == results.metrics("pose").read_bytes()
    assert list(_verify_evaluation(CONFIG, results)) == []
    # Without the network there is nothing that it could be taken for.
    shutil.rmtree(results.model("pose").folder)
    assert ALL in read_inputs(CONFIG, results).metrics


def test_no_reader_takes_an_evaluation_for_that_of_another_network(results, caplog):
    write_tiny_model(results.model("pose"), seed=1)
    inputs = read_inputs(CONFIG, results)
    assert (inputs.metrics, len(inputs.predictions)) == ({}, 0)
    (gap,) = inputs.gaps
    assert "is of other networks" in gap
    assert gap.endswith("run `cohortpose evaluate`")
    # Also if it is another network of the results than that of the run.
    training = CONFIG.training.model_copy(update={"name": "other"})
    other = CONFIG.model_copy(update={"training": training})
    assert read_inputs(other, results, "pose").metrics == {}
    packed = read_bundle(run_bundle(CONFIG, results, TEXTS, Path("b.cohortpose")))
    assert packed.read("metrics.tsv") is None
    assert "## Errors on labelled frames\n\nNone are known." in packed.readme
    assert "the bundle has no errors on labelled frames" in caplog.text
    doubts = list_label_errors(CONFIG, results, read_labels(results.labels))
    assert {row["network"] for row in doubts} <= {""}
    labelled = CONFIG.model_copy(update={"labels": ("any",)})
    (finding,) = _verify_evaluation(labelled, results)
    assert (finding.kind, finding.name) == ("evaluation", "evaluation/pose")


def test_the_page_shows_nothing_of_another_network(results):
    write_report(CONFIG, results)
    page = results.report.read_text()
    for text in ("predictions.parquet", "Median test error", "mean Euclidean error"):
        assert text in page
    write_tiny_model(results.model("pose"), seed=1)
    write_report(CONFIG, results)
    page = results.report.read_text()
    assert "is of other networks" in page
    for text in ("predictions.parquet", "Median test error", "mean Euclidean error"):
        assert text not in page


def test_iterations_are_compared_by_their_own_errors(results):
    write_tiny_model(results.model("later"), seed=2, name="later")
    path = results.model("later").card
    card = read_card(path)
    training = card.training.model_copy(update={"iteration": 1})
    path.write_text(format_card(card.model_copy(update={"training": training})))
    shutil.copytree(results.metrics("pose").parent, results.metrics("later").parent)
    found = compare_iterations(CONFIG, results)
    told = {one.name: one.median for one in found.networks}
    assert told["pose"] == read_inputs(CONFIG, results).metrics[ALL]
    assert told["later"] != told["later"]  # NaN: its tables are of the first network


def test_members_that_joined_later_were_not_evaluated(results):
    training = CONFIG.training.model_copy(update={"ensemble": 2})
    both = CONFIG.model_copy(update={"training": training})
    write_tiny_model(results.model("pose").member(2), seed=3)
    assert "is of other networks" in find_mismatch(both, results)
    # Seen from a run of another network, the evaluated one is as it was.
    renamed = training.model_copy(update={"name": "x"})
    assert find_mismatch(both.model_copy(update={"training": renamed}), results, "pose") == ""


def test_an_evaluation_that_stopped_half_way_is_of_no_network(results, monkeypatch):
    def stop(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(subject, "publish_score_maps", stop)
    with pytest.raises(OSError, match="No space"):
        run_evaluate(CONFIG, results)
    assert "the last evaluation did not end" in find_mismatch(CONFIG, results)
    results.evaluated_networks("pose").write_text("{")
    assert "cannot be read" in find_mismatch(CONFIG, results)


def test_evaluations_of_earlier_releases_are_used_if_nothing_contradicts(results, caplog):
    results.evaluated_networks("pose").unlink()
    assert ALL in read_inputs(CONFIG, results).metrics
    with caplog.at_level(logging.WARNING):
        run_bundle(CONFIG, results, TEXTS, Path("b.cohortpose"))
    assert "did not record of which network it is" in caplog.text
    # The record of the results tells what was published last, also in a copy.
    record_outputs(CONFIG, results, "train")
    assert "is of other networks" not in find_mismatch(CONFIG, results)
    record_outputs(CONFIG, results, "evaluate")
    assert find_mismatch(CONFIG, results) == ""
    write_tiny_model(results.model("pose"), seed=1)
    record_outputs(CONFIG, results, "train")
    assert "is of other networks" in find_mismatch(CONFIG, results)


def test_a_network_of_a_bundle_has_no_evaluation_of_an_earlier_release(results):
    adopt(results)
    assert find_mismatch(CONFIG, results) == ""  # evaluated with its record
    results.evaluated_networks("pose").unlink()
    assert "is of other networks" in find_mismatch(CONFIG, results)
    assert Counter(read_inputs(CONFIG, results).metrics) == Counter()
