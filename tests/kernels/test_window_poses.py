"""Test that each animal is kept once from the poses of overlapping windows, best first."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.windows import choose_poses, find_copies

NAN = np.nan
# Three keypoints 20 px from their centre: the size is 20 px, of which 0.3 are 6 px.
ANIMAL = np.array([[20.0, 0.0], [-10.0, 17.3205], [-10.0, -17.3205]])


def at(x, y):
    """Return the animal with its centre there."""
    return np.add(ANIMAL, (x, y))


def choose(poses, confidence, *, pcutoff=0.1, min_keypoints=2):
    """Choose among the poses of one frame."""
    position, confidence = choose_poses(
        np.array([poses], np.float32),
        np.array([confidence], np.float32),
        pcutoff=pcutoff,
        min_keypoints=min_keypoints,
        least_size=4.0,
    )
    assert position.dtype == confidence.dtype == np.float32
    return position[0], confidence[0]


def test_poses_come_best_first():
    poses = [ANIMAL + 100, ANIMAL, ANIMAL + 300]
    position, confidence = choose(poses, [[0.5] * 3, [0.9, 0.8, 0.9], [0.6] * 3])
    np.testing.assert_allclose(position, [poses[1], poses[2], poses[0]], rtol=1e-6)
    np.testing.assert_allclose(confidence[:, 0], [0.9, 0.6, 0.5])


def test_a_keypoint_below_the_cutoff_is_not_there():
    position, confidence = choose([ANIMAL, ANIMAL + 100], [[0.9, 0.09, 0.1], [0.3] * 3])
    assert np.isnan(position[0, 1]).all()
    np.testing.assert_allclose(position[0, 2], ANIMAL[2], rtol=1e-6)
    np.testing.assert_allclose(confidence[0], np.array([0.9, 0.0, 0.1], np.float32))
    assert np.isfinite(position[1]).all()


def test_an_individual_of_too_few_keypoints_is_not_there():
    position, confidence = choose([ANIMAL, ANIMAL + 100], [[0.9, 0.05, 0.05], [0.3, 0.3, 0.0]])
    np.testing.assert_allclose(position[0, :2], ANIMAL[:2] + 100, rtol=1e-6)
    assert np.isnan(position[1]).all()
    assert (confidence[1] == 0).all()


@pytest.mark.parametrize(("wanted", "found"), [(1, 1), (3, 1), (9, 1)])
def test_no_more_keypoints_are_asked_for_than_there_are(wanted, found):
    position, _ = choose([ANIMAL], [[0.5] * 3], min_keypoints=wanted)
    assert np.isfinite(position).all(axis=(1, 2)).sum() == found


def test_no_window_is_no_individual_whatever_the_cutoff():
    position, confidence = choose([np.full((3, 2), NAN)], [[0.0] * 3], pcutoff=0.0)
    assert np.isnan(position).all()
    assert (confidence == 0).all()
    nothing = choose_poses(
        np.empty((0, 2, 3, 2), np.float32),
        np.empty((0, 2, 3), np.float32),
        pcutoff=0.1,
        min_keypoints=1,
        least_size=1.0,
    )
    assert [part.shape for part in nothing] == [(0, 2, 3, 2), (0, 2, 3)]


@pytest.mark.parametrize(
    ("shift", "copies"),
    # exp(-d^2 / (2 * 6^2)) is 0.5 at d = 6 * sqrt(2 * ln 2) = 7.0645.
    [(0.0, True), (7.06, True), (7.07, False), (40.0, False)],
)
def test_two_windows_that_found_the_same_animal_give_one(shift, copies):
    poses = [at(shift, 0.0), ANIMAL]
    position, confidence = choose(poses, [[0.6] * 3, [0.9] * 3])
    np.testing.assert_allclose(position[0], ANIMAL, rtol=1e-6)
    assert np.isnan(position[1]).all() == copies
    assert (confidence[1] == 0).all() == copies


def test_a_part_of_an_animal_is_a_copy_and_one_keypoint_in_common_is_none():
    part = ANIMAL + 1.0
    part[2] = NAN
    assert find_copies(np.array([[ANIMAL, part]]), 1.0).tolist() == [[False, True]]
    nose_to_nose = at(0.0, 0.0) * (-1.0, 1.0) + np.array([40.0, 0.0])
    assert find_copies(np.array([[ANIMAL, nose_to_nose]]), 1.0).tolist() == [[False, False]]


def test_a_pose_similar_to_a_copy_is_kept():
    """Place three in a row, 6 px apart: the middle one copies the first, the last one does not."""
    poses = np.array([[ANIMAL, at(6.0, 0.0), at(12.0, 0.0)]])
    assert find_copies(poses, 1.0).tolist() == [[False, True, False]]


def test_a_pose_of_one_keypoint_has_the_size_that_is_given():
    """Check that 0.3 of 10 px are 3 px, and that the similarity is one half at 3.53 px."""
    for apart, copy in ((3.5, True), (3.6, False)):
        poses = np.array([[[[50.0, 50.0]], [[50.0 + apart, 50.0]]]])
        assert find_copies(poses, 10.0).tolist() == [[False, copy]]


def test_those_that_are_not_there_are_no_copies():
    assert find_copies(np.full((2, 3, 3, 2), NAN), 1.0).tolist() == [[False] * 3] * 2


@given(st.data())
def test_neither_order_nor_other_frames_matter(data):
    seed = data.draw(st.integers(0, 10_000))
    stream = np.random.default_rng(seed)
    frames, animals = 3, 4
    centre = stream.uniform(0, 60, (frames, animals, 1, 2))
    poses = (ANIMAL + centre).astype(np.float32)
    confidence = stream.uniform(0, 1, (frames, animals, 3)).astype(np.float32)
    settings = {"pcutoff": 0.2, "min_keypoints": 2, "least_size": 4.0}
    together = choose_poses(poses, confidence, **settings)
    orders = list(itertools.permutations(range(animals)))
    order = list(data.draw(st.sampled_from(orders)))
    turned = choose_poses(poses[:, order], confidence[:, order], **settings)
    for ours, theirs in zip(together, turned, strict=True):
        assert ours.tobytes() == theirs.tobytes()
    for frame in range(frames):
        alone = choose_poses(poses[frame : frame + 1], confidence[frame : frame + 1], **settings)
        for ours, theirs in zip(together, alone, strict=True):
            assert ours[frame].tobytes() == theirs[0].tobytes()
