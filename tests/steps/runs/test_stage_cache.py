"""Test that a finished stage is a cache hit unless something it depends on has changed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import pipeline_lib
import pipeline_lib.steps.filter as subject
from pipeline_lib.cli import app
from pipeline_lib.core import versions
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.reading import hash_settings, parse_config, write_resolved_config
from pipeline_lib.core.tables import MANIFEST_COLUMNS, PLAN_COLUMNS, PROBE_COLUMNS, STAGE_COLUMNS
from pipeline_lib.io.poses.read import read_pose_key
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.start import answer_at_once
from pipeline_lib.steps.probe import ProbeRecord

pytestmark = pytest.mark.usefixtures("ended")

SHARD = "00001"
RESULTS = Results(Path("results"))
FILES = RESULTS.shard(SHARD)
SETTINGS = RESULTS.run_settings("now")
TABLES = {"filter": FILES.filter("pose"), "export": FILES.export("pose")}
HEAVY = {"typer", "pydantic", "yaml", "numpy", "pandas", "zarr", "cv2", "av", "dask"}


def write_pose_file(video, key="infer-key", frames=5):
    poses = Poses(
        position=np.arange(2.0 * frames, dtype=np.float32).reshape(frames, 1, 1, 2),
        confidence=np.ones((frames, 1, 1), np.float32),
        frame_status=np.zeros(frames, np.uint8),
        time=np.arange(frames) / 30,
        bodyparts=("nose",),
        individuals=("animal",),
        attributes={"video": video, "key": key, "fps": 30.0, "versions": {"infer": 1}},
    )
    write_poses(RESULTS.poses("pose", video), poses)


def write_settings(**sections):
    config = parse_config({"cohort": "cohort.tsv", "filtering": {"window": 3}, **sections})
    SETTINGS.parent.mkdir(exist_ok=True)
    SETTINGS.write_text(write_resolved_config(config))


def write_plan(**states):
    rows = [{"video": v, "shard": SHARD, "state": state} for v, state in states.items()]
    rows.append({"video": "elsewhere", "shard": "00002", "state": "active"})
    write_table(RESULTS.plan, PLAN_COLUMNS, rows)


def write_inferred(*rows):
    write_table(FILES.infer("pose"), STAGE_COLUMNS, rows)


DONE = {"status": "done", "key": "infer-key", "seconds": 5.0}
DAMAGED = {"video": "damaged", "status": "quarantined", "reason": "no frames"}


@pytest.fixture
def ended(tmp_path, monkeypatch):
    """Return a filtered and exported shard of two good videos and a bad one."""
    monkeypatch.chdir(tmp_path)
    RESULTS.shards.mkdir(parents=True)
    write_plan(a="active", b="active", damaged="active")
    write_inferred({"video": "a", **DONE}, {"video": "b", **DONE}, DAMAGED)
    write_settings()
    for video in ("a", "b"):
        write_pose_file(video)
    for verb in TABLES:
        run(verb)


def command(verb):
    return [verb, "--config", str(SETTINGS), "--shard", SHARD]


def run(verb):
    result = CliRunner().invoke(app, command(verb))
    assert result.exit_code == 0, result.output


def identify_all():
    files = [path for path in Path().rglob("*") if path.is_file()]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("verb", TABLES)
def test_the_table_is_written_again_and_nothing_else_is(verb):
    before, text = identify_all(), TABLES[verb].read_text()
    TABLES[verb].unlink()
    assert answer_at_once([*command(verb), "--cores", "2"])
    assert TABLES[verb].read_text() == text
    after = identify_all()
    changed = {path for path in before if after.get(path) != before[path]}
    assert changed == {TABLES[verb]}
    assert after.keys() == before.keys()


def replace_raw():
    write_pose_file("b", key="another")


def remove_raw():
    (RESULTS.poses("pose", "b") / "position" / "c.0.0.0.0").unlink()


def remove_filtered():
    RESULTS.filtered("pose", "b").unlink()


def touch_filtered():
    os.utime(RESULTS.filtered("pose", "a"))


def cut_export():
    path = RESULTS.exported("pose", "b", "csv")
    path.write_text(path.read_text()[:-5])


def remove_export():
    RESULTS.exported("pose", "a", "h5").unlink()


def forget_hashes():
    for verb in TABLES:
        FILES.checksums(verb, "pose").unlink()


def remove_from_plan():
    write_plan(a="active", b="removed", damaged="active")


def add_a_row():
    for table in (FILES.infer("pose"), FILES.filter("pose")):
        more = {"video": "c", "status": "failed", "reason": "odd"}
        write_table(table, STAGE_COLUMNS, [*read_table(table, STAGE_COLUMNS), more])


def damage_memory():
    for verb in TABLES:
        path = FILES.cached_outcome(verb)
        path.write_text(path.read_text()[:-1])


def remember_in_another_format():
    for verb in TABLES:
        path = FILES.cached_outcome(verb)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 0}))


CHANGES = {
    lambda: write_settings(filtering={"window": 5}): "filter export",
    lambda: write_settings(exports={"scorer": "me"}): "filter export",
    replace_raw: "filter",
    remove_raw: "filter",
    remove_filtered: "filter export",
    touch_filtered: "filter export",
    cut_export: "export",
    remove_export: "export",
    forget_hashes: "filter export",
    remove_from_plan: "filter export",
    add_a_row: "filter export",
    damage_memory: "filter export",
    remember_in_another_format: "filter export",
}


@pytest.mark.parametrize(("change", "concerned"), CHANGES.items())
def test_a_change_is_no_cache_hit_for_the_stages_it_concerns(change, concerned):
    change()
    answered = {verb for verb in TABLES if answer_at_once(command(verb))}
    assert answered == set(TABLES) - set(concerned.split())


@pytest.mark.parametrize("step", ["FILTER", "EXPORT"])
def test_another_version_of_a_step(monkeypatch, step):
    monkeypatch.setattr(versions, step, 99)
    assert not any(answer_at_once(command(verb)) for verb in TABLES)


def test_more_videos_in_other_shards_change_nothing():
    write_plan(a="active", b="active", damaged="active", c="active")
    rows = read_table(RESULTS.plan, PLAN_COLUMNS)
    write_table(
        RESULTS.plan,
        PLAN_COLUMNS,
        [r | {"shard": "00003"} if r["video"] == "c" else r for r in rows],
    )
    assert all(answer_at_once(command(verb)) for verb in TABLES)


def test_a_failed_stage_is_no_cache_hit():
    poses = RESULTS.poses("pose", "b")
    poses.rename(poses.with_name("aside"))
    run("filter")
    assert [row["status"] for row in read_table(TABLES["filter"], STAGE_COLUMNS)] == [
        "done",
        "failed",
        "quarantined",
    ]
    assert not answer_at_once(command("filter"))
    poses.with_name("aside").rename(poses)
    run("filter")
    assert answer_at_once(command("filter"))


def test_a_result_that_is_replaced_meanwhile_is_not_vouched_for(monkeypatch):
    """Change it by another run, after the stage has checked it and before its end is recorded."""
    FILES.cached_outcome("filter").unlink()
    write = subject.write_table

    def write_late(*arguments):
        write(*arguments)
        write_pose_file("a", key="another")

    monkeypatch.setattr(subject, "write_table", write_late)
    run("filter")
    assert not FILES.cached_outcome("filter").exists()
    monkeypatch.setattr(subject, "write_table", write)
    run("filter")
    assert read_pose_key(RESULTS.filtered("pose", "a")) in TABLES["filter"].read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["filter"],
        ["filter", "--help"],
        ["filter", "--config", str(SETTINGS)],
        ["filter", "--config", str(SETTINGS), "--shard"],
        ["filter", "--config", str(SETTINGS), "--shard", SHARD, "--verbose", "1"],
        ["filter", "--config", str(SETTINGS), "--shard", "../shards/00001"],
        ["filter", "--config", "./results/../results/settings/now.yaml", "--shard", SHARD],
        ["export", "--config", str(SETTINGS), "--shard", "00002"],
        ["-v", "filter", "--config", str(SETTINGS), "--shard", SHARD],
    ],
)
def test_other_command_lines_are_for_the_command_line_to_judge(arguments):
    assert not answer_at_once(arguments)


def test_only_the_settings_beside_the_results_are_known():
    Path("config.yaml").write_text(SETTINGS.read_text())
    assert not answer_at_once(["filter", "--config", "config.yaml", "--shard", SHARD])
    FILES.cached_outcome("filter").unlink()
    result = CliRunner().invoke(app, ["filter", "--config", "config.yaml", "--shard", SHARD])
    assert result.exit_code == 0, result.output
    assert not FILES.cached_outcome("filter").exists()


def test_a_video_is_probed_again_when_its_file_changed():
    Path("a.mp4").write_bytes(b"video")
    facts = Path("a.mp4").stat()
    row = {"video": "a", "path": "a.mp4", "bytes": 5, "modified_ns": facts.st_mtime_ns}
    write_table(FILES.manifest, MANIFEST_COLUMNS, [row])
    facts = {"video": "a", "status": "done", "path": "a.mp4", "fingerprint": "f", "frames": 5}
    facts["key"] = hash_settings("f", versions.PROBE)
    record = ProbeRecord(FILES.probe_record)
    record.add(row, dict.fromkeys(PROBE_COLUMNS, "") | facts)
    record.write()
    run("probe")
    assert answer_at_once(command("probe"))
    Path("a.mp4").write_bytes(b"other")
    assert not answer_at_once(command("probe"))


def test_it_is_answered_before_anything_is_loaded():
    TABLES["filter"].unlink()
    code = (
        "import sys; from pipeline_lib.start import main; main()\n"
        f"print(*sorted(set(sys.modules) & {HEAVY!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command("filter")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(pipeline_lib.__file__).parents[1])},
    )
    assert done.stdout == "\n"
    assert done.stderr == f"filter {SHARD}: as it was, nothing has changed\n"
    assert TABLES["filter"].exists()
