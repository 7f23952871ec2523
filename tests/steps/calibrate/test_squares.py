"""Test the sides of squares, triangulated: exact cameras, cameras that are off, nothing shared."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline_lib.kernels.geometry.adjustment import BoardView, Bundle, Pose
from pipeline_lib.kernels.geometry.boards import list_corners
from pipeline_lib.kernels.geometry.projection import project
from pipeline_lib.steps.calibrate.squares import measure_sides
from tests.kernels.geometry.board_images import CHESSBOARD, draw_poses, make_pair


def make_bundle(skip=()):
    cameras, poses = make_pair(), [Pose(*pose) for pose in draw_poses(5, CHESSBOARD)]
    points = list_corners(CHESSBOARD)
    views = [
        BoardView(n, frame, points, project(camera, points @ pose.rotation.T + pose.translation))
        for n, camera in enumerate(cameras)
        for frame, pose in enumerate(poses)
        if n not in skip
    ]
    return Bundle(cameras, tuple(poses), tuple(views), ((),) * 2)


def test_exact_cameras_give_exact_sides():
    assert measure_sides(make_bundle(), CHESSBOARD) < 1e-6


def test_a_wrong_distance_of_the_cameras_shows():
    bundle = make_bundle()
    second = bundle.cameras[1]
    moved = replace(second, translation=second.translation * 1.1)
    wrong = replace(bundle, cameras=(bundle.cameras[0], moved))
    assert measure_sides(wrong, CHESSBOARD) == pytest.approx(0.1, rel=0.05)


def test_one_camera_shows_no_side():
    assert np.isnan(measure_sides(make_bundle(skip=(1,)), CHESSBOARD))
