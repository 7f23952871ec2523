"""Test the combination of members: values derived by hand."""

import numpy as np

from pipeline_lib.kernels.ensembles.members import (
    arrange_members,
    combine_members,
    take_individuals,
)

NAN = np.nan


def test_the_pose_is_the_median_and_the_spread_its_distance_from_the_members():
    position = np.array([[0, 0], [10, 4], [13, 0]], float)[:, None, None, None]
    confidence = np.array([0.2, 0.9, 0.6])[:, None, None, None]
    found = combine_members(position, confidence)
    np.testing.assert_array_equal(found.position[0, 0, 0], [10, 0])
    assert found.confidence[0, 0, 0] == np.float32(0.6)
    # Distances 10, 4 and 3.
    np.testing.assert_allclose(found.spread[0, 0, 0], np.sqrt(125 / 3), rtol=1e-6)
    assert {one.dtype for one in found} == {np.dtype(np.float32)}


def test_what_fewer_than_half_of_the_members_found_is_not_there():
    one, two = [1.0, 2.0], [5.0, 2.0]
    # Keypoints found by three, two, one and none of four members.
    position = np.array([[one, one, one, [NAN] * 2], [two, two, [NAN] * 2, [NAN] * 2]] * 2)
    position[2, 1], position[2, 2] = NAN, NAN
    position[3, 0], position[3, 1] = NAN, NAN
    position[2, 0] = 3.0, 2.0
    confidence = np.where(np.isfinite(position[..., 0]), 0.8, 0.0)
    found = combine_members(position[:, None, None], confidence[:, None, None])
    np.testing.assert_array_equal(found.position[0, 0], [[3, 2], [3, 2], [NAN, NAN], [NAN, NAN]])
    np.testing.assert_allclose(found.confidence[0, 0], [0.8, 0.4, 0, 0])
    np.testing.assert_allclose(found.spread[0, 0], [np.sqrt(8 / 3), 2, NAN, NAN])


def test_one_member_has_no_spread():
    position, confidence = np.ones((1, 2, 1, 1, 2)), np.full((1, 2, 1, 1), 0.7)
    found = combine_members(position, confidence)
    np.testing.assert_array_equal(found.position, position[0])
    assert np.isnan(found.spread).all()


def make_animal(x, size=20.0):
    return np.array([[x, 0], [x + size, 0], [x, size]], float)


NOBODY = np.full((3, 2), NAN)


def test_individuals_of_members_are_matched_whatever_their_order():
    a, b, ghost = make_animal(0), make_animal(200), make_animal(500)
    position = np.array([[a, b, NOBODY], [b + 1, a + 1, ghost], [NOBODY, b - 1, a - 1]])[:, None]
    confidence = np.where(np.isfinite(position[..., 0]), 0.5, 0.0)
    # The second animal is the more certain one; the ghost is seen by one member.
    confidence[0, 0, 1] = confidence[1, 0, 0] = 0.9
    arranged = arrange_members(position, confidence, max_distance=10)
    assert arranged[:, 0].tolist() == [[1, 0, -1], [0, 1, -1], [1, 2, -1]]
    moved = take_individuals(position, arranged, NAN)
    np.testing.assert_array_equal(moved[:, 0, 0], [b, b + 1, b - 1])
    assert np.isnan(moved[:, 0, 2]).all()
    found = combine_members(moved, take_individuals(confidence, arranged, 0.0))
    np.testing.assert_array_equal(found.position[0, :2], [b, a])
    np.testing.assert_allclose(found.spread[0, 1], np.sqrt(4 / 3), rtol=1e-6)


def test_an_animal_that_the_first_member_missed_is_found_by_the_others():
    a, b = make_animal(0), make_animal(200)
    position = np.array([[a, NOBODY], [b, a], [a, b + 2]])[:, None]
    confidence = np.where(np.isfinite(position[..., 0]), 0.5, 0.0)
    arranged = arrange_members(position, confidence, max_distance=10)
    assert arranged[:, 0].tolist() == [[0, -1], [1, 0], [0, 1]]


def test_animals_of_one_bodypart_are_matched_by_distance():
    position = np.array([[[0, 0], [50, 0]], [[53, 0], [4, 0]], [[90, 0], [1, 0]]], float)
    position = position[:, None, :, None]
    arranged = arrange_members(position, np.ones((3, 1, 2, 1)), max_distance=10)
    assert arranged[:, 0].tolist() == [[0, 1], [1, 0], [1, -1]]


def test_a_frame_does_not_depend_on_the_others():
    random = np.random.default_rng(0)
    position = random.uniform(0, 100, (3, 6, 2, 3, 2))
    # An animal of which one bodypart was found has no area of its own.
    position[:, 2, :, 1:] = NAN
    confidence = np.where(np.isfinite(position[..., 0]), 0.5, 0.0)
    whole = arrange_members(position, confidence, max_distance=10)
    for frame in range(6):
        alone = slice(frame, frame + 1)
        own = arrange_members(position[:, alone], confidence[:, alone], max_distance=10)
        np.testing.assert_array_equal(own, whole[:, alone])
    assert arrange_members(position[:, :0], confidence[:, :0], max_distance=9).shape == (3, 0, 2)
