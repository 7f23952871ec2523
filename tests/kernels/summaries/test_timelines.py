import numpy as np
import pytest

from pipeline_lib.kernels.summaries.timelines import (
    choose_lowest,
    count_places,
    cut_stretches,
    find_lowest,
    measure_speed,
    pick_first,
    sum_stretches,
)

NAN = np.nan


def test_stretches_cover_every_frame_once():
    assert cut_stretches(10, 4).tolist() == [0, 2, 5, 7, 10]
    assert cut_stretches(2, 4).tolist() == [0, 1, 2]
    assert cut_stretches(0, 4).tolist() == [0]


def test_sums_of_blocks_are_those_of_the_video():
    values = np.array([[1.0], [NAN], [3.0], [4.0], [5.0]])
    edges = cut_stretches(5, 2)
    sums, counts = sum_stretches(values, edges)
    assert (sums.tolist(), counts.tolist()) == ([[1.0], [12.0]], [[1], [3]])
    parts = [sum_stretches(values[start : start + 2], edges, start) for start in (0, 2, 4)]
    np.testing.assert_array_equal(sum(one for one, _ in parts), sums)
    np.testing.assert_array_equal(sum(one for _, one in parts), counts)


def test_the_lowest_of_a_stretch_is_not_lost():
    values = np.array([0.9, 0.1, NAN, NAN, 0.7])
    np.testing.assert_array_equal(find_lowest(values, np.array([0, 2, 4, 5])), [0.1, NAN, 0.7])
    assert find_lowest(np.zeros(0), cut_stretches(0, 3)).shape == (0,)


def test_the_first_known_point_of_a_stretch_stands_for_it():
    points = np.full((4, 1, 2), NAN, np.float32)
    points[1, 0] = 3, 4
    picked = pick_first(points, cut_stretches(4, 2))
    np.testing.assert_array_equal(picked[:, 0], [[3, 4], [NAN, NAN]])


def test_a_bodypart_that_is_lost_is_no_movement():
    # Two bodyparts, 100 px apart, move 3 px a frame along x; one is not found in frame 2.
    position = np.zeros((4, 1, 2, 2))
    position[..., 0] = 3.0 * np.arange(4)[:, None, None] + np.array([0.0, 100.0])
    position[2, 0, 1] = NAN
    time = np.arange(4) / 10
    np.testing.assert_allclose(measure_speed(position, time, 1)[:, 0], 30.0)
    np.testing.assert_allclose(measure_speed(position, time, 2)[:, 0], 30.0)
    position[1] = NAN
    np.testing.assert_array_equal(np.isnan(measure_speed(position, time, 1)[:, 0]), [1, 1, 0])
    assert measure_speed(position[:1], time[:1], 1).shape == (0, 1)
    # Frames of one time have no speed.
    assert np.isnan(measure_speed(position[2:], np.zeros(2), 1)).all()


def test_places_are_shares_of_the_known_points():
    points = np.array([[0.0, 0.0], [9.0, 9.0], [99.0, -5.0], [NAN, 1.0]])
    shares = count_places(points, (10, 10), (2, 2))
    np.testing.assert_allclose(shares, [[1 / 3, 1 / 3], [0, 1 / 3]])
    assert not count_places(points[3:], (10, 10), (2, 2)).any()


@pytest.mark.parametrize(
    ("apart", "chosen"), [(1, [3, 1, 2]), (2, [3, 1, 5]), (3, [3, 0]), (99, [3])]
)
def test_the_lowest_frames_are_apart(apart, chosen):
    values = np.array([0.5, 0.2, 0.3, 0.1, NAN, 0.9])
    assert choose_lowest(values, 3, apart) == chosen
