"""Test which doubts a session has whose calibration, names or images are wrong."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.settings.cameras import TriangulationSettings
from pipeline_lib.steps.triangulate.session import triangulate_session
from tests.steps.triangulate.scenes import (
    EDGES,
    circle_animals,
    make_rig,
    move_animals,
    see,
    track,
)

CAUSES = "; the calibration, the times or the names of cameras may be wrong"


def find_doubts(views, rig, **settings):
    found = triangulate_session(views, rig, EDGES, TriangulationSettings(**settings), 2)
    return found, found.attributes["agreement"]["doubts"]


def permute(rig, order):
    """Return the cameras under the names of others."""
    moved = (rig.cameras[one].rename(name) for one, name in zip(order, rig.names, strict=True))
    return Calibration(tuple(moved), rig.unit)


@pytest.mark.parametrize("count", [2, 4])
def test_good_cameras_are_not_doubted(count):
    rig = make_rig(count)
    for points in (move_animals(100, 1), circle_animals(100, 3)):
        views = [track(view) for view in see(points, rig.cameras, noise=3.0)]
        assert find_doubts(views, rig)[1] == []


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [3, 2, 1, 0]])
def test_exchanged_cameras_are_doubted_although_no_view_is_outside_the_gate(order):
    rig, points = make_rig(), move_animals(100, 1)
    found, doubts = find_doubts(see(points, rig.cameras), permute(rig, order))
    error = float(np.nanmedian(found.camera_error))
    share = error / np.hypot(*rig.cameras[0].size)
    assert share > 0.01
    told = f"the median error is {error:.1f} px, {100 * share:.1f} % of the image's diagonal"
    assert f"the cameras disagree: {told}{CAUSES}" in doubts


def test_errors_are_compared_with_the_size_of_small_animals():
    rig, points = make_rig(), move_animals(100, 1)
    middle = points.mean(axis=2, keepdims=True)
    small = middle + 0.1 * (points - middle)
    assert find_doubts(see(small, rig.cameras, noise=0.2), rig)[1] == []
    found, doubts = find_doubts(see(small, rig.cameras, noise=2.0), rig)
    error = float(np.nanmedian(found.camera_error))
    assert error < 0.002 * np.hypot(*rig.cameras[0].size)
    assert len(doubts) == 1
    assert doubts[0].startswith(f"the cameras disagree: the median error is {error:.1f} px, ")
    assert doubts[0].endswith(f"% of the animals' size{CAUSES}")


def test_animals_that_agree_with_no_other_view_are_doubted_if_they_are_tracked():
    rig, points = make_rig(3), circle_animals(100, 2)
    good = see(points, rig.cameras)
    # What each camera shows is elsewhere: 700 px up and down, where no epipolar line leads.
    shifts = np.array([[0, 0], [0, 700], [0, -700]], np.float32)
    wrong = [
        replace(view, poses=replace(view.poses, position=view.poses.position + shift))
        for view, shift in zip(good, shifts, strict=True)
    ]
    told = "% of the animals that cameras saw agree with those of no other camera: "
    tracked = find_doubts([track(view) for view in wrong], rig)[1]
    assert sum(told in doubt for doubt in tracked) == 1
    assert not any(told in doubt for doubt in find_doubts(wrong, rig)[1])


def test_two_cameras_with_the_poses_of_one_are_doubted():
    rig, points = make_rig(), move_animals(60, 1)
    views = see(points, rig.cameras)
    copied = [*views[:3], replace(views[3], poses=views[1].poses)]
    told = (
        "cameras c1 and c3 saw exactly the same: one of them has the video or the poses of the "
        "other"
    )
    assert told in find_doubts(copied, rig)[1]
    # Cameras that saw nothing are no copies of each other.
    nothing = np.full_like(views[1].poses.position, np.nan)
    blind = [replace(one, poses=replace(one.poses, position=nothing)) for one in views[1:3]]
    assert find_doubts([views[0], *blind, views[3]], rig)[1] == []


def test_keypoints_outside_the_calibrated_image_are_doubted():
    rig, points = make_rig(), move_animals(100, 1)
    width, height = rig.cameras[1].size
    half = replace(rig.cameras[1], size=(width // 2, height // 2))
    cameras = (rig.cameras[0], half, *rig.cameras[2:])
    views = see(points, rig.cameras)
    pixels = views[1].poses.position
    beyond = (pixels > np.array([width // 2, height // 2]) + 16).any(axis=-1).mean()
    assert beyond > 0.05
    told = (
        f"camera c1: {100 * beyond:.0f} % of its keypoints are outside the image of {width // 2} x "
        f"{height // 2} px that was calibrated: its videos may have another size"
    )
    assert find_doubts(views, Calibration(cameras, "mm"))[1] == [told]
