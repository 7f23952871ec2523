"""Test that tracks of real flies are read back from each format by its own reader."""

import h5py
import numpy as np
import pandas as pd
import pynwb
import pytest
import sleap_io

from pipeline_lib.core.poses import Poses
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.exports.deeplabcut import write_deeplabcut_predictions
from pipeline_lib.io.exports.nwb import write_nwb
from pipeline_lib.io.exports.sleap import write_sleap_predictions
from pipeline_lib.io.exports.sleap_analysis import write_sleap_analysis
from tests.io.exports.export_examples import make_source

pytestmark = [
    pytest.mark.real,
    pytest.mark.parametrize("name", ["single_fly", "two_flies", "three_flies"]),
]


@pytest.fixture
def labels(data_folder, name):
    return sleap_io.load_slp(str(data_folder / "flies-dreem" / f"{name}.slp"), open_videos=False)


@pytest.fixture
def source(tmp_path, data_folder, labels, name):
    position = labels.numpy().astype(np.float32)
    frames, *points, _ = position.shape
    bodyparts = tuple(labels.skeleton.node_names)
    random = np.random.default_rng(0)
    poses = Poses(
        position=position,
        confidence=random.random((frames, *points), np.float32),
        frame_status=np.zeros(frames, np.uint8),
        time=np.arange(frames) / 25,
        bodyparts=bodyparts,
        individuals=tuple(track.name for track in labels.tracks),
        attributes={"fps": 25.0},
        track_status=np.ones((frames, points[0]), np.uint8),
    )
    edges = tuple((edge.source.name, edge.destination.name) for edge in labels.skeleton.edges)
    return make_source(
        tmp_path,
        poses,
        skeleton=Skeleton(bodyparts=bodyparts, edges=edges),
        video=data_folder / "flies-dreem" / f"{name}.mp4",
        width=1024,
        height=1024,
    )


def test_sleap_io_reads_the_project_and_its_video(tmp_path, labels, source):
    write_sleap_predictions(tmp_path / "v.slp", source)
    found = sleap_io.load_slp(str(tmp_path / "v.slp"))
    np.testing.assert_array_equal(found.numpy(), labels.numpy().astype(np.float32))
    assert found.skeleton.edge_inds == labels.skeleton.edge_inds
    expected = [track.name for track in labels.tracks] if len(labels.tracks) > 1 else []
    assert [track.name for track in found.tracks] == expected
    assert found[100].image.shape[:2] == (1024, 1024)


def test_sleap_io_reads_the_analysis(tmp_path, labels, source):
    write_sleap_analysis(tmp_path / "v.analysis.h5", source)
    found = sleap_io.load_analysis_h5(str(tmp_path / "v.analysis.h5"))
    np.testing.assert_array_equal(found.numpy(), labels.numpy().astype(np.float32))
    # As sleap-convert would have it of the labels themselves, but for scores, which they lack.
    sleap_io.save_analysis_h5(labels, str(tmp_path / "theirs.h5"))
    with h5py.File(tmp_path / "v.analysis.h5") as ours, h5py.File(tmp_path / "theirs.h5") as other:
        np.testing.assert_array_equal(ours["track_occupancy"], other["track_occupancy"])
        np.testing.assert_array_equal(ours["edge_inds"], other["edge_inds"])
        np.testing.assert_allclose(ours["tracks"], other["tracks"], rtol=1e-6)


def test_pynwb_reads_the_session(tmp_path, labels, source):
    write_nwb(tmp_path / "v.nwb", source)
    assert pynwb.validate(path=str(tmp_path / "v.nwb")) == []
    expected = labels.numpy().astype(np.float32)
    with pynwb.NWBHDF5IO(str(tmp_path / "v.nwb"), "r") as file:
        behavior = file.read().processing["behavior"]
        for animal, track in enumerate(labels.tracks):
            name = track.name if len(labels.tracks) > 1 else "PoseEstimation"
            for keypoint, node in enumerate(labels.skeleton.node_names):
                series = behavior[name][node]
                np.testing.assert_array_equal(series.data[:], expected[:, animal, keypoint])


def test_pandas_reads_the_table(tmp_path, labels, source):
    write_deeplabcut_predictions(tmp_path / "v.h5", source.read_blocks(), "net")
    table = pd.read_hdf(tmp_path / "v.h5")
    expected = labels.numpy().astype(np.float32)
    found = table.to_numpy().reshape(*expected.shape[:3], 3)
    np.testing.assert_array_equal(found[..., :2], expected)
    np.testing.assert_array_equal(found[..., 2], _read_confidence(source))


def _read_confidence(source):
    return np.concatenate([block.confidence for block in source.read_blocks()])
