"""Kill a run twice: finished work is kept, and the results are the same."""

import shutil

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.io.poses.read import read_poses
from tests.workflow.running import REPOSITORY, identify

pytestmark = [pytest.mark.workflow]

GOOD = ("mouse-01", "mouse-02")


def test_a_killed_run_goes_on(finished, again, tmp_path):
    """Start in another folder than the repository, with the rest of a run that has its targets."""
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
    others = []

    def start_another():
        if not others and any((again.folder / ".snakemake" / "locks").glob("*")):
            others.append(again.snakemake(cwd=tmp_path))

    command = ["snakemake", "--cores", "2", "--directory", str(again.folder)]
    command += ["--configfile", str(again.folder / "config.yaml")]
    command += ["--snakefile", str(REPOSITORY / "Snakefile")]
    ended = again.watch(command, start_another, cwd=tmp_path)
    assert ended.code == 0, ended.output
    # Two at once on one folder: Snakemake refuses the second, which says why.
    (refused,) = others
    assert refused.code != 0
    assert "LockException" in refused.output
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
        assert read_bytes(results, video) == read_bytes(finished.results, video)
    curves = [pd.read_csv(run.results.model("pose").history, sep="\t") for run in (finished, again)]
    pd.testing.assert_frame_equal(*curves)
    status = {video: row["status"] for video, row in again.read_ledger().items()}
    assert status == {**dict.fromkeys(GOOD, "done"), "mouse-04-damaged": "quarantined"}
    assert [*results.root.rglob(".part-*"), *results.root.rglob(".segments")] == []


def read_bytes(results, video):
    folder = results.poses("pose", video)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder): path.read_bytes() for path in files}
