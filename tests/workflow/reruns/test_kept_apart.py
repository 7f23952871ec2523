"""Test runs that meet on one results folder, and other causes of mix-ups on a machine."""

import shutil

import pytest

from pipeline_lib.core.layout import Results
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.run_lock import RunLock
from tests.workflow.running import PROJECT, identify

pytestmark = [pytest.mark.workflow]


def test_a_run_with_other_settings_is_refused(again):
    lock = RunLock(again.results, "of another run")
    again.edit_config(filtering={"window": 3})
    before = identify(again.results.root)
    refused = again.snakemake()
    assert refused.code != 0
    assert "another run with other settings is at work on this results folder" in refused.output
    assert refused.jobs == set()
    after = identify(again.results.root)
    assert {path: after.get(path) for path in before if path.parent.name != ".runs"} == {
        path: facts for path, facts in before.items() if path.parent.name != ".runs"
    }
    lock.release()
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    poses = read_poses(again.results.filtered("pose", "mouse-01"))
    assert poses.attributes["filtering"]["window"] == 3


def test_settings_that_come_back_are_made_again_without_snakemakes_records(again):
    """Check that key files tell the runs apart: the results of window 5 are the newest."""
    for window in (3, 5):
        again.edit_config(filtering={"window": window})
        shutil.rmtree(again.folder / ".snakemake")
        ended = again.snakemake()
        assert ended.code == 0, ended.output
        assert "postprocess 00001" in ended.jobs
        poses = read_poses(again.results.filtered("pose", "mouse-01"))
        assert poses.attributes["filtering"]["window"] == window
        assert again.snakemake("--dry-run").jobs == set()


def test_status_says_what_verify_says(again):
    def ask(verb, *options):
        command = ["cohortpose", "--directory", str(again.folder), verb, *options]
        return again.watch([*command, "--config", "config.yaml"], lambda: None).output

    assert "2 done   0 pending" in ask("status")
    again.edit_config(filtering={"window": 3})
    assert "0 done   2 pending" in ask("status")
    assert "waiting for filter" in ask("status", "--format", "tsv")
    assert "unexplained" in ask("verify", "--quick")


def test_braces_in_paths_of_labels_sheet_and_weights(fresh, tmp_path):
    run = fresh.copy(tmp_path / "co{hort}")
    (run.folder / PROJECT).rename(run.folder / "pro{ject}")
    (run.folder / "cohort.tsv").rename(run.folder / "{sheet}.tsv")
    run.edit_config(cohort="{sheet}.tsv", labels=[{"path": "pro{ject}"}])
    planned = run.snakemake("--dry-run", "--configfile", str(run.folder / "config.yaml"))
    assert planned.code == 0, planned.output
    assert {"import_labels", "train", "probe 00001"} <= planned.jobs
    assert not Results(run.folder / "results").root.exists()


def test_braces_in_the_results_folder_are_refused_with_the_reason(fresh, tmp_path):
    run = fresh.copy(tmp_path / "run")
    run.edit_config(results="re{sults}")
    refused = run.snakemake("--dry-run")
    assert refused.code != 0
    assert "`results`: 're{sults}' has a brace, which Snakemake takes for a wildcard" in (
        refused.output
    )


def test_the_command_beside_this_snakemake_runs(again, tmp_path, monkeypatch):
    other = tmp_path / "bin" / "cohortpose"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\necho 'the wrong cohortpose' >&2\nexit 9\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{other.parent}:{shutil.os.environ['PATH']}")
    ended = again.snakemake("--forcerun", "status")
    assert ended.code == 0, ended.output
    assert "the wrong cohortpose" not in ended.output


def test_results_that_are_lost_are_made_again(again):
    """Check that lost poses, no outputs of rules, and lost files between results are noticed."""
    poses = again.results.poses("pose", "mouse-01")
    before = {path.name: path.read_bytes() for path in poses.rglob("*") if path.is_file()}
    shutil.rmtree(poses)
    again.results.exported("pose", "mouse-02", "csv").unlink()
    planned = again.snakemake("--dry-run")
    assert planned.jobs == {"infer 00001", "postprocess 00001", "status", "report", "accept"}
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    assert {path.name: path.read_bytes() for path in poses.rglob("*") if path.is_file()} == before
    assert again.results.exported("pose", "mouse-02", "csv").exists()
    assert again.snakemake("--dry-run").jobs == set()
    for path in (again.results.model("pose").card, again.results.shard("00001").infer("pose")):
        kept = path.read_bytes()
        path.unlink()
        assert again.snakemake("--dry-run").jobs >= {"infer 00001", "status"}
        path.write_bytes(kept)


def test_a_sheet_that_is_edited_meanwhile_concerns_the_next_run(again):
    again.edit_config(report={"title": "another"})
    rows = again.read_sheet()

    def edit():
        # A run claims the folder once its plan is written: before that an edit refuses the run.
        claimed = any(again.results.run_locks.rglob("run"))
        if claimed and len(again.read_sheet()) == len(rows):
            again.write_sheet(rows[:-1])

    command = ["snakemake", "--cores", "2", "--directory", str(again.folder)]
    shutil.rmtree(again.results.run_locks)
    ended = again.watch([*command, "--configfile", str(again.folder / "config.yaml")], edit)
    assert ended.code == 0, ended.output
    assert "was changed while the run was at work: run the same command again" in ended.output
    assert "status" in again.snakemake("--dry-run").jobs
