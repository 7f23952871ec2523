"""Check that the page reveals neither paths of its author nor names of hosts."""

import json
import socket
from pathlib import Path

import pytest

from pipeline_lib.core.layout import Results
from pipeline_lib.core.tables import PROBE_COLUMNS
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.provenance.run import write_provenance
from pipeline_lib.steps.report.page import write_report
from pipeline_lib.steps.report.privacy import Redactor
from tests.steps.report.report_pages import make_cohort


@pytest.fixture
def redactor(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    return Redactor(Results(tmp_path / "project" / "results"), ["/data/ann/my videos/v 1.mp4"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/data/ann/my videos/v 1.mp4: no such file", "…/v 1.mp4: no such file"),
        ("PROJECT/videos/v.mp4: not a video", "videos/v.mp4: not a video"),
        ("/data/ann/my videos/v 1.mp4: open 24/7", "…/v 1.mp4: open 24/7"),
        ("cannot open /home/ann/cage 2/v.mp4", "cannot open ~/cage 2/v.mp4"),
        ("resnet_50", "resnet_50"),
        ("10.1 frames/s", "10.1 frames/s"),
    ],
)
def test_paths_are_shortened(redactor, tmp_path, text, shown):
    assert redactor.hide(text.replace("PROJECT", str(tmp_path / "project"))) == shown


def test_records_keep_all_but_paths_and_hosts(redactor, tmp_path):
    record = {
        "machine": {"host": "node7", "cores": 4},
        "stages": {"infer": {"hosts": ["node7", "node8"], "seconds": 1.5}},
        "hashes": {"labels": {"/data/ann/labels.csv": "ab12"}},
        "list": ["/data/ann/x.pt", "C:\\Users\\bob\\x.pt", "/", None, True, 3],
        "here": str(tmp_path / "project" / "labels" / "CollectedData.csv"),
    }
    assert redactor.hide_record(record) == {
        "machine": {"cores": 4},
        "stages": {"infer": {"seconds": 1.5}},
        "hashes": {"labels": {"…/labels.csv": "ab12"}},
        "list": ["…/x.pt", "…/x.pt", "/", None, True, 3],
        "here": "labels/CollectedData.csv",
    }


def test_settings_stay_yaml(redactor):
    text = "cohort: /data/ann/cohort.tsv\nlabels:\n- path: /data/ann/a b\n  format: auto\n"
    assert redactor.hide_settings(text) == (
        "cohort: …/cohort.tsv\nlabels:\n- path: …/a b\n  format: auto\n"
    )
    assert redactor.hide_settings("a: [") == "a: ["


def test_the_page_tells_nothing_of_this_machine(tmp_path):
    config, results = make_cohort(
        tmp_path, ["v"], labels=[{"path": "/data/ann/project/CollectedData.csv"}]
    )
    plan = [{"video": "v", "shard": "s0", "state": "active"}]
    write_table(results.plan, ("video", "shard", "state"), plan)
    reason = f"{tmp_path / 'v.mp4'}: moov atom not found"
    probe = [{"video": "v", "status": "quarantined", "reason": reason}]
    write_table(results.shard("s0").probe, PROBE_COLUMNS, probe)
    write_provenance(config, results)
    text = write_report(config, results).read_text(encoding="utf-8")
    # It is said, but not where.
    assert "v.mp4: moov atom not found" in text
    assert "…/CollectedData.csv" in text
    assert json.loads(results.provenance.read_text())["machine"]["host"] == socket.gethostname()
    for private in (str(tmp_path), "/data/ann", socket.gethostname(), f"{Path.home()}/"):
        assert private not in text or len(private) < 5, private
