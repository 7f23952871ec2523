"""Test the similarity of poses and the scale of an animal on values computed by hand."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.core.settings.individuals import TrackingSettings
from pipeline_lib.kernels.tracking.similarity import (
    Measure,
    centre_poses,
    compare_poses,
    measure_scale,
    measure_sizes,
    measure_usual_similarity,
)

NAN = np.nan
MEASURES = get_args(Measure)
# Corners of a square of side 2 around (1, 1): each is at sqrt(2) from the centre.
SQUARE = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]])


def test_centre_and_size_leave_out_what_is_missing():
    one_missing = SQUARE.copy()
    one_missing[3] = NAN
    poses = np.stack([SQUARE, one_missing, np.full((4, 2), NAN)])
    np.testing.assert_allclose(centre_poses(poses), [[1, 1], [4 / 3, 2 / 3], [NAN, NAN]])
    # Squared distances of the three from (4/3, 2/3): 20/9, 8/9, 20/9.
    np.testing.assert_allclose(measure_sizes(poses), [np.sqrt(2), np.sqrt(48 / 27), NAN])
    alone = np.array([[5.0, 5.0], [NAN, NAN]])
    assert np.isnan(measure_sizes(alone))


@pytest.mark.parametrize("measure", MEASURES)
def test_a_pose_is_itself_and_nothing_is_like_one_that_is_missing(measure):
    missing = np.full((4, 2), NAN)
    assert compare_poses(SQUARE, SQUARE, 3.0, measure) == pytest.approx(1.0)
    assert compare_poses(SQUARE, missing, 3.0, measure) == 0.0
    assert compare_poses(missing, SQUARE, 3.0, measure) == 0.0
    assert compare_poses(missing, missing, 3.0, measure) == 0.0


def test_settings_and_kernel_know_the_same_measures_and_another_one_is_an_error():
    assert get_args(TrackingSettings.model_fields["similarity"].annotation) == MEASURES
    with pytest.raises(AssertionError, match="nearest"):
        compare_poses(SQUARE, SQUARE, 1.0, "nearest")


def test_at_the_tolerance_similarity_is_exp_of_minus_a_half():
    moved = SQUARE + np.array([3.0, 4.0])
    for measure in ("oks", "centroid"):
        assert compare_poses(SQUARE, moved, 5.0, measure) == pytest.approx(np.exp(-0.5))


def test_keypoints_that_one_pose_lacks_make_poses_less_alike_either_way():
    part = SQUARE.copy()
    part[1:] = NAN
    assert compare_poses(SQUARE, part, 1.0, "oks") == pytest.approx(0.25)
    assert compare_poses(part, SQUARE, 1.0, "oks") == pytest.approx(0.25)


def test_ellipses_of_another_direction_are_less_alike():
    along = np.array([[-9.0, 0.0], [0.0, 1.0], [0.0, -1.0], [9.0, 0.0]])
    across = along[:, ::-1]
    assert compare_poses(along, across, 1.0, "centroid") == pytest.approx(1.0)
    # Covariances diag(40.5, 0.5) and diag(0.5, 40.5), each widened by 0.5; their mean is
    # diag(21, 21): (41 * 1 * 1 * 41) ** (1/4) / 21.
    expected = 41**0.5 / 21
    assert compare_poses(along, across, 1.0, "ellipse") == pytest.approx(expected)


@pytest.mark.parametrize("measure", MEASURES)
@given(st.integers(0, 1000), st.sampled_from([0.25, 4.0]), st.integers(-50, 50))
def test_similarity_knows_neither_order_nor_place_nor_unit(measure, seed, unit, shift):
    first, second = np.random.default_rng(seed).normal(size=(2, 5, 2)) * 3.0
    similarity = compare_poses(first, second, 2.0, measure)
    assert 0.0 <= similarity <= 1.0
    swapped = compare_poses(second, first, 2.0, measure)
    moved = compare_poses(first * unit + shift, second * unit + shift, 2.0 * unit, measure)
    np.testing.assert_allclose([swapped, moved], similarity, rtol=1e-9)


def test_scale_is_the_usual_size_and_a_fast_step():
    time = np.arange(11.0)[:, None, None]
    # Ten steps of 0.1 px, one animal; beside it one that is larger, and farther than any step.
    small = SQUARE + 0.1 * time
    still = np.broadcast_to(SQUARE * 3.0 + 100.0, small.shape)
    scale = measure_scale(np.stack([small, small + 50.0, still], axis=1)[None])
    assert scale.size == pytest.approx(np.sqrt(2))
    assert scale.speed == pytest.approx(0.1 * np.sqrt(2))
    assert scale.tolerance == pytest.approx(np.hypot(0.3 * np.sqrt(2), 0.2 * np.sqrt(2)))


def test_an_animal_that_is_lost_is_no_fast_step():
    position = np.stack([SQUARE, SQUARE + 90.0], axis=0)[None].repeat(12, axis=0)
    position[::2, 0] = NAN
    assert measure_scale(position[None]).speed == 0.0


def test_the_distance_between_animals_is_the_scale_of_single_keypoints():
    points = np.array([[[0.0, 0.0]], [[8.0, 0.0]], [[100.0, 0.0]]])
    # Nearest others at 8, 8 and 92: the median is 8.
    scale = measure_scale(points[None, None].repeat(3, axis=1))
    assert scale.size == 2.0
    assert scale.speed == 0.0


def test_a_video_without_poses_has_a_scale():
    scale = measure_scale(np.full((1, 4, 2, 3, 2), NAN))
    assert (scale.size, scale.speed) == (1.0, 0.0)
    assert measure_scale(np.zeros((1, 4, 0, 3, 2))).size == 1.0


def test_usual_similarity_is_that_of_an_animal_to_itself():
    # All keypoints move by the tolerance; the other animal is far away.
    position = np.stack([SQUARE, SQUARE + 500.0])[None].repeat(5, axis=0)
    position = position + np.arange(5.0)[:, None, None, None] * np.array([3.0, 0.0])
    usual = measure_usual_similarity(position[None], 3.0, "oks")
    assert usual == pytest.approx(np.exp(-0.5))
    assert measure_usual_similarity(np.full((1, 4, 2, 3, 2), NAN), 3.0, "oks") == 1.0
