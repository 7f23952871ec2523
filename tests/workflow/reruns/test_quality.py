"""Judge a finished run, and turn findings into what the next run does, and no more."""

import re

import pytest
import yaml
from typer.testing import CliRunner

from pipeline_lib.cli import app
from tests.workflow.reruns.test_verify import tell, verify
from tests.workflow.running import identify, read_tsv

pytestmark = [pytest.mark.workflow]

JUDGED = {"judge", "render 00001", "status", "report", "accept"}


def rerun(again, monkeypatch, *options):
    monkeypatch.chdir(again.folder)
    done = CliRunner().invoke(app, ["rerun", "--config", "config.yaml", *options])
    assert done.exit_code == 0, done.output
    return done.output


def test_findings_become_work_and_nothing_else_is_computed(again, monkeypatch):
    rendering = {"enabled": True, "whole": False, "worst_seconds": 0.2}
    again.edit_config(quality={"enabled": True}, rendering=rendering)
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    assert ended.jobs == {"postprocess 00001"} | JUDGED
    rows = read_tsv(again.results.quality)
    # The network has learned nothing, and one video is damaged.
    assert {(row["video"], row["check"], row["decision"]) for row in rows} == {
        ("mouse-01", "detection", "fail"),
        ("mouse-02", "detection", "fail"),
        ("mouse-04-damaged", "processed", "fail"),
    }
    # Clips show the seconds that offend in the first run, and are not drawn twice.
    log = (again.results.root / "logs/render-pose/00001.log").read_text()
    assert len(re.findall(r"mouse-01: worst seconds from 0\.\d s: decisions\n", log)) == 1
    assert not again.snakemake("--dry-run").jobs
    ledger = again.read_ledger()
    assert [row["quality"] for row in ledger.values()] == ["fail"] * 3
    assert ledger["mouse-01"]["status"] == "done"
    code, record = verify(again, monkeypatch)
    assert (code, tell(record), record["checked"]["quality"]) == (0, set(), 2)

    # A video with settings of its own, and a decision of a person: one run does both.
    before = identify(again.results.root)
    asked = ("--video", "mouse-01", "--set", "filtering.pcutoff=0")
    said = rerun(again, monkeypatch, *asked)
    assert "nothing is written" in said
    assert identify(again.results.root) == before
    said = rerun(
        again, monkeypatch, "--video", "mouse-01", "--set", "filtering.pcutoff=0", "--apply"
    )
    assert "next: snakemake --cores all --configfile config.yaml rerun.yaml" in said
    rerun(again, monkeypatch, "--video", "mouse-02", "--as", "drop", "--name", "Ada", "--apply")
    again.edit_config(**yaml.safe_load((again.folder / "rerun.yaml").read_text()))
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    assert ended.jobs == {"postprocess 00001"} | JUDGED
    after = identify(again.results.root)
    model = again.results
    filtered = [model.filtered("pose", name) for name in ("mouse-01", "mouse-02")]
    assert [after[path] == before[path] for path in filtered] == [False, True]
    kept = [path for path in before if {"poses", "quality", "models"} & set(path.parts[-3:])]
    assert kept
    assert all(after[path] == before[path] for path in kept)
    first = {row["video"]: row for row in reversed(read_tsv(again.results.quality))}
    assert (first["mouse-02"]["decided_by"], first["mouse-02"]["remedy"]) == ("Ada", "drop")
    assert not again.snakemake("--dry-run").jobs
    code, record = verify(again, monkeypatch)
    assert (code, tell(record)) == (0, set())


def test_findings_become_frames_to_label(again, monkeypatch):
    again.edit_config(quality={"enabled": True})
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    poses = identify(again.results.root / "poses")

    # The seconds that offend are of the video that is asked for.
    asked = ("--video", "mouse-01", "--check", "detection", "--as", "relabel", "--apply")
    rerun(again, monkeypatch, *asked)
    listed = [(row["video"], row["frame"]) for row in read_tsv(again.folder / "rerun_frames.tsv")]
    assert {video for video, _ in listed} == {"mouse-01"}
    again.edit_config(**yaml.safe_load((again.folder / "rerun.yaml").read_text()))
    ended = again.snakemake()
    assert (ended.code, ended.jobs) == (0, {"refine", "report", "accept"}), ended.output
    chosen = read_tsv(again.results.refined_table("pose"))
    assert sorted((row["video"], row["frame"]) for row in chosen) == sorted(listed)
    assert all((again.results.refined("pose") / row["image"]).is_file() for row in chosen)

    # The same of all videos, by the choice of `refine` itself; the list counts no more.
    for name in ("rerun.yaml", "rerun_frames.tsv"):
        (again.folder / name).unlink()
    again.edit_config(refinement={"enabled": False, "frame_list": None})
    rerun(again, monkeypatch, "--check", "detection", "--as", "refine", "--apply")
    written = yaml.safe_load((again.folder / "rerun.yaml").read_text())
    assert written == {"refinement": {"enabled": True, "frames": 10}}
    again.edit_config(refinement={"min_gap": 0.1, **written["refinement"]})
    ended = again.snakemake()
    assert (ended.code, ended.jobs) == (0, {"refine", "report", "accept"}), ended.output
    chosen = read_tsv(again.results.refined_table("pose"))
    assert {row["video"] for row in chosen} == {"mouse-01", "mouse-02"}
    assert identify(again.results.root / "poses") == poses
    assert not again.snakemake("--dry-run").jobs


def test_a_damaged_record_is_measured_anew_and_nothing_else(again):
    again.edit_config(quality={"enabled": True})
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    path = again.results.video_quality("pose", "mouse-02")
    whole, before = path.read_bytes(), identify(again.results.root / "poses")
    path.write_bytes(whole[: len(whole) // 2])
    ended = again.snakemake()
    jobs = {"postprocess 00001", "judge", "status", "report", "accept"}
    assert (ended.code, ended.jobs) == (0, jobs), ended.output
    assert path.read_bytes() == whole
    assert identify(again.results.root / "poses") == before
    assert not again.snakemake("--dry-run").jobs
