"""Test distances and rates computed by hand."""

import math

import numpy as np
import pytest

from pipeline_lib.kernels.metrics.keypoints import (
    compare_individuals,
    find_individuals,
    gaussian_overlap,
    keypoint_distance,
    mean_error,
    measure_areas,
    median_error,
    object_keypoint_similarity,
    root_mean_square_error,
    share_of_correct_keypoints,
)

NAN = np.nan


def test_distance_is_the_hypotenuse():
    labelled = np.array([[[10.0, 20.0], [0.0, 0.0]], [[1.0, 1.0], [NAN, NAN]]])
    predicted = np.array([[[13.0, 24.0], [-5.0, 12.0]], [[1.0, 1.0], [3.0, 4.0]]])
    distance = keypoint_distance(predicted, labelled)
    np.testing.assert_array_equal(distance, [[5.0, 13.0], [0.0, NAN]])
    np.testing.assert_array_equal(keypoint_distance(labelled, predicted), distance)


def test_distance_needs_both_coordinates_of_both():
    point = np.array([1.0, 2.0])
    for missing in ([NAN, 2.0], [1.0, NAN]):
        assert np.isnan(keypoint_distance(np.array(missing), point))
        assert np.isnan(keypoint_distance(point, np.array(missing)))


def test_distance_of_single_precision_is_computed_in_double():
    far = np.array([16777216.0, 0.0], np.float32)
    assert keypoint_distance(far, np.array([1.0, 0.0], np.float32)) == 16777215.0


def test_mean_median_and_root_mean_square_differ():
    distance = np.array([[3.0, 4.0], [NAN, 8.0]])
    assert mean_error(distance) == 5.0
    assert median_error(distance) == 4.0
    assert root_mean_square_error(distance) == pytest.approx(math.sqrt((9 + 16 + 64) / 3))


@pytest.mark.parametrize("measure", [mean_error, median_error, root_mean_square_error])
@pytest.mark.parametrize("distance", [np.array([]), np.array([NAN, NAN])])
def test_no_distance_has_no_error(measure, distance):
    assert math.isnan(measure(distance))


def test_pck_counts_a_distance_equal_to_the_threshold():
    distance = np.array([0.0, 5.0, np.nextafter(5.0, 6.0), 20.0])
    assert share_of_correct_keypoints(distance, 5.0) == 0.5
    assert share_of_correct_keypoints(distance, 100.0) == 1.0


def test_pck_leaves_out_the_unlabelled():
    assert share_of_correct_keypoints(np.array([1.0, NAN, 9.0, NAN]), 2.0) == 0.5
    assert math.isnan(share_of_correct_keypoints(np.array([NAN]), 2.0))
    assert math.isnan(share_of_correct_keypoints(np.array([]), 2.0))


def test_pck_counts_a_label_without_a_prediction_as_wrong():
    assert share_of_correct_keypoints(np.array([1.0, np.inf, NAN]), 2.0) == 0.5
    assert share_of_correct_keypoints(np.array([np.inf]), 2.0) == 0.0


def test_pck_counts_rejected_predictions_as_wrong():
    distance = np.array([1.0, 1.0, 9.0, NAN])
    found = np.array([True, False, True, True])
    assert share_of_correct_keypoints(distance, 2.0, found) == pytest.approx(1 / 3)
    assert share_of_correct_keypoints(distance, 2.0, np.zeros(4, bool)) == 0.0


def test_oks_by_hand():
    # Area 100, sigma 0.25: 2 * 100 * 0.5^2 = 50. Distances 5 and 0, one keypoint unlabelled.
    truth = np.array([[0.0, 0.0], [10.0, 10.0], [NAN, NAN]])
    predicted = np.array([[3.0, 4.0], [10.0, 10.0], [1.0, 1.0]])
    similarity = object_keypoint_similarity(predicted, truth, 100.0, 0.25)
    assert similarity == pytest.approx((math.exp(-0.5) + 1) / 2)
    # Each keypoint has its own sigma: 2 * 100 * 1^2 = 200.
    wider = object_keypoint_similarity(predicted, truth, 100.0, [0.5, 0.25, 0.1])
    assert wider == pytest.approx((math.exp(-25 / 200) + 1) / 2)


def test_oks_of_a_missing_prediction_is_zero():
    truth = np.array([[0.0, 0.0], [10.0, 10.0]])
    predicted = np.array([[0.0, 0.0], [NAN, NAN]])
    assert object_keypoint_similarity(predicted, truth, 100.0, 0.1) == 0.5
    assert object_keypoint_similarity(np.full((2, 2), NAN), truth, 100.0, 0.1) == 0.0


def test_oks_without_a_truth_is_nan():
    truth = np.full((2, 2), NAN)
    assert math.isnan(object_keypoint_similarity(np.zeros((2, 2)), truth, 100.0, 0.1))


def test_oks_of_all_pairs_is_broadcast():
    truth = np.arange(12.0).reshape(3, 2, 2)
    predicted = truth[:2] + 1.0
    area = np.array([10.0, 20.0, 40.0])
    pairs = object_keypoint_similarity(predicted[:, None], truth, area, 0.5)
    assert pairs.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            single = object_keypoint_similarity(predicted[i], truth[j], area[j], 0.5)
            assert pairs[i, j] == single
    assert object_keypoint_similarity(np.zeros((0, 1, 2, 2)), truth, area, 0.5).shape == (0, 3)


def test_oks_of_no_area_is_one_or_zero():
    truth = np.zeros((1, 2))
    assert object_keypoint_similarity(truth, truth, 0.0, 0.1) == 1.0
    assert object_keypoint_similarity(truth + 1, truth, 0.0, 0.1) == 0.0


def test_area_is_that_of_the_box_around_the_keypoints():
    pose = np.array([[0.0, 0.0], [4.0, 1.0], [2.0, 5.0], [NAN, 99.0]])
    assert measure_areas(pose) == 20.0
    assert measure_areas(pose + 7.0) == 20.0


def test_area_of_a_line_is_that_of_the_others():
    box = np.array([[0.0, 0.0], [4.0, 5.0]])
    poses = np.array([box, 2 * box, 3 * box, [[0.0, 0.0], [0.0, 9.0]], [[1.0, 1.0], [NAN, NAN]]])
    assert measure_areas(poses).tolist() == [20.0, 80.0, 180.0, 80.0, 80.0]


def test_no_area_without_a_keypoint_or_with_nothing_that_has_one():
    assert math.isnan(measure_areas(np.full((3, 2), NAN)))
    assert np.isnan(measure_areas(np.zeros((2, 1, 2)))).all()
    assert measure_areas(np.zeros((0, 3, 2))).shape == (0,)
    assert np.isnan(measure_areas(np.zeros((2, 0, 2)))).all()


def test_individuals_are_compared_frame_by_frame():
    # Boxes of 10 x 10: OKS of a shift by d is exp(-d^2 / (2 * 100 * 0.2^2)) = exp(-d^2 / 8).
    truth = np.array([[[[0.0, 0.0], [10.0, 10.0]]], [[[5.0, 5.0], [15.0, 15.0]]]])
    predicted = np.concatenate([truth + np.array([2.0, 0.0]), truth], axis=1)
    predicted[1, 1] = NAN
    expected = [[[math.exp(-0.5)], [1.0]], [[math.exp(-0.5)], [NAN]]]
    np.testing.assert_allclose(compare_individuals(predicted, truth), expected)
    near = compare_individuals(predicted, truth, max_distance=4.0)
    np.testing.assert_allclose(near, [[[0.75], [1.0]], [[0.75], [NAN]]])
    assert compare_individuals(predicted, truth, max_distance=0.5)[0, 0] == 0.0


def test_long_videos_are_compared_in_parts():
    truth = np.random.default_rng(0).uniform(0, 50, (2500, 1, 3, 2))
    whole = compare_individuals(truth + 1.0, truth)
    parts = [compare_individuals(truth[i : i + 1] + 1.0, truth[i : i + 1]) for i in (0, 1024, 2499)]
    assert [float(part[0, 0, 0]) for part in parts] == whole[[0, 1024, 2499], 0, 0].tolist()


def test_an_individual_is_there_with_one_whole_keypoint():
    poses = np.array([[[1.0, NAN], [NAN, 2.0]], [[NAN, NAN], [0.0, 0.0]]])
    assert find_individuals(poses).tolist() == [False, True]


def test_normal_distributions_overlap_by_the_bhattacharyya_coefficient():
    round_one, mean = np.eye(2) * 4.0, np.array([1.0, 2.0])
    assert gaussian_overlap(mean, round_one, mean, round_one) == pytest.approx(1.0)
    # 4 px apart along x, of variance 4: exp(-16 / 4 / 8).
    apart = gaussian_overlap(mean, round_one, mean + np.array([4.0, 0.0]), round_one)
    assert apart == pytest.approx(math.exp(-0.5))
    # Of a tilted one, whose inverse is [[5, -3], [-3, 5]] / 16, along and across.
    tilted = np.array([[5.0, 3.0], [3.0, 5.0]])
    along = gaussian_overlap(mean, tilted, mean + 2.0, tilted)
    across = gaussian_overlap(mean, tilted, mean + np.array([2.0, -2.0]), tilted)
    assert along == pytest.approx(math.exp(-(16.0 / 16.0) / 8.0))
    assert across == pytest.approx(math.exp(-(64.0 / 16.0) / 8.0))
    # Of variances 1 and 9: (1 * 81) ** (1/4) / sqrt(25).
    wide = gaussian_overlap(mean, np.eye(2), mean, np.eye(2) * 9.0)
    assert wide == pytest.approx(3.0 / 5.0)
    assert np.isnan(gaussian_overlap(np.array([NAN, NAN]), round_one, mean, round_one))
