"""Test tables for SimBA and B-SOiD, and that keypoint-moseq and VAME load DeepLabCut's."""

import json
import subprocess

import numpy as np
import pandas as pd
import pytest

import pipeline_lib.io.exports.source as reading
from pipeline_lib.core.poses import Poses
from pipeline_lib.io.exports.registry import write_export
from tests.io.exports.export_examples import make_several, make_source
from tests.peers.environments import require_peer

NAN = np.nan


def make_one():
    position = [[[NAN, NAN], [1, 2]], [[3, 4], [NAN, 9]], [[NAN, NAN], [5, 6]], [[7, 8], [0, 0]]]
    confidence = [[0.1, 0.9], [0.8, 0.2], [NAN, 1], [0.5, 0.25]]
    return Poses(
        position=np.array(position, np.float32)[:, None],
        confidence=np.array(confidence, np.float32)[:, None],
        frame_status=np.zeros(4, np.uint8),
        time=np.arange(4) / 30,
        bodyparts=("nose", "tail"),
        individuals=("animal",),
        attributes={"key": "k"},
    )


def export(tmp_path, poses, name, suffix=None):
    path = tmp_path / f"v.{suffix or f'{name}.csv'}"
    write_export(name, path, make_source(tmp_path, poses))
    return path


@pytest.mark.parametrize("points", [reading.BLOCK_POINTS, 4])
def test_one_animal(tmp_path, monkeypatch, points):
    # Also in blocks of two frames: the last known place is carried over.
    monkeypatch.setattr(reading, "BLOCK_POINTS", points)
    simba = pd.read_csv(export(tmp_path, make_one(), "simba"), header=[0, 1, 2], index_col=0)
    assert simba.columns.names == ["scorer", "bodypart", "coords"]
    parts = [f"{part}_{axis}" for part in ("nose", "tail") for axis in "xyp"]
    assert list(simba.columns) == [("IMPORTED_POSE", "IMPORTED_POSE", name) for name in parts]
    assert simba.index.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(
        simba,
        [
            [0, 0, 0, 1, 2, 0.9],
            [3, 4, 0.8, 0, 0, 0],
            [0, 0, 0, 5, 6, 1],
            [7, 8, 0.5, 0, 0, 0.25],
        ],
    )
    bsoid = pd.read_csv(export(tmp_path, make_one(), "bsoid"), header=[0, 1, 2], index_col=0)
    assert list(bsoid.columns[:3]) == [("net", "nose", c) for c in ("x", "y", "likelihood")]
    np.testing.assert_allclose(
        bsoid,
        [
            [0, 0, 0, 1, 2, 0.9],
            [3, 4, 0.8, 1, 2, 0],
            [3, 4, 0, 5, 6, 1],
            [7, 8, 0.5, 0, 0, 0.25],
        ],
    )


def test_several_animals_and_a_unique_bodypart(tmp_path):
    simba = pd.read_csv(export(tmp_path, make_several(), "simba"), header=2, index_col=0)
    assert list(simba.columns)[::3] == ["nose_1_x", "tail_1_x", "nose_2_x", "tail_2_x"]
    assert simba.loc[1].tolist() == [0] * 6 + [51.5, 61.25, 0.5, 0, 0, 0]
    assert simba.loc[2].tolist() == [0] * 12
    bsoid = pd.read_csv(export(tmp_path, make_several(), "bsoid"), header=[1, 2], index_col=0)
    assert [name for name, _ in bsoid.columns[::3]] == ["a_nose", "a_tail", "b_nose", "b_tail"]
    assert bsoid.loc[2, "b_nose"].tolist() == [51.5, 61.25, 0]


PROGRAM = """
import json, sys
import keypoint_moseq
folder, extension = sys.argv[1:]
found = keypoint_moseq.load_keypoints(folder, "deeplabcut", extension=extension)
coordinates, confidences, bodyparts = found
print("FOUND" + json.dumps([
    {name: values.tolist() for name, values in one.items()} for one in (coordinates, confidences)
] + [list(bodyparts)]))
"""


@pytest.mark.parametrize("suffix", ["h5", "csv"])
def test_keypoint_moseq_loads_a_recording_for_each_animal(tmp_path, suffix):
    python = require_peer("keypoint_moseq")
    folder = tmp_path / "exports"
    folder.mkdir()
    poses = make_one()
    several = Poses(
        **{
            **vars(poses),
            "position": np.repeat(poses.position, 2, axis=1) + np.float32([[[0]], [[10]]]),
            "confidence": np.repeat(poses.confidence, 2, axis=1),
            "individuals": ("m1", "m2"),
            "track_status": np.ones((4, 2), np.uint8),
        }
    )
    for name, one in {"one": poses, "two": several}.items():
        (tmp_path / name).mkdir()
        write_export(suffix, folder / f"{name}.{suffix}", make_source(tmp_path / name, one))
    called = [python, "-c", PROGRAM, str(folder), f".{suffix}"]
    said = subprocess.run(called, check=True, capture_output=True, text=True, timeout=300).stdout
    coordinates, confidences, bodyparts = json.loads(said.partition("FOUND")[2])
    # The arrays are in the order of the file. Of several animals it names bodyparts in any order.
    assert sorted(bodyparts) == ["nose", "tail"]
    assert coordinates.keys() == {"one", "two_m1", "two_m2"}
    found = {name: np.array(values) for name, values in coordinates.items()}
    np.testing.assert_array_equal(found["one"], poses.position[:, 0])
    np.testing.assert_array_equal(found["two_m2"], poses.position[:, 0] + 10)
    np.testing.assert_allclose(confidences["two_m1"], poses.confidence[:, 0], rtol=1e-6)


# VAME keeps what it loads in netCDF, and reads that again. Its table of it is left out: version
# 0.13 names the columns by keypoint and the values by axis.
VAME = """
import json, sys
from vame.io.load_poses import load_pose_estimation, load_vame_dataset
for file in sys.argv[1:]:
    load_pose_estimation(file, source_software="DeepLabCut", fps=30.0).to_netcdf(file + ".nc")
    found = load_vame_dataset(file + ".nc").isel(individuals=0)
    position = found.position.transpose("time", "keypoints", "space").values.tolist()
    confidence = found.confidence.transpose("time", "keypoints").values.tolist()
    names = found.keypoints.values.tolist()
    print("FOUND" + json.dumps([position, confidence, names, float(found.fps)]))
"""


def test_vame_reads_the_poses_of_one_animal(tmp_path):
    python = require_peer("vame")
    poses = make_one()
    files = [str(export(tmp_path, poses, name, suffix=name)) for name in ("csv", "h5")]
    called = [python, "-c", VAME, *files]
    done = subprocess.run(called, check=False, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    assert len(lines) == 2
    for line in lines:
        position, confidence, names, fps = json.loads(line.removeprefix("FOUND"))
        assert (names, fps) == (list(poses.bodyparts), pytest.approx(30))
        np.testing.assert_allclose(position, poses.position[:, 0], rtol=1e-6)
        np.testing.assert_allclose(confidence, poses.confidence[:, 0], rtol=1e-6)
