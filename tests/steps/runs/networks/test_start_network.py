"""Test trainings whose start is replaced, removed or shared while they are at work."""

import shutil
from pathlib import Path

import pytest
import torch
import typer
from safetensors.torch import load

import pipeline_lib.models.training.run as training_run
from pipeline_lib.cli_running import run
from pipeline_lib.core.errors import ModelError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.models.card import read_card
from pipeline_lib.models.zoo.archive import read_bundle
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.runs.networks.start_network import find_start
from pipeline_lib.steps.runs.stage_keys import claim_stage
from pipeline_lib.steps.train import _load_same, hash_start, run_train
from pipeline_lib.steps.transfer import plan_start
from tests.models.synthetic import tiny_config, write_tiny_labels, write_tiny_model
from tests.models.zoo.bundles import write_tiny_bundle

# The weights stay what they were.
STILL = {"epochs": 1, "learning_rate": 1e-12, "weight_decay": 0.0, "start_from": "s.cohortpose"}


@pytest.fixture
def bundles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = Results(Path("results"))
    write_tiny_labels(results, train=2)
    run_make_targets(tiny_config(), results)
    return write_tiny_bundle(tmp_path, "one"), write_tiny_bundle(tmp_path, "two", seed=1)


@pytest.mark.parametrize("gone", [False, True])
def test_the_card_names_the_bundle_that_was_read(bundles, monkeypatch, gone):
    one, two = bundles
    shutil.copy(one, "s.cohortpose")
    results, train = Results(Path("results")), training_run.train_network

    def change_start(*arguments, **options):
        trained = train(*arguments, **options)
        Path("s.cohortpose").unlink()
        if not gone:
            shutil.copy(two, "s.cohortpose")
        return trained

    monkeypatch.setattr(training_run, "train_network", change_start)
    run_train(tiny_config(**STILL), results)
    card = read_card(results.model("pose").card)
    assert card.training.start_sha256 == read_bundle(one).sha256
    theirs = load(read_bundle(one).read("weights.safetensors"))["score.weight"]
    ours = torch.load(results.model("pose").weights, weights_only=True)["score.weight"]
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_another_bundle_than_that_of_the_key_is_refused(bundles, monkeypatch):
    results, config = Results(Path("results")), tiny_config(**STILL)
    shutil.copy(bundles[0], "s.cohortpose")
    claim_stage(config, results, "train")
    shutil.copy(bundles[1], "s.cohortpose")
    monkeypatch.setattr(training_run, "train_network", lambda *_, **__: pytest.fail("too late"))
    with pytest.raises(StoreError, match=r"train: a file .* s\.cohortpose\): run the same command"):
        run_train(config, results)
    assert not results.model("pose").card.exists()


def test_weights_that_are_replaced_while_they_are_read_are_refused(tmp_path):
    results = Results(tmp_path)
    write_tiny_model(results.model("first"))
    start = results.model("first")
    source = hash_start(start)
    _load_same(lambda _: None, start, source)(None)
    write_tiny_model(results.model("first"), seed=1)
    with pytest.raises(ModelError, match="was replaced while this training began"):
        _load_same(lambda _: None, start, source)(None)


def test_bodyparts_that_start_from_the_same_one_are_told(bundles, caplog):
    shutil.copy(bundles[0], "s.cohortpose")
    layout = TargetStore(Results(Path("results")).targets).layout
    for names, told in (
        ({"red": "blue", "green": "blue"}, "red, green, blue all start as blue"),
        # By its own name, too.
        ({"red": "blue"}, "red, blue all start as blue"),
        ({"red": "blue", "blue": "red"}, ""),
    ):
        caplog.clear()
        config = tiny_config(**STILL, start_bodyparts=names)
        plan_start(config, find_start(config), layout)
        found = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert (len(found), all(told in text for text in found)) == (bool(told), True)


def test_labels_that_change_while_they_are_imported_are_refused(tmp_path, monkeypatch, capsys):
    """The results would count as those of the labels before, also when these are put back."""
    monkeypatch.chdir(tmp_path)
    folder = Path("dlc/labeled-data/v")
    folder.mkdir(parents=True)
    table = folder / "CollectedData_a.csv"
    table.write_text("scorer,a,a\nbodyparts,nose,nose\ncoords,x,y\nlabeled-data/v/img1.png,5,6\n")
    Path("cohort.tsv").write_text("video\tpath\nv\tv.mp4\n")
    Path("config.yaml").write_text("cohort: cohort.tsv\nlabels: [{path: dlc}]\n")
    edits = [("5,6", "5,6"), ("5,6", "7,8")]

    def run_import_labels(_config, _results):
        table.write_text(table.read_text().replace(*edits.pop(0)))

    run(Path("config.yaml"), run_import_labels)
    with pytest.raises(typer.Exit):
        run(Path("config.yaml"), run_import_labels)
    told = capsys.readouterr().err
    assert "import-labels: a file that it reads was changed after the run had started" in told
    assert "CollectedData_a.csv" in told
