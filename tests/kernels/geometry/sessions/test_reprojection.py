"""Test what the session gives back to a view: missing points, wrong points, and no other ones."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline_lib.core.settings.cameras import TriangulationSettings
from pipeline_lib.kernels.geometry.projection import project
from pipeline_lib.kernels.geometry.sessions.reprojection import (
    CorrectionRules,
    correct_view,
    fill_slots,
    reproject_session,
)
from pipeline_lib.steps.triangulate.session import triangulate_session
from tests.steps.triangulate.scenes import EDGES, circle_animals, exchange, make_rig, see, track


@pytest.fixture(scope="module")
def scene():
    rig, points = make_rig(4), circle_animals(60, 2)
    views = [track(one) for one in see(points, rig.cameras, noise=0.3)]
    position = views[1].poses.position.copy()
    position[10:20, 0] = np.nan
    position[30, 1, 2] += 70
    position[40:45, :, 3] = np.nan
    views[1] = replace(views[1], poses=replace(views[1].poses, position=position))
    views[1] = exchange(views[1], 0, 1, 50)
    session = triangulate_session(views, rig, EDGES, TriangulationSettings(), 1)
    return rig, points, views, session


def test_missing_and_wrong_points_of_a_view_come_from_the_others(scene):
    rig, points, views, session = scene
    poses, camera = views[1].poses, rig.cameras[1]
    position, confidence = correct_view(
        poses.position, poses.confidence, session, camera, CorrectionRules(10.0, 0.3)
    )
    truth = project(camera, points)
    truth[50:] = truth[50:, ::-1]
    assert np.linalg.norm(position - truth, axis=-1).max() < 3
    changed = (position != poses.position).any(-1)
    expected = np.zeros_like(changed)
    expected[10:20, 0] = expected[30, 1, 2] = expected[40:45, :, 3] = True
    assert (changed == expected).all()
    assert np.allclose(confidence[10:20, 0], 0.9)
    # Three views other than this one saw them; four are asked for.
    strict = CorrectionRules(10.0, 0.3, fewest_views=4)
    untouched, _ = correct_view(poses.position, poses.confidence, session, camera, strict)
    assert np.array_equal(untouched, poses.position, equal_nan=True)


def test_disagreement_and_the_edge_of_the_image_are_told(scene):
    rig, _, _, session = scene
    told = reproject_session(session, rig.cameras[1], 10.0)
    assert np.argwhere(told.disagrees).tolist() == [[30, 1, 2]]
    small = replace(rig.cameras[1], size=(640, 1024))
    seen = reproject_session(session, small, 10.0).position
    whole = reproject_session(session, rig.cameras[1], 10.0).position
    assert np.isnan(seen[whole[..., 0] > 639.5]).all()
    assert np.isfinite(seen[whole[..., 0] <= 639.5]).all()
    with pytest.raises(ValueError, match="no camera 'side'"):
        reproject_session(session, rig.cameras[1].rename("side"), 10.0)


def test_individuals_without_a_slot_get_a_free_one():
    slots = np.array([[0, 1], [-1, 1], [1, -1], [-1, 0], [-1, -1]], np.int16)
    assert fill_slots(slots, 2).tolist() == [[0, 1], [0, 1], [1, 0], [1, 0], [0, 1]]
    assert fill_slots(slots, 1)[4].tolist() == [0, -1]
