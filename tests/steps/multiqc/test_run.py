"""Test the files for MultiQC: their content, and what MultiQC itself makes of them."""

import json
import subprocess

import numpy as np
import pytest
import yaml

from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import (
    HISTORY_COLUMNS,
    METRIC_COLUMNS,
    PROBE_COLUMNS,
    QUALITY_COLUMNS,
    STAGE_COLUMNS,
)
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.multiqc.run import CONFIG, write_multiqc
from tests.peers.environments import require_peer

# MultiQC would cut the first to `mouse`, and take the second for a number.
VIDEOS = ("mouse_fastqc", "0012", "1e5", "broken")
PARTS = ("snout", "tail/base <b>")
EVIL = "<script>alert(1)</script>"
GROUPS = ("=1+1", 'Mü, "l"', EVIL, "007")


def make_poses(results, video, confidence):
    """Return four frames; the snout has the confidence, the tail base 0.9 in three of them."""
    values = np.full((4, 1, 2), confidence, dtype=np.float32)
    values[:, 0, 1] = [0.9, 0.9, 0.9, 0.1]
    position = np.arange(16, dtype=np.float32).reshape(4, 1, 2, 2)
    poses = Poses(
        position,
        values,
        np.zeros(4, np.uint8),
        np.arange(4) / 10.0,
        PARTS,
        ("animal",),
        {"key": video},
    )
    write_poses(results.poses("pose", video), poses)


@pytest.fixture
def cohort(tmp_path):
    """Write a cohort of three videos with poses and one without, costs, metrics and decisions."""
    sheet = tmp_path / "cohort.tsv"
    rows = [
        {"video": video, "path": f"{tmp_path}/{video}.mp4", "group": group}
        for video, group in zip(VIDEOS, GROUPS, strict=True)
    ]
    write_table(sheet, ("video", "path", "group"), rows)
    results = Results(tmp_path / "results")
    config = parse_config(
        {
            "cohort": str(sheet),
            "results": str(results.root),
            "skeleton": {"bodyparts": PARTS},
            "report": {"title": f"Cohort {EVIL}", "multiqc": True},
            "costs": {"currency": "EUR", "cpu_hour": 2, "group": "group"},
        }
    )
    plan = [{"video": video, "shard": "s0", "state": "planned"} for video in VIDEOS]
    write_table(results.plan, ("video", "shard", "state"), plan)
    shard = results.shard("s0")
    facts = {"status": "done", "frames": 4, "fps": 10.0, "width": 64, "height": 48}
    probe = [{"video": video, "seconds": 1.0, "duration": 3600, **facts} for video in VIDEOS[:3]]
    reason = f"{tmp_path}/broken.mp4: no stream {EVIL}"
    probe.append({"video": "broken", "status": "quarantined", "reason": reason})
    write_table(shard.probe, PROBE_COLUMNS, probe)
    done = [{"video": video, "status": "done", "seconds": 2.0, "key": video} for video in VIDEOS]
    for path in (shard.infer("pose"), shard.filter("pose"), shard.export("pose")):
        write_table(path, STAGE_COLUMNS, done[:3])
    job = {
        "verb": "infer", "shard": "s0", "model": "pose", "ended": "done",
        "started": "2026-01-01T10:00:00+00:00", "seconds": 3600, "cpu_seconds": 10800,
        "energy": {"joules": None}, "gpus": 0, "machine": {"host": "h", "devices": []},
    }  # fmt: skip
    shard.jobs.write_text(json.dumps(job) + "\n")
    for video, confidence in zip(VIDEOS[:3], (0.75, 0.25, 0.5), strict=True):
        make_poses(results, video, confidence)
    metrics = [("snout", "train", 1.5), ("snout", "test", 2.5), (PARTS[1], "test", 3.5)]
    write_table(
        results.metrics("pose"),
        METRIC_COLUMNS,
        [
            {"bodypart": part, "split": split, "metric": "mean_error", "value": value}
            for part, split, value in metrics
        ],
    )
    history = [{"epoch": n, "step": n, "metric": "train_loss", "value": 2.0 - n} for n in range(2)]
    write_table(results.model("pose").history, HISTORY_COLUMNS, history)
    return config, results


def write_decisions(results):
    found = {"check": "confidence", "value": 0.25, "limit": 0.4, "remedy": "relabel"}
    rows = [
        {"video": VIDEOS[0], "decision": "pass", "decided_by": "rules"},
        {
            "video": VIDEOS[1], "decision": "fail", "decided_by": "rules",
            "reason": f"confidence is low {EVIL}", "seconds": "12.0-13.5, 40.2-41.0", **found,
        },
        {"video": VIDEOS[1], "decision": "warn", "decided_by": "rules", "reason": "still"},
        {"video": VIDEOS[1], "decision": "pass", "decided_by": "Mü, A.", "reason": "I looked"},
        {"video": VIDEOS[2], "decision": "warn", "decided_by": "rules", "reason": "dark"},
        {"video": VIDEOS[2], "decision": "fail", "decided_by": "rules", "reason": "blurred"},
    ]  # fmt: skip
    write_table(results.quality, QUALITY_COLUMNS, rows)


def read_section(results, name):
    return yaml.safe_load((results.multiqc / f"cohortpose_{name}_mqc.yaml").read_text())


def test_sections_hold_the_values_of_the_cohort(cohort):
    config, results = cohort
    write_decisions(results)
    write_multiqc(config, results)
    general = read_section(results, "general")["data"]
    assert list(general) == list(VIDEOS)
    assert general[VIDEOS[0]]["detected"] == pytest.approx(100 * (1 + 0.75) / 2)
    assert general[VIDEOS[0]]["confidence"] == pytest.approx((0.75 + 0.7) / 2, rel=1e-5)
    assert [one.get("decision") for one in general.values()] == ["pass", "pass", "fail", None]
    # Three hours of a core for three videos of one weight.
    assert general["0012"]["cpu_hours"] == pytest.approx(1)
    assert general["0012"]["cost"] == pytest.approx(2)
    assert "detected" not in general["broken"]
    assert general["broken"]["status"] == "quarantined"
    # No path of this machine, no markup.
    assert (
        general["broken"]["reason"] == "broken.mp4: no stream &lt;script&gt;alert(1)&lt;/script&gt;"
    )
    sheet = read_section(results, "sheet")["data"]
    assert [one["group"] for one in sheet.values()] == [
        "=1+1",
        'Mü, "l"',
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "007",
    ]
    decided = read_section(results, "decisions")["data"]
    assert decided["0012"]["decided_by"] == "Mü, A."
    assert decided["0012"]["reason"].endswith("; still; I looked")
    assert decided["0012"]["seconds"] == "12.0-13.5, 40.2-41.0"
    assert read_section(results, "counts")["data"] == {
        "Status": {"pending": 3, "quarantined": 1},
        "Decision": {"pass": 2, "fail": 1},
    }
    errors = read_section(results, "errors")["data"]
    assert errors["snout"] == {"test": 2.5, "train": 1.5}
    assert EVIL not in "".join(path.read_text() for path in results.multiqc.iterdir())


def test_a_cohort_without_anything_has_a_table_of_its_videos(tmp_path):
    sheet = tmp_path / "cohort.tsv"
    sheet.write_text("video\tpath\na\ta.mp4\n")
    results = Results(tmp_path / "results")
    config = parse_config({"cohort": str(sheet), "results": str(results.root)})
    # A table that somebody damaged is left out, as the log says.
    results.root.mkdir()
    results.quality.write_text("video\tdecision\na\tfail\n")
    write_multiqc(config, results)
    names = {path.name for path in results.multiqc.iterdir()}
    assert names == {CONFIG, "cohortpose_general_mqc.yaml", "cohortpose_counts_mqc.yaml"}
    assert read_section(results, "general")["data"] == {
        "a": {"status": "pending", "reason": "waiting for probe"}
    }


def test_multiqc_shows_the_values(cohort, tmp_path):
    python = require_peer("multiqc")
    config, results = cohort
    write_decisions(results)
    write_multiqc(config, results)
    done = subprocess.run(
        [
            python, "-m", "multiqc", str(results.multiqc), "--config",
            str(results.multiqc / CONFIG), "--outdir", str(tmp_path / "out"), "--strict",
            "--filename", "report.html", "--data-format", "json",
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "rror" not in said.replace("errors", ""), said
    data = json.loads((tmp_path / "out" / "report_data" / "multiqc_data.json").read_text())
    (general,) = data["report_general_stats_data"].values()
    assert list(general) == list(VIDEOS)
    weak = general["0012"]
    assert (weak["detected"], weak["decision"], weak["cost"]) == (37.5, "pass", 2.0)
    assert weak["confidence"] == pytest.approx(0.475)
    raw = data["report_saved_raw_data"]
    # Its own table has the columns under our names.
    assert (
        raw["multiqc_general_stats"]["0012"]["custom_content_cohortpose_general-detected"] == 37.5
    )
    assert raw["multiqc_cohortpose_detection_plot"][VIDEOS[0]] == {
        "snout": 100,
        "tail/base &lt;b&gt;": 75,
    }
    assert raw["multiqc_cohortpose_confidence_plot"]["1e5"]["snout"] == 0.5
    assert raw["multiqc_cohortpose_errors_plot"]["snout"] == {"test": 2.5, "train": 1.5}
    decisions = raw["multiqc_cohortpose_decisions_plot"]
    assert [one["decision"] for one in decisions.values()] == ["pass", "pass", "fail"]
    assert raw["multiqc_cohortpose_costs_plot"]["group =1+1"]["cost"] == 2.0
    assert raw["multiqc_cohortpose_sheet_plot"]["broken"] == {"group": "007"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert EVIL not in page
    assert 'data-original-sn="mouse_fastqc"' in page
