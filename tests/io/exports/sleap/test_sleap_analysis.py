"""Test the exact layout of SLEAP's analysis files against sleap-io."""

import json
import time

import h5py
import numpy as np
import pytest
import sleap_io

from pipeline_lib.io.exports import source as exports_source
from pipeline_lib.io.exports.sleap import write_sleap_predictions
from pipeline_lib.io.exports.sleap_analysis import write_sleap_analysis
from tests.io.exports.export_examples import NAN, make_several, make_source
from tests.io.poses.pose_examples import make_poses


def export(folder, poses, **changes):
    path = folder / "v.analysis.h5"
    write_sleap_analysis(path, make_source(folder, poses, **changes))
    with h5py.File(path) as file:
        return {name: values[()] for name, values in file.items()}


def test_arrays_have_sleaps_axes(tmp_path):
    arrays = export(tmp_path, make_several())
    # (track, space, node, frame): x of b's tail in the first frame, y of its nose in the second.
    assert arrays["tracks"].shape == (3, 2, 3, 3)
    assert arrays["tracks"][1, 0, 1, 0] == 70
    assert arrays["tracks"][1, 1, 0, 1] == 61.25
    assert np.isnan(arrays["tracks"][..., 2]).all()
    assert arrays["track_occupancy"].tolist() == [[1, 1, 1], [0, 1, 0], [0, 0, 0]]
    # (track, node, frame)
    assert arrays["point_scores"][0, :, 0].tolist() == [0.75, 0.25, 0]
    # (track, frame)
    np.testing.assert_array_equal(
        arrays["instance_scores"], [[0.5, NAN, NAN], [0.75, 0.5, NAN], [1, NAN, NAN]]
    )
    np.testing.assert_array_equal(
        arrays["tracking_scores"], [[1, NAN, NAN], [0, 1, NAN], [1, NAN, NAN]]
    )


def test_names_and_links_are_there(tmp_path):
    arrays = export(tmp_path, make_several())
    assert arrays["track_names"].tolist() == [b"a", b"b", b"single"]
    assert arrays["node_names"].tolist() == [b"nose", b"tail", b"corner"]
    assert arrays["edge_names"].tolist() == [[b"nose", b"tail"]]
    assert arrays["edge_inds"].tolist() == [[0, 1]]
    assert arrays["video_path"] == b"/data/cage 1/v.mp4"
    assert arrays["video_ind"] == 0
    assert json.loads(arrays["provenance"]) == {"scorer": "net", "key": "export-key"}


def test_it_is_what_sleap_io_makes_of_the_project(tmp_path):
    """Compare our `.slp`, converted by sleap-io, with our analysis file."""
    ours = export(tmp_path, make_several())
    write_sleap_predictions(tmp_path / "v.slp", make_source(tmp_path, make_several()))
    labels = sleap_io.load_slp(str(tmp_path / "v.slp"), open_videos=False)
    sleap_io.save_analysis_h5(labels, str(tmp_path / "theirs.h5"))
    with (
        h5py.File(tmp_path / "v.analysis.h5") as file,
        h5py.File(tmp_path / "theirs.h5") as reference,
    ):
        assert file.keys() == reference.keys()
        for name in ("tracks", "track_occupancy", "instance_scores", "tracking_scores"):
            assert file[name].dtype == reference[name].dtype
            assert file[name].attrs["dims"] == reference[name].attrs["dims"]
            np.testing.assert_array_equal(file[name], reference[name])
        # SLEAP keeps no score of a point of an animal that was not found.
        there = ours["track_occupancy"].T.astype(bool)[:, None]
        expected = np.where(there, ours["point_scores"], NAN)
        np.testing.assert_array_equal(expected, reference["point_scores"])
        for name in ("track_names", "node_names", "edge_names", "edge_inds", "video_path"):
            assert np.array_equal(file[name][()], reference[name][()])
        missing = reference.attrs.keys() - file.attrs.keys()
        assert missing == {"sleap_io_version"}


def test_sleap_io_reads_it(tmp_path):
    export(tmp_path, make_several())
    labels = sleap_io.load_analysis_h5(str(tmp_path / "v.analysis.h5"))
    assert [track.name for track in labels.tracks] == ["a", "b", "single"]
    assert [frame.frame_idx for frame in labels] == [0, 1]
    np.testing.assert_array_equal(labels[0][1].numpy(), [[50.5, 60.25], [70, 80], [NAN, NAN]])
    assert labels[1][0].points["score"].tolist() == [0.5, 0.25, 0]
    assert labels.skeleton.edge_inds == [(0, 1)]


def test_pixel_centres_are_at_integers_in_sleap_too(tmp_path):
    poses = make_poses(1, ("nose",))
    poses.position[:] = 0
    # The centre of the top-left pixel stays (0, 0).
    assert export(tmp_path, poses)["tracks"].ravel().tolist() == [0, 0]


def test_a_single_animal_has_no_name(tmp_path):
    poses = make_poses(4)
    arrays = export(tmp_path, poses)
    assert len(arrays["track_names"]) == 0
    np.testing.assert_array_equal(arrays["tracks"], poses.position.transpose(1, 3, 2, 0))
    assert np.isnan(arrays["tracking_scores"]).all()
    labels = sleap_io.load_analysis_h5(str(tmp_path / "v.analysis.h5"))
    assert len(labels) == 4
    assert labels.tracks == []
    assert labels[3][0].numpy().tolist() == poses.position[3, 0].tolist()


def test_animals_that_were_not_tracked_are_numbered(tmp_path):
    arrays = export(tmp_path, make_poses(2, individuals=("a", "b")))
    assert arrays["track_names"].tolist() == [b"track_0", b"track_1"]


@pytest.mark.parametrize("frames", [0, 3])
def test_a_video_without_an_animal_is_all_nan(tmp_path, frames):
    poses = make_poses(frames, ("nose",), ("a", "b"))
    poses.position[:] = NAN
    arrays = export(tmp_path, poses)
    assert arrays["tracks"].shape == (2, 2, 1, frames)
    assert np.isnan(arrays["tracks"]).all()
    assert not arrays["track_occupancy"].any()
    # No edge either: the skeleton's are of other bodyparts.
    assert arrays["edge_inds"].shape == (0, 2)


def test_blocks_make_the_same_file(tmp_path, monkeypatch):
    whole = export(tmp_path, make_several())
    monkeypatch.setattr(exports_source, "BLOCK_FRAMES", 2)
    for name, values in export(tmp_path, make_several()).items():
        np.testing.assert_array_equal(values, whole[name])


def test_the_same_poses_give_the_same_bytes(tmp_path):
    source = make_source(tmp_path, make_several())
    write_sleap_analysis(tmp_path / "one.analysis.h5", source)
    # HDF5's stamps, if there were any, count whole seconds of the system's clock.
    time.sleep(1.1)
    write_sleap_analysis(tmp_path / "two.analysis.h5", source)
    one, two = (tmp_path / f"{name}.analysis.h5" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
