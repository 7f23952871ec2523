"""Test the properties of tracklets on values computed by hand."""

import numpy as np

from pipeline_lib.kernels.tracking.tracklet_ends import (
    END_POSES,
    choose_end_poses,
    describe_tracklets,
)

NAN = np.nan


def describe(position, tracklet, quality=None, identity=None):
    """Describe tracklets of poses that are held in memory."""
    ends = choose_end_poses(tracklet)
    flat = position.reshape(-1, *position.shape[2:])
    poses = tuple(
        np.where((index >= 0)[..., None, None], flat[index], NAN)
        for index in (ends.head, ends.tail)
    )
    quality = np.ones(tracklet.shape) if quality is None else quality
    return describe_tracklets(tracklet, ends, poses, (quality, quality * 2.0, identity))


def test_the_outermost_poses_are_chosen():
    tracklet = np.full((9, 2), -1, np.int32)
    tracklet[:, 0] = 0
    tracklet[3, 0] = -1
    tracklet[2:4, 1] = 1
    ends = choose_end_poses(tracklet)
    # Index is frame * 2 + place.
    assert ends.head.tolist() == [[0, 2, 4, 8, 10], [5, 7, -1, -1, -1]]
    assert ends.tail.tolist() == [[16, 14, 12, 10, 8], [7, 5, -1, -1, -1]]
    assert choose_end_poses(np.full((3, 2), -1, np.int32)).head.shape == (0, END_POSES)


def test_ends_have_pose_and_velocity_in_spite_of_a_false_point():
    time = np.arange(8.0)
    position = np.zeros((8, 1, 2, 2))
    position[:, 0, :, 0] = 3.0 * time[:, None]
    position[:, 0, 1, 1] = 10.0
    position[7, 0, 1] = 700.0
    position[0, 0, 1] = NAN
    tracklets = describe(position, np.zeros((8, 1), np.int32))
    assert (tracklets.head.frame.tolist(), tracklets.tail.frame.tolist()) == ([0], [7])
    np.testing.assert_allclose(tracklets.head.pose, [[[0, 0], [0, 10]]])
    np.testing.assert_allclose(tracklets.tail.pose, [[[21, 0], [21, 10]]])
    np.testing.assert_allclose(tracklets.head.velocity, [[3, 0]])
    np.testing.assert_allclose(tracklets.tail.velocity, [[3, 0]])


def test_velocity_is_per_frame_across_a_gap_and_0_of_a_single_pose():
    position = np.zeros((6, 2, 1, 2))
    position[:, 0, 0, 1] = 5.0 * np.arange(6)
    tracklet = np.array([[0, -1], [-1, -1], [-1, -1], [0, -1], [-1, 1], [-1, -1]], np.int32)
    tracklets = describe(position, tracklet)
    np.testing.assert_allclose(tracklets.head.velocity, [[0, 5], [0, 0]])
    np.testing.assert_allclose(tracklets.tail.pose[0], [[0, 15]])


def test_worth_size_and_identity_add_up():
    tracklet = np.array([[0, 1], [0, -1]], np.int32)
    quality = np.array([[1.0, 0.5], [0.25, 9.0]])
    identity = np.array([[[0.9, 0.1], [NAN, NAN]], [[0.6, 0.4], [1.0, 0.0]]])
    found = describe(np.zeros((2, 2, 1, 2)), tracklet, quality, identity)
    np.testing.assert_allclose(found.worth, [1.25, 0.5])
    assert found.count.tolist() == [2, 1]
    # Sizes are 2, 0.5 and 1: the mean logarithm of the first two is 0.
    np.testing.assert_allclose(found.log_size, [0.0, 0.0], atol=1e-12)
    expected = [0.1 * np.log([0.9 * 0.6, 0.1 * 0.4]), [0, 0]]
    np.testing.assert_allclose(found.identity, expected, atol=1e-12)
