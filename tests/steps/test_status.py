import csv
import io
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from pipeline_lib.cli_running import spell_command
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import PROBE_COLUMNS, STAGE_COLUMNS
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.status import format_status, show_status

INFER_COLUMNS = (*STAGE_COLUMNS, "undecodable")
CONFIG = Path("my runs/config.yaml")
LIST = "why:       cohortpose status --failed --config 'my runs/config.yaml'"
TRY_AGAIN = (
    "try again: cohortpose infer --retry-failed --config 'my runs/config.yaml', "
    "then snakemake as before"
)


@pytest.fixture
def run(tmp_path):
    """Write four videos: done, waiting for inference, failed, quarantined."""
    results = Results(tmp_path / "results")
    sheet = tmp_path / "cohort.tsv"
    videos = ["good", "later", "lost", "empty"]
    rows = [{"video": video, "path": f"{video}.mp4", "dose": "3"} for video in videos]
    write_table(sheet, ("video", "path", "dose"), rows)
    plan = [{"video": video, "shard": "s0", "state": "planned"} for video in videos]
    write_table(results.plan, ("video", "shard", "state"), plan)
    shard = results.shard("s0")
    probe = [{"video": video, "status": "done", "frames": 10} for video in videos[:3]]
    probe.append({"video": "empty", "status": "quarantined", "reason": "0 bytes [red]x[/red]"})
    write_table(shard.probe, PROBE_COLUMNS, probe)
    infer = [
        {"video": "good", "status": "done", "key": "k", "undecodable": 0},
        {"video": "lost", "status": "failed", "reason": "worker lost"},
    ]
    write_table(shard.infer("pose"), INFER_COLUMNS, infer)
    results.poses("pose", "good").mkdir(parents=True)
    for path in (shard.filter("pose"), shard.export("pose")):
        write_table(path, STAGE_COLUMNS, [{"video": "good", "status": "done"}])
    return parse_config({"cohort": str(sheet)}), results


def show(run, directory=Path(), **options):
    console = Console(file=io.StringIO(), width=120)
    show_status(*run, console=console, spell=partial(spell_command, CONFIG, directory), **options)
    return console.file.getvalue()


def last_lines(text, number):
    return [line.rstrip() for line in text.splitlines()[-number:]]


def test_people_see_counts_and_what_is_not_done(run):
    text = show(run, failed=False)
    for count in ("1 done", "1 pending", "1 failed", "1 quarantined", "4 videos"):
        assert count in text
    lines = [line.split() for line in text.splitlines()]
    assert ["lost", "failed", "infer", "worker", "lost"] in lines
    assert ["later", "pending", "probe", "waiting", "for", "infer"] in lines
    assert not any(line[:1] == ["good"] for line in lines)


def test_the_last_lines_count_and_say_what_to_do(run):
    text = show(run, failed=False)
    counts = "1 done   1 pending   1 failed   1 quarantined"
    assert last_lines(text, 3) == [counts, LIST, TRY_AGAIN]
    assert text.count("quarantined   ") == text.count("4 videos") == 1
    # Who has just listed them knows how to.
    assert last_lines(show(run, failed=True), 2) == [counts, TRY_AGAIN]


@pytest.mark.parametrize(
    ("doubts", "said"),
    [
        (["", "", ""], ""),
        (["", "cameras disagree", ""], "1 session in doubt: s1; why is in sessions.tsv"),
        (["a"] * 5, "5 sessions in doubt: s0, s1, s2, ...; why is in sessions.tsv"),
    ],
)
def test_sessions_in_doubt_are_named(run, monkeypatch, doubts, said):
    rows = [
        {"session": f"s{number}", "status": "done", "reason": "", "doubts": doubt}
        for number, doubt in enumerate(doubts)
    ]
    monkeypatch.setattr("pipeline_lib.steps.status.derive_session_ledger", lambda *_: rows)
    lines = show(run, failed=False).splitlines()
    assert [line for line in lines if "in doubt" in line] == ([said] if said else [])


def test_commands_name_the_directory_that_was_given(run):
    text = show(run, failed=False, directory=Path("my runs"))
    where = "cohortpose --directory 'my runs'"
    expected = [LIST.replace("cohortpose", where), TRY_AGAIN.replace("cohortpose", where)]
    assert last_lines(text, 2) == expected


def test_videos_that_are_done_are_counted(run):
    write_table(Path(run[0].cohort), ("video", "path"), [{"video": "good", "path": "good.mp4"}])
    text = show(run, failed=False)
    assert last_lines(text, 1) == ["1 done   0 pending   0 failed   0 quarantined"]
    # Nothing else but the sheet and the bar.
    assert len(text.splitlines()) == 3


def test_inference_is_not_proposed_for_what_failed_after_it(run):
    config, results = run
    bad = [{"video": "good", "status": "failed", "reason": "no space"}]
    write_table(results.shard("s0").export("pose"), STAGE_COLUMNS, bad)
    sheet = Path(config.cohort)
    write_table(sheet, ("video", "path"), [{"video": "good", "path": "good.mp4"}])
    assert last_lines(show(run, failed=False), 2) == [
        "0 done   0 pending   1 failed   0 quarantined",
        LIST,
    ]


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ((0, 0, 0, 0, 0), None),
        (
            (0, 0, 0, 1, 0),
            "1 video with 1 undecodable frame, kept as rows without a pose: v3 (1)",
        ),
        (
            (4, 0, 9, 1, 2),
            (
                "4 videos with 16 undecodable frames, kept as rows without a pose: "
                "v2 (9), v0 (4), v4 (2), ..."
            ),
        ),
    ],
)
def test_undecodable_frames_are_said_the_worst_video_first(tmp_path, frames, said):
    results = Results(tmp_path / "results")
    names = [f"v{index}" for index in range(len(frames))]
    sheet = tmp_path / "cohort.tsv"
    write_table(sheet, ("video", "path"), [{"video": v, "path": f"{v}.mp4"} for v in names])
    plan = [{"video": video, "shard": "s0", "state": "planned"} for video in names]
    write_table(results.plan, ("video", "shard", "state"), plan)
    shard = results.shard("s0")
    done = [
        {"video": video, "status": "done", "undecodable": number}
        for video, number in zip(names, frames, strict=True)
    ]
    plain = [{"video": video, "status": "done"} for video in names]
    write_table(shard.probe, PROBE_COLUMNS, plain)
    write_table(shard.infer("pose"), INFER_COLUMNS, done)
    for path in (shard.filter("pose"), shard.export("pose")):
        write_table(path, STAGE_COLUMNS, plain)
    lines = show((parse_config({"cohort": str(sheet)}), results), failed=False).splitlines()
    assert lines[2].startswith("5 done")
    assert lines[3:] == ([said] if said else [])


def test_videos_with_too_many_animals_are_said(tmp_path):
    results = Results(tmp_path / "results")
    sheet = tmp_path / "cohort.tsv"
    frames = {"a": "3", "b": "0", "c": "17"}
    write_table(sheet, ("video", "path"), [{"video": v, "path": f"{v}.mp4"} for v in frames])
    plan = [{"video": video, "shard": "s0", "state": "active"} for video in frames]
    write_table(results.plan, ("video", "shard", "state"), plan)
    shard = results.shard("s0")
    plain = [{"video": video, "status": "done"} for video in frames]
    write_table(shard.probe, PROBE_COLUMNS, plain)
    stages = ("infer", "correct", "filter", "export")
    for path in (shard.table(stage, "pose") for stage in stages):
        write_table(path, STAGE_COLUMNS, plain)
    tracked = [{**row, "surplus_frames": frames[row["video"]]} for row in plain]
    write_table(shard.track("pose"), (*STAGE_COLUMNS, "surplus_frames"), tracked)
    config = parse_config({"cohort": str(sheet), "individuals": {"max": 3}})
    lines = show((config, results), failed=False).splitlines()
    said = (
        "2 videos with frames that show more than 3 animals (`individuals.max`); tracking keeps "
        "those that are found longest and with the highest confidence: c (17), a (3)"
    )
    assert lines[3:] == [said]


def test_markup_in_a_reason_is_text(run):
    assert "0 bytes [red]x[/red]" in show(run, failed=True)


def test_failed_lists_only_what_ended_badly(run):
    text = show(run, failed=True)
    assert "lost" in text
    assert "empty" in text
    assert "later" not in text


def test_nothing_to_list_is_said(tmp_path):
    sheet = tmp_path / "cohort.tsv"
    write_table(sheet, ("video", "path"), [{"video": "a", "path": "a.mp4"}])
    pending = parse_config({"cohort": str(sheet)}), Results(tmp_path / "results")
    assert "No video failed" in show(pending, failed=True)
    assert "waiting for probe" in show(pending, failed=False)


def test_a_long_list_is_cut_and_says_so(tmp_path):
    sheet = tmp_path / "cohort.tsv"
    rows = [{"video": f"v{number}", "path": f"{number}.mp4"} for number in range(130)]
    write_table(sheet, ("video", "path"), rows)
    text = show((parse_config({"cohort": str(sheet)}), Results(tmp_path / "r")), failed=False)
    assert "130 pending" in text
    assert "v99" in text
    assert "v100" not in text
    assert "and 30 more" in text


def test_scripts_get_json(run):
    record = json.loads(format_status(*run, failed=False, style="json"))
    assert record["counts"] == {"pending": 1, "done": 1, "failed": 1, "quarantined": 1}
    assert [row["video"] for row in record["videos"]] == ["good", "later", "lost", "empty"]
    assert record["videos"][0]["frames"] == 10
    assert [row["undecodable"] for row in record["videos"]] == [0, None, None, None]
    assert record["videos"][3]["frames"] is None


def test_scripts_get_a_table_of_the_bad_ones(run):
    text = format_status(*run, failed=True, style="tsv")
    rows = list(csv.DictReader(io.StringIO(text), delimiter="\t"))
    assert [(row["video"], row["dose"]) for row in rows] == [("lost", "3"), ("empty", "3")]


def test_status_starts_without_array_libraries():
    heavy = ("numpy", "pandas", "torch", "dask", "zarr", "xarray", "cv2", "jinja2")
    code = (
        "import sys, pipeline_lib.steps.status;"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
