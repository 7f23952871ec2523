"""Checksums of the files of the cohort: who made a file records it, and from what it was made."""

from pathlib import Path

import pytest

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.steps.provenance.checksums import compare_checksums, read_checksums
from pipeline_lib.steps.provenance.outputs import (
    complete_outputs,
    identify_sources,
    knows_all,
    list_unrecorded,
    record_descriptions,
    record_outputs,
    record_tables,
)
from pipeline_lib.steps.runs.stage_keys import find_lost_key

RESULTS = Results(Path("results"))


def parse(**sections):
    return parse_config({"cohort": "cohort.tsv", "labels": [{"path": "p"}], **sections})


@pytest.fixture(autouse=True)
def made(tmp_path, monkeypatch):
    """Labels, a network and metrics, each a few bytes."""
    monkeypatch.chdir(tmp_path)
    for name in ("import-labels", "train", "evaluate"):
        for file in STAGES[name].files(parse(), RESULTS):
            if file.declared:
                file.path.parent.mkdir(parents=True, exist_ok=True)
                file.path.write_text(file.path.name)


def read_row(path):
    return read_checksums(RESULTS.checksums)[path.relative_to(RESULTS.root).as_posix()]


def test_metrics_belong_to_their_network_and_settings():
    for name in ("import-labels", "train", "evaluate"):
        record_outputs(parse(), RESULTS, name)
    row, stage = read_row(RESULTS.metrics("pose")), STAGES["evaluate"]
    assert row["kind"] == "metrics"
    assert row["key"] == identify_sources(parse(), RESULTS, stage)
    assert row["key"] != identify_sources(parse(evaluation={"pcutoff": 0.9}), RESULTS, stage)
    RESULTS.model("pose").weights.write_text("another network")
    # What was changed by somebody else is no other input: it is told by itself.
    assert row["key"] == identify_sources(parse(), RESULTS, stage)
    record_outputs(parse(), RESULTS, "train")
    assert row["key"] != identify_sources(parse(), RESULTS, stage)


def test_the_end_of_a_run_does_not_take_a_changed_file_for_the_truth():
    record_outputs(parse(), RESULTS, "evaluate")
    before = read_row(RESULTS.metrics("pose"))
    RESULTS.metrics("pose").write_text("better figures")
    complete_outputs(parse(), RESULTS)
    assert read_row(RESULTS.metrics("pose")) == before


def test_files_of_older_versions_are_recorded_at_the_end_of_a_run():
    assert {file.kind for file in list_unrecorded(parse(), RESULTS)} == {
        "labels",
        "chosen settings",
        "network",
        "model",
        "history",
        "metrics",
        "predictions",
    }
    complete_outputs(parse(), RESULTS)
    assert list_unrecorded(parse(), RESULTS) == []
    # From what they were made nobody knows.
    assert read_row(RESULTS.metrics("pose"))["key"] == ""


def test_a_table_that_is_not_there_is_left_out():
    files = RESULTS.shard("1")
    files.folder.mkdir(parents=True)
    files.probe.write_text("video\tstatus\n")
    record_tables(parse(), RESULTS, ("probe", "infer"), "1")
    assert list(read_checksums(files.table_checksums("probe", ""))) == ["shards/1/probe.tsv"]
    assert not files.table_checksums("infer", "pose").exists()


def test_what_snakemake_leaves_in_a_folder_is_no_part_of_it():
    folder = RESULTS.targets
    folder.mkdir(parents=True)
    (folder / "zarr.json").write_text("{}")
    record_outputs(parse(), RESULTS, "make-targets")
    row = read_row(folder)
    (folder / ".snakemake_timestamp").touch()
    assert compare_checksums(row, RESULTS.root, quick=False) == ""
    (folder / "zarr.json").write_text("[]")
    assert "recorded" in compare_checksums(row, RESULTS.root, quick=False)


def test_what_older_versions_did_not_record_is_not_missed():
    """Else the first run with this version would have something to do."""
    assert knows_all(read_checksums(RESULTS.checksums))
    record_outputs(parse(), RESULTS, "evaluate")
    assert not knows_all(read_checksums(RESULTS.checksums))
    RESULTS.config.write_text("settings")
    record_descriptions(RESULTS)
    assert knows_all(read_checksums(RESULTS.checksums))


def test_a_file_that_a_stage_no_longer_makes_is_not_missed():
    """An evaluation with too few held-out labels removes the calibration of the last one."""
    config = parse(evaluation={"confidence_regions": True})
    regions = RESULTS.model("pose").regions
    regions.write_text("calibrated")
    record_outputs(config, RESULTS, "evaluate")
    assert find_lost_key(config, RESULTS, "evaluate") is None
    regions.unlink()
    assert find_lost_key(config, RESULTS, "evaluate") is not None
    record_outputs(config, RESULTS, "evaluate")
    assert find_lost_key(config, RESULTS, "evaluate") is None
    assert read_row(RESULTS.metrics("pose"))["kind"] == "metrics"
