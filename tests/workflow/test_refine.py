"""Choose frames to label next in a run that has ended: nothing else is made again."""

import shutil

import pytest

from tests.workflow.running import identify, read_tsv

pytestmark = [pytest.mark.workflow]


def test_frames_are_chosen_from_results_that_stay_as_they_are(again):
    before = identify(again.results.root / "poses")
    again.edit_config(refinement={"enabled": True, "frames": 4, "min_gap": 0.1})
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    assert ended.jobs == {"refine"}
    assert identify(again.results.root / "poses") == before
    rows = read_tsv(again.results.refined_table("pose"))
    assert 1 <= len(rows) <= 4
    assert all((again.results.refined("pose") / row["image"]).is_file() for row in rows)
    assert all(row["reason"] for row in rows)
    assert again.snakemake("--dry-run").jobs == set()
    # Lost images are written again, and another budget is another choice.
    shutil.rmtree(again.results.refined_frames("pose"))
    assert again.snakemake("--dry-run").jobs == {"refine"}
    again.edit_config(refinement={"frames": 3})
    planned = again.snakemake("--dry-run")
    assert planned.jobs == {"refine"}
    # Without the setting the run is as complete as it was before.
    again.edit_config(refinement={"enabled": False})
    assert again.snakemake("--dry-run").jobs == set()
