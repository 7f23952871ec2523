"""Test triangulation of sessions: exact points, missing frames, bad views, and bad input."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline_lib.core.cameras.records import read_description
from pipeline_lib.core.errors import SessionError
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.cameras import TriangulationSettings
from pipeline_lib.core.tables import FrameStatus
from pipeline_lib.kernels.geometry.projection import project
from pipeline_lib.steps.triangulate.session import View, triangulate_session
from tests.steps.triangulate.scenes import BODYPARTS, EDGES, make_poses, make_rig, move_animals, see


def solve(views, rig, **settings):
    return triangulate_session(views, rig, EDGES, TriangulationSettings(**settings), 1)


def cut(view, part):
    poses = view.poses
    short = Poses(
        poses.position[part],
        poses.confidence[part],
        poses.frame_status[part],
        poses.time[part],
        poses.bodyparts,
        poses.individuals,
        poses.attributes,
    )
    return replace(view, poses=short)


@pytest.fixture(scope="module")
def scene():
    rig, points = make_rig(), move_animals(120, 1)
    return rig, points, see(points, rig.cameras)


def test_points_of_one_animal_are_found_with_all_that_is_known_of_them(scene):
    rig, points, views = scene
    found = solve([views[n] for n in (2, 0, 3, 1)], rig)
    assert np.abs(found.position - points).max() < 1e-3
    assert found.cameras == rig.names
    assert found.bodyparts == BODYPARTS
    assert (found.views == 4).all()
    assert (found.camera_individual == 0).all()
    assert (found.camera_frame == np.arange(120)[:, None]).all()
    assert np.allclose(found.confidence, 0.9)
    assert found.error.max() < 1e-2
    assert found.camera_error.max() < 1e-2
    assert found.uncertainty.max() < 0.1
    assert found.track_status is None
    assert found.unit == "mm"
    assert np.allclose(found.time, np.arange(120) / 50)
    again = read_description(found.attributes["calibration"])
    assert all(
        one.has_same_parameters(other)
        for one, other in zip(again.cameras, rig.cameras, strict=True)
    )


def test_uncertainty_and_error_follow_the_noise():
    rig, points = make_rig(), move_animals(300, 1)
    found = solve(see(points, rig.cameras, noise=2.0), rig)
    off = np.sqrt(((found.position - points) ** 2).sum(-1).mean())
    assert np.sqrt((found.uncertainty**2).mean()) == pytest.approx(off, rel=0.15)
    assert found.attributes["noise"] == pytest.approx(2 * np.sqrt(0.9), rel=0.1)


def test_one_wrong_camera_and_keypoints_below_pcutoff_do_not_count(scene):
    rig, points, views = scene
    wrong = views[1].poses.position + np.float32(80)
    doubtful = views[2].poses.confidence.copy()
    doubtful[:, :, 3] = 0.2
    spoilt = views[2].poses.position.copy()
    spoilt[:, :, 3] += 3
    changed = [
        views[0],
        replace(views[1], poses=replace(views[1].poses, position=wrong)),
        replace(views[2], poses=replace(views[2].poses, position=spoilt, confidence=doubtful)),
        views[3],
    ]
    found = solve(changed, rig)
    assert np.abs(found.position - points).max() < 1e-3
    assert (found.views == np.where(np.arange(6) == 3, 2, 3)).all()
    assert (found.camera_error[:, 1] > 50).all()
    assert np.isnan(found.camera_error[:, 2, :, 3]).all()
    told = found.attributes["agreement"]
    assert told["cameras"]["c1"]["used_share"] == 0
    assert told["cameras"]["c0"]["used_share"] == 1
    assert len(told["doubts"]) == 1
    assert "camera c1 disagrees with the others in 100 %" in told["doubts"][0]
    everything = solve(changed, rig, choose_views=False, pcutoff=0.1)
    assert (everything.views == 4).mean() > 0.9
    assert np.nanmax(np.abs(everything.position - points)) > 5


def test_a_camera_that_starts_late_and_one_that_stops_early_lose_no_moment(scene):
    rig, points, views = scene
    late = replace(cut(views[1], slice(15, 120)), offset=15)
    early = cut(views[2], slice(0, 70))
    found = solve([views[0], late, early, views[3]], rig)
    assert len(found.time) == 120
    assert np.abs(found.position - points).max() < 1e-3
    assert found.camera_frame[:, 1].tolist() == [-1] * 15 + list(range(105))
    assert found.camera_frame[:, 2].tolist() == list(range(70)) + [-1] * 50
    assert (found.camera_individual[:15, 1] == -1).all()
    assert (found.views.max(axis=(1, 2)) == [3] * 15 + [4] * 55 + [3] * 50).all()
    report = found.attributes["synchronisation"]["cameras"]
    assert report["c1"]["moments_without_frame"] == 15
    assert report["c2"]["moments_without_frame"] == 50
    assert report["c2"]["last_moment"] == 69
    assert report["c0"]["moments_without_frame"] == 0


def test_dropped_frames_are_aligned_by_timestamps(scene):
    rig, points, views = scene
    kept = np.delete(np.arange(120), [0, 30, 31, 77])
    clock = 1000 + np.arange(120) / 50
    stamped = [
        replace(one, timestamps=clock + 0.001 * np.sin(np.arange(120) + n))
        for n, one in enumerate(views)
    ]
    dropped = replace(cut(views[0], kept), timestamps=clock[kept])
    found = solve([dropped, *stamped[1:]], rig, synchronisation={"method": "timestamps"})
    assert len(found.time) == 120
    assert np.abs(found.position - points).max() < 1e-3
    assert np.flatnonzero(found.camera_frame[:, 0] < 0).tolist() == [0, 30, 31, 77]
    assert found.attributes["synchronisation"]["cameras"]["c0"]["moments_without_frame"] == 4
    # By number, they would be triangulated with frames of other moments.
    by_number = solve([dropped, *stamped[1:]], rig)
    assert np.nanmax(by_number.camera_error[40:, 0]) > 3


def test_frames_that_were_not_decoded_mark_moments_without_two_cameras(scene):
    rig, _, views = scene
    lost = []
    for number, view in enumerate(views):
        status, position = view.poses.frame_status.copy(), view.poses.position.copy()
        status[5] = FrameStatus.UNDECODABLE if number else FrameStatus.DECODED
        position[5] = np.nan if number else position[5]
        status[9] = FrameStatus.MISSING if number == 1 else FrameStatus.DECODED
        # In a moment that one camera alone has, it does not matter that nothing had moved there.
        status[7] = FrameStatus.UNDECODABLE if number else FrameStatus.STILL
        status[11] = FrameStatus.STILL if number else FrameStatus.DECODED
        lost.append(
            replace(view, poses=replace(view.poses, frame_status=status, position=position))
        )
    found = solve(lost, rig)
    assert found.frame_status[5] == FrameStatus.UNDECODABLE
    assert found.frame_status[[7, 9, 11]].tolist() == [
        FrameStatus.UNDECODABLE,
        FrameStatus.DECODED,
        FrameStatus.DECODED,
    ]
    assert np.isnan(found.position[5]).all()
    assert (found.views[5] == 0).all()


def test_bodyparts_that_only_some_views_have_are_kept(scene):
    rig, points, views = scene
    order = [3, 1, 0]
    poses = views[1].poses
    other = replace(
        poses,
        position=poses.position[:, :, order],
        confidence=poses.confidence[:, :, order],
        bodyparts=tuple(BODYPARTS[n] for n in order),
    )
    found = solve([views[0], replace(views[1], poses=other)], rig)
    assert found.bodyparts == BODYPARTS
    assert np.abs(found.position[:, :, [0, 1, 3]] - points[:, :, [0, 1, 3]]).max() < 1e-3
    assert np.isnan(found.position[:, :, [2, 4, 5]]).all()


def test_unusable_sessions_are_refused_in_one_line(scene):
    rig, _, views = scene
    nobody = make_poses(np.zeros((0, 1, 6, 2)))
    stamps = np.arange(120) / 50
    clock = {"synchronisation": {"method": "timestamps"}}
    cases = [
        (views[:1], {}, "1 of its cameras"),
        ([], {}, "0 of its cameras"),
        ([views[0], views[0]], {}, "two videos are of camera c0"),
        ([views[0], View("side", views[1].poses)], {}, "has no camera 'side'; it has c0, c1"),
        ([views[0], View("c1", nobody)], {}, "camera c1 have no frame"),
        ([views[0], replace(views[1], offset=0.5)], {}, "whole number of frames"),
        ([views[0], replace(views[1], offset=1e9)], {}, "no two of its cameras"),
        ([views[0], replace(views[1], timestamps=stamps[1:])], clock, "119 timestamps"),
        ([views[0], replace(views[1], timestamps=stamps[::-1])], clock, "go backwards at frame 1"),
        ([views[0], replace(views[1], timestamps=stamps + 99)], clock, "no two of its cameras"),
    ]
    for given, settings, message in cases:
        with pytest.raises(SessionError, match=message):
            solve(given, rig, **settings)


def test_different_frame_rates_are_doubted(scene):
    rig, _, views = scene
    fast = replace(views[1], poses=replace(views[1].poses, attributes={"fps": 60.0}))
    doubts = solve([views[0], fast], rig).attributes["synchronisation"]["doubts"]
    assert len(doubts) == 1
    assert "c0 has 50 frames per second and camera c1 60" in doubts[0]


def test_members_that_disagree_tell_the_ensemble_smoother_which_frames_to_trust():
    rig, points = make_rig(3), move_animals(300, 2)
    stream = np.random.default_rng(4)
    exact, views = see(points, rig.cameras), []
    for view in exact:
        spread = np.exp(stream.normal(1.0, 1.0, view.poses.position.shape[:3]))
        noise = spread[..., None] * stream.normal(size=view.poses.position.shape) / np.sqrt(2)
        position = (view.poses.position + noise).astype(np.float32)
        poses = replace(view.poses, position=position, spread=spread.astype(np.float32))
        views.append(replace(view, poses=poses))
    kalman = {"enabled": True, "method": "ensemble-kalman"}
    options = {"match": "names", "choose_views": False}
    plain, smooth = solve(views, rig, **options), solve(views, rig, smoothing=kalman, **options)
    blind = [
        replace(view, poses=replace(view.poses, spread=np.ones_like(view.poses.spread)))
        for view in views
    ]
    deaf = solve(blind, rig, smoothing=kalman, **options)
    errors = [
        np.sqrt(np.nanmean(((one.position - points) ** 2).sum(-1))) for one in (plain, deaf, smooth)
    ]
    assert errors[1] < 0.8 * errors[0]
    assert errors[2] < 0.8 * errors[1]
    # The uncertainty is the root of the expected squared distance, a little too large where paths
    # are smoother than random walks.
    ratio = np.linalg.norm(smooth.position - points, axis=-1) / smooth.uncertainty
    assert 0.7 < np.sqrt(np.nanmean(ratio**2)) < 1.1
    assert smooth.attributes["smoothing"]["method"] == "ensemble-kalman"
    with pytest.raises(SessionError, match=r"camera .*: its poses have no `spread`"):
        solve(exact, rig, smoothing=kalman, **options)


def test_smoothing_lowers_the_error_of_every_individual_and_measures_errors_again():
    rig, points = make_rig(3), move_animals(1200, 1)
    views = see(points, rig.cameras, noise=3.0)
    plain, smooth = solve(views, rig), solve(views, rig, smoothing={"enabled": True})
    error, smooth_error = (
        np.sqrt(np.nanmean(((one.position - points) ** 2).sum(-1))) for one in (plain, smooth)
    )
    assert smooth_error < 0.55 * error
    assert (np.isnan(smooth.position) == np.isnan(plain.position)).all()
    again = np.stack(
        [
            np.linalg.norm(
                project(one, smooth.position.astype(float)) - view.poses.position, axis=-1
            )
            for one, view in zip(rig.cameras, views, strict=True)
        ],
        axis=1,
    )
    assert np.nanmax(np.abs(smooth.camera_error - again)) < 1e-3
    two = triangulate_session(
        views, rig, EDGES, TriangulationSettings(smoothing={"enabled": True}), 2
    )
    assert np.array_equal(two.position, smooth.position, equal_nan=True)
    assert smooth.attributes["smoothing"]["overlap"] >= 60
