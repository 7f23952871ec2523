"""Test tracks of real flies, with their labels as detections without names."""

import numpy as np
import pytest

from pipeline_lib.kernels.metrics.tracks import measure_tracks
from pipeline_lib.kernels.tracking.tracks import track_individuals
from tests.kernels.tracking.tracking_scenes import count_switches, detect, make_rules, shuffle

pytestmark = pytest.mark.real


def read_flies(folder, name):
    """Return the true tracks, and all labelled poses, those without a track last."""
    sleap_io = pytest.importorskip("sleap_io")
    labels = sleap_io.load_slp(str(folder / "flies-dreem" / f"{name}.slp"), open_videos=False)
    keypoints, tracks = len(labels.skeleton.nodes), list(labels.tracks)
    frames = sorted(labels, key=lambda frame: frame.frame_idx)
    truth = np.full((len(frames), len(tracks), keypoints, 2), np.nan)
    other = np.full((len(frames), 1, keypoints, 2), np.nan)
    for number, frame in enumerate(frames):
        for instance in frame.instances:
            points = instance.numpy()[:, :2]
            if instance.track is None:
                other[number, 0] = points
            else:
                truth[number, tracks.index(instance.track)] = points
    return truth, np.concatenate([truth, other], axis=1)


@pytest.mark.parametrize(("name", "flies"), [("three_flies", 3), ("two_flies", 2)])
@pytest.mark.parametrize("seed", range(2))
def test_flies_keep_their_places(data_folder, name, flies, seed):
    truth, found = read_flies(data_folder, name)
    assert truth.shape[:2] == (128, flies)
    tracks = track_individuals(
        detect(shuffle(found, seed)), flies, make_rules(), segment_frames=2000
    )
    assert count_switches(tracks.position, truth) == 0
    metrics = measure_tracks(tracks.position, truth)
    assert metrics.identity_switches == 0
    assert metrics.idf1 >= 0.99


@pytest.mark.parametrize("places", [2, 3, 4])
def test_false_detections_do_not_become_flies(data_folder, places):
    truth, found = read_flies(data_folder, "two_flies_noisy_detections")
    assert np.isfinite(found[:, 2]).all(-1).any(-1).sum() == 3
    tracks = track_individuals(detect(shuffle(found)), places, make_rules(), segment_frames=2000)
    assert count_switches(tracks.position[:, :2], truth) == 0
    seen = np.isfinite(tracks.position).all(-1).any(-1).sum(0)
    assert seen[:2].tolist() == [128, 128]
    assert (seen[2:] <= 3).all()
