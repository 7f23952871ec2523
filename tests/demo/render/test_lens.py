import cv2
import numpy as np
import pytest

from pipeline_lib.core.cameras.calibration import Camera
from pipeline_lib.demo.render.boards import BoardPainter, BoardPose
from pipeline_lib.demo.render.draw import Sensor
from pipeline_lib.demo.render.lens import make_lens
from pipeline_lib.demo.rig import BOARD, build_rig, hold_boards
from pipeline_lib.kernels.geometry.boards import find_corners, list_corners
from pipeline_lib.kernels.geometry.projection import project

CLEAR = Sensor(0.5, 0.0, 0.0)


LENSES = {"pinhole": (-0.25, 0.08, 0.001, -0.001), "fisheye": (-0.05, 0.01, 0.0, 0.0)}
DISTORT = {"pinhole": cv2.projectPoints, "fisheye": cv2.fisheye.projectPoints}


def make_camera(distortion=LENSES["pinhole"], model="pinhole"):
    matrix = np.array([[300.0, 0.0, 165.0], [0.0, 301.0, 118.0], [0.0, 0.0, 1.0]])
    return Camera("c", (320, 240), matrix, np.array(distortion), model, np.eye(3), np.zeros(3))


@pytest.mark.parametrize("model", ["pinhole", "fisheye"])
def test_a_bent_image_shows_each_point_where_the_lens_projects_it(model):
    lens = make_lens(make_camera(LENSES[model], model))
    rng = np.random.default_rng(0)
    points = np.stack([rng.uniform(-0.5, 0.5, 40), rng.uniform(-0.36, 0.36, 40)], -1)
    points = np.concatenate([points, np.ones((40, 1))], -1) * rng.uniform(300, 900, (40, 1))
    inside = lens.contains(lens.locate(points))
    assert inside.sum() > 20
    rows, columns = np.mgrid[: lens.view.height, : lens.view.width]
    ys, xs = np.mgrid[:240, :320]
    for point in points[inside][:20]:
        (x, y), _ = lens.view.project(point)
        blob = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8.0).astype(np.float32)
        bent = lens.bend(np.repeat(blob[..., None], 3, -1))[..., 0].astype(float)
        found = np.array([(bent * xs).sum(), (bent * ys).sum()]) / bent.sum()
        (expected,) = DISTORT[model](
            point[None, None], np.zeros(3), np.zeros(3), lens.camera.matrix, lens.camera.distortion
        )[0].reshape(-1, 2)
        np.testing.assert_allclose(lens.locate(point), expected, atol=1e-8)
        if (expected > 3).all() and (expected < [316, 236]).all():
            np.testing.assert_allclose(found, expected, atol=0.1)


def test_a_lens_that_sees_behind_itself_is_refused():
    camera = make_camera((0.0, 0.0, 0.0, 0.0), "fisheye")
    matrix = camera.matrix.copy()
    matrix[0, 0] = matrix[1, 1] = 60.0
    wide = Camera("wide", (320, 240), matrix, np.zeros(4), "fisheye")
    with pytest.raises(ValueError, match="camera wide: a pixel of its image sees nothing in front"):
        make_lens(wide)


def test_corners_of_a_rendered_board_are_where_they_are_projected():
    lens = make_lens(make_camera())
    painter = BoardPainter(lens, BOARD, np.full((240, 320, 3), 0.3, np.float32))
    turn = cv2.Rodrigues(np.array([0.3, -0.4, 0.2]))[0]
    # A board whose z points away from the camera shows its print.
    origin = np.array([-95.0, -85.0, 420.0])
    image = painter.paint(BoardPose(turn, origin), 1.0, CLEAR, np.random.default_rng(0))
    assert image.shape == (240, 320, 3)
    found = find_corners(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), BOARD)
    assert len(found.numbers) == 20
    points = list_corners(BOARD) @ turn.T + origin
    truth = project(lens.camera, points)[found.numbers]
    off = np.linalg.norm(found.pixels - truth, axis=1)
    # A corner beside the edge of the image may be found half a pixel away.
    assert off.max() < 0.6
    assert np.median(off) < 0.1
    assert np.abs((found.pixels - truth).mean(axis=0)).max() < 0.06
    back = painter.paint(
        BoardPose(turn @ np.diag([-1.0, 1.0, -1.0]), -origin * [1, 1, -1]), 1.0, CLEAR,
        np.random.default_rng(0),
    )  # fmt: skip
    assert find_corners(cv2.cvtColor(back, cv2.COLOR_RGB2GRAY), BOARD) is None
    # Of a board that is nowhere in view, nothing is seen.
    aside = painter.paint(
        BoardPose(turn, origin + np.array([5000.0, 0.0, 0.0])), 1.0, CLEAR, np.random.default_rng(0)
    )
    assert np.ptp(aside[..., 0].astype(int)) <= 1


def test_boards_are_near_far_tilted_and_seen_by_several_cameras():
    lenses = build_rig((0, 5), 4, (320, 320), (190.0, 190.0))
    poses = hold_boards(np.random.default_rng([0, 6]), lenses, 72)
    assert len(poses) == 72
    middle = np.array([BOARD.columns, BOARD.rows, 0.0]) * BOARD.square / 2
    views = np.zeros((72, 4), bool)
    shares = []
    for number, pose in enumerate(poses):
        np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(pose.rotation) == pytest.approx(1.0)
        centre = pose.place(middle)
        for place, lens in enumerate(lenses):
            towards = lens.camera.centre - centre
            facing = -(towards @ pose.rotation[:, 2]) / np.linalg.norm(towards)
            views[number, place] = lens.contains(lens.locate(centre)) and facing > 0.5
            if place == number % 4:
                shares.append(np.linalg.norm(towards) / np.linalg.norm(lens.camera.centre))
                assert lens.contains(lens.locate(centre))
    assert min(shares) < 0.6
    assert max(shares) > 0.9
    # Each camera sees many, and shares many with another one.
    assert views.sum(axis=0).min() >= 25
    shared = views.astype(int).T @ views.astype(int) - np.diag(views.sum(axis=0))
    assert shared.max(axis=1).min() >= 10
