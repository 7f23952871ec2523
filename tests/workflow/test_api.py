"""Test the public API on a finished run, and the examples of its documentation."""

import doctest
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pipeline_lib
from pipeline_lib.core.errors import ModelError, StoreError
from pipeline_lib.core.tables import FrameStatus
from pipeline_lib.io.poses.read import read_poses
from tests.workflow.running import read_tsv

pytestmark = [pytest.mark.workflow]

DOCUMENTED = sorted(
    name for name in pipeline_lib.__all__ if (name[0].islower() and name != "read_config")
)


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    """Return a finished run with a video beside it, in which the examples run."""
    run = finished.copy(tmp_path_factory.mktemp("api") / "project")
    (row,) = [row for row in run.read_sheet() if row["video"] == "mouse-01"]
    shutil.copy(row["path"], run.folder / "mouse-01.mp4")
    return run


@pytest.mark.parametrize("name", DOCUMENTED)
def test_examples_of_the_documentation(name, project, monkeypatch):
    monkeypatch.chdir(project.folder)
    (found,) = doctest.DocTestFinder(recurse=False).find(getattr(pipeline_lib, name), name)
    assert found.examples, "documented without an example"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    said = []
    runner.run(found, out=said.append)
    assert not runner.failures, "".join(said)


def test_a_public_name_is_imported_when_it_is_used():
    code = (
        "import sys, pipeline_lib; before = set(sys.modules); pipeline_lib.compute_metrics;"
        "print(sorted({'numpy', 'torch'} & before), 'torch' in sys.modules, len(dir(pipeline_lib)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("[] False")
    for name in pipeline_lib.__all__:
        assert getattr(pipeline_lib, name).__name__ == name
    with pytest.raises(AttributeError, match="no_such_name"):
        pipeline_lib.no_such_name  # noqa: B018


@pytest.mark.parametrize("stage", ["infer", "filter"])
def test_a_cohort_has_the_poses_of_each_video(project, stage):
    cohort = pipeline_lib.open_cohort(project.folder / "results", stage=stage)
    assert cohort.video.values.tolist() == ["mouse-01", "mouse-02"]
    assert cohort.position.chunks is not None
    assert cohort.position.dims == ("video", "frame", "space", "keypoint", "individual")
    locate = {"infer": project.results.poses, "filter": project.results.filtered}[stage]
    for video in ("mouse-01", "mouse-02"):
        path = locate("pose", video)
        one, poses = cohort.sel(video=video), read_poses(path)
        alone = pipeline_lib.open_poses(path)
        np.testing.assert_array_equal(one.position.values, alone.position.values)
        np.testing.assert_array_equal(one.confidence.values, alone.confidence.values)
        for found in (one, alone):
            np.testing.assert_array_equal(found.frame_status.values, poses.frame_status)
            np.testing.assert_array_equal(found.time.values, poses.time)
            assert tuple(found.keypoint.values) == poses.bodyparts
    assert cohort.frame_status.attrs["flag_meanings"] == "decoded undecodable missing still"


def test_metadata_of_the_sheet_are_coordinates(project):
    cohort = pipeline_lib.open_cohort(project.folder / "results")
    sheet = {row["video"]: row for row in project.read_sheet()}
    names = [name for name in next(iter(sheet.values())) if name not in ("video", "path")]
    for name in names:
        if any(row[name] for row in sheet.values()):
            expected = [sheet[video][name] for video in cohort.video.values]
            assert cohort[name].values.tolist() == expected


def test_a_network_predicts_what_the_run_predicted(project):
    network = pipeline_lib.load_network(project.folder / "results")
    frames = [pipeline_lib.read_frame(project.folder / "mouse-01.mp4", n) for n in range(24)]
    found = network.predict(frames)
    stored = pipeline_lib.open_poses(project.results.poses("pose", "mouse-01"))
    np.testing.assert_array_equal(found.position.values, stored.position.values)
    np.testing.assert_array_equal(found.confidence.values, stored.confidence.values)
    assert found.keypoint.values.tolist() == stored.keypoint.values.tolist()


def test_metrics_are_those_of_the_stage(project):
    predictions = pd.read_parquet(project.results.predictions("pose"))
    rows = predictions[predictions["split"] == "train"]
    found = pipeline_lib.compute_metrics(
        rows[["x", "y"]].to_numpy()[:, None], rows[["label_x", "label_y"]].to_numpy()[:, None]
    ).loc["all"]
    stored = {
        row["metric"]: float(row["value"])
        for row in read_tsv(project.results.metrics("pose"))
        if row["bodypart"] == "all" and row["split"] == "train"
    }
    for metric in ("points", "mean_error", "median_error", "rmse", "pck@5"):
        assert found[metric] == pytest.approx(stored[metric], rel=1e-5), metric


@pytest.mark.parametrize("frame", [24, -25])
def test_a_frame_that_is_not_there(project, frame):
    with pytest.raises(IndexError, match="has 24 frames"):
        pipeline_lib.read_frame(project.folder / "mouse-01.mp4", frame)


def test_the_last_frame(project):
    path = project.folder / "mouse-01.mp4"
    assert (pipeline_lib.read_frame(path, -1) == pipeline_lib.read_frame(path, 23)).all()


def test_errors_name_what_is_missing(project, tmp_path):
    with pytest.raises(StoreError, match=r"ledger\.tsv: no such file"):
        pipeline_lib.open_cohort(tmp_path)
    with pytest.raises(StoreError, match="`track` has not run"):
        pipeline_lib.open_cohort(project.folder / "results", stage="track")
    with pytest.raises(ValueError, match="none of infer, track, correct, filter"):
        pipeline_lib.open_cohort(project.folder / "results", stage="poses")
    with pytest.raises(ModelError, match="no network 'other', found pose"):
        pipeline_lib.load_network(project.folder / "results", model="other")
    with pytest.raises(StoreError, match="no such pose file"):
        pipeline_lib.open_poses(Path("nothing.zarr"))


def test_the_package_is_typed():
    assert (Path(pipeline_lib.__file__).parent / "py.typed").is_file()
    assert FrameStatus is pipeline_lib.FrameStatus
