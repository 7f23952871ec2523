from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.core.poses import Poses
from pipeline_lib.core.tables import FrameStatus
from pipeline_lib.kernels.summaries.poses import downsample_path, merge_summaries, summarise_poses


def make_poses(position, confidence, undecodable=()):
    frames, individuals, keypoints, _ = np.shape(position)
    status = np.full(frames, FrameStatus.DECODED, dtype=np.uint8)
    status[list(undecodable)] = FrameStatus.UNDECODABLE
    return Poses(
        position=np.asarray(position, dtype=np.float32),
        confidence=np.asarray(confidence, dtype=np.float32),
        frame_status=status,
        time=np.arange(frames) / 30.0,
        bodyparts=tuple(f"part{k}" for k in range(keypoints)),
        individuals=tuple(f"animal{k}" for k in range(individuals)),
    )


def random_poses(seed, frames, keypoints=3, individuals=1):
    generator = np.random.default_rng(seed)
    position = generator.uniform(0, 100, (frames, individuals, keypoints, 2))
    confidence = generator.uniform(0, 1, (frames, individuals, keypoints))
    bad = np.flatnonzero(generator.random(frames) < 0.2)
    position[bad], confidence[bad] = np.nan, np.nan
    return make_poses(position, confidence, bad)


def take(poses, start, stop):
    arrays = {
        name: getattr(poses, name)
        for name in ("position", "confidence", "frame_status", "time", "track_status")
    }
    cut = {name: values[start:stop] for name, values in arrays.items() if values is not None}
    return replace(poses, **cut)


def test_undecodable_frames_count_but_do_not_dilute_the_means():
    nan = np.nan
    confidence = np.array([[0.9, 0.2], [0.7, 0.4], [nan, nan], [0.5, 0.6]])[:, None]
    position = np.where(np.isnan(confidence[..., None]), nan, 1.0).repeat(2, axis=-1)
    summary = summarise_poses(make_poses(position, confidence, undecodable=[2]), pcutoff=0.6)
    assert summary["frames"] == 4
    assert summary["undecodable"] == 1
    np.testing.assert_allclose(summary["confidence"], [0.7, 0.4], rtol=1e-6)
    np.testing.assert_allclose(summary["detection"], [2 / 3, 1 / 3])


def test_a_confident_keypoint_without_a_position_is_not_found():
    position = np.full((2, 1, 1, 2), 5.0)
    position[1, ..., 1] = np.nan
    summary = summarise_poses(make_poses(position, np.ones((2, 1, 1))), pcutoff=0.6)
    assert summary["detection"].tolist() == [0.5]


def test_only_present_individuals_count():
    nan = np.nan
    # Two bodyparts; the second animal is there in the first two frames, the third never.
    position = np.ones((4, 3, 2, 2))
    position[2:, 1] = position[:, 2] = nan
    # Of the animal that is there, one bodypart is not found.
    position[0, 1, 1] = nan
    confidence = np.full((4, 3, 2), 0.8)
    confidence[0, 1, 1] = nan
    confidence[1, 0, 0] = 0.2
    summary = summarise_poses(make_poses(position, confidence), pcutoff=0.6)
    assert summary["poses"].tolist() == [6, 6]
    np.testing.assert_allclose(summary["detection"], [5 / 6, 5 / 6])
    np.testing.assert_allclose(summary["confidence"], [(5 * 0.8 + 0.2) / 6, 5 * 0.8 / 6])


def test_unique_bodyparts_are_those_of_nobody_else():
    nan = np.nan
    # The last bodypart is a corner: of `single` alone, found in one of two frames.
    position = np.ones((2, 2, 2, 2))
    position[:, 0, 1] = position[:, 1, 0] = nan
    position[1, 1, 1] = nan
    poses = replace(make_poses(position, np.ones((2, 2, 2))), individuals=("mouse", "single"))
    summary = summarise_poses(poses, pcutoff=0.6)
    assert summary["poses"].tolist() == [2, 2]
    assert summary["detection"].tolist() == [1.0, 0.5]


@pytest.mark.parametrize("frames", [0, 3])
def test_without_a_decoded_frame_the_rates_are_unknown(frames):
    nothing = np.full((frames, 1, 2, 2), np.nan)
    poses = make_poses(nothing, nothing[..., 0], undecodable=range(frames))
    summary = summarise_poses(poses, pcutoff=0.6)
    assert summary["undecodable"] == summary["frames"] == frames
    assert np.isnan(summary["confidence"]).tolist() == [True, True]
    assert np.isnan(summary["detection"]).tolist() == [True, True]


def test_the_path_takes_the_first_found_position_of_each_stretch():
    position = np.arange(12, dtype=float).reshape(6, 1, 1, 2)
    confidence = np.array([0.1, 0.9, 0.9, 0.9, 0.1, 0.1]).reshape(6, 1, 1)
    path = downsample_path(make_poses(position, confidence), pcutoff=0.6, points=3)
    np.testing.assert_array_equal(path[:, 0, 0], [[2, 3], [4, 5], [np.nan, np.nan]])


@given(seed=st.integers(0, 1000), frames=st.integers(0, 60), points=st.integers(1, 20))
def test_the_path_holds_only_confident_positions_and_is_never_longer(seed, frames, points):
    poses = random_poses(seed, frames)
    path = downsample_path(poses, pcutoff=0.5, points=points)
    assert len(path) == min(points, frames)
    for keypoint in range(3):
        confident = poses.confidence[:, 0, keypoint] >= 0.5
        known = {tuple(point) for point in poses.position[confident, 0, keypoint]}
        drawn = {tuple(p) for p in path[:, 0, keypoint] if np.isfinite(p).all()}
        assert drawn <= known


@given(
    seed=st.integers(0, 1000),
    frames=st.integers(1, 60),
    cut=st.integers(0, 60),
    individuals=st.integers(1, 3),
)
def test_merged_stretches_equal_the_whole(seed, frames, cut, individuals):
    status = np.random.default_rng(seed).integers(0, 4, (frames, individuals)).astype(np.uint8)
    poses = replace(random_poses(seed, frames, individuals=individuals), track_status=status)
    whole = summarise_poses(poses, 0.5)
    cut = min(cut, frames)
    merged = merge_summaries(
        [summarise_poses(take(poses, 0, cut), 0.5), summarise_poses(take(poses, cut, frames), 0.5)]
    )
    assert (merged["frames"], merged["undecodable"]) == (whole["frames"], whole["undecodable"])
    np.testing.assert_allclose(merged["confidence"], whole["confidence"], rtol=1e-6)
    np.testing.assert_allclose(merged["detection"], whole["detection"], rtol=1e-9)
    np.testing.assert_array_equal(merged["path"], whole["path"])
    np.testing.assert_array_equal(merged["poses"], whole["poses"])
    np.testing.assert_array_equal(merged["track_status"], status)


def test_merging_nothing_is_refused():
    with pytest.raises(ValueError, match="no summaries"):
        merge_summaries([])
