"""Test that sleap-io reads back keypoints, tracks and scores of SLEAP projects."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import h5py
import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import sleap_io
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.io.exports import source as exports_source
from pipeline_lib.io.exports.sleap import write_sleap_predictions
from tests.io.exports.export_examples import NAN, make_several, make_source
from tests.io.poses.pose_examples import make_poses


def export(folder, poses, **changes):
    path = folder / "v.slp"
    write_sleap_predictions(path, make_source(folder, poses, **changes))
    return sleap_io.load_slp(str(path), open_videos=False)


def test_each_animal_of_a_frame_is_an_instance_on_its_track(tmp_path):
    labels = export(tmp_path, make_several())
    assert [track.name for track in labels.tracks] == ["a", "b", "single"]
    # Also the one that could not be decoded.
    assert [frame.frame_idx for frame in labels] == [0, 1, 2]
    first, second, third = labels
    assert len(third) == 0
    assert [one.track.name for one in first] == ["a", "b", "single"]
    assert [one.track.name for one in second] == ["b"]
    assert all(type(one) is sleap_io.PredictedInstance for frame in labels for one in frame)
    np.testing.assert_array_equal(first[0].numpy(), [[10, 20], [30, 40], [NAN, NAN]])
    np.testing.assert_array_equal(first[1].numpy(), [[50.5, 60.25], [70, 80], [NAN, NAN]])
    np.testing.assert_array_equal(first[2].numpy(), [[NAN, NAN], [NAN, NAN], [1, 2]])
    np.testing.assert_array_equal(second[0].numpy(), [[51.5, 61.25], [NAN, NAN], [NAN, NAN]])


def test_scores_are_kept(tmp_path):
    first, second, _ = export(tmp_path, make_several())
    assert first[0].points["score"].tolist() == [0.75, 0.25, 0]
    # The tail was not found, and how sure that is stays.
    assert second[0].points["score"].tolist() == [0.5, 0.25, 0]
    # Means over the keypoints that were found.
    assert [one.score for one in first] == [0.5, 0.75, 1]
    assert second[0].score == 0.5
    # It is not sure that b is b in the first frame.
    assert [one.tracking_score for one in first] == [1, 0, 1]
    assert second[0].tracking_score == 1


def test_skeleton_and_video_are_linked(tmp_path):
    labels = export(tmp_path, make_several())
    assert labels.skeleton.node_names == ["nose", "tail", "corner"]
    assert labels.skeleton.edge_inds == [(0, 1)]
    assert [{node.name for node in one.nodes} for one in labels.skeleton.symmetries] == [
        {"nose", "tail"}
    ]
    (video,) = labels.videos
    assert Path(video.filename) == Path("/data/cage 1/v.mp4")
    assert tuple(video.shape) == (3, 480, 640, 3)
    assert labels.provenance["scorer"] == "net"
    assert labels.provenance["key"] == "export-key"


def test_pixel_centres_are_at_integers_in_sleap_too(tmp_path):
    poses = make_poses(1, ("nose",))
    poses.position[:] = 0
    (frame,) = export(tmp_path, poses)
    # The centre of the top-left pixel stays (0, 0).
    assert frame[0].numpy().tolist() == [[0, 0]]
    with h5py.File(tmp_path / "v.slp") as file:
        # From this version on; before, (0, 0) was the corner of that pixel.
        assert file["metadata"].attrs["format_id"] >= 1.1
        assert file["pred_points"]["x"].tolist() == [0]


def test_a_single_animal_has_no_track(tmp_path):
    poses = make_poses(4)
    poses.position[2] = NAN
    labels = export(tmp_path, poses)
    assert labels.tracks == []
    assert [frame.frame_idx for frame in labels] == [0, 1, 2, 3]
    assert [len(frame) for frame in labels] == [1, 1, 0, 1]
    found = np.stack([frame[0].numpy() for frame in labels if frame])
    np.testing.assert_array_equal(found, poses.position[[0, 1, 3], 0])
    assert all(one.track is None for frame in labels for one in frame)


def test_animals_that_were_not_tracked_have_no_track(tmp_path):
    labels = export(tmp_path, replace(make_several(), track_status=None))
    assert labels.tracks == []
    assert [[one.track for one in frame] for frame in labels] == [[None] * 3, [None], []]
    assert [one.tracking_score for one in labels[0]] == [0, 0, 0]


@pytest.mark.parametrize("frames", [0, 3])
def test_a_video_without_an_animal_is_a_project_of_empty_frames(tmp_path, frames):
    poses = make_poses(frames)
    poses.position[:] = NAN
    labels = export(tmp_path, poses)
    assert [frame.frame_idx for frame in labels] == list(range(frames))
    assert [len(frame) for frame in labels] == [0] * frames
    assert [Path(video.filename).name for video in labels.videos] == ["v.mp4"]
    assert labels.skeletons[0].node_names == ["nose", "tail"]


def test_an_animal_interpolated_over_a_lost_frame_has_no_score(tmp_path):
    poses = make_several()
    poses.position[2, 0, 0] = (11, 21)
    poses.track_status[2, 0] = TrackStatus.GAP
    third = export(tmp_path, poses)[2]
    assert third.frame_idx == 2
    assert np.isnan(third[0].points["score"]).all()
    assert (third[0].score, third[0].tracking_score) == (0, 0)


def test_blocks_make_the_same_project(tmp_path, monkeypatch):
    monkeypatch.setattr(exports_source, "BLOCK_FRAMES", 1)
    labels = export(tmp_path, make_several())
    assert [frame.frame_idx for frame in labels] == [0, 1, 2]
    assert [len(frame) for frame in labels] == [3, 1, 0]
    np.testing.assert_array_equal(labels[1][0].numpy()[0], [51.5, 61.25])


def test_the_same_poses_give_the_same_bytes(tmp_path):
    source = make_source(tmp_path, make_several())
    write_sleap_predictions(tmp_path / "one.slp", source)
    # HDF5's stamps, if there were any, count whole seconds of the system's clock.
    time.sleep(1.1)
    write_sleap_predictions(tmp_path / "two.slp", source)
    assert (tmp_path / "one.slp").read_bytes() == (tmp_path / "two.slp").read_bytes()


@st.composite
def any_poses(draw):
    frames, animals, keypoints = (draw(st.integers(1, size)) for size in (4, 3, 3))
    points = (animals, keypoints)
    places = st.floats(-1e6, 1e6, width=32) | st.just(NAN)
    position = draw(npst.arrays(np.float32, (frames, *points, 2), elements=places))
    scores = st.floats(0, 1, width=32)
    return Poses(
        position=position,
        confidence=draw(npst.arrays(np.float32, (frames, *points), elements=scores)),
        frame_status=np.zeros(frames, np.uint8),
        time=np.arange(frames) / 30,
        bodyparts=tuple(f"k{k}" for k in range(keypoints)),
        individuals=tuple(f"i{i}" for i in range(animals)),
        track_status=np.ones((frames, animals), np.uint8),
    )


@settings(max_examples=25, deadline=None)
@given(poses=any_poses(), block=st.integers(1, 4))
def test_written_projects_are_read_back(poses, block):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(exports_source, "BLOCK_FRAMES", block)
        labels = export(Path(folder), poses)
        # SLEAP's array of (frame, animal, keypoint, coordinate or score).
        shape = (len(poses.time), len(poses.individuals), len(poses.bodyparts))
        found = np.full((*shape, 3), NAN)
        for frame in labels:
            for one in frame:
                animal = poses.individuals.index(one.track.name) if one.track else 0
                found[frame.frame_idx, animal] = one.numpy(scores=True)
    known = ~np.isnan(poses.position).any(axis=-1)
    expected = np.where(known[..., None], poses.position, NAN)
    np.testing.assert_array_equal(found[..., :2], expected)
    present = known.any(axis=-1, keepdims=True)
    np.testing.assert_array_equal(found[..., 2], np.where(present, poses.confidence, NAN))


def test_a_project_appears_whole_or_not_at_all(tmp_path):
    source = make_source(tmp_path, make_several())
    (tmp_path / "v.zarr" / "position" / "c.0.0.0.0").write_bytes(b"spoilt")
    with pytest.raises(StoreError, match="damaged pose file"):
        write_sleap_predictions(tmp_path / "v.slp", source)
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.zarr"]
