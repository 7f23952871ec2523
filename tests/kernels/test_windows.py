"""Test that windows lie inside the frame and contain the animal with a margin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.windows import WindowShape, centre_windows, cut_window

NAN = np.nan
SHAPE = WindowShape(frame=(480, 640), window=(96, 128), margin=8.0, grid=1)
COARSE = WindowShape(frame=(470, 640), window=(96, 128), margin=8.0, grid=32)


def place(*points, shape=SHAPE, least=1):
    """Place the window of one frame; points are (x, y)."""
    corner, placed = shape.place(np.array(points, np.float32)[None], least)
    assert corner.dtype == np.int64
    return corner[0].tolist(), bool(placed[0])


def test_the_box_of_the_keypoints_is_in_the_middle():
    # Box from (300, 200) to (341, 221); 128 px from x - 63.5 to x + 63.5 around its centre.
    assert place((300, 200), (341, 221), (310, 205)) == ([257, 163], True)
    # Weight does not count: many keypoints at one end leave no more room at the other.
    assert place((300, 200), (300, 200), (341, 221)) == ([257, 163], True)


def test_the_window_stays_inside_of_the_frame():
    assert place((2, 3)) == ([0, 0], True)
    assert place((638, 477)) == ([640 - 128, 480 - 96], True)
    # Keypoints a little outside of the frame are at its border, which needs no margin.
    assert place((-3.5, 482.0), (4, 470)) == ([0, 480 - 96], True)


def test_windows_lie_on_the_grid():
    # Wanted at 257 and 163: 8 and 5 steps of 32 are 256 and 160.
    assert place((300, 200), (341, 221), shape=COARSE) == ([256, 160], True)
    # The last row of the grid ends at 480, 10 px below the frame.
    assert place((638, 467), shape=COARSE) == ([512, 384], True)
    assert place((638, 467), shape=SHAPE) == ([512, 384], True)


def test_a_grid_may_leave_too_little_margin():
    """Fit a box into its own window, but into none of the grid's: 8 + 104 of 128 px."""
    assert place((272, 200), (376, 200)) == ([260, 152], True)
    assert place((272, 200), (376, 200), shape=COARSE) == ([0, 0], False)
    # 256 + 8 to 256 + 119 is what the grid's window takes.
    assert place((264, 200), (375, 200), shape=COARSE) == ([256, 160], True)


def test_windows_are_no_larger_than_the_frame_needs():
    shape = WindowShape.of((480, 640), 224, 8.0, 32)
    assert (shape.window, shape.holds_frame) == ((224, 224), False)
    # 90 px need 3 steps, 650 more than a window.
    shape = WindowShape.of((90, 650), 224, 8.0, 32)
    assert (shape.window, shape.holds_frame) == ((96, 224), False)
    shape = WindowShape.of((90, 201), 224, 8.0, 32)
    assert (shape.window, shape.holds_frame) == ((96, 224), True)
    # Whole steps only.
    assert WindowShape.of((480, 640), 223, 8.0, 32).window == (192, 192)


def test_too_few_keypoints_have_no_window():
    assert place((300, 200), (NAN, NAN), least=2) == ([0, 0], False)
    assert place((300, 200), (NAN, 7.0), least=2) == ([0, 0], False)
    # The middle of an even number of pixels is between two of them: the even corner is taken.
    assert place((300, 200), (NAN, NAN), least=1) == ([236, 152], True)
    # None at all is never enough.
    assert place((NAN, NAN), least=0) == ([0, 0], False)


def test_keypoints_too_far_apart_have_no_window():
    # 127 px between the outermost centres, 8 of them at each side: 111 remain.
    assert place((300, 200), (411, 200))[1]
    assert not place((300, 200), (412, 200))[1]
    # At the frame's border one margin is not needed.
    assert place((0, 200), (119, 200)) == ([0, 152], True)
    assert not place((0, 200), (120, 200))[1]


def test_a_window_as_large_as_the_frame_holds_everything():
    shape = WindowShape.of((60, 90), 96, 8.0, 32)
    assert place((0, 0), (89, 59), shape=shape) == ([0, 0], True)


@pytest.mark.parametrize(
    ("point", "cut"),
    [
        ((108.0, 100.0), False),
        ((107.9, 100.0), True),
        ((219.0, 100.0), False),
        ((219.1, 100.0), True),
        ((150.0, 58.0), False),
        ((150.0, 57.9), True),
        ((150.0, 137.1), True),
        ((500.0, 100.0), True),
        ((NAN, NAN), False),
    ],
)
def test_a_keypoint_near_a_border_is_cut(point, cut):
    """Use the window from (100, 50) to (227, 145)."""
    found = SHAPE.find_cut(np.array(point)[None, None], np.array([[100, 50]]))
    assert found.tolist() == [[cut]]


def test_the_border_of_the_frame_cuts_nothing():
    position = np.array([[0.0, 0.0], [639.0, 479.0], [5.0, 470.0]])
    corner = np.array([[0, 0], [640 - 128, 480 - 96]])
    found = SHAPE.find_cut(np.stack([position] * 2), corner)
    assert found.tolist() == [[False, True, True], [True, False, True]]


coordinate = st.floats(-20, 220, width=32) | st.just(NAN)
points = st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=5)


@given(points, st.integers(40, 200), st.integers(40, 200), st.floats(0, 15), st.integers(1, 3))
def test_a_window_is_on_the_grid_and_cuts_nothing_that_was_found(
    points, height, width, margin, least
):
    grid = 16
    shape = WindowShape.of((height, width), 96, margin, grid)
    position = np.array(points)[None]
    corner, placed = shape.place(position, least)
    found = np.isfinite(position).all(axis=2)[0]
    if not placed[0]:
        # Too few, or a box too large for a window half a step away from its centre.
        spread = np.ptp(position[0][found], axis=0) if found.any() else np.zeros(2)
        room = np.array(shape.window[::-1]) - 1 - 2 * margin - grid
        assert found.sum() < least or (spread > room).any()
        return
    assert found.sum() >= least
    assert (corner[0] >= 0).all()
    assert (corner[0] % grid == 0).all()
    assert corner[0][0] + shape.window[1] < width + grid
    assert corner[0][1] + shape.window[0] < height + grid
    assert not shape.find_cut(position, corner)[0][found].any()


@given(st.lists(points, min_size=1, max_size=4))
def test_frames_do_not_touch_each_other(frames):
    count = max(map(len, frames))
    padded = [frame + [(NAN, NAN)] * (count - len(frame)) for frame in frames]
    position = np.array(padded)
    corner, placed = SHAPE.place(position, 1)
    for number in range(len(frames)):
        one, one_placed = SHAPE.place(position[number : number + 1], 1)
        np.testing.assert_array_equal(one[0], corner[number])
        assert one_placed[0] == placed[number]


def test_windows_around_animals_go_beyond_the_frame():
    """Check that the middle of 8 px is 3.5 px from the first."""
    centre = np.array([[[103.5, 53.5], [0.0, 2.0]], [[104.4, 54.6], [-20.0, 3.5]]], np.float32)
    corner = centre_windows(centre, 8)
    assert corner.dtype == np.int64
    assert corner.tolist() == [[[100, 50], [-4, -2]], [[101, 51], [-24, 0]]]
    # On a grid of 6: 100 / 6 is 16.7 and 50 / 6 is 8.3.
    assert centre_windows(centre, 8, 6)[0].tolist() == [[102, 48], [-6, 0]]


@given(st.floats(-50, 700), st.floats(-50, 700), st.integers(1, 300), st.integers(1, 40))
def test_the_middle_of_a_window_is_half_a_step_from_the_animal_at_most(x, y, side, grid):
    corner = centre_windows(np.array([x, y]), side, grid)
    assert (corner % grid == 0).all()
    assert (np.abs(corner + (side - 1) / 2 - (x, y)) <= grid / 2 + 1e-9).all()


@pytest.mark.parametrize(
    ("corner", "rows", "columns"),
    [
        ((2, 1), (1, 5), (2, 6)),  # inside
        ((-3, -1), (0, 3), (0, 1)),
        ((5, 4), (4, 6), (5, 8)),
        ((-4, 2), (2, 6), (0, 0)),  # beside the frame
        ((8, 90), (6, 6), (8, 8)),
        ((-70, -90), (0, 0), (0, 0)),
    ],
)
def test_a_window_shows_the_frame_and_black_beyond_it(corner, rows, columns):
    frame = np.random.default_rng(0).integers(1, 255, (6, 8, 3), np.uint8)
    window = cut_window(frame, np.array(corner), (4, 4))
    assert (window.shape, window.dtype) == ((4, 4, 3), np.uint8)
    x, y = corner
    expected = np.zeros((4, 4, 3), np.uint8)
    for row in range(*rows):
        for column in range(*columns):
            expected[row - y, column - x] = frame[row, column]
    np.testing.assert_array_equal(window, expected)
    assert np.shares_memory(window, frame) == (corner == (2, 1))


def test_a_window_may_be_larger_than_the_frame():
    frame = np.full((3, 2, 3), 7, np.uint8)
    window = cut_window(frame, np.array([-1, -2]), (8, 6))
    assert np.argwhere(window[..., 0]).tolist() == [[2, 1], [2, 2], [3, 1], [3, 2], [4, 1], [4, 2]]
