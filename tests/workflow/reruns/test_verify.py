"""Test that `verify` finds nothing in an unchanged run, and names each change."""

import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline_lib.cli import app
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.steps.verify.unknown import list_unknown_files
from tests.workflow.reruns.test_what_runs_again import (
    change_a_label,
    change_filtering,
    change_metadata,
    change_nothing_that_counts,
    remove_a_video,
)
from tests.workflow.running import read_tsv

pytestmark = [pytest.mark.workflow]

LAYOUT = Results(Path())
POSES, STRANGER = (str(LAYOUT.poses("pose", video)) for video in ("mouse-01", "stranger"))
GOOD = ("mouse-01", "mouse-02")
FILTERED = [("filtered", str(LAYOUT.filtered("pose", video))) for video in GOOD]
EXPORTS = [
    (suffix, str(LAYOUT.exported("pose", video, suffix)))
    for suffix in ("h5", "csv")
    for video in GOOD
]
NETWORK = ("network", "results/models/pose/network.onnx")


def verify(run, monkeypatch, *options):
    """Return exit status and record of `cohortpose verify`."""
    monkeypatch.chdir(run.folder)
    command = ["verify", "--config", "config.yaml", "--format", "json", *options]
    ended = CliRunner().invoke(app, command)
    return ended.exit_code, json.loads(ended.stdout)


def tell(record):
    """Return kind, name and problem of each finding."""
    return {(found["kind"], found["name"], found["problem"]) for found in record["findings"]}


def flip_a_bit(path):
    """Change one bit of a file and give it back its time of change."""
    facts, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def pick_a_file(path):
    """Return a pose file, or the largest file of one that is a folder."""
    files = [file for file in path.rglob("*") if file.is_file()]
    return max(files, key=lambda file: file.stat().st_size, default=path)


def move_a_video(run, change):
    """Let the manifest name a copy of a video that was changed."""
    manifest = run.results.shard("00001").manifest
    original = read_tsv(manifest)[0]["path"]
    copy = shutil.copy2(original, run.folder / "copy.mp4")
    change(copy)
    manifest.write_text(manifest.read_text().replace(original, str(copy)))


@pytest.mark.parametrize("options", [(), ("--quick",)])
def test_a_run_that_is_as_it_was(again, monkeypatch, options):
    code, record = verify(again, monkeypatch, *options)
    assert (code, record["findings"], record["settings"]) == (0, [], [])
    assert record["checked"] | {"labels": 0} == {
        "sheet": 1,
        "labels": 0,
        "chosen settings": 1,
        "targets": 1,
        "network": 1,
        "ledger": 1,
        "report": 1,
        "summaries": 1,
        "report data": 1,
        "verdict": 1,
        "model": 1,
        "history": 1,
        "metrics": 1,
        "predictions": 1,
        "score maps": 1,
        "evaluated networks": 1,
        "video": 3,
        "frames": 2,
        "poses": 2,
        "filtered": 2,
        "h5": 2,
        "csv": 2,
        "table": 5,
        "settings": 1,
        "provenance": 1,
        "readme": 1,
        "crate": 1,
        "workflow": 1,
        "costs": 1,
        "dictionary": 1,
    }


MODEL = "models/pose"
# Every file that a run leaves, but logs, records and the working state of a training.
FILES = {
    f"{MODEL}/network.onnx": "network",
    f"{MODEL}/network.pt": "network",
    f"{MODEL}/model.json": "model",
    f"{MODEL}/history.tsv": "history",
    "labels/labels.parquet": "labels",
    "targets/targets.zarr": "targets",
    "evaluation/pose/metrics.tsv": "metrics",
    "evaluation/pose/predictions.parquet": "predictions",
    "ledger.tsv": "ledger",
    ".accepted": "verdict",
    "report/index.html": "report",
    "report/summaries.json": "summaries",
    "report/data": "report data",
    "config.resolved.yaml": "settings",
    "README.md": "readme",
    "ro-crate-metadata.json": "crate",
    "costs.tsv": "costs",
    "workflow": "workflow",
    "frames/mouse-01": "frames",
}
TABLES = ("probe", "frames", "infer-pose", "filter-pose", "export-pose")


# Records, keys, logs and working state, by the first part of the path below the results.
WORKING = {"logs", "benchmarks", "keys", "settings", "environments", ".runs", "jobs.jsonl"}


def test_every_file_of_a_run_is_known(finished):
    """A file that a stage makes is recorded, so that `verify` can tell of it."""
    config = read_config(finished.folder / "config.yaml")
    root = finished.results.root
    shard = finished.results.shard("00001").folder
    records = [
        finished.results.checksums,
        *shard.glob("contents-*.tsv"),
        *shard.glob(".checksums-*"),
    ]
    recorded = {
        row["path"] for record in records if record.suffix == ".tsv" for row in read_tsv(record)
    }
    unknown = set()
    for path in root.rglob("*"):
        name = path.relative_to(root)
        places = {name.as_posix(), *(parent.as_posix() for parent in name.parents)}
        if path.is_file() and name.parts[0] not in WORKING and not places & recorded:
            unknown.add(name.as_posix())
    assert list_unknown_files(config, finished.results) == []
    in_shard = {name for name in unknown if name.startswith("shards/00001/")}
    assert unknown - in_shard == {
        "contents.tsv",
        ".checksums.lock",
        "shards/.lock",
        "shards/plan.tsv",
        *(name for name in unknown if name.startswith("models/pose/checkpoints/")),
    }
    # Of a shard, what is no table: its manifest, records and the cache.
    assert all(
        name.split("/")[-1].startswith((".", "contents-", "manifest.tsv", "jobs.jsonl"))
        for name in in_shard
    ), in_shard


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_lost_is_found_and_comes_back(again, monkeypatch, name):
    path = again.results.root / name
    path.rename(again.folder / "aside")
    code, record = verify(again, monkeypatch, "--quick")
    assert (code, tell(record)) == (1, {(FILES[name], name, "missing")})
    planned = again.snakemake("--dry-run")
    assert "Nothing to be done" not in planned.output


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_changed_is_found(again, monkeypatch, name):
    path = again.results.root / name
    if path.suffix in (".json", "") and path.is_file():
        # Still the same card, the same crate.
        path.write_text(path.read_text() + "\n")
    else:
        flip_a_bit(pick_a_file(path))
    code, record = verify(again, monkeypatch)
    found = tell(record)
    assert code == 1
    # A damaged file may be told twice, as what it is and for what cannot be read of it.
    assert {problem for _, _, problem in found} == {"changed"}, found
    assert any(place.endswith(name) for _, place, _ in found), found
    assert all(place.removeprefix("results/").startswith(f"{name}") for _, place, _ in found)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_was_edited_is_found(again, monkeypatch, table):
    path = again.results.shard("00001").folder / f"{table}.tsv"
    path.write_text(path.read_text() + "\n")
    _, record = verify(again, monkeypatch, "--quick")
    assert ("table", f"shards/00001/{table}.tsv", "changed") in tell(record)


def test_a_run_of_one_target_leaves_the_rest_stale(again, monkeypatch):
    """Expect that results of the network before are listed: metrics, poses, summaries."""
    again.edit_config(training={"epochs": 4})
    ended = again.snakemake(f"results/{MODEL}/network.onnx")
    assert ended.code == 0, ended.output
    assert ended.jobs == {"train"}
    _, record = verify(again, monkeypatch)
    assert tell(record) == {
        ("metrics", "evaluation/pose/metrics.tsv", "unexplained"),
        ("predictions", "evaluation/pose/predictions.parquet", "unexplained"),
        ("score maps", "evaluation/pose/score_maps.npz", "unexplained"),
        ("evaluated networks", "evaluation/pose/networks.json", "unexplained"),
        # It names the networks of before.
        ("evaluation", "evaluation/pose", "unexplained"),
        *(("poses", str(LAYOUT.poses("pose", video)), "unexplained") for video in GOOD),
    }
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    code, record = verify(again, monkeypatch)
    assert (code, record["findings"]) == (0, [])


def test_a_report_of_other_results_is_stale(again, monkeypatch):
    again.edit_config(filtering={"window": 3})
    ended = again.snakemake("results/shards/00001/filter-pose.tsv")
    assert ended.code == 0, ended.output
    assert ended.jobs == {"postprocess 00001"}
    _, record = verify(again, monkeypatch)
    assert tell(record) == {
        ("ledger", "ledger.tsv", "unexplained"),
        ("report", "report/index.html", "unexplained"),
        ("summaries", "report/summaries.json", "unexplained"),
        ("report data", "report/data", "unexplained"),
    }


def test_settings_and_rows_that_change_no_result(again, monkeypatch):
    change_nothing_that_counts(again, None)
    code, record = verify(again, monkeypatch)
    assert code == 0, record
    assert "inference.batch_size" in record["settings"]


def damage_poses(run):
    flip_a_bit(pick_a_file(run.results.root / POSES))


def lose_filtered(run):
    run.results.filtered("pose", "mouse-02").rename(run.folder / "aside")


def damage_network(run):
    flip_a_bit(run.results.model("pose").network)


def damage_weights(run):
    flip_a_bit(run.results.model("pose").weights)


def edit_report(run):
    run.results.report.write_text("better figures")


def add_a_stranger(run):
    (run.results.root / POSES).rename(run.results.root / STRANGER)


def forget_the_hashes(run):
    run.results.shard("00001").checksums("export", "pose").unlink()


def forget_a_stage(run):
    run.results.shard("00001").export("pose").unlink()


def replace_a_video(run):
    move_a_video(run, flip_a_bit)


def lose_a_video(run):
    move_a_video(run, lambda copy: copy.unlink())


def train_longer(run):
    run.edit_config(training={"epochs": 4})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (damage_poses, {("poses", POSES, "changed")}),
        (lose_filtered, {(*FILTERED[1], "missing")}),
        (damage_network, {(*NETWORK, "changed")}),
        (damage_weights, {("network", "models/pose/network.pt", "changed")}),
        (edit_report, {("report", "report/index.html", "changed")}),
        (add_a_stranger, {("poses", STRANGER, "unexplained"), ("poses", POSES, "missing")}),
        (forget_the_hashes, {(*export, "unrecorded") for export in EXPORTS}),
        (forget_a_stage, {(*export, "missing") for export in EXPORTS}),
        (replace_a_video, {("video", "mouse-01", "changed")}),
        (lose_a_video, {("video", "mouse-01", "missing")}),
        (train_longer, {(*NETWORK, "unexplained")}),
        (lambda run: change_filtering(run, None), {(*one, "unexplained") for one in FILTERED}),
        (lambda run: change_metadata(run, None), {("sheet", "cohort.tsv", "changed")}),
        (lambda run: remove_a_video(run, None), {("sheet", "cohort.tsv", "changed")}),
    ],
)
def test_a_change_is_found(again, monkeypatch, change, expected):
    change(again)
    code, record = verify(again, monkeypatch)
    assert tell(record) == expected
    assert code == 1


def test_a_changed_label_is_found(again, monkeypatch):
    change_a_label(again, None)
    _, record = verify(again, monkeypatch)
    ((kind, name, problem),) = tell(record)
    assert (kind, problem) == ("labels", "changed")
    assert name.endswith(".csv")


def test_the_quick_way_sees_sizes_and_times_only(again, monkeypatch):
    damage_poses(again)
    assert verify(again, monkeypatch, "--quick")[0] == 0
    pick_a_file(again.results.root / POSES).touch()
    edit_report(again)
    code, record = verify(again, monkeypatch, "--quick")
    assert code == 1
    assert tell(record) == {
        ("poses", POSES, "changed"),
        ("report", "report/index.html", "changed"),
    }


def test_people_get_a_table_and_the_settings_that_may_explain_it(again, monkeypatch):
    change_filtering(again, None)
    monkeypatch.chdir(again.folder)
    ended = CliRunner().invoke(app, ["verify", "--config", "config.yaml"], env={"COLUMNS": "200"})
    assert ended.exit_code == 1
    assert FILTERED[1][1] in ended.stdout
    assert "Settings that differ from the last run's: filtering.window" in ended.stdout


def test_without_a_run_there_is_nothing_to_compare_with(fresh, monkeypatch):
    monkeypatch.chdir(fresh.folder)
    ended = CliRunner().invoke(app, ["verify", "--config", "config.yaml"])
    assert ended.exit_code == 1
    assert "no provenance of this version; run snakemake first" in ended.stderr
