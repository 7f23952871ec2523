"""Test that a bundle runs a cohort without labels, and single videos without a config."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline_lib.api.poses import open_poses
from pipeline_lib.io.poses.read import read_pose_key
from pipeline_lib.models.precision import read_precision
from tests.models.zoo.bundles import write_int8_bundle, write_tiny_bundle
from tests.workflow.running import Run, read_tsv

COMMAND = str(Path(sys.executable).parent / "cohortpose")

pytestmark = [pytest.mark.workflow]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return write_tiny_bundle(folder, "one"), write_tiny_bundle(folder, "two", seed=1)


def test_a_cohort_without_labels(media, bundles, tmp_path):
    run = Run(tmp_path / "a cohort")
    run.folder.mkdir()
    shutil.copy(media / "cohort.tsv", run.folder)
    rows = [{**row, "path": str(media / row["path"])} for row in run.read_sheet()]
    run.write_sheet(rows[:2])
    shutil.copy(bundles[0], run.folder / "pose.cohortpose")
    config = {
        "cohort": "cohort.tsv",
        "model": {"bundle": "pose.cohortpose"},
        "inference": {"runtime": "onnx"},
        "report": {"sample_frames": 1},
    }
    (run.folder / "config.yaml").write_text(yaml.safe_dump(config))
    first = run.snakemake()
    assert first.code == 0, first.output
    assert first.jobs == {
        *("import_model", "probe 00001", "infer 00001", "postprocess 00001"),
        *("status", "report", "accept"),
    }
    ledger = run.read_ledger()
    assert {row["status"] for row in ledger.values()} == {"done"}
    video = rows[0]["video"]
    poses = open_poses(run.results.poses("pose", video))
    assert list(poses.keypoint.values) == ["red", "green", "blue"]
    assert np.isfinite(poses.confidence.values).all()
    assert not run.results.metrics("pose").exists()
    assert not run.results.labels.exists()

    verified = subprocess.run(
        [COMMAND, "--directory", str(run.folder), "verify", "--config", "config.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout
    assert "1 bundle" in " ".join(verified.stdout.split())
    assert "Everything is as the run left it." in verified.stdout

    second = run.snakemake()
    assert (second.code, second.jobs) == (0, set()), second.output

    keys = {name: read_pose_key(run.results.poses("pose", name)) for name in ledger}
    shutil.copy(bundles[1], run.folder / "pose.cohortpose")
    other = run.snakemake()
    assert other.code == 0, other.output
    assert {"import_model", "infer 00001", "postprocess 00001"} <= other.jobs
    now = {name: read_pose_key(run.results.poses("pose", name)) for name in ledger}
    assert all(now[name] != keys[name] for name in ledger)


def test_a_cohort_runs_in_the_precision_of_its_bundle(media, tmp_path):
    run = Run(tmp_path / "a cohort")
    run.folder.mkdir()
    shutil.copy(media / "cohort.tsv", run.folder)
    rows = [{**row, "path": str(media / row["path"])} for row in run.read_sheet()]
    run.write_sheet(rows[:1])
    config = {
        "cohort": "cohort.tsv",
        "model": {"bundle": str(write_int8_bundle(tmp_path))},
        "inference": {"runtime": "onnx", "precision": "int8"},
    }
    (run.folder / "config.yaml").write_text(yaml.safe_dump(config))
    first = run.snakemake()
    assert first.code == 0, first.output
    assert {"import_model", "choose_precision", "infer 00001"} <= first.jobs
    record = read_precision(run.results.model("pose").precision)
    assert (record.precision, record.runtime) == ("int8", "onnx")
    assert {row["status"] for row in run.read_ledger().values()} == {"done"}
    assert run.snakemake().jobs == set()
    config["inference"]["precision"] = "float32"
    (run.folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert "infer 00001" in run.snakemake("--dry-run").jobs


def test_single_videos_without_a_config(media, bundles, tmp_path):
    video = media / read_tsv(media / "cohort.tsv")[0]["path"]

    def predict(*arguments):
        return subprocess.run(
            [COMMAND, "predict", *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    (tmp_path / "bad.mp4").write_bytes(b"no video")
    done = predict("--model", bundles[0], "--output", "out", video, "bad.mp4")
    assert done.returncode == 1, done.stderr
    *lines, bad = done.stdout.splitlines()
    assert bad.startswith("bad: quarantined:")
    written = [tmp_path / line for line in lines]
    assert [path.name.partition(".")[2] for path in written] == ["zarr.zip", "h5", "csv"]
    assert all(path.exists() for path in written)
    assert open_poses(written[0]).sizes["time"] == 24
    before = (tmp_path / "out" / "config.yaml").read_text()
    other = predict("--model", bundles[1], "--output", "out", video, "bad.mp4")
    assert other.returncode == 1
    assert "other videos or another bundle" in other.stderr
    assert (tmp_path / "out" / "config.yaml").read_text() == before
