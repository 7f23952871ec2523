"""Test that a change reruns the jobs that depend on it, and no others."""

import shutil

import numpy as np
import pytest

from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.steps.runs.plan import read_plan
from tests.video_corpus import write_audio
from tests.workflow.running import PROJECT, identify, read_tsv

pytestmark = [pytest.mark.workflow]

NAMES = ("pose", "second")
SUMMARY = {"status", "report", "accept"}
SHARD = ("probe", "select_frames", "infer", "postprocess")


def change_nothing_that_counts(run, _media):
    run.edit_config(
        inference={"batch_size": 3, "workers": 1, "shard_videos": 1},
        training={"accelerator": "cpu", "loader_workers": 1, "part_affinity_weight": 0.3},
        # Of several animals; here there is one.
        targets={"part_affinity_width": 3.0},
        assembly={"graph": "complete"},
    )
    # A sheet in another order would be another ledger; a table written anew is the same.
    run.write_sheet(run.read_sheet())


def change_filtering(run, _media):
    run.edit_config(filtering={"window": 3})


def change_exports(run, _media):
    run.edit_config(exports={"scorer": "another"})


def add_a_video(run, media):
    rows = run.read_sheet()
    row = {**rows[0], "video": "mouse-03", "path": str(media / "videos" / "mouse-03.mp4")}
    run.write_sheet([row, *rows])


def remove_a_video(run, _media):
    run.write_sheet([row for row in run.read_sheet() if row["video"] != "mouse-02"])


def change_metadata(run, _media):
    run.write_sheet([{**row, "dose": "7"} for row in run.read_sheet()])


def change_a_label(run, _media):
    table = next((run.folder / PROJECT).rglob("CollectedData_*.csv"))
    text = table.read_text()
    cell = next(cell for cell in text.splitlines()[-1].split(",")[3:] if cell)
    table.write_text(text.replace(cell, f"{float(cell) + 1}"))


def change_frame_selection(run, _media):
    run.edit_config(frames={"number": 2})


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        (change_nothing_that_counts, set()),
        (change_metadata, SUMMARY),
        (remove_a_video, SUMMARY),
        (change_frame_selection, {"select_frames 00001"}),
        (change_exports, {"postprocess 00001"} | SUMMARY),
        (change_filtering, {"postprocess 00001"} | SUMMARY),
        (add_a_video, {f"{rule} 00002" for rule in SHARD} | SUMMARY),
        (
            change_a_label,
            {"import_labels", "make_targets", "train", "evaluate"}
            | {"infer 00001", "postprocess 00001"}
            | SUMMARY,
        ),
    ],
)
def test_a_change_reruns_what_depends_on_it(again, media, change, jobs):
    """Check that results decide, not Snakemake's records, and that a dry run writes nothing."""
    change(again, media)
    before = identify(again.folder)
    planned = again.snakemake("--dry-run")
    assert planned.code == 0, planned.output
    assert planned.jobs == jobs
    assert identify(again.results.root).items() <= before.items()
    shutil.rmtree(again.folder / ".snakemake")
    assert again.snakemake("--dry-run").jobs == jobs
    after = identify(again.folder)
    new = {path.relative_to(again.folder).parts[0] for path in after.keys() - before.keys()}
    assert new <= {".snakemake"}
    assert {
        path for path in before if ".snakemake" not in path.parts and path not in after
    } == set()


def write_bad_videos(folder):
    """Write one file of each kind of damage but one, and return the reason each is to have."""
    folder.mkdir()
    (folder / "text.mp4").write_text("this is not a video\n" * 50)
    (folder / "empty.mp4").touch()
    write_audio(folder / "sound.mp4")
    return {
        "text": "not a video",
        "empty": "0 bytes",
        "sound": "no video stream",
        "gone": "no such file",
    }


def test_a_cohort_that_changes(again, media, tmp_path):
    """Change a filter setting, add a good and four bad videos, remove one; allow fewer bad ones."""
    change_filtering(again, media)
    remove_a_video(again, media)
    add_a_video(again, media)
    reasons = write_bad_videos(tmp_path / "bad")
    rows = again.read_sheet()
    rows += [{**rows[0], "video": n, "path": str(tmp_path / "bad" / f"{n}.mp4")} for n in reasons]
    again.write_sheet(rows)
    again.edit_config(inference={"max_failed_fraction": 0.9})
    poses = again.results.root / "poses" / "pose"
    before = identify(poses)
    filtered = read_poses(again.results.filtered("pose", "mouse-01")).attributes

    ended = again.snakemake()
    assert ended.code == 0, ended.output
    assert ended.jobs == {f"{rule} 00002" for rule in SHARD} | {"postprocess 00001"} | SUMMARY
    after = identify(poses)
    assert {path: after.get(path) for path in before} == before
    new = {path.relative_to(poses).parts[0] for path in set(after) - set(before)}
    assert new == {"mouse-03.zarr"}
    assert read_poses(again.results.poses("pose", "mouse-03")).position.shape[0] == 24
    now = read_poses(again.results.filtered("pose", "mouse-01")).attributes
    assert now["source_key"] == filtered["source_key"]
    assert (filtered["filtering"]["window"], now["filtering"]["window"]) == (5, 3)

    ledger = again.read_ledger()
    status = {video: row["status"] for video, row in ledger.items()}
    assert status == {
        "mouse-03": "done",
        "mouse-01": "done",
        "mouse-04-damaged": "quarantined",
        **dict.fromkeys(reasons, "quarantined"),
    }
    found = {video: ledger[video]["reason"] for video in reasons}
    assert [video for video, reason in reasons.items() if reason not in found[video]] == [], found
    assert len(set(found.values())) == len(reasons)
    assert "mouse-03" in again.results.report.read_text()
    plan = {row["video"]: (row["shard"], row["state"]) for row in read_tsv(again.results.plan)}
    assert plan["mouse-02"] == ("00001", "removed")
    assert plan["mouse-03"] == ("00002", "active")
    assert read_plan(again.results).shards == ("00001", "00002")
    # Its poses are kept: removing a row of a table is no order to destroy data.
    assert read_poses(again.results.poses("pose", "mouse-02")).position.shape[0] == 24
    assert again.snakemake("--dry-run").jobs == set()

    again.edit_config(inference={"max_failed_fraction": 0.1})
    for _ in range(2):
        refused = again.snakemake()
        assert refused.code != 0
        assert refused.jobs == {"accept"}
        verdict = "5 of 7 videos ended badly (0 failed, 5 quarantined)"
        counts = "2 done   0 pending   0 failed   5 quarantined"
        # Once each, though Snakemake shows the log of a failed job.
        assert [refused.output.count(line) for line in (verdict, counts)] == [1, 1]
        assert "cohortpose infer --retry-failed --config" in refused.output
        assert "inference.max_failed_fraction allows 0.1" in refused.output
        assert again.read_ledger() == ledger


def test_a_removed_video_comes_back(again):
    """Check that results made without the video are completed for that video alone."""
    rows = again.read_sheet()
    again.write_sheet([row for row in rows if row["video"] != "mouse-02"])
    again.edit_config(filtering={"window": 3})
    assert again.snakemake().code == 0
    poses = identify(again.results.root / "poses")
    exports = identify(again.results.root / "exports")
    again.write_sheet(rows)
    ended = again.snakemake()
    assert ended.jobs == {f"{rule} 00002" for rule in SHARD} | SUMMARY
    assert identify(again.results.root / "poses") == poses
    changed = {
        p for p, facts in identify(again.results.root / "exports").items() if exports[p] != facts
    }
    assert {path.stem for path in changed} == {"mouse-02"}
    statuses = [row["status"] for row in again.read_ledger().values()]
    assert statuses == ["done", "done", "quarantined"]
    x = read_poses(again.results.filtered("pose", "mouse-02"))
    assert x.attributes["filtering"]["window"] == 3
    assert np.isfinite(x.confidence).all()


def test_jobs_that_find_everything_as_it_was_end_at_once(again):
    """Check that tables, which Snakemake removes, are written again without reading poses."""
    files = again.results.shard("00001")
    tables = [files.infer("pose"), files.filter("pose"), files.export("pose")]
    before = [table.read_text() for table in tables]
    lines = files.jobs.read_text()
    ended = again.snakemake("--forcerun", "infer")
    assert ended.code == 0, ended.output
    assert ended.jobs == {"infer 00001", "postprocess 00001"} | SUMMARY
    assert [table.read_text() for table in tables] == before
    logs = again.results.root / "logs"
    said = [(logs / f"{rule}-pose" / "00001.log").read_text() for rule in ("infer", "postprocess")]
    verbs = ("infer", "filter", "export")
    assert "".join(said) == "".join(f"{v} 00001: as it was, nothing has changed\n" for v in verbs)
    # Nobody did anything.
    assert files.jobs.read_text() == lines


def test_a_network_of_another_name_leaves_the_results_of_the_first_alone(again):
    root = again.results.root
    before = identify(root)
    again.edit_config(training={"name": "second", "epochs": 2})
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    assert ended.jobs == {"train", "evaluate", "infer 00001", "postprocess 00001"} | SUMMARY
    after = identify(root)
    of_the_first = {path: facts for path, facts in before.items() if "pose" in path.parts}
    assert len(of_the_first) > 20
    assert {path: after.get(path) for path in of_the_first} == of_the_first
    keys = [read_poses(again.results.poses(name, "mouse-01")).attributes["key"] for name in NAMES]
    assert len(set(keys)) == 2
