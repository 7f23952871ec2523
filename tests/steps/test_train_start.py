"""Test trainings that start from the network of an earlier iteration."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from pipeline_lib.core.errors import ConfigError, ModelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.network import LocatingSettings
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.io.checksums import hash_path
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.models.card import format_card, read_card
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.runs.networks.start_network import check_start, find_start
from pipeline_lib.steps.runs.preflight import check_run
from pipeline_lib.steps.runs.stage_keys import find_stage_key
from pipeline_lib.steps.train import run_train, training_key
from tests.models.synthetic import tiny_config, write_tiny_labels, write_tiny_model

# So small a rate leaves weights as they are.
STILL = {"learning_rate": 1e-12, "weight_decay": 0.0, "epochs": 1}
NEXT = {"name": "pose-1", "iteration": 1, "start_from": "pose"}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Make results with the network of iteration 0."""
    results = Results(tmp_path_factory.mktemp("first") / "results")
    write_tiny_labels(results)
    run_make_targets(tiny_config(), results)
    run_train(tiny_config(epochs=2), results)
    return results


@pytest.fixture
def results(first, tmp_path, monkeypatch):
    shutil.copytree(first.root, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return Results(Path("results"))


def read_weights(results, name):
    return torch.load(results.model(name).weights, weights_only=True)


def test_each_member_starts_from_a_member_of_its_own(results):
    for number in (2, 3):
        write_tiny_model(results.model("pose").member(number), seed=number)
    config = tiny_config(**STILL, **NEXT, ensemble=4)
    for number in (2, 4):
        run_train(config, results, member=number)
    loaded = [
        torch.load(results.model(name).member(number).weights, weights_only=True)["score.weight"]
        for name, number in (("pose", 2), ("pose-1", 2), ("pose", 1), ("pose-1", 4))
    ]
    torch.testing.assert_close(loaded[1], loaded[0], atol=1e-6, rtol=0)
    # The fourth begins with the first of three again.
    torch.testing.assert_close(loaded[3], loaded[2], atol=1e-6, rtol=0)
    assert not torch.allclose(loaded[0], loaded[2], atol=1e-3)
    record = read_card(results.model("pose-1").member(2).card).training
    assert record.start_sha256 == hash_path(results.model("pose").member(2).weights)
    # What members start from is a part of the key, how many there are is not.
    key = find_stage_key(config, results, "train-members")
    assert key == find_stage_key(tiny_config(**STILL, **NEXT, ensemble=2), results, "train-members")
    first = find_stage_key(config, results, "train")
    write_tiny_model(results.model("pose").member(3), seed=9)
    assert key != find_stage_key(config, results, "train-members")
    # The first network starts from the first alone.
    assert first == find_stage_key(config, results, "train")
    # What an ensemble of another network left is none of its members.
    card = read_card(results.model("pose").member(3).card)
    other = card.model_copy(update={"head_channels": 16})
    results.model("pose").member(3).card.write_text(format_card(other))
    assert find_start(config, member=3) == results.model("pose")


def test_the_weights_are_those_of_the_network_it_starts_from(results):
    run_train(tiny_config(**STILL, **NEXT), results)
    before, after = read_weights(results, "pose"), read_weights(results, "pose-1")
    for name, value in before.items():
        if "running_" not in name and "num_batches" not in name:
            torch.testing.assert_close(after[name], value, atol=1e-6, rtol=0, msg=name)
    training = read_card(results.model("pose-1").card).training
    assert (training.iteration, training.start_from) == (1, "pose")
    assert training.start_sha256 == hash_path(results.model("pose").weights)
    # From scratch it is another network.
    run_train(tiny_config(**STILL, name="scratch", seed=5), results)
    assert not torch.equal(read_weights(results, "scratch")["score.weight"], before["score.weight"])
    assert read_card(results.model("scratch").card).training.start_from is None


def test_the_locator_starts_from_the_locator(results):
    """Coarse to fine has two networks: each goes on with the one of its kind."""

    def make(**training):
        config = tiny_config(**training)
        return config.model_copy(update={"locating": LocatingSettings(enabled=True, scale=0.5)})

    run_make_targets(make(), results, locator=True)
    with pytest.raises(ModelError, match=r"`training\.start_from`: pose|no such|locator"):
        run_train(make(**STILL, **NEXT), results, locator=True)
    run_train(make(epochs=2), results, locator=True)
    (problem,) = check_start(make(**{**NEXT, "start_from": "none"}), locator=True)
    assert "there are pose" in problem
    assert check_start(make(**NEXT), locator=True) == []
    run_train(make(**STILL, **NEXT), results, locator=True)
    before, after = (
        torch.load(results.model(name).locator.weights, weights_only=True)
        for name in ("pose", "pose-1")
    )
    torch.testing.assert_close(after["score.weight"], before["score.weight"], atol=1e-6, rtol=0)
    fine = read_weights(results, "pose")["score.weight"]
    assert before["score.weight"].shape != fine.shape or not torch.equal(
        before["score.weight"], fine
    )
    training = read_card(results.model("pose-1").locator.card).training
    assert training.start_sha256 == hash_path(results.model("pose").locator.weights)
    # The key of one depends on the other of its kind only.
    keys = {
        kind: find_stage_key(make(**NEXT), results, kind) for kind in ("train", "train-locator")
    }
    results.model("pose").locator.weights.write_bytes(b"others")
    assert find_stage_key(make(**NEXT), results, "train") == keys["train"]
    assert find_stage_key(make(**NEXT), results, "train-locator") != keys["train-locator"]


def test_the_key_is_of_the_weights_and_not_of_the_name(results):
    store, start = TargetStore(results.targets), results.model("pose")
    plain = training_key(tiny_config(), store)
    key = training_key(tiny_config(**NEXT), store, start)
    assert key != plain
    shutil.copytree(start.folder, results.model("copy").folder)
    named = tiny_config(**{**NEXT, "start_from": "copy"})
    assert training_key(named, store, results.model("copy")) == key
    assert training_key(tiny_config(iteration=1, name="x"), store) == plain
    stage = find_stage_key(tiny_config(**NEXT), results, "train")
    start.weights.write_bytes(b"others")
    assert training_key(tiny_config(**NEXT), store, start) != key
    assert find_stage_key(tiny_config(**NEXT), results, "train") != stage


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"backbone": "resnet18"}, "has backbone resnet18, but this training has "),
        ({"head_channels": 16}, "has head_channels 16, but this training has 8"),
        ({"stride": 4}, "has stride 4, but this training has 8"),
        ({"edges": ((0, 1),)}, "has edges with an affinity field"),
        ({"bodyparts": ("b", "a")}, "has bodyparts b, a, but this training has "),
    ],
)
def test_another_network_is_refused_before_training(results, monkeypatch, change, problem):
    files = results.model("pose")
    card = read_card(files.card)
    if "bodyparts" in change:
        skeleton = card.skeleton.model_copy(update=change)
        change = {"skeleton": skeleton}
    files.card.write_text(format_card(card.model_copy(update=change)))
    monkeypatch.setattr(
        "pipeline_lib.models.training.run.train_network", lambda *_, **__: pytest.fail("trained")
    )
    with pytest.raises(ModelError, match=r"`training\.start_from`: pose") as caught:
        run_train(tiny_config(**NEXT), results)
    assert problem in str(caught.value)
    assert not results.model("pose-1").folder.exists()


def test_what_the_settings_show_is_found_before_the_run(results):
    Path("cohort.tsv").write_text("video\tpath\nv\tv.mp4\n")
    card = read_card(results.model("pose").card)

    def check(skeleton=(), **training):
        training = {
            "backbone": card.backbone,
            "head_channels": 8,
            "weights": "none",
            **NEXT,
            **training,
        }
        values = {"cohort": "cohort.tsv", "training": training}
        check_run({**values, "skeleton": {"bodyparts": list(skeleton)}})

    check(card.skeleton.bodyparts)
    for training, skeleton, problem in (
        ({"start_from": "none"}, (), r"none: no such network .*there are pose: train it first"),
        ({"head_channels": 9}, (), "has head_channels 8, but this training has 9"),
        ({}, card.skeleton.bodyparts[::-1], "has bodyparts "),
        ({"start_from": "pose-1"}, (), "is the network itself"),
        ({"start_from": "../pose"}, (), "must be letters|should match|pattern"),
    ):
        with pytest.raises(ConfigError, match=problem):
            check(skeleton, **training)
    results.model("pose").card.write_text("{}")
    with pytest.raises(ConfigError, match="pose: no such network"):
        check()


class Payload:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_weights_that_are_damaged_or_a_program_are_refused(results):
    files = results.model("pose")
    spoilt = read_weights(results, "pose")
    spoilt["score.bias"][0] = torch.nan
    for damage in ("not finite", "a program", "other tensors", "bytes", "gone"):
        if damage == "not finite":
            torch.save(spoilt, files.weights)
        elif damage == "a program":
            torch.save({"score.weight": Payload()}, files.weights)
        elif damage == "other tensors":
            torch.save({"score.weight": torch.zeros(1)}, files.weights)
        elif damage == "bytes":
            files.weights.write_bytes(b"\x80\x04nothing")
        else:
            files.weights.unlink()
        with pytest.raises(ModelError, match=r"training\.start_from"):
            run_train(tiny_config(**NEXT), results)
        assert not Path("pwned").exists()


def test_iterations_of_settings():
    with pytest.raises(ConfigError, match=r"training\.iteration"):
        parse_config({"cohort": "c", "training": {"iteration": -1}})
    with pytest.raises(ConfigError, match=r"labels\.0\.iteration"):
        parse_config({"cohort": "c", "labels": [{"path": "p", "iteration": 0.5}]})
