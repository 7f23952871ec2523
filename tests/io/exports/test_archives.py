"""Test that nwbinspector finds nothing in NWB files and `dandi validate` passes.

DANDI's client has pins of its own, and so an environment of its own (`tests.peers.environments`).
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import nwbinspector
import pynwb
import pytest
from nwbinspector import Importance

from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.exports.nwb import write_nwb
from pipeline_lib.io.exports.session import read_session
from tests.io.exports.export_examples import make_several, make_source
from tests.io.exports.test_readers import SCENES
from tests.peers.environments import require_peer

SHEET = {
    "subject": "m1",
    "species": "Mus musculus",
    "sex": "F",
    "age": "P90D",
    "start": "2024-05-17T09:30+02:00",
}
MORE = {
    "experimenter": "Doe, Jane",
    "institution": "A university",
    "experiment": "Mice in an open field",
    "keywords": "pose; open field",
}


def make_irregular():
    poses = SCENES["one"]()
    poses.time[3:] += 0.01
    return poses


POSES = {
    "one": SCENES["one"],
    "three": SCENES["three"],
    "none": SCENES["none of three"],
    "odd": SCENES["odd names"],
    "lost": SCENES["first and last lost"],
    "irregular": make_irregular,
    "several": make_several,
}


def export(folder, poses, sheet, video="videos/v.mp4"):
    """Write an NWB file two folders below the project, whose video is there."""
    (folder / "videos").mkdir()
    (folder / "videos" / "v.mp4").write_bytes(b"of a video")
    (folder / "results" / "exports").mkdir(parents=True)
    path = folder / "results" / "exports" / "v.nwb"
    session, _ = read_session(sheet)
    name = Path("../../videos/v.mp4") if video else Path("v.mp4")
    skeleton = Skeleton(bodyparts=poses.bodyparts, edges=(poses.bodyparts[:2],))
    write_nwb(
        path,
        make_source(folder, poses, video=name, session=session, skeleton=skeleton),
    )
    return path


def inspect(path, least=Importance.BEST_PRACTICE_SUGGESTION):
    messages = nwbinspector.inspect_nwbfile(nwbfile_path=path, importance_threshold=least)
    return [f"{one.check_function_name}: {one.object_name}: {one.message}" for one in messages]


@pytest.mark.parametrize("name", POSES)
def test_nwbinspector_finds_nothing_to_improve(tmp_path, name):
    assert inspect(export(tmp_path, POSES[name](), SHEET | MORE)) == []


@pytest.mark.parametrize("video", ["videos/v.mp4", None])
def test_five_columns_are_enough_for_best_practice(tmp_path, video):
    """Accept a video that the file cannot name without revealing a user name."""
    path = export(tmp_path, SCENES["one"](), SHEET, video)
    assert inspect(path, Importance.BEST_PRACTICE_VIOLATION) == []
    suggested = {line.partition(":")[0] for line in inspect(path)}
    # Only what the sheet could tell, too.
    assert suggested == {
        "check_experimenter_exists",
        "check_experiment_description",
        "check_institution",
        "check_keywords",
    }


def test_nwbinspector_misses_what_the_sheet_lacks(tmp_path):
    found = inspect(export(tmp_path, SCENES["one"](), {}), Importance.BEST_PRACTICE_VIOLATION)
    assert [line.partition(":")[0] for line in found] == ["check_subject_exists"]


@pytest.mark.parametrize("name", ["one", "three", "irregular"])
def test_dandi_validates(tmp_path, name):
    python = require_peer("dandi")
    path = export(tmp_path, POSES[name](), SHEET)
    # A file by itself is in no dandiset yet.
    program = "from dandi.cli.command import main; main()"
    ran = subprocess.run(
        [python, "-c", program, "validate", "--ignore", "NO_DANDISET_FOUND", path.name],
        cwd=path.parent,
        env={**os.environ, "HOME": str(tmp_path), "DANDI_NO_ET": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "No errors found" in ran.stdout


def test_times_are_a_rate_only_if_frames_are_equally_spaced(tmp_path):
    for name, poses in (("regular", SCENES["broken rate"]()), ("irregular", make_irregular())):
        (tmp_path / name).mkdir()
        path = export(tmp_path / name, poses, SHEET)
        with pynwb.NWBHDF5IO(str(path), "r") as file:
            series = file.read().processing["behavior"]["PoseEstimation"]["nose"]
            assert (series.rate is None) == (name == "irregular")
            count = len(series.data)
            if series.rate is None:
                times = series.timestamps[:]
            else:
                times = series.starting_time + np.arange(count) / series.rate
            np.testing.assert_allclose(times, poses.time, rtol=0, atol=1e-9)
