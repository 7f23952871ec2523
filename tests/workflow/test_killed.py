"""A run that is killed, twice: what was done stays done, and the end is the same."""

import shutil

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.io.poses import read_poses
from tests.workflow.running import identify

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

GOOD = ("mouse-01", "mouse-02")


def test_a_killed_run_goes_on(finished, again, tmp_path):
    """From another folder than the repository, as the rest of a run that has its targets."""
    results, model = again.results, again.results.model("pose")
    for name in ("models", "poses", "filtered", "exports", "evaluation", "report"):
        shutil.rmtree(results.root / name)
    for path in [*results.shards.glob("*/*-pose.tsv"), results.ledger, results.accepted]:
        path.unlink()
    targets = identify(results.targets)

    last = model.checkpoints / "last.ckpt"
    again.kill_when(last.exists, cwd=tmp_path)
    assert not model.card.exists()

    locked = again.snakemake(cwd=tmp_path)
    assert locked.code != 0
    assert "--unlock" in locked.output
    assert again.snakemake("--unlock", cwd=tmp_path).code == 0
    poses = results.root / "poses" / "pose"
    again.kill_when(lambda: poses.is_dir() and any(poses.iterdir()), cwd=tmp_path)
    log = (results.root / "logs" / "train-pose.log").read_text()
    assert f"resuming from {last.relative_to(again.folder)}" in log
    assert not results.shard("00001").infer("pose").exists()
    network = identify(model.folder)
    there = set(poses.glob("[!.]*.zarr"))
    complete = {path: facts for folder in there for path, facts in identify(folder).items()}

    assert again.snakemake("--unlock", cwd=tmp_path).code == 0
    ended = again.snakemake(cwd=tmp_path)
    assert ended.code == 0, ended.output
    assert "train" not in ended.jobs
    assert "make_targets" not in ended.jobs
    assert "infer 00001" in ended.jobs
    assert identify(model.folder) == network
    assert identify(results.targets) == targets
    now = identify(poses)
    assert {path: now.get(path) for path in complete} == complete

    for video in GOOD:
        expected = read_poses(finished.results.poses("pose", video))
        found = read_poses(results.poses("pose", video))
        np.testing.assert_array_equal(found.position, expected.position)
        np.testing.assert_array_equal(found.confidence, expected.confidence)
    curves = [pd.read_csv(run.results.model("pose").history, sep="\t") for run in (finished, again)]
    pd.testing.assert_frame_equal(*curves)
    status = {video: row["status"] for video, row in again.read_ledger().items()}
    assert status == {**dict.fromkeys(GOOD, "done"), "mouse-04-damaged": "quarantined"}
    left = list(results.root.rglob(".part-*"))
    assert left == []
