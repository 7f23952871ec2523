"""Test the view of poses in space."""

import numpy as np
import pytest

from pipeline_lib.kernels.drawing.space import choose_length, choose_view, draw_scale


def test_points_fill_the_picture_and_stay_upright():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (500, 2, 3)) * [200, 100, 20] + [1000, 0, 50]
    points[3] = np.nan
    # A camera that looks down: its picture's right is x, its picture's down is -y.
    rotation = np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])
    view = choose_view(points, rotation, (400, 300))
    np.testing.assert_allclose(view.axes @ view.axes.T, np.eye(3), atol=1e-9)
    places = view.project(points)
    kept = places[np.isfinite(places).all(-1)]
    assert ((kept > 0) & (kept < [400, 300])).mean() > 0.98
    assert np.ptp(kept[:, 0]) > 0.7 * 400 or np.ptp(kept[:, 1]) > 0.7 * 300
    # What is to the right of the camera stays to the right, what is below stays below.
    right, down = view.project(np.array([[1100.0, 0, 50], [1000.0, -50, 50]])) - [200, 150]
    assert right[0] > 20
    assert down[1] > 20
    assert np.isnan(places[3]).all()


def test_a_single_place_and_none_are_shown_in_the_middle():
    for points in (np.ones((4, 1, 3)), np.full((4, 1, 3), np.nan)):
        view = choose_view(points, np.eye(3), (100, 80))
        assert view.scale > 0
        shown = view.project(np.nan_to_num(points[0, 0]))
        np.testing.assert_allclose(shown, [50, 40])


@pytest.mark.parametrize(
    ("most", "length"), [(7.3, 5), (1, 1), (0.26, 0.2), (2000, 2000), (19, 10)]
)
def test_lengths_are_round(most, length):
    assert choose_length(most) == pytest.approx(length)


def test_the_bar_has_the_length_that_it_says():
    view = choose_view(np.array([[0.0, 0, 0], [100, 50, 0]]), np.eye(3), (400, 300))
    image = np.zeros((300, 400, 3), np.uint8)
    draw_scale(image, view, "mm")
    bar = np.flatnonzero(image[288, 60:].sum(-1) > 300)
    length = choose_length(100 / view.scale)
    assert np.ptp(bar) == pytest.approx(length * view.scale, abs=3)
