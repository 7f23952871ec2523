"""Add an export format: one module with a writer and one record, and the whole run knows it."""

import dataclasses
import json

import numpy as np
import pytest

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.formats.exports import FORMATS, ExportFormat
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import PROBE_COLUMNS, STAGE_COLUMNS
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.export.run import EXPORT_COLUMNS, run_export
from pipeline_lib.steps.provenance.checksums import read_checksums
from pipeline_lib.steps.runs.plan import Plan
from pipeline_lib.steps.runs.stage_keys import find_result_keys

SHARD = "0001"
PLAN = Plan(({"video": "v", "shard": SHARD, "state": "active"},))
X = [1.5, 2.5, 4.0]

# The one new file: it publishes the x of the first keypoint of each frame, and names the video.
MODULE = """
import json

from pipeline_lib.io.publish import publish_file


def write_lines(path, source):
    x = [float(v) for block in source.read_blocks() for v in block.position[:, 0, 0, 0]]
    with publish_file(path) as part:
        part.write_text(json.dumps({"x": x, "video": source.video.name}))
"""


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """Register the format `lines`; return its record."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "lines_export.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    record = ExportFormat("lines.json", "Lines of numbers", "lines_export:write_lines")
    # The one line.
    monkeypatch.setitem(FORMATS, "lines", record)
    return record


@pytest.fixture
def results(tmp_path):
    """Write the filtered poses of one video of three frames."""
    results = Results(tmp_path / "results")
    files = results.shard(SHARD)
    row = {"video": "v", "status": "done", "key": "pose-key", "seconds": 5.0}
    write_table(files.filter("pose"), STAGE_COLUMNS, [row])
    write_table(files.probe, PROBE_COLUMNS, [{"video": "v", "path": "/data/cage/v.mp4"}])
    poses = Poses(
        position=np.stack([X, np.negative(X)], axis=1)[:, None, None].astype(np.float32),
        confidence=np.ones((len(X), 1, 1), np.float32),
        frame_status=np.zeros(len(X), np.uint8),
        time=np.arange(len(X)) / 30,
        bodyparts=("nose",),
        individuals=("animal",),
        attributes={"key": "pose-key"},
    )
    write_poses(results.filtered("pose", "v"), poses)
    return results


def configure(*formats):
    """Return the settings of a run that exports these formats."""
    return parse_config(
        {"cohort": "c.tsv", "labels": [{"path": "p"}], "exports": {"formats": formats}}
    )


@pytest.mark.usefixtures("lines")
def test_the_export_step_writes_and_records_the_new_format(results):
    run_export(configure("csv", "lines"), results, SHARD)
    path = results.root / "exports" / "pose" / "v.lines.json"
    assert json.loads(path.read_text()) == {"x": X, "video": ""}
    (row,) = read_table(results.shard(SHARD).export("pose"), EXPORT_COLUMNS)
    csv = results.exported("pose", "v", "csv").stat().st_size
    assert (row["status"], row["reason"]) == ("done", "")
    assert row["files"] == f"csv:{csv} lines:{path.stat().st_size}"
    recorded = read_checksums(results.shard(SHARD).checksums("export", "pose"))
    assert recorded["exports/pose/v.lines.json"]["kind"] == "lines"


@pytest.mark.usefixtures("lines")
def test_a_run_depends_on_the_new_format_and_notices_its_loss(results):
    config = configure("lines")
    stage = STAGES["export"]
    assert stage.wanted(config)
    assert 'exports.formats: ["lines"]' in stage.list_settings(config)
    assert stage.hash_settings(config) != stage.hash_settings(configure("csv"))
    run_export(config, results, SHARD)
    keys = find_result_keys(config, results, PLAN, "postprocess")
    results.exported("pose", "v", "lines").unlink()
    lost = find_result_keys(config, results, PLAN, "postprocess")
    assert list(keys) == list(lost) == [SHARD]
    assert keys != lost


def test_a_linked_format_is_told_of_the_video(results, lines, monkeypatch):
    monkeypatch.setitem(FORMATS, "lines", dataclasses.replace(lines, linked=True))
    run_export(configure("lines"), results, SHARD)
    written = json.loads(results.exported("pose", "v", "lines").read_text())
    assert written == {"x": X, "video": "v.mp4"}


def test_without_its_record_the_format_is_unknown():
    with pytest.raises(ConfigError, match=r"exports.formats.*'lines' is no format of exports"):
        configure("lines")
