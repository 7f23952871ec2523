"""Test probing of a shard: every video gets an outcome, independent of the others."""

import sys
from pathlib import Path

import pytest

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import MANIFEST_COLUMNS, PROBE_COLUMNS
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.io.video.reader import fingerprint_file
from pipeline_lib.steps import probe
from pipeline_lib.steps.probe import run_probe
from tests.video_corpus import encode, x264

CONFIG = parse_config({"cohort": "cohort.tsv"})

# Written as a module of its own, because processes import what they run.
_CRASHING = """
import os
def examine(path):
    if "crash" in path:
        os.abort()
    if "disk" in path:
        raise OSError(5, "Input/output error")
    return {"status": "done", "reason": "", "fingerprint": path}
"""


def write_manifest(results: Results, paths: list[Path]) -> None:
    rows = [{"video": path.stem, "path": path, "bytes": 0, "modified_ns": 0} for path in paths]
    write_table(results.shard("s0").manifest, MANIFEST_COLUMNS, rows)


def read_rows(results: Results) -> dict[str, dict[str, str]]:
    return {row["video"]: row for row in read_table(results.shard("s0").probe, PROBE_COLUMNS)}


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "results")


@pytest.fixture
def crashing(tmp_path, monkeypatch):
    (tmp_path / "crashing_examination.py").write_text(_CRASHING)
    monkeypatch.syspath_prepend(tmp_path)
    import crashing_examination  # noqa: PLC0415 - written just now

    monkeypatch.setattr(probe, "_examine", crashing_examination.examine)
    yield
    del sys.modules["crashing_examination"]


def test_good_and_bad_videos_each_get_a_row(tmp_path, results):
    good = encode(tmp_path / "good.mp4", frames=30, options=x264())
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    cut = encode(tmp_path / "cut.mp4", options=x264())
    cut.write_bytes(cut.read_bytes()[:3000])
    write_manifest(results, [text, good, cut, tmp_path / "gone.mp4", tmp_path])
    run_probe(CONFIG, results, "s0")
    rows = read_rows(results)
    assert list(rows) == ["text", "good", "cut", "gone", tmp_path.stem]
    assert rows["good"] | {"key": ""} == {
        "video": "good",
        "status": "done",
        "reason": "",
        "seconds": "",
        "key": "",
        "path": str(good),
        "fingerprint": fingerprint_file(good),
        "frames": "30",
        "fps": "25",
        "width": "96",
        "height": "64",
        "duration": "1.2",
        "codec": "h264",
        "pixel_format": "yuv420p",
        "variable_frame_rate": "false",
    }
    bad = {video: row["reason"].split(":")[0] for video, row in rows.items() if video != "good"}
    assert bad == {
        "text": "not a video",
        "cut": "truncated",
        "gone": "no such file",
        tmp_path.stem: "a folder, not a file",
    }
    assert {rows[video]["status"] for video in bad} == {"quarantined"}


def test_key_follows_content_and_not_the_name(tmp_path, results):
    one = encode(tmp_path / "one.mp4", frames=5, options=x264())
    two = tmp_path / "two.mp4"
    two.write_bytes(one.read_bytes())
    three = encode(tmp_path / "three.mp4", frames=6, options=x264())
    write_manifest(results, [one, two, three])
    run_probe(CONFIG, results, "s0")
    keys = {video: row["key"] for video, row in read_rows(results).items()}
    assert len(keys["one"]) == 16
    assert keys["one"] == keys["two"] != keys["three"]


def test_table_is_the_same_to_the_byte_when_nothing_changed(tmp_path, results):
    write_manifest(results, [encode(tmp_path / "a.mp4", frames=5, options=x264())])
    run_probe(CONFIG, results, "s0")
    before = results.shard("s0").probe.read_bytes()
    results.shard("s0").probe.unlink()
    run_probe(CONFIG, results, "s0")
    assert results.shard("s0").probe.read_bytes() == before


@pytest.mark.usefixtures("crashing")
def test_a_crash_costs_one_video(results):
    write_manifest(results, [Path(f"{name}.mp4") for name in ("a", "crash1", "b", "crash2", "c")])
    run_probe(CONFIG, results, "s0")
    rows = read_rows(results)
    assert {video: row["status"] for video, row in rows.items()} == {
        "a": "done",
        "crash1": "quarantined",
        "b": "done",
        "crash2": "quarantined",
        "c": "done",
    }
    assert rows["crash1"]["reason"] == "FFmpeg crashed while it read the file"
    assert rows["c"]["fingerprint"] == "c.mp4"


@pytest.mark.usefixtures("crashing")
def test_a_failing_disk_fails_the_job_and_publishes_nothing(results):
    write_manifest(results, [Path("a.mp4"), Path("disk.mp4")])
    with pytest.raises(OSError, match="Input/output error"):
        run_probe(CONFIG, results, "s0")
    assert not results.shard("s0").probe.exists()


def test_an_empty_shard_gives_an_empty_table(results):
    write_manifest(results, [])
    run_probe(CONFIG, results, "s0")
    assert read_rows(results) == {}


def test_missing_manifest_is_named(results):
    with pytest.raises(StoreError, match=r"manifest\.tsv: no such file"):
        run_probe(CONFIG, results, "s0")
