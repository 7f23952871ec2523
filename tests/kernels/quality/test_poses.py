"""Test the measures of poses on ways whose values are known."""

import numpy as np
import pytest

from pipeline_lib.core.poses import Poses
from pipeline_lib.core.tables import FrameStatus
from pipeline_lib.kernels.quality.poses import (
    choose_longest_step,
    describe_body,
    find_frozen,
    find_keypoints,
    join_frames,
    measure_edges,
    measure_frames,
    summarise_frames,
)

FPS = 10


def make_poses(position, confidence=None, status=None):
    frames, slots, keypoints = position.shape[:3]
    return Poses(
        position.astype(np.float32),
        np.ones((frames, slots, keypoints), np.float32) if confidence is None else confidence,
        np.zeros(frames, np.uint8) if status is None else status,
        np.arange(frames) / FPS,
        tuple("abcdefgh"[:keypoints]),
        tuple(f"m{n}" for n in range(slots)),
    )


def walk(frames=400, slots=1):
    """Return animals of three points in a row, 20 px long, that go 1.5 px a frame."""
    x = np.arange(frames)[:, None, None] * 1.5 + np.arange(slots)[None, :, None] * 300
    along = np.array([0.0, 10.0, 20.0])[None, None]
    y = np.full((frames, slots, 3), 50.25)
    return np.stack([x + along, y], axis=-1)


def measure(poses, blocks=1, pcutoff=0.5):
    body = describe_body(poses, pcutoff)
    longest = choose_longest_step(body.size, FPS, 100)
    parts, previous = [], None
    for rows in np.array_split(np.arange(len(poses.time)), blocks):
        part = Poses(
            poses.position[rows], poses.confidence[rows], poses.frame_status[rows],
            poses.time[rows], poses.bodyparts, poses.individuals,
        )  # fmt: skip
        parts.append(measure_frames(part, pcutoff, longest, previous))
        previous = np.where(find_keypoints(part, pcutoff)[-1][..., None], part.position[-1], np.nan)
    return summarise_frames(join_frames(parts), poses.time, body)


def test_an_animal_that_walks():
    found = measure(make_poses(walk())).values
    size = 2 * np.sqrt((10**2 + 0 + 10**2) / 3)
    assert found["body_size"] == pytest.approx(size)
    assert found["detection"] == found["confidence"] == 1
    assert found["jumps"] == found["missing_frames"] == found["frozen"] == 0
    assert (found["duration"], found["frame_rate"]) == (pytest.approx(40), pytest.approx(10))
    # 15 px a second.
    assert found["movement"] == pytest.approx(60 * 15 / size, rel=1e-4)
    assert "animals" not in found


def test_faults_are_measured_where_they_are_and_blocks_do_not_matter():
    position = walk()
    position[100:150] = position[99]  # stands still from 9.9 s to 15 s
    position[200, 0, 1] += 500  # away and back: two of the 399 x 3 steps
    confidence = np.ones(position.shape[:3], np.float32)
    confidence[300:350, :, 0] = 0.1
    status = np.zeros(400, np.uint8)
    status[390:] = 2
    position[390:] = np.nan
    poses = make_poses(position, confidence, status)
    quality = measure(poses)
    values = quality.values
    assert values["frozen"] == pytest.approx(51 / 400)
    assert values["missing_frames"] == pytest.approx(10 / 400)
    assert values["detection"] == pytest.approx((390 * 3 - 50) / (390 * 3))
    steps = 389 * 3 - 51
    # After the rest the animal is at once where it would have been, 76.5 px away. The limit is 2.5
    # body sizes at 10 frames per second: 40.8 px.
    assert values["jumps"] == pytest.approx((2 + 3) / steps)
    windows = quality.windows
    assert np.flatnonzero(windows["frozen"] > 0.5).tolist() == [10, 11, 12, 13, 14]
    assert np.flatnonzero(windows["detection"] < 0.9).tolist() == [30, 31, 32, 33, 34]
    assert windows["missing_frames"][39] == 1
    assert np.isnan(windows["detection"][39])
    for blocks in (3, 7):
        again = measure(poses, blocks)
        assert again.values == pytest.approx(values, nan_ok=True)
        np.testing.assert_array_equal(again.windows["jumps"], windows["jumps"])


def test_several_animals_count_as_many_as_are_usually_seen():
    position = walk(slots=3)
    position[:, 2] = np.nan  # there are two
    position[200:, 1] = np.nan
    values = measure(make_poses(position)).values
    assert values["animals"] == pytest.approx(1.5)
    assert values["detection"] == pytest.approx(0.75)
    nobody = measure(make_poses(np.full((50, 3, 3, 2), np.nan))).values
    assert nobody["detection"] == 0
    assert nobody["animals"] == 0
    assert np.isnan([nobody[name] for name in ("confidence", "body_size", "movement")]).all()


def test_whole_numbers_and_short_rests_are_not_frozen():
    rest = np.repeat(walk(1), 100, axis=0)
    assert measure(make_poses(rest)).values["frozen"] == 1
    assert measure(make_poses(np.round(rest))).values["frozen"] == 0
    farthest = np.full(100, 1.0)
    farthest[20:29] = 0
    assert not find_frozen(farthest, FPS).any()
    farthest[29] = 0.001
    assert np.flatnonzero(find_frozen(farthest, FPS)).tolist() == list(range(19, 30))


def test_an_animal_that_rests_before_a_running_camera_is_not_frozen():
    """Copy the poses of 19 frames of 20, as where nothing moves; the others are computed."""
    status = np.where(np.arange(100) % 20, FrameStatus.STILL, FrameStatus.DECODED).astype(np.uint8)
    frozen = np.repeat(walk(1), 100, axis=0)
    rest = frozen + np.random.default_rng(0).normal(0, 0.2, (5, 1, 3, 2)).repeat(20, 0)
    assert measure(make_poses(rest)).values["frozen"] > 0.8
    for blocks in (1, 7):
        assert measure(make_poses(rest, status=status), blocks).values["frozen"] == 0
        found = measure(make_poses(frozen, status=status), blocks)
        assert found.values["frozen"] == pytest.approx(0.81)
        assert found.values["missing_frames"] == 0


def test_edges_have_median_lengths_and_robust_spreads():
    position = walk(100)
    position[:10, 0, 2] += 1000
    position[::2, 0, 1, 0] += 1
    poses = make_poses(position)
    length, spread = measure_edges(poses.position, find_keypoints(poses, 0.5), [(0, 1), (0, 2)])
    np.testing.assert_allclose(length, [10.5, 20], rtol=1e-5)
    np.testing.assert_allclose(spread, [1.4826 * 0.5 / 10.5, 0], atol=1e-5)
    none = measure_edges(poses.position, np.zeros((100, 1, 3), bool), [(0, 1)])
    assert np.isnan(none).all()


def test_one_frame_has_no_duration():
    values = measure(make_poses(walk(1))).values
    assert values["detection"] == 1
    assert values["duration"] == 0
    assert np.isnan([values["movement"], values["jumps"]]).all()
