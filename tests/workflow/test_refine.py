"""Choose frames to label next in a run that has ended: nothing else is made again."""

import csv
import shutil

import pytest

from tests.workflow.running import identify

pytestmark = [pytest.mark.workflow]

ON = ("--config", "refinement={enabled: true, frames: 4, min_gap: 0.1}")


def test_frames_are_chosen_from_results_that_stay_as_they_are(again):
    before = identify(again.results.poses("pose", "x").parent.parent)
    ended = again.snakemake("--cores", "2", *ON)
    assert ended.code == 0, ended.output
    assert ended.jobs == {"refine"}
    assert identify(again.results.poses("pose", "x").parent.parent) == before
    with again.results.refined_table("pose").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert 1 <= len(rows) <= 4
    assert all((again.results.refined("pose") / row["image"]).is_file() for row in rows)
    assert all(row["reason"] for row in rows)
    planned = again.snakemake("--dry-run", *ON)
    assert planned.jobs == set(), planned.output
    # Without the setting the run is as complete as it was before.
    assert again.snakemake("--dry-run").jobs == set()
    # Lost images are written again; another budget is another choice.
    shutil.rmtree(again.results.refined_frames("pose"))
    assert again.snakemake("--dry-run", *ON).jobs == {"refine"}
    other = ("--config", "refinement={enabled: true, frames: 3, min_gap: 0.1}")
    planned = again.snakemake("--dry-run", *other)
    assert planned.jobs == {"refine"}
