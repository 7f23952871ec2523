import numpy as np
import pytest

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.demo.encounters import Encounters
from pipeline_lib.demo.render.animal import BODYPARTS
from pipeline_lib.demo.tracks import (
    describe_demo_tracks,
    measure_demo_tracks,
    measure_encounters,
)
from pipeline_lib.demo.truth import VideoTruth, write_truth
from pipeline_lib.io.poses.write import write_poses

FRAMES = 10
# From snout to tail tip along x; 40 px from snout to tail base.
ALONG = np.array([20.0, 16.0, 16.0, 12.0, 0.0, -20.0, -30.0, -40.0])


def lay_out(*middles):
    """Return animals that do not move, shape (frame, individual, bodypart, 2)."""
    points = np.stack([ALONG, np.zeros(8)], axis=-1) + np.array(middles, float)[:, None]
    return np.broadcast_to(points, (FRAMES, *points.shape)).copy()


@pytest.fixture
def demo(tmp_path):
    position = lay_out((100, 100), (200, 100))
    visible = np.ones(position.shape[:3], bool)
    visible[:, 0, -1] = False
    write_truth(tmp_path, "mouse-01", VideoTruth(position, visible, ("a", "b"), BODYPARTS))
    return tmp_path, position


def write_tracks(folder, position):
    """Write tracks of shape (frame, individual, bodypart, 2)."""
    frames, individuals = position.shape[:2]
    poses = Poses(
        position=position.astype(np.float32),
        confidence=np.ones((frames, individuals, len(BODYPARTS)), np.float32),
        frame_status=np.zeros(frames, np.uint8),
        time=np.arange(frames) / 30.0,
        bodyparts=BODYPARTS,
        individuals=tuple(f"individual{place}" for place in range(individuals)),
        attributes={"key": "0", "video": "mouse-01"},
        track_status=np.ones((frames, individuals), np.uint8),
    )
    write_poses(Results(folder).tracked("pose", "mouse-01"), poses)


def test_an_exchange_of_two_animals_costs_identity_but_no_detection(demo):
    folder, position = demo
    tracks = position[:, ::-1] + (3.0, 0.0)
    tracks[6:] = tracks[6:, ::-1]
    write_tracks(folder, tracks)
    found = measure_demo_tracks(folder, Results(folder), "pose")
    assert (found.animals, found.identity_switches) == (20, 2)
    assert found.mota == pytest.approx(1 - 2 / 20)
    # Six of ten frames are right: 2 * 12 / (20 + 20).
    assert found.idf1 == pytest.approx(0.6)
    # 3 px, then 103 px for the 7 visible bodyparts of one and 97 px for the 8 of the other.
    assert found.error.visible == 150
    assert found.error.median == pytest.approx(3.0, abs=1e-4)
    mean = 0.6 * 3 + 0.4 * (7 * 103 + 8 * 97) / 15
    assert found.error.mean == pytest.approx(mean, abs=1e-4)


def test_a_third_track_is_a_false_positive_and_a_lost_animal_a_miss(demo):
    folder, position = demo
    tracks = np.concatenate([lay_out((20, 20)), position], axis=1)
    tracks[5:, 0] = np.nan
    tracks[8:, 1] = np.nan
    write_tracks(folder, tracks)
    found = measure_demo_tracks(folder, Results(folder), "pose")
    assert found.identity_switches == 0
    assert found.mota == pytest.approx(1 - (5 + 2) / 20)
    assert found.idf1 == pytest.approx(2 * 18 / (20 + 23))
    assert found.error.mean == pytest.approx(0.0, abs=1e-4)
    assert found.error.missed == 2 * 7


def test_meetings_and_hidden_bodyparts_come_from_the_truth(demo):
    folder, _ = demo
    near = lay_out((100, 100), (100, 130))
    visible = np.ones(near.shape[:3], bool)
    write_truth(folder, "mouse-02", VideoTruth(near, visible, ("a", "b"), BODYPARTS))
    met = measure_encounters(folder)
    # 30 px apart is within a body length of 40 px, but not within a quarter of it.
    assert met.encounters == Encounters(1, 0, 0)
    assert met.hidden == pytest.approx(10 / 320)


def test_the_lines_say_what_was_measured(demo):
    folder, position = demo
    write_tracks(folder, position)
    truth, tracks, error = describe_demo_tracks(folder, Results(folder), "pose")
    assert truth == (
        "In the truth: two animals come within a body length 0 times, touch or cross 0 times "
        "(0 frames); 6.2% of the keypoints are hidden"
    )
    assert tracks == (
        "Tracks against the truth: 0 ID switches, IDF1 1.000, MOTA 1.000 over 20 animals in all "
        "frames"
    )
    assert error.endswith("median 0.00 px, mean 0.00 px over 150 visible keypoints, 0 not found")


def test_a_video_without_tracks_is_an_error(demo):
    folder, _ = demo
    with pytest.raises(StoreError, match=r"mouse-01\.zarr\.zip"):
        measure_demo_tracks(folder, Results(folder), "pose")
