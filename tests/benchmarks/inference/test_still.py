"""Test the home cage that still frames are measured on, and how poses are compared."""

import numpy as np

from benchmarks.inference import home_cage
from benchmarks.inference.still import Film, compare
from pipeline_lib.core.poses import Poses
from pipeline_lib.io.video.reader import VideoReader


def test_the_mouse_walks_and_rests(tmp_path, monkeypatch):
    monkeypatch.setattr(home_cage, "SIZE", (96, 72))
    cage = home_cage.render_cage(7, 2, 0.7)
    assert len(cage.images) == 62
    assert len(cage.shown) == 200
    assert 0.65 < cage.resting.mean() < 0.7
    moved = np.linalg.norm(np.diff(cage.position[cage.shown], axis=0), axis=-1).max(axis=1)
    assert (moved[cage.resting[1:]] == 0).all()
    # It starts slowly.
    assert moved[100] < moved[110] / 3
    home_cage.write_cage(tmp_path / "v.mp4", cage, 2.0, {"crf": "4", "preset": "ultrafast"})
    read = np.stack([image[..., 1] for _, image in VideoReader(tmp_path / "v.mp4").read(60, 90)])
    assert 0.7 < read.std(axis=0).mean() < 3


def test_poses_are_compared_with_full_inference_and_truth(tmp_path):
    shown = np.array([0, 1, 2, 2, 2, 2, 3])
    truth = np.zeros((4, 1, 2))
    truth[:, 0, 0] = [0, 3, 4, 6]
    cage = home_cage.Cage(np.zeros((4, 2, 2, 3), np.uint8), truth, shown)
    full = np.zeros((7, 1, 1, 2), np.float32)
    full[:, 0, 0, 0] = [0, 3, 4, 4.2, 3.9, 4.1, 6]
    poses = full.copy()
    poses[3:6, ..., 0] = 4
    poses[6, ..., 0] = 4

    def hold(position, status):
        confidence = np.ones((7, 1, 1), np.float32)
        return Poses(
            position, confidence, np.array(status, np.uint8), np.arange(7.0), ("a",), ("i",), {}
        )

    found = compare(Film(tmp_path, cage), hold(poses, [0, 0, 0, 3, 3, 3, 3]), hold(full, [0] * 7))
    assert found["still_share"] == 4 / 7
    assert found["moving_frames_left_out"] == 1
    assert found["moving_largest_px"] == 2
    assert found["truth_moved_largest_px"] == 2
    assert found["onset_missed"] == 1
    np.testing.assert_allclose(found["jitter_mean_px"], np.mean([0.2, 0.3, 0.1]), atol=1e-6)
