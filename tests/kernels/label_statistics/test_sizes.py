"""Sizes and distances of labelled poses, compared with values by hand."""

import numpy as np
import pytest

from pipeline_lib.kernels.label_statistics import sizes

NAN = np.nan
# Two animals, two frames, three keypoints; the second animal is labelled in the first frame only.
POSITION = np.array(
    [
        [[[0, 0], [30, 40], [30, 0]], [[100, 0], [130, 40], [NAN, NAN]]],
        [[[10, 10], [10, 90], [NAN, NAN]], [[NAN, NAN], [NAN, NAN], [NAN, NAN]]],
    ],
    float,
)


def test_unlabelled_animals_are_no_poses():
    assert sizes.list_poses(POSITION).shape == (3, 3, 2)


def test_length_is_the_longer_side_of_the_box():
    # Boxes of 30 x 40, 30 x 40 and 0 x 80 px: the 99th percentile is 80 - 0.02 x 40.
    assert sizes.measure_length(sizes.list_poses(POSITION)) == pytest.approx(79.2)


def test_reach_is_measured_from_the_mean():
    # From (20, 40/3): 26.67 along y; 20 along y; from (10, 50): 40 along y.
    expected = np.percentile([80 / 3, 20, 40], 99)
    assert sizes.measure_reach(sizes.list_poses(POSITION)) == pytest.approx(expected)


def test_the_closest_pair_is_the_one_with_the_least_median():
    # 0 and 1: 50, 50, 80 px, median 50. 0 and 2: 30. 1 and 2: 40.
    assert sizes.measure_closest_pair(sizes.list_poses(POSITION)) == 30.0


def test_a_place_labelled_under_two_names_is_no_pair():
    poses = np.array([[[0, 0], [0, 0.5], [0, 20]], [[9, 9], [9, 9], [9, 31]]], float)
    # 20 and 22 px; 19.5 and 22 px.
    assert sizes.measure_closest_pair(poses) == 20.75


def test_a_label_misplaced_on_the_other_animal_is_no_meeting():
    animals = np.tile([[[0.0, 0]], [[40, 0]]], (10, 1, 1, 1))
    animals[3, 0, 0] = 39, 0
    assert sizes.measure_closest_animals(animals) == 40.0


def test_animals_that_meet_are_compared_keypoint_by_keypoint():
    assert sizes.measure_closest_animals(POSITION) == 100.0
    assert np.isnan(sizes.measure_closest_animals(POSITION[:, :1]))


@pytest.mark.parametrize("count", [1, 3])
def test_labels_of_nothing_or_of_one_point_have_no_size(count):
    alone = np.full((4, 1, count, 2), NAN)
    for points in (0, 1):
        alone[:points, 0, 0] = 5.0
        poses = sizes.list_poses(alone)
        assert len(poses) == points
        for measure in (sizes.measure_length, sizes.measure_reach, sizes.measure_closest_pair):
            assert np.isnan(measure(poses))
