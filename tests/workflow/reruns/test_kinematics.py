"""Ask a finished run for kinematics and labelled videos: what changed is made again."""

import json

import pandas as pd
import pytest

from pipeline_lib.io.video.reader import VideoReader
from tests.workflow.reruns.test_verify import tell, verify
from tests.workflow.running import list_undescribed, read_tsv

pytestmark = [pytest.mark.workflow]

SUMMARY = {"status", "report", "accept"}


def test_tables_are_made_and_follow_the_sheet_and_the_regions(again, monkeypatch):
    regions = again.folder / "regions.json"
    regions.write_text(json.dumps({"left": [[0, 0], [48, 0], [48, 96], [0, 96]]}))
    kinematics = {"enabled": True, "regions_file": "regions.json", "bin_seconds": 0.4}
    rendering = {"enabled": True, "worst_seconds": 0.2}
    again.edit_config(kinematics=kinematics, rendering=rendering)
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    assert ended.jobs == {"postprocess 00001", "render 00001"} | SUMMARY
    folder = again.results.root / "kinematics" / "pose"
    frames = pd.read_parquet(folder / "frames")
    assert frames.groupby("video").frame.max().tolist() == [23, 23]
    assert "in_left" in frames
    assert list_undescribed(again.results) == []
    code, record = verify(again, monkeypatch)
    assert (code, tell(record)) == (0, set())
    made = ("kinematics frames", "kinematics bins", "rendered", "worst seconds")
    assert {name: record["checked"].get(name) for name in made} == dict.fromkeys(made, 2)
    with VideoReader(again.results.rendered("pose", "mouse-01")) as video:
        assert video.facts.frames == 24
    ledger = again.read_ledger()
    assert [row["status"] for row in ledger.values()].count("done") == 2
    assert not again.snakemake("--dry-run").jobs

    # A cell of the sheet, and the file of regions, are known to the run.
    rows = [{**row, "group": str(number)} for number, row in enumerate(again.read_sheet())]
    again.write_sheet(rows)
    regions.write_text(json.dumps({"right": [[48, 0], [96, 0], [96, 96], [48, 96]]}))
    assert "postprocess 00001" in again.snakemake("--dry-run").jobs
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    bins = pd.read_parquet(folder / "bins")
    assert {"group", "entries_right"} <= set(bins.columns)
    shard = again.results.shard("00001")
    assert [row["status"] for row in read_tsv(shard.table("kinematics", "pose"))].count("done") == 2

    # A table that is lost is made again.
    next(iter(folder.glob("bins/*.parquet"))).unlink()
    assert "postprocess 00001" in again.snakemake("--dry-run").jobs
