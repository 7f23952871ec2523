"""Run the whole workflow on DeepLabCut's open-field mouse, shrunk and briefly trained."""

import csv

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline_lib.io.poses.read import read_poses
from tests.workflow.running import Run

pytestmark = [pytest.mark.workflow, pytest.mark.real]

PROJECT = "openfield/openfield-Pranav-2018-10-30"
TRUE_FRAMES = 2330
SETTINGS = {
    "targets": {"scale": 0.375, "stride": 4, "sigma": 3.0, "pos_dist_thresh": 6.0},
    "training": {
        "epochs": 8,
        "split": {"test_fraction": 0.2},
        "augmentation": {"rotation": 30, "erase": 0.0},
    },
    "evaluation": {"pcutoff": 0.3},
}


@pytest.fixture(scope="module")
def openfield(data_folder, tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("openfield"))
    project = data_folder / PROJECT
    config = {"cohort": "cohort.tsv", "labels": [{"path": str(project)}], **SETTINGS}
    (run.folder / "config.yaml").write_text(yaml.safe_dump(config))
    video = {"video": "m3v1mp4", "path": str(project / "videos" / "m3v1mp4.mp4")}
    (run.folder / "cohort.tsv").write_text("\t".join(video) + "\n" + "\t".join(video.values()))
    run.first = run.snakemake()
    return run


def test_a_real_project_gives_poses_of_every_frame(openfield):
    assert openfield.first.code == 0, openfield.first.output
    row = openfield.read_ledger()["m3v1mp4"]
    assert (row["status"], row["frames"], row["width"], row["height"]) == (
        "done", str(TRUE_FRAMES), "640", "480",
    )  # fmt: skip
    poses = read_poses(openfield.results.poses("pose", "m3v1mp4"))
    assert poses.position.shape == (TRUE_FRAMES, 1, 4, 2)
    assert poses.bodyparts == ("snout", "leftear", "rightear", "tailbase")
    assert (poses.frame_status == 0).all()
    exported = pd.read_hdf(openfield.results.exported("pose", "m3v1mp4", "h5"))
    assert exported.shape == (TRUE_FRAMES, 12)


def test_a_brief_training_finds_the_mouse(openfield):
    """Check the error: always predicting the mean position would give about 100 px."""
    with openfield.results.metrics("pose").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    error = {
        row["split"]: float(row["value"])
        for row in rows
        if (row["bodypart"], row["metric"]) == ("all", "median_error")
    }
    assert error["test"] < 10
    poses = read_poses(openfield.results.poses("pose", "m3v1mp4"))
    # The mouse is one animal: found bodyparts lie within its length of each other.
    found = np.nanmin(poses.confidence, axis=(1, 2)) > 0.2
    assert found.mean() > 0.5
    spread = np.ptp(poses.position[found], axis=2).max(axis=(1, 2))
    assert np.median(spread) < 150
