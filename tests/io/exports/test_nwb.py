"""Test that NWB files are valid and that pynwb reads back poses and times."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pynwb
import pytest

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.exports import source as exports_source
from pipeline_lib.io.exports.nwb import PIXEL_OFFSET, write_nwb
from pipeline_lib.io.exports.session import read_session
from tests.io.exports.export_examples import NAN, make_several, make_source
from tests.io.poses.pose_examples import make_poses


@pytest.fixture
def read(tmp_path):
    """Export poses, check the file, and open it."""
    opened = []

    def export_and_read(poses, **changes):
        path = tmp_path / "v.nwb"
        write_nwb(path, make_source(tmp_path, poses, **changes))
        assert pynwb.validate(path=str(path)) == []
        opened.append(pynwb.NWBHDF5IO(str(path), "r"))
        return opened[-1].read()

    yield export_and_read
    for one in opened:
        one.close()


def test_each_animal_has_the_poses_of_every_frame(read):
    poses = make_several()
    behavior = read(poses).processing["behavior"]
    assert set(behavior.data_interfaces) == {"Skeletons", "a", "b", "single"}
    for animal, name in enumerate(poses.individuals):
        for keypoint, bodypart in enumerate(poses.bodyparts):
            series = behavior[name][bodypart]
            np.testing.assert_array_equal(series.data[:], poses.position[:, animal, keypoint])
            np.testing.assert_array_equal(
                series.confidence[:], poses.confidence[:, animal, keypoint]
            )
            assert series.data.dtype == np.float32
            # Of a video of a variable frame rate.
            assert series.timestamps[:].tolist() == [0.0, 0.04, 0.1]


def test_skeleton_scorer_and_video_are_linked(read):
    session = read(make_several())
    estimation = session.processing["behavior"]["b"]
    assert estimation.scorer == "net"
    assert estimation.source_software == "cohortpose"
    assert estimation.skeleton.nodes[:].tolist() == ["nose", "tail", "corner"]
    assert estimation.skeleton.edges[:].tolist() == [[0, 1]]
    assert estimation.source_video.external_file[:].tolist() == ["/data/cage 1/v.mp4"]
    assert estimation.source_video.dimension[:].tolist() == [640, 480]
    assert session.identifier == "v-export-key"


def test_pixel_centres_are_at_integers_and_the_file_says_so(read):
    assert PIXEL_OFFSET == 0.0
    poses = make_poses(1, ("nose",))
    poses.position[:] = 0
    series = read(poses).processing["behavior"]["PoseEstimation"]["nose"]
    assert series.data[:].tolist() == [[0, 0]]
    assert "(0, 0) is the centre of the top-left pixel" in series.reference_frame
    assert series.unit == "pixels"


@pytest.mark.parametrize("frames", [0, 1, 3])
def test_a_video_without_an_animal_is_all_nan(read, frames):
    poses = make_poses(frames)
    poses.position[:] = NAN
    series = read(poses).processing["behavior"]["PoseEstimation"]["tail"]
    assert series.data.shape == (frames, 2)
    assert np.isnan(series.data[:]).all()
    np.testing.assert_array_equal(series.confidence[:], poses.confidence[:, 0, 1])


def test_blocks_make_the_same_file(read, monkeypatch):
    monkeypatch.setattr(exports_source, "BLOCK_FRAMES", 2)
    poses = make_poses(5)
    series = read(poses).processing["behavior"]["PoseEstimation"]["tail"]
    np.testing.assert_array_equal(series.data[:], poses.position[:, 0, 1])


def test_names_that_nwb_cannot_hold_are_changed(read):
    poses = make_poses(1, ("ear/left", "ear:left"))
    with pytest.raises(StoreError, match=r"more than one of .* is 'ear_left' without"):
        read(poses)
    behavior = read(replace(poses, bodyparts=("ear/left", "tail"))).processing["behavior"]
    assert behavior["PoseEstimation"]["ear_left"].data[:].tolist() == [[0, 2]]
    assert behavior["Skeletons"]["skeleton"].nodes[:].tolist() == ["ear/left", "tail"]


def test_names_that_ndx_pose_uses_itself_are_changed(read):
    """Name bodyparts like fields of a PoseEstimation, which lie beside them in the file."""
    names = ("scorer", "skeleton", "source_video", "description", ".", "..", "a\\b", "ok")
    expected = ("scorer_", "skeleton_", "source_video_", "description_", "._", ".._", "a_b", "ok")
    poses = make_poses(2, names, ("Skeletons", "PoseEstimation"))
    behavior = read(poses).processing["behavior"]
    assert set(behavior.data_interfaces) == {"Skeletons", "Skeletons_", "PoseEstimation"}
    for animal, estimation in enumerate(("Skeletons_", "PoseEstimation")):
        series = behavior[estimation].pose_estimation_series
        assert set(series) == set(expected)
        for keypoint, name in enumerate(expected):
            np.testing.assert_array_equal(series[name].data[:], poses.position[:, animal, keypoint])
    assert behavior["Skeletons"]["skeleton"].nodes[:].tolist() == list(names)


def test_session_and_subject_are_the_sheets(read):
    cells = {
        "subject": "m1",
        "species": "Mus musculus",
        "sex": "M",
        "age": "P12W",
        "start": "2024-05-17T09:30+02:00",
        "genotype": "wt/wt",
        "experimenter": "Doe, Jane; Roe, Ann",
    }
    session, _ = read_session(cells, "day1")
    found = read(make_poses(2), session=session)
    assert found.session_start_time == datetime.fromisoformat("2024-05-17T09:30+02:00")
    assert found.session_id == "day1"
    assert found.experimenter == ("Doe, Jane", "Roe, Ann")
    subject = found.subject
    assert (subject.subject_id, subject.species, subject.sex) == ("m1", "Mus musculus", "M")
    assert (subject.age, subject.genotype) == ("P12W", "wt/wt")
    assert found.processing["behavior"]["Skeletons"]["skeleton"].subject is subject


def test_without_a_sheet_no_subject_is_made_up(read):
    found = read(make_poses(2))
    assert found.subject is None
    assert found.session_start_time == datetime(1970, 1, 1, tzinfo=UTC)
    assert "the time of the session is not known" in found.session_description


def test_times_lie_in_the_first_series_where_no_video_is_linked(read):
    found = read(make_several(), video=Path("v.mp4"))
    assert not found.acquisition
    for animal in ("a", "b", "single"):
        estimation = found.processing["behavior"][animal]
        assert estimation.source_video is None
        assert "v.mp4" in estimation.description
        for series in estimation.pose_estimation_series.values():
            assert series.timestamps[:].tolist() == [0.0, 0.04, 0.1]


PROGRAM = """
import sys
from pathlib import Path
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.exports.nwb import write_nwb
from pipeline_lib.io.exports.source import ExportSource
write_nwb(Path(sys.argv[2]), ExportSource(Path(sys.argv[1]), "net", Skeleton(), "key"))
"""


def test_the_same_poses_give_the_same_bytes(tmp_path):
    """Write in another process, with another order of sets, in another second."""
    poses = make_source(tmp_path, make_several()).poses
    files = [tmp_path / f"{name}.nwb" for name in ("one", "two")]
    for seed, file in enumerate(files):
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(poses), str(file)],
            check=True,
            cwd=Path(__file__).parents[3],
            env={"PYTHONHASHSEED": str(seed)},
        )
    assert files[0].read_bytes() == files[1].read_bytes()
