"""Test bundle adjustment: derivatives, the least error, truth, outliers, what is undetermined."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from pipeline_lib.kernels.geometry import start
from pipeline_lib.kernels.geometry.adjustment import (
    BoardView,
    Bundle,
    Pose,
    adjust,
    find_gradient,
    find_residuals,
    list_parameters,
    measure_cost,
    move_cameras,
    move_poses,
)
from pipeline_lib.kernels.geometry.boards import list_corners
from pipeline_lib.kernels.geometry.projection import project
from tests.kernels.geometry.board_images import CHARUCO, draw_poses, make_pair
from tests.kernels.geometry.rigs import make_ring

GRID = np.stack([*np.meshgrid(np.arange(7) * 40.0, np.arange(5) * 40.0), np.zeros((5, 7))], -1)
GRID = GRID.reshape(-1, 3)


def make_bundle(cameras=3, frames=12, lens="brown", noise=0.2, *, seed=0, turn=1.0):
    """Return the true bundle with noisy views; the world has the axes of its first camera."""
    stream = np.random.default_rng(seed)
    ring = make_ring(cameras, lens, seed=seed)
    first = ring[0]
    ring = [
        replace(
            camera,
            rotation=camera.rotation @ first.rotation.T,
            translation=camera.translation - camera.rotation @ first.rotation.T @ first.translation,
        )
        for camera in ring
    ]
    poses, views = [], []
    for frame in range(frames):
        rotation = Rotation.from_rotvec(stream.normal(0, turn, 3)).as_matrix()
        shift = first.translation + stream.uniform(-120, 120, 3) - rotation @ GRID.mean(0)
        poses.append(Pose(rotation, shift))
        for number, camera in enumerate(ring):
            pixels = project(camera, GRID @ rotation.T + shift)
            views.append(
                BoardView(number, frame, GRID, pixels + stream.normal(0, noise, pixels.shape))
            )
    coefficients = (0, 1, 2, 3) if lens == "fisheye" else (0, 1, 2, 3, 4)
    return Bundle(tuple(ring), tuple(poses), tuple(views), (coefficients,) * cameras)


def disturb(bundle, seed=1):
    """Return a start that is off by a few per cent."""
    stream = np.random.default_rng(seed)
    places = list_parameters(bundle)
    step = np.zeros(places[-1].stop)
    for number, place in enumerate(places):
        own = step[place]
        own[:4] = stream.normal(0, 10, 4)
        own[4:9] = stream.normal(0, 0.01, len(own[4:9]))
        if number:
            own[-6:-3], own[-3:] = stream.normal(0, 0.02, 3), stream.normal(0, 10, 3)
    turns = stream.normal(0, 0.02, (len(bundle.poses), 3))
    shifts = stream.normal(0, 10, (len(bundle.poses), 3))
    return replace(
        bundle,
        cameras=move_cameras(bundle, step),
        poses=move_poses(bundle, np.concatenate([turns, shifts], axis=1)),
    )


@pytest.mark.parametrize("lens", ["brown", "fisheye"])
def test_the_gradient_is_that_of_differences(lens):
    bundle = disturb(make_bundle(3, 4, lens))
    by_cameras, by_poses = find_gradient(bundle, 2.0)
    for place in range(len(by_cameras)):
        step = np.zeros(len(by_cameras))
        step[place] = 1e-6
        sides = [
            measure_cost(replace(bundle, cameras=move_cameras(bundle, sign * step)), 2.0)
            for sign in (1, -1)
        ]
        change = (sides[0] - sides[1]) / 2e-6
        assert by_cameras[place] == pytest.approx(
            change, rel=1e-4, abs=1e-6 * abs(by_cameras).max()
        )
    for place in np.ndindex(by_poses.shape):
        step = np.zeros(by_poses.shape)
        step[place] = 1e-6
        sides = [
            measure_cost(replace(bundle, poses=move_poses(bundle, sign * step)), 2.0)
            for sign in (1, -1)
        ]
        change = (sides[0] - sides[1]) / 2e-6
        assert by_poses[place] == pytest.approx(change, rel=1e-4, abs=1e-6 * abs(by_poses).max())


def test_the_error_is_as_small_as_scipy_makes_it():
    bundle = disturb(make_bundle(2, 5))
    found = adjust(bundle, scale=1e9, most_steps=100)
    assert found.converged
    count = list_parameters(bundle)[-1].stop

    def measure(step):
        moved = replace(
            bundle,
            cameras=move_cameras(bundle, step[:count]),
            poses=move_poses(bundle, step[count:].reshape(-1, 6)),
        )
        return np.concatenate(find_residuals(moved)).ravel()

    best = least_squares(measure, np.zeros(count + 30), x_scale="jac", xtol=1e-12, ftol=1e-12)
    assert measure_cost(found.bundle, 1e9) == pytest.approx(best.cost, rel=1e-6)


@pytest.mark.parametrize("lens", ["brown", "fisheye"])
def test_cameras_are_found_within_their_standard_errors(lens):
    bundle = make_bundle(3, 25, lens)
    found = adjust(disturb(bundle), scale=1.0, most_steps=100)
    assert found.converged
    assert np.concatenate(found.errors).mean() < 0.3
    for true, camera, deviation in zip(
        bundle.cameras, found.bundle.cameras, found.deviations, strict=True
    ):
        off = np.abs(camera.matrix - true.matrix)[[0, 1, 0, 1], [0, 1, 2, 2]]
        assert (off < 4 * deviation).all()
        assert (deviation < 5).all()
        assert np.linalg.norm(camera.centre - true.centre) < 20
    first, start = found.bundle.cameras[0], bundle.cameras[0]
    assert np.array_equal(first.rotation, start.rotation)
    assert np.array_equal(first.translation, start.translation)


def test_corners_that_are_far_off_hardly_matter():
    bundle = make_bundle(2, 20)
    stream = np.random.default_rng(5)
    views = list(bundle.views)
    for place in range(0, len(views), 4):
        pixels = views[place].pixels.copy()
        pixels[stream.integers(len(pixels))] += 30
        views[place] = replace(views[place], pixels=pixels)
    spoilt = replace(bundle, views=tuple(views))
    robust = adjust(disturb(spoilt), scale=1.0, most_steps=100).bundle.cameras
    plain = adjust(disturb(spoilt), scale=1e9, most_steps=100).bundle.cameras
    off, plain_off = (
        max(abs(a.matrix[0, 0] - b.matrix[0, 0]) for a, b in zip(one, bundle.cameras, strict=True))
        for one in (robust, plain)
    )
    assert off < 4
    assert off < 0.5 * plain_off


def test_boards_that_are_all_parallel_do_not_determine_the_lens():
    tilted = adjust(make_bundle(1, 8), scale=1.0, most_steps=50).deviations[0]
    flat = adjust(make_bundle(1, 8, turn=1e-4), scale=1.0, most_steps=50).deviations[0]
    assert flat[0] > 20 * tilted[0]


def test_a_board_behind_a_camera_is_no_start():
    bundle = make_bundle(1, 2)
    away = Pose(bundle.poses[0].rotation, bundle.poses[0].translation - [0, 0, 3000])
    with pytest.raises(ValueError, match="behind a camera"):
        adjust(replace(bundle, poses=(away, bundle.poses[1])), scale=1.0, most_steps=5)


@pytest.mark.parametrize("focal", [5.0, 1e6, np.nan])
def test_the_lens_is_found_where_the_first_estimate_of_opencv_leads_nowhere(focal, monkeypatch):
    camera, corners = make_pair()[0], list_corners(CHARUCO)
    views = [
        BoardView(0, number, corners, project(camera, corners @ rotation.T + shift))
        for number, (rotation, shift) in enumerate(draw_poses(12, CHARUCO, 3))
    ]
    wrong = np.array([[focal, 0, 1.0], [0, focal, 1.0], [0, 0, 1]])
    monkeypatch.setattr(start.cv2, "initCameraMatrix2D", lambda *_: wrong)
    found = start.estimate_lens("c", camera.size, "pinhole", views, (0, 1, 2, 3, 4))
    assert found.matrix == pytest.approx(camera.matrix, rel=1e-3)
