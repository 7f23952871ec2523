"""Choose frames to label next in a run that has ended: only the report is made again."""

import shutil

import pytest

from tests.workflow.running import identify, read_tsv

pytestmark = [pytest.mark.workflow]

# The report shows the labels that are probably wrong.
REFINED = {"refine", "report", "accept"}


def test_frames_are_chosen_from_results_that_stay_as_they_are(again):
    before = identify(again.results.root / "poses")
    again.edit_config(refinement={"enabled": True, "frames": 4, "min_gap": 0.1})
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    assert ended.jobs == REFINED
    assert identify(again.results.root / "poses") == before
    rows = read_tsv(again.results.refined_table("pose"))
    assert 1 <= len(rows) <= 4
    assert all((again.results.refined("pose") / row["image"]).is_file() for row in rows)
    assert all(row["reason"] for row in rows)
    assert again.snakemake("--dry-run").jobs == set()
    # Lost images are written again, and another budget is another choice.
    shutil.rmtree(again.results.refined_frames("pose"))
    assert again.snakemake("--dry-run").jobs == REFINED
    again.edit_config(refinement={"frames": 3})
    planned = again.snakemake("--dry-run")
    assert planned.jobs == REFINED
    # Without the setting nothing is made anew but the report.
    again.edit_config(refinement={"enabled": False})
    assert again.snakemake("--dry-run").jobs <= {"report", "accept"}
