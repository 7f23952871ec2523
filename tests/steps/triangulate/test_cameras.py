"""Test what a session does to its calibration: refinement from animals, scale and floor."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.cameras.records import read_description
from pipeline_lib.core.settings.cameras import TriangulationSettings
from pipeline_lib.kernels.geometry.projection import project
from pipeline_lib.kernels.geometry.sessions.alignment import find_floor
from pipeline_lib.steps.triangulate.session import triangulate_session
from tests.steps.triangulate.scenes import EDGES, make_rig, move_animals, see


def solve(views, rig, **options):
    return triangulate_session(views, rig, EDGES, TriangulationSettings(**options), 1)


def measure_shape(found, points):
    """Return the error after the best similarity, as a session has no other axes of its own."""
    one, other = found.reshape(-1, 3), points.reshape(-1, 3)
    one, other = one - one.mean(0), other - other.mean(0)
    left, sizes, right = np.linalg.svd(one.T @ other)
    fitted = one @ (left @ right) * sizes.sum() / (one**2).sum()
    return np.sqrt(((fitted - other) ** 2).sum(-1).mean())


def push(rig, angle, shift, seed=0):
    stream = np.random.default_rng(seed)
    cameras = [rig.cameras[0]]
    for camera in rig.cameras[1:]:
        turn = Rotation.from_rotvec(stream.normal(0, angle, 3)).as_matrix()
        moved = camera.translation + stream.normal(0, shift, 3)
        cameras.append(replace(camera, rotation=turn @ camera.rotation, translation=moved))
    return Calibration(tuple(cameras), "mm")


def test_cameras_that_were_pushed_are_refined_from_the_animal():
    rig, points = make_rig(4), move_animals(150, 1)
    views, pushed = see(points, rig.cameras, noise=0.3), push(rig, 0.01, 8.0)
    before, after = solve(views, pushed), solve(views, pushed, refine_cameras=True)
    record = after.attributes["refinement"]
    assert record["refused"] is None
    assert record["error_after_px"] < 0.6
    assert record["error_before_px"] > 1.5
    assert np.nanmedian(after.error) < 0.4 * np.nanmedian(before.error)
    assert measure_shape(after.position, points) < 0.8 * measure_shape(before.position, points)
    told = read_description(after.attributes["calibration"])
    seen = project(told.cameras[2], after.position.astype(float))
    off = np.linalg.norm(seen - views[2].poses.position, axis=-1)
    assert np.abs(off - after.camera_error[:, 2]).max() < 1e-2


def test_cameras_that_are_right_or_too_far_off_or_saw_little_are_left_as_they_are():
    rig, points = make_rig(3), move_animals(150, 1)
    views = see(points, rig.cameras, noise=1.0)
    right = solve(views, rig, refine_cameras=True)
    assert "did not agree better" in right.attributes["refinement"]["refused"]
    assert np.array_equal(right.position, solve(views, rig).position)
    wild = solve(views, push(rig, 0.15, 100.0), refine_cameras=True)
    assert "a camera moved by" in wild.attributes["refinement"]["refused"]
    short = solve(see(points[:10], rig.cameras), rig, refine_cameras=True)
    assert "60 points were found, at least 100" in short.attributes["refinement"]["refused"]


def test_a_known_distance_sets_the_scale():
    rig, points = make_rig(3), move_animals(40, 1)
    small = Calibration(
        tuple(replace(one, translation=one.translation / 1000) for one in rig.cameras), "mm"
    )
    length = float(np.linalg.norm(points[0, 0, 0] - points[0, 0, 3]))
    scale = {"between": ["nose", "tail"], "distance": length}
    found = solve(see(points, rig.cameras), small, scale=scale)
    assert np.abs(found.position - points).max() < 1e-2
    assert found.attributes["alignment"]["scale"] == pytest.approx(1000, rel=1e-4)
    told = read_description(found.attributes["calibration"])
    assert np.allclose(told.cameras[1].centre, rig.cameras[1].centre, rtol=1e-4)
    lost = solve(see(points, rig.cameras), rig, scale={"between": ["nose", "ear"], "distance": 1})
    assert "never found together" in lost.attributes["alignment"]["scale_refused"]
    assert np.abs(lost.position - points).max() < 1e-2


def test_the_floor_becomes_level():
    rig, points = make_rig(3), move_animals(60, 1)
    points[..., 2] -= points[:, :, 4:5, 2]
    tilt = Rotation.from_euler("xyz", [0.5, -0.3, 1.0]).as_matrix()
    tilted = Calibration(
        tuple(
            replace(
                one,
                rotation=one.rotation @ tilt.T,
                translation=one.translation - one.rotation @ tilt.T @ [10, 20, 30],
            )
            for one in rig.cameras
        ),
        "mm",
    )
    found = solve(see(points, rig.cameras), tilted, floor=["left", "right"])
    assert np.abs(found.position[..., 2] - points[..., 2]).max() < 1e-2
    apart, again = (np.linalg.norm(one[:-1] - one[1:], axis=-1) for one in (points, found.position))
    assert np.abs(apart - again).max() < 1e-2
    told = read_description(found.attributes["calibration"])
    assert all(camera.centre[2] > 100 for camera in told.cameras)
    off = project(told.cameras[0], found.position.astype(float))
    assert np.abs(off - project(rig.cameras[0], points)).max() < 1e-2
    line = np.linspace(0, 1, 9)[:, None] * [1.0, 2, 3]
    assert find_floor(line, rig.cameras) is None
    assert find_floor(line[:2], rig.cameras) is None
    floor = np.random.default_rng(0).uniform(-1, 1, (99, 3)) * [1, 1, 0]
    floor[:5, 2] = 3
    assert np.abs(find_floor(floor, rig.cameras).move_points(floor)[5:, 2]).max() < 1e-9
