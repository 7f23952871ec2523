"""Test that tidying a finished run removes what nothing asks for, and that nothing runs again."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipeline_lib.cli import app
from pipeline_lib.core.settings.reading import hash_settings, read_config, write_resolved_config
from pipeline_lib.core.tables import COST_COLUMNS
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.run_lock import RunLock
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.provenance.checksums import Published, read_checksums, record_checksums
from pipeline_lib.steps.tidy.find import find_stale

pytestmark = pytest.mark.workflow
KEY = "0123456789abcdef"


def call(run, *arguments, code=0):
    options = ("--directory", str(run.folder), *arguments, "--config", "config.yaml")
    told = CliRunner().invoke(app, options)
    assert told.exit_code == code, told.output
    return told.output


def list_files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def add_old_network(run):
    """Make what an earlier network, killed writers and a person have left; return what is ours."""
    results = run.results
    before = list_files(results.root)
    old = results.model("old")
    shutil.copytree(results.model("pose").folder, old.folder)
    shard = results.shard("00001")
    poses = results.poses("old", "mouse-01")
    shutil.copytree(results.poses("pose", "mouse-01"), poses)
    files = [old.network, old.weights, old.card, old.history]
    record_checksums(results.checksums, results.root, [Published("network", one) for one in files])
    record_checksums(
        shard.checksums("infer", "old"), results.root, [Published("poses", poses, "mouse-01", "k")]
    )
    shutil.copy(shard.infer("pose"), shard.infer("old"))
    for path in (
        results.segments("pose", KEY) / "0-10.npz",
        results.root / "filtered" / "pose" / ".part-0123abcd.zip",
        results.root / "poses" / "pose" / ".old-mouse-01.zarr.0123abcd" / "zarr.json",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        # Old enough that no run can be at work on it.
        for one in (path, *(folder for folder in (path.parent,) if folder.name.startswith("."))):
            os.utime(one, (1e9, 1e9))
    config = read_config(run.folder / "config.yaml")
    other = config.model_copy(update={"costs": config.costs.model_copy(update={"group": "sex"})})
    publish_text(results.run_settings(hash_settings(other)), write_resolved_config(other))
    return list_files(results.root) - before


def test_tidy(again, monkeypatch):
    monkeypatch.chdir(again.folder)
    results = again.results
    assert again.snakemake("-n").jobs == set()
    ours = add_old_network(again)
    theirs = {"models/old/notes.txt", "exports/pose/mine.csv", "settings/mine.yaml", "plots/a.png"}
    changed = "models/old/history.tsv"
    for name in theirs:
        (results.root / name).parent.mkdir(parents=True, exist_ok=True)
        (results.root / name).write_text("mine")
    (results.root / changed).write_text("mine, too")
    before = list_files(results.root)
    told = call(again, "tidy")
    assert "nothing was removed: add --delete" in told
    assert list_files(results.root) == before
    # Beside a run, or a verb, nothing is removed.
    lock = RunLock(results, hash_settings(read_config(again.folder / "config.yaml")))
    assert "at work" in call(again, "tidy", "--delete", code=1)
    lock.claim_run()
    assert "at work" in call(again, "tidy", "--delete", code=1)
    lock.release()
    told = call(again, "tidy", "--delete")
    gone = before - list_files(results.root)
    # Locks are made anew.
    assert {name for name in gone if not name.startswith(".runs/")} == ours - {changed}
    assert all((results.root / name).read_text().startswith("mine") for name in (*theirs, changed))
    for name in ("models/old/notes.txt", "exports/pose/mine.csv", changed):
        assert f"kept           {name}: " in told
    assert not any(
        name.startswith("models/old/network") for name in read_checksums(results.checksums)
    )
    assert "0 files and folders to remove" in call(again, "tidy")
    assert again.snakemake("-n").jobs == set()


def test_a_removed_video(again, monkeypatch):
    monkeypatch.chdir(again.folder)
    results = again.results
    rows = again.read_sheet()
    gone, stays = rows[0]["video"], rows[1]["video"]
    again.write_sheet(rows[1:])
    jobs = again.snakemake("-n").jobs
    config = read_config(again.folder / "config.yaml")
    found = find_stale(config, results)
    assert {one.what for one in found.stale.values()} == {"removed video"}
    assert f"poses/pose/{gone}.zarr" in found.stale
    call(again, "tidy", "--delete")
    assert not results.poses("pose", gone).exists()
    assert results.poses("pose", stays).exists()
    # Frames hold labels of people.
    assert results.frames(gone).exists()
    assert again.snakemake("-n").jobs == jobs
    # A broken sheet removes nobody.
    (again.folder / "cohort.tsv").write_text("video\tpath\n")
    call(again, "tidy", "--delete", code=1)
    assert results.poses("pose", stays).exists()


def test_costs_of_a_run(finished):
    results = finished.results
    rows = read_table(results.costs, COST_COLUMNS)
    videos = [row["name"] for row in rows if row["kind"] == "video"]
    assert videos == [row["video"] for row in finished.read_sheet()]
    run = rows[-1]
    assert run["kind"] == "run"
    assert float(run["cpu_hours"]) > sum(float(row["cpu_hours"]) for row in rows[:2]) > 0
    assert float(run["wall_hours"]) > 0
    # 24 frames at the demo's rate in each of two good videos.
    assert float(run["video_hours"]) == pytest.approx(2 * 24 / 30 / 3600, rel=0.1)
    crate = json.loads(results.crate.read_text())
    (file,) = [one for one in crate["@graph"] if one["@id"] == "costs.tsv"]
    assert f"cpu_hours {run['cpu_hours']}" in file["name"]
    recorded = read_checksums(results.checksums)["costs.tsv"]
    assert int(recorded["bytes"]) == results.costs.stat().st_size


def test_prices_and_groups_of_a_finished_run(again, monkeypatch):
    monkeypatch.chdir(again.folder)
    path = again.folder / "config.yaml"
    values = yaml.safe_load(path.read_text())
    prices = {"currency": "EUR", "cpu_hour": 3600, "group": "sex"}
    path.write_text(yaml.safe_dump({**values, "costs": prices}))
    # Nothing but the report has to do with prices.
    assert again.snakemake("-n").jobs <= {"report", "accept"}
    call(again, "costs", "--write")
    rows = read_table(again.results.costs, COST_COLUMNS)
    paid = [float(row["cost"]) for row in rows]
    assert paid == pytest.approx([3600 * float(row["cpu_hours"]) for row in rows], rel=1e-4)
    assert paid[-1] > 1
    call(again, "report")
    page = again.results.report.read_text()
    assert '<section id="costs">' in page
    assert "cost (EUR)" in page
    path.write_text(yaml.safe_dump({**values, "costs": {**prices, "group": "grant"}}))
    assert "no column 'grant'" in call(again, "costs", code=1)
    assert "no column 'grant'" in again.snakemake("-n").output
    assert Path("cohort.tsv").is_file()
