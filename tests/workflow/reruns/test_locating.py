"""Test the coarse-to-fine mode: a second network is trained, and poses depend on it."""

import pytest

from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.models.card import read_card
from tests.workflow.reruns.test_what_runs_again import SUMMARY
from tests.workflow.running import identify

pytestmark = [pytest.mark.workflow]

POSES = {"evaluate", "infer 00001", "postprocess 00001"} | SUMMARY


def test_locating_trains_its_network_and_predicts_anew(again):
    """Keep trained networks; a second run does nothing; switching back predicts once more."""
    network = read_card(again.results.model("pose").card)
    before = identify(again.results.targets)
    keys = {video: row["key"] for video, row in again.read_ledger().items()}
    again.edit_config(locating={"enabled": True, "scale": 0.5, "window": 64, "epochs": 2})
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    assert ended.jobs == POSES | {"make_locator_targets", "train_locator"}

    assert read_card(again.results.model("pose").card) == network
    assert identify(again.results.targets) == before
    locator = read_card(again.results.model("pose").locator.card)
    assert (locator.scale, locator.training.epochs) == (0.5, 2)
    ledger = again.read_ledger()
    for video in ("mouse-01", "mouse-02"):
        assert ledger[video]["status"] == "done"
        assert ledger[video]["key"] != keys[video]
        poses = read_poses(again.results.poses("pose", video))
        assert poses.attributes["key"] == ledger[video]["key"]
        assert poses.position.shape[0] == 24
    assert again.snakemake().jobs == set()

    # How windows are chosen is no matter of the networks; how the locator is trained is of one.
    again.edit_config(locating={"window": 32})
    assert again.snakemake("--dry-run").jobs == POSES
    again.edit_config(locating={"window": 64, "epochs": 3})
    assert again.snakemake("--dry-run").jobs == POSES | {"train_locator"}
    again.edit_config(locating={"enabled": False})
    assert again.snakemake("--dry-run").jobs == POSES

    # The frames of 96 x 96 px are too small for windows: poses are those of whole frames.
    again.edit_config(locating={"enabled": "auto", "epochs": 2})
    ended = again.snakemake()
    assert (ended.code, ended.jobs) == (0, POSES), ended.output
    assert "predicted in whole images: windows would be as slow" in ended.output
    assert again.read_ledger()["mouse-01"]["key"] not in keys.values()
    assert again.snakemake().jobs == set()
