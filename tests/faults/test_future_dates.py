"""Test that files dated in the future, by a file server's clock, are like other files."""

import os
import time

import pytest
import timm
import torch

from tests.faults.chain import SETTINGS, open_folder, write_cohort
from tests.workflow.running import Run

pytestmark = [pytest.mark.workflow]

YEAR = 365 * 24 * 3600


def date_ahead(folder):
    """Date all files of a user a year ahead, except one of the videos."""
    (project,) = folder.glob("demo-*")
    given = [
        folder / "cohort.tsv",
        folder / "config.yaml",
        folder / "weights.pth",
        folder / "videos" / "mouse-01.mp4",
        project,
        *project.rglob("*"),
    ]
    ahead = time.time() + YEAR
    for path in given:
        os.utime(path, (ahead, ahead))
    return given


@pytest.fixture(scope="module")
def run():
    with open_folder() as parent:
        folder = parent / "cohort"
        training = {**SETTINGS["training"], "weights": str(folder / "weights.pth")}
        write_cohort(folder, training=training)
        network = timm.create_model(training["backbone"], features_only=True)
        torch.save(network.state_dict(), folder / "weights.pth")
        kinds = {path.suffix for path in date_ahead(folder)}
        assert kinds >= {".tsv", ".yaml", ".pth", ".mp4", ".csv", ".png"}
        run = Run(folder)
        run.first = run.snakemake()
        yield run


def test_the_run_ends_well(run):
    assert run.first.code == 0, run.first.output
    assert "older" not in run.first.output
    status = {video: row["status"] for video, row in run.read_ledger().items()}
    assert status == {"mouse-01": "done", "mouse-02-damaged": "quarantined"}
    assert run.results.report.exists()
    assert run.results.accepted.exists()


def test_there_is_nothing_to_do_afterwards(run):
    """Check now, and when other files are as new."""
    again = run.snakemake("--dry-run")
    assert again.code == 0, again.output
    assert again.jobs == set()


def test_a_sheet_that_is_changed_back_to_the_present_is_seen(run):
    """Add a row and set dates back: only the content of files counts."""
    rows = run.read_sheet()
    run.write_sheet([{**row, "batch": "7"} for row in rows])
    again = run.snakemake()
    assert again.code == 0, again.output
    assert {row["batch"] for row in run.read_ledger().values()} == {"7"}
    assert not any(job.split()[0] in ("train", "infer", "make_targets") for job in again.jobs)
