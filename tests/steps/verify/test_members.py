"""Test that every network of an ensemble is verified."""

from collections import Counter
from functools import partial

import pytest

from pipeline_lib.cli_running import _name_stage
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.network import LabelSource
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.runs.stage_cache import _describe_infer
from pipeline_lib.steps.train import choose_member, run_train, training_key
from pipeline_lib.steps.verify.run import Problem, _verify_networks
from tests.models.synthetic import tiny_config, write_tiny_labels, write_tiny_model


@pytest.fixture
def pair(tmp_path):
    """Return a results folder with two networks of the present targets."""
    results, config = Results(tmp_path / "results"), tiny_config(ensemble=2)
    write_tiny_labels(results, train=4)
    run_make_targets(config, results)
    for number, files in enumerate(results.model("pose").list_members(2), 1):
        key = training_key(choose_member(config, number), TargetStore(results.targets))
        write_tiny_model(files, seed=number, key=key)
    return results


def verify(results, **training):
    """Return the differences of the networks, and the number of those compared."""
    labels = (LabelSource(path="labels"),)
    config, checked = tiny_config(**training).model_copy(update={"labels": labels}), Counter()
    return list(_verify_networks(config, results, checked)), checked["network"]


def test_a_damaged_or_outdated_member_is_found(pair):
    assert verify(pair, ensemble=2) == ([], 2)
    found, _ = verify(pair, ensemble=2, seed=1)
    assert [one.problem for one in found] == [Problem.UNEXPLAINED] * 2
    member = pair.model("pose").member(2)
    member.network.write_bytes(member.network.read_bytes() + b" ")
    (one,), _ = verify(pair, ensemble=2)
    assert (one.name, one.problem) == (str(member.network), Problem.CHANGED)
    assert verify(pair) == ([], 1)


def test_stored_poses_of_a_shard_depend_on_every_member(pair):
    cards = [one.card for one in pair.model("pose").list_members(2)]
    assert set(cards) <= set(_describe_infer(tiny_config(ensemble=2), pair, "00001").read)
    assert cards[1] not in _describe_infer(tiny_config(), pair, "00001").read


def test_a_member_that_is_trained_by_hand_is_not_taken_for_the_first():
    def name(**options):
        return _name_stage(partial(run_train, **options))

    assert name(locator=False, member=1) == "train"
    assert name(locator=True, member=1) == "train-locator"
    assert name(locator=False, member=2) == "train-members"
