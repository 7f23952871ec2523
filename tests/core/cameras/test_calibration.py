"""Test cameras and calibrations: what is refused, what is completed."""

import numpy as np
import pytest

from pipeline_lib.core.cameras.calibration import Calibration, Camera

MATRIX = np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])


def make(name="a", **changes):
    values = {"size": (640, 480), "matrix": MATRIX, **changes}
    return Camera(name, **values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "its name is empty"),
        ({"name": "a\tb"}, "its name holds a tab"),
        ({"name": 3}, "its name is no text"),
        ({"model": "wide"}, "expected the model pinhole or fisheye"),
        ({"size": (0, 480)}, "`size` is 0 x 480"),
        ({"size": (640.5, 480)}, "whole px"),
        ({"size": (10**9, 480)}, "`size` is"),
        ({"size": (640, 480, 3)}, "`size` has 3 numbers"),
        ({"size": "large"}, "`size` is not made of numbers"),
        ({"matrix": np.eye(2)}, "`matrix` has 4 numbers, expected 9"),
        ({"matrix": MATRIX * np.nan}, "not finite"),
        ({"matrix": -MATRIX}, "no camera matrix"),
        ({"matrix": np.diag([0, 1, 1])}, "focal length"),
        ({"matrix": MATRIX.T}, "no camera matrix"),
        ({"distortion": np.ones(13)}, "13 numbers for the model pinhole"),
        ({"distortion": [np.inf]}, "not finite"),
        ({"distortion": np.ones(5), "model": "fisheye"}, "5 numbers for the model fisheye"),
        ({"rotation": np.diag([1.0, 1, -1])}, "mirrors"),
        ({"rotation": np.diag([1.0, 1, 2])}, "no rotation"),
        ({"rotation": np.zeros((3, 3))}, "no rotation"),
        ({"translation": [1, 2]}, "`translation` has 2 numbers"),
        ({"translation": [1, 2, "far"]}, "not made of numbers"),
    ],
)
def test_what_is_no_camera_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_coefficients_that_are_left_out_are_zero():
    assert make().distortion.tolist() == [0] * 12
    assert make(distortion=[1, 2, 3]).distortion.tolist() == [1, 2, 3] + [0] * 9
    assert make(distortion=[1, 2, 3, 4] + [0] * 10).distortion.tolist() == [1, 2, 3, 4] + [0] * 8
    assert make(distortion=[1, 2], model="fisheye").distortion.tolist() == [1, 2, 0, 0]
    assert make(distortion=[1, 2, 3, 4, 0], model="fisheye").distortion.tolist() == [1, 2, 3, 4]


def test_nothing_of_a_camera_can_be_changed():
    camera, given = make(), MATRIX.copy()
    with pytest.raises(ValueError, match="read-only"):
        camera.matrix[0, 0] = 1
    own = make(matrix=given)
    given[0, 0] = 1
    assert own.matrix[0, 0] == 500


def test_rounded_rotations_become_proper():
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    rotation = make(rotation=turn + 2e-4).rotation
    assert np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-12
    assert np.abs(rotation - turn).max() < 1e-3


def test_the_centre_is_where_the_camera_stands():
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    camera = make(rotation=turn, translation=[1, 2, 3])
    assert np.allclose(camera.rotation @ camera.centre + camera.translation, 0)


@pytest.mark.parametrize(
    ("names", "more", "message"),
    [
        ((), {}, "no camera"),
        (("a", "a"), {}, "two cameras have the name 'a'"),
        (("a", "A"), {}, "two cameras have the name 'A'"),
        (("a", "b"), {"unit": "parsec"}, "no unit"),
        (("a", "b"), {"errors": {"c": 1.0}}, "none of the cameras"),
        (("a", "b"), {"errors": {"a": np.nan}}, "expected px"),
    ],
)
def test_what_is_no_calibration_is_refused(names, more, message):
    with pytest.raises(ValueError, match=message):
        Calibration(tuple(make(name) for name in names), **more)


def test_cameras_are_chosen_by_name():
    calibration = Calibration((make("a"), make("b"), make("c")), "mm", {"a": 0.1, "c": 0.3})
    chosen = calibration.choose(["c", "b"])
    assert chosen.names == ("c", "b")
    assert chosen.unit == "mm"
    assert dict(chosen.errors) == {"c": 0.3}
    with pytest.raises(ValueError, match="no camera 'd'; there are a, b, c"):
        calibration.choose(["d"])


def test_the_same_parameters_are_found_under_any_name():
    first = make("a", distortion=[0.1])
    assert first.has_same_parameters(make("b", distortion=[0.1, 0]))
    assert not first.has_same_parameters(make("b", distortion=[0.2]))
    assert not first.has_same_parameters(make("b", distortion=[0.1], translation=[0, 0, 1]))
