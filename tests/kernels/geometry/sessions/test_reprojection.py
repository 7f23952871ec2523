"""Test what the session gives back to a view: missing points, wrong points, and no other ones."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline_lib.core.cameras.calibration import Camera
from pipeline_lib.core.settings.cameras import TriangulationSettings
from pipeline_lib.core.tables import PointSource
from pipeline_lib.kernels.geometry.projection import project
from pipeline_lib.kernels.geometry.sessions import reprojection
from pipeline_lib.kernels.geometry.sessions.reprojection import (
    CorrectionRules,
    correct_view,
    reproject_session,
)
from pipeline_lib.steps.triangulate.session import triangulate_session
from tests.steps.triangulate.scenes import EDGES, circle_animals, make_rig, see


@pytest.fixture(scope="module")
def scene():
    rig, points = make_rig(4), circle_animals(60, 1)
    views = see(points, rig.cameras, noise=0.3)
    position = views[1].poses.position.copy()
    position[10:20] = np.nan
    position[30, 0, 2] += 70
    views[1] = replace(views[1], poses=replace(views[1].poses, position=position))
    session = triangulate_session(views, rig, EDGES, TriangulationSettings(), 1)
    return rig, points, views, session


def test_missing_and_wrong_points_of_a_view_come_from_the_others(scene):
    rig, points, views, session = scene
    poses, camera = views[1].poses, rig.cameras[1]
    found = correct_view(
        poses.position, poses.confidence, session, camera, CorrectionRules(10.0, 0.3)
    )
    assert np.linalg.norm(found.position - project(camera, points), axis=-1).max() < 3
    expected = np.full(found.source.shape, PointSource.KEPT)
    expected[10:20], expected[30, 0, 2] = PointSource.FILLED, PointSource.CORRECTED
    assert (found.source == expected).all()
    kept = expected == PointSource.KEPT
    assert np.array_equal(found.position[kept], poses.position[kept])
    assert np.allclose(found.confidence[10:20], 0.9)


@pytest.mark.parametrize(
    ("rules", "wrong", "missing"),
    [
        # Three views other than this one saw them; four are asked for.
        (CorrectionRules(10.0, 0.3, fewest_views=4), PointSource.DOUBTED, PointSource.NONE),
        # Without a gate no view is wrong.
        (CorrectionRules(None, 0.3), PointSource.KEPT, PointSource.FILLED),
        # The points are known to a few tenths of a px.
        (CorrectionRules(0.01, 0.3), PointSource.CORRECTED, PointSource.NONE),
    ],
)
def test_rules_say_what_is_changed(scene, rules, wrong, missing):
    rig, _, views, session = scene
    poses = views[1].poses
    found = correct_view(poses.position, poses.confidence, session, rig.cameras[1], rules)
    assert found.source[30, 0, 2] == wrong
    assert (found.source[10:20] == missing).all()
    untouched = ~np.isin(found.source, (PointSource.CORRECTED, PointSource.FILLED))
    assert np.array_equal(found.position[untouched], poses.position[untouched], equal_nan=True)


def test_two_views_do_not_correct_each_other(scene):
    rig, points, _, _ = scene
    views = see(points, rig.cameras, noise=0.3)[:2]
    session = triangulate_session(views, rig, EDGES, TriangulationSettings(), 1)
    assert (session.views == 2).all()
    # As if smoothing had moved the points.
    moved = replace(session, camera_error=session.camera_error + 100)
    poses = views[0].poses
    found = correct_view(
        poses.position, poses.confidence, moved, rig.cameras[0], CorrectionRules(10.0, 0.3)
    )
    assert (found.source == PointSource.DOUBTED).all()
    assert np.array_equal(found.position, poses.position)


def test_vague_points_correct_nothing(scene):
    rig, _, views, session = scene
    poses = views[1].poses
    vague = replace(session, uncertainty=session.uncertainty * 2000)
    found = correct_view(
        poses.position, poses.confidence, vague, rig.cameras[1], CorrectionRules(10.0, 0.3)
    )
    assert found.source[30, 0, 2] == PointSource.DOUBTED
    assert (found.source[10:20] == PointSource.NONE).all()


def test_the_spread_of_projected_points_is_that_of_noise(scene):
    rig, points, _, _ = scene
    noise = 1.0
    views = see(points, rig.cameras, noise=noise, seed=3)[1:]
    session = triangulate_session(views, rig, EDGES, TriangulationSettings(), 1)
    found = reproject_session(session, rig.cameras[0])
    off = np.linalg.norm(found.position - project(rig.cameras[0], points), axis=-1)
    ratio = np.sqrt((off**2).mean() / (found.spread**2).mean())
    assert 0.8 < ratio < 1.25


def test_moments_are_projected_in_parts_with_the_same_result(scene, monkeypatch):
    rig, _, _, session = scene
    whole = reproject_session(session, rig.cameras[1])
    assert np.isfinite(whole.spread).all()
    monkeypatch.setattr(reprojection, "_MOMENTS", 7)
    for one, other in zip(reproject_session(session, rig.cameras[1]), whole, strict=True):
        np.testing.assert_array_equal(one, other)


def test_points_outside_the_image_or_beyond_the_lens_are_none(scene):
    rig, _, _, session = scene
    camera = rig.cameras[1]
    whole = reproject_session(session, camera).position
    seen = reproject_session(session, replace(camera, size=(640, 1024))).position
    assert np.isnan(seen[whole[..., 0] > 639.5]).all()
    assert np.isfinite(seen[whole[..., 0] <= 639.5]).all()
    with pytest.raises(ValueError, match="no camera 'side'"):
        correct_view(
            *(whole, session.confidence, session, camera.rename("side")),
            CorrectionRules(10.0, 0.3),
        )
    # A strong distortion leads rays far from the axis back into the image.
    lens = Camera(
        "c", (200, 200), np.array([[100, 0, 100], [0, 100, 100], [0, 0, 1.0]]),
        np.array([-0.3, 0, 0, 0, 0]), "pinhole", np.eye(3), np.zeros(3),
    )  # fmt: skip
    position = np.zeros_like(session.position)
    position[..., 2], position[..., 0] = 1.0, 0.2
    position[0, ..., 0] = 1.8
    folded = replace(session, position=position)
    assert np.linalg.norm(project(lens, position[0, 0, 0].astype(float)) - [105, 100]) < 1
    assert np.isnan(reproject_session(folded, lens).position[0]).all()
    assert np.isfinite(reproject_session(folded, lens).position[1:]).all()
