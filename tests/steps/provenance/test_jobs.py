"""Test the record of who made a result, when and where."""

import logging
import socket

import pytest

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings, parse_config
from pipeline_lib.steps.provenance import jobs as job_records
from pipeline_lib.steps.provenance.jobs import (
    find_end,
    read_all_jobs,
    read_jobs,
    record_job,
    summarise_jobs,
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    return parse_config({"cohort": "cohort.tsv"}), Results(tmp_path / "results")


def make_record(verb="infer", **changes):
    return {
        "verb": verb,
        "ended": "done",
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 2.5,
        "cpu_seconds": 4.0,
        "energy": {"joules": None, "reason": "no counters"},
        "machine": {"host": "a"},
        "environment": "e",
        **changes,
    }


def test_a_line_for_each_verb_where_its_results_are(run, monkeypatch):
    config, results = run
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with record_job(config, results, "train", None):
        pass
    with record_job(config, results, "infer", "00001"):
        sum(range(200_000))
    (train,), (infer,) = read_jobs(results.jobs), read_jobs(results.shard("00001").jobs)
    assert read_all_jobs(results) == [train, infer]
    assert (train["verb"], train["shard"], train["ended"]) == ("train", None, "done")
    assert (infer["verb"], infer["shard"], infer["model"]) == ("infer", "00001", "pose")
    assert infer["settings"] == hash_settings(config)
    assert infer["machine"]["host"] == socket.gethostname()
    assert infer["job"] == "77"
    assert infer["seconds"] > 0
    assert (results.environments / f"{infer['environment']}.json").is_file()
    assert infer["started"].endswith("+00:00")


def test_a_verb_that_fails_has_a_line_too(run):
    config, results = run
    with pytest.raises(ZeroDivisionError), record_job(config, results, "train", None):
        raise ZeroDivisionError
    assert [job["ended"] for job in read_jobs(results.jobs)] == ["ZeroDivisionError"]


def test_a_verb_that_found_nothing_to_do_has_no_line(run):
    config, results = run
    with record_job(config, results, "report", "00001") as job:
        job.idle = True
    assert read_jobs(results.shard("00001").jobs) == []


@pytest.mark.parametrize(
    ("launcher", "name"),
    [
        ({"TORCHELASTIC_RUN_ID": "a"}, "RANK"),
        ({"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"}, "SLURM_PROCID"),
        ({"COHORTPOSE_LAUNCHER": "lightning"}, "LOCAL_RANK"),
    ],
)
def test_the_first_process_of_a_training_writes(run, monkeypatch, launcher, name):
    config, results = run
    for variable, value in launcher.items():
        monkeypatch.setenv(variable, value)
    for rank in ("1", "0"):
        monkeypatch.setenv(name, rank)
        with record_job(config, results, "train", None):
            pass
    assert len(read_jobs(results.jobs)) == 1


def test_a_record_that_cannot_be_written_does_not_undo_the_work(run, monkeypatch, caplog):
    config, results = run

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(job_records, "_append", fail)
    with caplog.at_level(logging.WARNING), record_job(config, results, "train", None):
        pass
    assert "train is not recorded: disk full" in caplog.text


def test_a_line_cut_short_is_left_out(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_text('{"verb": "a"}\n{"ver')
    assert read_jobs(path) == [{"verb": "a"}]
    assert read_jobs(tmp_path / "none") == []


def test_damaged_lines_are_left_out(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b'{"verb": "a"}\n\xff\xfe\n' + b"\0" * 300 + b'\n[1]\n{"verb": "b"}\n')
    assert read_jobs(path) == [{"verb": "a"}, {"verb": "b"}]


def test_jobs_are_summed_for_each_verb():
    later = "2026-01-02T04:00:00+00:00"
    stages = summarise_jobs(
        [
            make_record(started=later, seconds=61.0, ended="KeyError", machine={"host": "b"}),
            make_record(),
            make_record(energy={"joules": 7.5, "counters": ["x"]}, environment="f"),
            make_record("filter", started=later),
        ]
    )
    assert list(stages) == ["infer", "filter"]
    assert stages["infer"] == {
        "jobs": 3,
        "failed": 1,
        "seconds": 66.0,
        "cpu_seconds": 12.0,
        "joules": 7.5,
        "energy_reason": "",
        "hosts": ["a", "b"],
        "environments": ["e", "f"],
        "started": "2026-01-02T03:04:05+00:00",
        "ended": "2026-01-02T04:01:01+00:00",
    }
    assert stages["filter"]["joules"] is None
    assert stages["filter"]["energy_reason"] == "no counters"
    assert find_end(make_record()) == "2026-01-02T03:04:07+00:00"
