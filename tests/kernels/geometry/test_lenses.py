"""Test lenses: against OpenCV, their inverses, derivatives and limits."""

import cv2
import numpy as np
import pytest

from pipeline_lib.kernels.geometry.lenses import differentiate_projection, find_rays, project_local
from pipeline_lib.kernels.geometry.projection import project, undistort, unproject
from tests.kernels.geometry.rigs import LENSES, draw_points, make_camera

CENTRE = (700, -500, 400)


def project_with_opencv(camera, points):
    turn = cv2.Rodrigues(camera.rotation)[0]
    if camera.model == "fisheye":
        seen, _ = cv2.fisheye.projectPoints(
            points[:, None], turn, camera.translation, camera.matrix, camera.distortion
        )
    else:
        seen, _ = cv2.projectPoints(
            points, turn, camera.translation, camera.matrix, camera.distortion
        )
    return seen[:, 0] if seen.shape[1] == 1 else seen[0]


@pytest.mark.parametrize("lens", LENSES)
def test_projection_is_that_of_opencv(lens):
    camera, points = make_camera("a", CENTRE, lens), draw_points(500)
    assert np.abs(project(camera, points) - project_with_opencv(camera, points)).max() < 1e-9


@pytest.mark.parametrize("lens", LENSES)
def test_undistorted_pixels_are_those_of_opencv(lens):
    camera, points = make_camera("a", CENTRE, lens), draw_points(500)
    pixels = project(camera, points)
    if camera.model == "fisheye":
        expected = cv2.fisheye.undistortPoints(
            pixels[:, None], camera.matrix, camera.distortion, P=camera.matrix
        )
    else:
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-14)
        expected = cv2.undistortPoints(
            pixels[:, None], camera.matrix, camera.distortion, P=camera.matrix, criteria=criteria
        )
    assert np.abs(undistort(camera, pixels) - expected.reshape(-1, 2)).max() < 1e-6


@pytest.mark.parametrize("lens", LENSES)
def test_a_pixel_looks_at_what_it_shows(lens):
    camera, points = make_camera("a", CENTRE, lens), draw_points(500)
    direction = points - camera.centre
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    assert np.abs(unproject(camera, project(camera, points)) - direction).max() < 1e-11


@pytest.mark.parametrize("lens", LENSES)
def test_derivatives_are_those_of_differences(lens):
    camera = make_camera("a", CENTRE, lens)
    local = draw_points(50) @ camera.rotation.T + camera.translation
    pixels, by_point, by_matrix, by_distortion = differentiate_projection(camera, *local.T)
    assert np.abs(pixels - np.stack(project_local(camera, *local.T), -1)).max() < 1e-9
    for axis in range(3):
        step = np.eye(3)[axis] * 1e-3
        change = np.stack(project_local(camera, *(local + step).T), -1) - np.stack(
            project_local(camera, *(local - step).T), -1
        )
        assert np.allclose(by_point[..., axis], change / 2e-3, atol=1e-6)
    flat_x, flat_y = (pixels - camera.matrix[:2, 2]).T / np.diag(camera.matrix)[:2, None]
    assert np.allclose(
        by_matrix[:, 0], np.stack([flat_x, 0 * flat_x, 1 + 0 * flat_x, 0 * flat_x], 1)
    )
    assert np.allclose(
        by_matrix[:, 1], np.stack([0 * flat_y, flat_y, 0 * flat_y, 1 + 0 * flat_y], 1)
    )
    for place in range(len(camera.distortion)):
        sides = []
        for sign in (1, -1):
            moved = camera.distortion.copy()
            moved[place] += sign * 1e-6
            other = make_camera("a", CENTRE, lens)
            object.__setattr__(other, "distortion", moved)
            sides.append(np.stack(project_local(other, *local.T), -1))
        change = (sides[0] - sides[1]) / 2e-6
        assert np.allclose(by_distortion[..., place], change, atol=1e-4)


def test_the_axis_of_a_fisheye_has_derivatives():
    camera = make_camera("a", CENTRE, "fisheye")
    pixels, by_point, _, by_distortion = differentiate_projection(
        camera, np.zeros(1), np.zeros(1), np.full(1, 2.0)
    )
    assert np.allclose(pixels, camera.matrix[:2, 2])
    assert np.allclose(by_point[0, :, :2], np.diag([420, 425]) / 2)
    assert np.allclose(by_point[0, :, 2], 0)
    assert np.allclose(by_distortion, 0)


def test_a_fisheye_sees_beside_and_behind_itself():
    camera = make_camera("a", (0, 0, 0), "fisheye", target=(0, 1, 0))
    for angle in (80, 90, 100):
        local = np.array([np.sin(np.radians(angle)), 0.0, np.cos(np.radians(angle))])
        x, y = project_local(camera, *local[:, None])
        assert np.allclose(np.ravel(find_rays(camera, x, y)), local, atol=1e-10)


def test_a_pinhole_camera_sees_nothing_behind_itself():
    camera = make_camera("a", (0, 0, 100))
    behind = camera.centre - 10 * camera.rotation[2]
    assert np.isnan(project(camera, behind[None])).all()


def test_pixels_beyond_the_fold_of_a_lens_have_no_ray():
    # x (1 - 0.5 r²) grows up to r = 0.816, where it is 0.544: nothing is seen further out.
    camera = make_camera("a", CENTRE)
    object.__setattr__(camera, "distortion", np.array([-0.5] + [0.0] * 11))
    x = 640 + 900 * np.array([0.5, 0.54, 0.55, 0.7])
    ray, _, _ = find_rays(camera, x, np.full(4, 512.0))
    assert np.isfinite(ray).tolist() == [True, True, False, False]
    assert np.allclose(ray[:2] * (1 - 0.5 * ray[:2] ** 2), [0.5, 0.54])
