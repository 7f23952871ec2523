import base64

import numpy as np
import pytest

from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.tables import FrameStatus, TrackStatus
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.steps.report.details import measure
from pipeline_lib.steps.report.details.measure import (
    UNDECODABLE,
    measure_details,
    pack_bytes,
    pack_words,
    unpack_words,
)

F, G, U, A = TrackStatus.FOLLOWED, TrackStatus.GAP, TrackStatus.UNCERTAIN, TrackStatus.ABSENT
NAN = np.nan


def write(path, confidence, *, animals=("a",), status=None, lost=(), parts=1):
    """Write poses of bodyparts that walk 2 px a frame along x, 10 frames a second."""
    confidence = np.asarray(confidence, np.float32)
    frames = len(confidence)
    shape = (frames, len(animals), parts)
    position = np.zeros((*shape, 2), np.float32)
    position[..., 0] = 2.0 * np.arange(frames)[:, None, None]
    confidence = np.broadcast_to(confidence[:, None, None], shape).copy()
    frame_status = np.zeros(frames, np.uint8)
    frame_status[list(lost)] = FrameStatus.UNDECODABLE
    position[list(lost)] = confidence[list(lost)] = NAN
    if status is not None:
        status = np.array(status, np.uint8)
    poses = Poses(
        position, confidence, frame_status, np.arange(frames) / 10,
        ("nose", *(f"part{n}" for n in range(1, parts))), animals,
        {"key": "k"}, track_status=status,
    )  # fmt: skip
    write_poses(path, poses)
    return path


@pytest.fixture
def path(tmp_path):
    return Results(tmp_path).poses("pose", "v")


def read_bytes(text):
    return list(base64.b64decode(text))


def test_numbers_come_back():
    values = np.array([0.0, 0.5, 1.0, NAN, 2.0])
    np.testing.assert_allclose(unpack_words(pack_words(values)), [0, 0.5, 1, NAN, 1], atol=1e-4)
    assert read_bytes(pack_bytes(values)) == [0, 125, 250, 255, 250]


def test_a_video_is_measured(path):
    confidence = [0.8] * 40
    confidence[25] = 0.1
    details, worst = measure_details(write(path, confidence, lost=(3,)), (80, 40), 0.5, 1)
    assert (details["frames"], details["undecodable"]) == (40, 1)
    assert (details["seconds"], details["size"]) == (3.9, [80, 40])
    low = read_bytes(details["confidence"]["low"])
    assert (low[25], low[24], low[3]) == (25, 200, 255)
    assert read_bytes(details["parts"])[25] == 25
    # 2 px a frame, 10 frames a second.
    assert (details["speed"]["mean"], details["speed"]["median"]) == (20.0, 20.0)
    way = unpack_words(details["paths"][0]).reshape(-1, 2)
    assert way[10, 0] == pytest.approx(20.5 / 80, abs=1e-4)
    # Below the cutoff there is no point.
    assert np.isnan(way[25]).all()
    assert details["tracks"] is None
    (frame,) = worst
    assert (frame.frame, frame.seconds, frame.confidence) == (25, 2.5, 0.1)
    assert frame.points == [[0, 0, 50.0, 0.0, 0.1]]


def test_blocks_make_no_difference(path, monkeypatch):
    write(path, np.linspace(0, 1, 50), lost=(7, 20))
    whole = measure_details(path, (100, 50), 0.3, 3)
    monkeypatch.setattr(measure, "_BLOCK_FRAMES", 7)
    assert measure_details(path, (100, 50), 0.3, 3) == whole


def test_tracks_show_a_single_bad_frame(path):
    status = [[F, F]] * 400
    status[100], status[200] = [U, U], [G, F]
    write(path, [0.9] * 400, animals=("a", "b"), status=status, lost=(300,))
    details, worst = measure_details(path, (100, 50), 0.5, 1)
    first, second = (read_bytes(lane) for lane in details["tracks"]["lanes"])
    assert {kind: first.count(kind) for kind in (U, G, UNDECODABLE)} == {U: 1, G: 1, UNDECODABLE: 1}
    assert (second.count(U), second.count(G)) == (1, 0)
    flags = details["tracks"]["flags"]
    assert [(one["kind"], one["first"], one["animals"]) for one in flags] == [
        ("swap", 100, ["a", "b"]),
        ("gap", 200, ["a"]),
    ]
    # A possible swap is looked at first.
    assert [(frame.frame, frame.why) for frame in worst] == [
        (100, "animals may have been exchanged")
    ]


@pytest.mark.parametrize("frames", [0, 1])
def test_videos_of_no_or_one_frame_are_measured(path, frames):
    details, worst = measure_details(write(path, [0.9] * frames), None, 0.5, 3)
    assert (details["frames"], len(worst)) == (frames, frames)
    assert details["speed"]["mean"] is None


def test_a_video_stays_small_whatever_it_shows(path):
    animals = tuple(f"animal{number}" for number in range(12))
    status = np.random.default_rng(0).integers(0, 4, (3000, 12))
    details, _ = measure_details(
        write(path, [0.9] * 3000, animals=animals, status=status), (640, 480), 0.5, 0
    )
    assert len(str(details)) < 12_000
