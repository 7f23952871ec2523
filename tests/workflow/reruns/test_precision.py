"""Test a precision that is measured: a stage of its own, and poses that depend on what it chose."""

import pytest

from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.models.precision import read_precision
from tests.workflow.reruns.test_what_runs_again import SUMMARY

pytestmark = [pytest.mark.workflow]

POSES = {"infer 00001", "postprocess 00001"} | SUMMARY


def test_int8_is_made_once_and_its_poses_never_mix_with_others(again):
    files = again.results.model("pose")
    keys = {video: row["key"] for video, row in again.read_ledger().items()}
    again.edit_config(inference={"precision": "int8"})
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    assert ended.jobs == POSES | {"choose_precision"}
    record = read_precision(files.precision)
    assert record.precision == "int8"
    assert record.reason in ended.output
    assert files.quantised.is_file()
    ledger = again.read_ledger()
    for video in ("mouse-01", "mouse-02"):
        assert ledger[video]["status"] == "done"
        assert ledger[video]["key"] != keys[video]
        poses = read_poses(again.results.poses("pose", video))
        assert poses.attributes["key"] == ledger[video]["key"]
        assert poses.attributes["precision"] == "int8"
    report = again.results.report.read_text()
    assert "Precision of the network" in report
    assert again.snakemake("--dry-run").jobs == set()
    # A lost network in 8-bit integers is made again; whoever states float32 needs neither.
    files.quantised.unlink()
    assert "choose_precision" in again.snakemake("--dry-run").jobs
    again.edit_config(inference={"precision": "float32"})
    assert again.snakemake("--dry-run").jobs == POSES
