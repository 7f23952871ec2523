"""Test places, directions, angles, distances, regions, bouts and bins."""

import numpy as np
import pytest

from pipeline_lib.kernels.kinematics.measures import (
    find_centre,
    find_nearest,
    measure_angle,
    measure_distance,
    measure_heading,
    unwrap_degrees,
)
from pipeline_lib.kernels.kinematics.regions import (
    INSIDE,
    OUTSIDE,
    UNKNOWN,
    find_entries,
    find_inside,
    find_polygon_problem,
    measure_area,
    overlaps,
)
from pipeline_lib.kernels.kinematics.times import (
    average_bins,
    average_directions,
    count_bins,
    find_bins,
    find_bouts,
    find_largest,
    measure_durations,
    sum_bins,
)

NAN = np.nan
SQUARE = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])


def test_the_centre_is_the_mean_of_what_was_found():
    position = np.array([[[[0, 0], [2, 4], [NAN, 9]]], [[[NAN, NAN]] * 3]])
    centre, found = find_centre(position)
    np.testing.assert_array_equal(centre, [[[1, 2]], [[NAN, NAN]]])
    np.testing.assert_allclose(found, [[2 / 3], [0]])


def test_headings_turn_from_x_to_y():
    ends = np.array([[1, 0], [0, 1], [-1, 0], [0, -1], [0, 0], [NAN, 1]], float)
    np.testing.assert_allclose(
        measure_heading(np.zeros(2), ends), [0, 90, 180, -90, NAN, NAN], atol=1e-12
    )
    turned = unwrap_degrees(np.array([170.0, NAN, -170, -10, 160]))
    np.testing.assert_allclose(turned, [170, NAN, 190, 350, 520])


def test_angles_at_a_joint():
    joint = np.array([1.0, 1])
    ends = joint + np.array([[2, 0], [0, 3], [-5, 0], [1, 1], [0, 0], [1e-9, 0]], float)
    found = measure_angle(joint + np.array([1.0, 0]), joint, ends)
    np.testing.assert_allclose(found, [0, 90, 180, 45, NAN, 0], atol=1e-9)
    assert measure_angle(np.array([1.0, 0, 0]), np.zeros(3), np.array([0, 0, 2.0])) == 90


def test_distances_and_the_nearest():
    assert measure_distance(np.array([0.0, 0]), np.array([3.0, 4])) == 5
    centre = np.array([[[0, 0], [3, 4], [0, 1]], [[0, 0], [NAN, NAN], [NAN, NAN]]], float)
    nearest, distance = find_nearest(centre)
    np.testing.assert_array_equal(nearest, [[2, 2, 0], [-1, -1, -1]])
    np.testing.assert_allclose(distance, [[1, np.hypot(3, 3), 1], [NAN] * 3])
    alone, _ = find_nearest(centre[:, :1])
    np.testing.assert_array_equal(alone, [[-1], [-1]])


def test_points_in_a_region_with_a_hole():
    hole = np.array([[1.0, 1], [3, 1], [3, 3], [1, 3]])
    points = np.array([[0.5, 0.5], [2, 2], [5, 2], [NAN, 2], [3.5, 3.9]])
    np.testing.assert_array_equal(
        find_inside(points, [SQUARE, hole]), [INSIDE, OUTSIDE, OUTSIDE, UNKNOWN, INSIDE]
    )


def test_regions_that_share_a_side_do_not_share_its_points():
    right = SQUARE + np.array([4.0, 0])
    grid = np.stack(np.meshgrid(np.arange(0, 9.0), np.arange(0, 5.0)), axis=-1)
    both = [(find_inside(grid, [ring]) == INSIDE).astype(int) for ring in (SQUARE, right)]
    assert sum(both).max() == 1
    assert both[0].sum() == both[1].sum() == 16


@pytest.mark.parametrize(
    ("corners", "problem"),
    [
        ([[0, 0], [4, 0]], "has 2 corners"),
        ([[0, 0], [4, 0], [0, 0]], "at least 3 different"),
        ([[0, 0], [4, 4], [4, 0], [0, 4]], "crosses itself: sides 1 and 3"),
        ([[0, 0], [4, 0], [2, 0], [2, 3]], "crosses itself: sides 1 and 2"),
        ([[0, 0], [4, 0], [8, 0]], "crosses itself"),
        ([[0, 0], [4, 0], [4, 4], [2, 0], [0, 4]], "crosses itself: sides 1 and"),
        ([[0, 0], [4, 0], [NAN, 4]], "no number"),
        (SQUARE, ""),
        ([[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]], ""),
        # A corner on a straight side.
        ([[0, 0], [2, 0], [4, 0], [4, 4], [0, 4]], ""),
    ],
)
def test_what_is_no_polygon(corners, problem):
    found = find_polygon_problem(np.array(corners, float))
    assert problem in found
    assert bool(problem) == bool(found)


def test_area_and_overlap():
    assert measure_area(SQUARE) == 16
    assert overlaps(SQUARE - 2, 10, 10)
    assert not overlaps(SQUARE - 9, 10, 10)
    assert not overlaps(SQUARE + np.array([20.0, 0]), 10, 10)


def find(text, shortest=0.0):
    """Return the entries of states written as `.` outside, `#` inside, `?` unknown; 10 per s."""
    state = np.array([{".": OUTSIDE, "#": INSIDE, "?": UNKNOWN}[one] for one in text], np.int8)
    return find_entries(state, np.arange(len(text)) / 10, len(text) / 10, shortest).tolist()


def test_entries():
    assert find("..##..#") == [2, 6]
    assert find("##..") == []
    assert find("??##..#?#") == [6]
    # Unseen, it neither left nor entered.
    assert find("..##??##") == [2]
    assert find("..??##") == [4]
    assert find("????") == []
    # Jitter at the border, both ways.
    assert find("....#....####.####....", 0.2) == [9]
    assert find("....##", 0.2) == [4]
    assert find("....##", 0.3) == []


def test_bouts_end_where_the_speed_is_unknown():
    speed = np.array([5, 1, 1, 1, NAN, 1, 1, 5, 1, 1, 1, 1.0])
    found = find_bouts(speed, np.full(12, 0.1), 2, 0.3)
    np.testing.assert_array_equal(found, [[1, 4], [8, 12]])
    assert find_bouts(speed, np.full(12, 0.1), 0.5, 0).shape == (0, 2)


def test_durations():
    np.testing.assert_allclose(measure_durations(np.array([0, 1, 3, 4.0])), [1, 2, 1, 1])
    np.testing.assert_array_equal(measure_durations(np.array([7.0])), [0])
    assert measure_durations(np.zeros(0)).shape == (0,)


def test_bins():
    time = np.array([10, 10.5, 11, 13, 13.5])
    number, first = find_bins(time, 1.0)
    np.testing.assert_array_equal(number, [0, 1, 3])
    np.testing.assert_array_equal(first, [0, 2, 3])
    values = np.array([1, 3, NAN, NAN, 4])
    np.testing.assert_array_equal(sum_bins(values, first), [4, 0, 4])
    np.testing.assert_array_equal(average_bins(values, first), [2, NAN, 4])
    np.testing.assert_array_equal(find_largest(values, first), [3, NAN, 4])
    np.testing.assert_array_equal(count_bins(np.array([1, 2, 4, 4]), first, 5), [1, 1, 2])
    np.testing.assert_allclose(
        average_directions(np.array([170, -170, NAN, 0, 180]), first), [180, NAN, NAN]
    )
    assert find_bins(time, None)[1].tolist() == [0]
    # 0.1 s at 30 frames per second: three frames in each bin, whatever the rounding.
    assert np.diff(find_bins(np.arange(300) / 30, 0.1)[1]).tolist() == [3] * 99
