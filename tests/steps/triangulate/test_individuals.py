"""Test which slots of several views become one individual: exchanges, doubts, order, strangers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.settings.cameras import TriangulationSettings
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL, TrackStatus
from pipeline_lib.kernels.geometry.sessions.matching import Sighting, match_animals
from pipeline_lib.kernels.geometry.sessions.tracklets import TrackletRules
from pipeline_lib.steps.triangulate.session import triangulate_session
from tests.steps.triangulate.scenes import (
    EDGES,
    circle_animals,
    exchange,
    make_rig,
    see,
    track,
)


def solve(views, rig, **options):
    return triangulate_session(views, rig, EDGES, TriangulationSettings(**options), 1)


def spoil(views, seed):
    """Return views with lost keypoints, wrong ones, and animals that are not found for a while."""
    stream, spoilt = np.random.default_rng(seed), []
    for view in views:
        position = view.poses.position.copy()
        moments, animals, _ = position.shape[:3]
        position[stream.random(position.shape[:3]) < 0.05] = np.nan
        wrong = stream.random(position.shape[:3]) < 0.02
        position[wrong] += stream.normal(0, 60, (wrong.sum(), 2))
        for _ in range(3):
            start = stream.integers(moments - 30)
            position[start : start + stream.integers(1, 30), stream.integers(animals)] = np.nan
        spoilt.append(replace(view, poses=replace(view.poses, position=position)))
    return spoilt


def find_wrong(found, points):
    """Return where an individual is nearer to another animal than to its own."""
    off = np.linalg.norm(found.position[:, :, None] - points[:, None], axis=-1)
    off = np.where(np.isfinite(off).any(axis=-1, keepdims=True), off, np.inf)
    centre = np.nanmedian(off, axis=-1)
    nearest = np.where(np.isnan(centre), np.inf, centre).argmin(axis=2)
    known = np.isfinite(centre).any(axis=2)
    own = [np.bincount(nearest[known[:, n], n]).argmax() for n in range(nearest.shape[1])]
    assert len(set(own)) == len(own)
    return known & (nearest != own), own


@settings(max_examples=6)
@given(st.integers(0, 10_000), st.sampled_from([(2, 2), (2, 4), (3, 3)]))
def test_exchanges_in_a_view_are_repaired_or_marked(seed, numbers):
    animals, cameras = numbers
    rig, points = make_rig(cameras, seed=seed), circle_animals(150, animals, seed)
    stream = np.random.default_rng(seed)
    views = [track(one) for one in spoil(see(points, rig.cameras, noise=1.0, seed=seed), seed)]
    for _ in range(3):
        place, start = stream.integers(cameras), stream.integers(5, 145)
        first, second = stream.choice(animals, 2, replace=False)
        views[place] = exchange(views[place], first, second, start)
    found = solve(views, rig)
    wrong, _ = find_wrong(found, points)
    assert not (wrong & (found.track_status != TrackStatus.UNCERTAIN)).any()
    assert (found.track_status == TrackStatus.UNCERTAIN).mean() < 0.1
    off = np.linalg.norm(found.position - points[:, find_wrong(found, points)[1]], axis=-1)
    assert np.nanmedian(off) < 3


def test_the_slots_of_an_exchange_are_told_and_names_are_those_of_most_views():
    rig, points = make_rig(4), circle_animals(150, 2)
    views = [track(one) for one in see(points, rig.cameras, noise=0.5)]
    views[2] = exchange(views[2], 0, 1, 60, 90)
    views[0] = exchange(views[0], 0, 1, 0)
    found = solve(views, rig)
    assert found.individuals == ("animal0", "animal1")
    assert np.abs(found.position - points).max() < 10
    slots = found.camera_individual
    assert (slots[:, [1, 3]] == [0, 1]).all()
    assert (slots[:, 0] == [1, 0]).all()
    assert (slots[60:90, 2] == [1, 0]).all()
    assert (slots[90:, 2] == [0, 1]).all()
    assert (slots[:60, 2] == [0, 1]).all()
    assert (found.track_status == TrackStatus.FOLLOWED).all()
    by_name = solve(views, rig, match="names")
    assert (by_name.camera_individual == [0, 1]).all()


def test_a_slot_that_slides_to_another_animal_without_a_jump_is_cut_by_the_other_views():
    rig, points = make_rig(4), circle_animals(150, 2)
    views = [track(one) for one in see(points, rig.cameras, noise=0.5)]
    # Keypoint by keypoint: in no frame does the slot leave its place by half an animal.
    position = views[2].poses.position.copy()
    keypoints = position.shape[2]
    for moment in range(60, 90):
        taken = min(keypoints, moment - 59, 90 - moment)
        position[moment, 0, :taken] = views[2].poses.position[moment, 1, :taken]
    views[2] = replace(views[2], poses=replace(views[2].poses, position=position))
    found = solve(views, rig)
    assert (found.camera_individual[:, [0, 1, 3]] == [0, 1]).all()
    # From two thirds of its keypoints on, it shows the other animal.
    whole = slice(60 + keypoints, 90 - keypoints)
    assert (found.camera_individual[whole, 2, 0] == -1).all()
    assert (found.camera_individual[:60, 2] == [0, 1]).all()
    assert (found.camera_individual[92:, 2] == [0, 1]).all()
    assert np.abs(found.position[whole] - points[whole]).max() < 10


def test_a_slot_that_slides_to_another_animal_and_stays_is_put_right_by_the_other_views():
    rig, points = make_rig(4), circle_animals(150, 2)
    views = [track(one) for one in see(points, rig.cameras, noise=0.5)]
    # Within three moments, without a jump, slot 0 of a view takes the animal of slot 1. Slot 1 is a
    # remnant of it for some time, and then follows the other animal.
    position, seen = views[2].poses.position.copy(), views[2].poses.position
    keypoints = position.shape[2]
    position[62:, 0] = seen[62:, 1]
    for moment in range(59, 62):
        taken = 2 * (moment - 58)
        position[moment, 0, :taken] = seen[moment, 1, :taken]
    position[62:80, 1, : keypoints - 2] = np.nan
    position[80:, 1] = seen[80:, 0]
    views[2] = replace(views[2], poses=replace(views[2].poses, position=position))
    found = solve(views, rig)
    slots = found.camera_individual
    assert (slots[:, [0, 1, 3]] == [0, 1]).all()
    assert (slots[:58, 2] == [0, 1]).all()
    # The remnant is left out, as its animal is seen in slot 0.
    assert (slots[63:78, 2] == [-1, 0]).all()
    assert (slots[82:, 2] == [1, 0]).all()
    assert np.abs(found.position - points).max() < 10


def test_a_pose_made_of_two_animals_is_left_out_and_marked_where_two_views_contradict_it():
    rig, points = make_rig(4), circle_animals(120, 2)
    views = [track(one) for one in see(points, rig.cameras, noise=0.5)]
    position = views[2].poses.position.copy()
    half = position.shape[2] // 2
    position[60:62, 0, :half] = views[2].poses.position[60:62, 1, :half]
    views[2] = replace(views[2], poses=replace(views[2].poses, position=position))
    found = solve(views, rig)
    assert (found.camera_individual[60:62, 2, 0] == -1).all()
    assert (found.camera_individual[60:62, [0, 1, 3]] == [0, 1]).all()
    uncertain = found.track_status == TrackStatus.UNCERTAIN
    assert uncertain[60:62, 0].all()
    assert not uncertain[:55].any()
    assert not uncertain[66:].any()
    assert np.abs(found.position - points).max() < 10
    # Two views alone contradict each other: neither is known to be wrong.
    pair = Calibration(rig.cameras[1:3], rig.unit)
    found = solve(views[1:3], pair)
    assert (found.camera_individual[60:62, :, 0] == 0).all()


def test_a_keypoint_that_the_pose_of_another_animal_left_over_is_left_out_and_marked():
    rig, points = make_rig(4), circle_animals(120, 2)
    views = [track(one) for one in see(points, rig.cameras, noise=0.5)]
    position = views[2].poses.position.copy()
    position[60:62, 0, 1:] = np.nan
    views[2] = replace(views[2], poses=replace(views[2].poses, position=position))
    # The other views share one keypoint with it where one of them sees it, too.
    for other in (0, 1):
        position = views[other].poses.position.copy()
        position[60:62, 0, 0] = np.nan
        views[other] = replace(views[other], poses=replace(views[other].poses, position=position))
    found = solve(views, rig)
    assert (found.camera_individual[60:62, 2] == [-1, 1]).all()
    assert (found.camera_individual[60:62, [0, 1, 3]] == [0, 1]).all()
    assert (found.track_status[60:62, 0] == TrackStatus.UNCERTAIN).all()
    assert (found.camera_individual[:60] == [0, 1]).all()
    assert (found.camera_individual[62:] == [0, 1]).all()


def test_an_animal_of_which_no_view_sees_much_is_kept():
    rig, points = make_rig(3), circle_animals(120, 2)
    views = [track(one) for one in see(points, rig.cameras, noise=0.5)]
    for number, seen in enumerate(([0, 1], [1, 2], [3])):
        position = views[number].poses.position.copy()
        hidden = np.setdiff1d(np.arange(position.shape[2]), seen)
        position[60:62, 0, hidden] = np.nan
        poses = replace(views[number].poses, position=position)
        views[number] = replace(views[number], poses=poses)
    found = solve(views, rig)
    # No view is sure enough to leave the others out; the keypoint that two share is found.
    assert (found.camera_individual[60:62, :2, 0] == 0).all()
    assert np.isfinite(found.position[60:62, 0, 1]).all()


def test_slots_are_kept_at_moments_that_are_not_compared():
    rig, points = make_rig(4), circle_animals(300, 2)
    views = [track(one) for one in see(points, rig.cameras, noise=0.5)]
    sightings = [
        Sighting(one.poses.position, tracked=True, doubtful=None, names=np.arange(2))
        for one in views
    ]
    found = match_animals(rig.cameras, sightings, 2, rules=TrackletRules(), most_pairs=20_000)
    assert (found.slots == [0, 1]).all()


def test_single_points_that_agree_are_kept():
    rig, points = make_rig(3), circle_animals(120, 2)[:, :, :1]
    views = [track(one) for one in see(points, rig.cameras, noise=0.5)]
    found = solve(views, rig)
    assert (found.camera_individual == [0, 1]).all()


def test_poses_in_any_order_are_followed():
    rig, points = make_rig(4), circle_animals(150, 3)
    stream, views = np.random.default_rng(5), []
    for view in spoil(see(points, rig.cameras, noise=1.0), 3):
        order = stream.permuted(np.tile(np.arange(3), (150, 1)), axis=1)
        position = np.take_along_axis(view.poses.position, order[:, :, None, None], axis=1)
        views.append(replace(view, poses=replace(view.poses, position=position)))
    found = solve(views, rig)
    wrong, _ = find_wrong(found, points)
    assert not wrong.any()
    assert np.isfinite(found.position[..., 0]).mean() > 0.97


def test_more_animals_than_individuals_and_individuals_that_some_views_miss():
    rig, points = make_rig(4), circle_animals(120, 3)
    views = [track(one) for one in see(points, rig.cameras, noise=0.5)]
    # Two slots each: every camera lacks another animal for some time.
    kept = [(0, 1), (0, 1), (1, 0), (0, 2)]
    few = []
    for view, slots in zip(views, kept, strict=True):
        poses = view.poses
        few.append(
            replace(
                view,
                poses=replace(
                    poses,
                    position=poses.position[:, slots],
                    confidence=poses.confidence[:, slots],
                    track_status=poses.track_status[:, slots],
                    individuals=("a", "b"),
                ),
            )
        )
    found = solve(few, rig)
    wrong, own = find_wrong(found, points)
    assert not wrong.any()
    assert sorted(own) == [0, 1]
    assert np.isfinite(found.position).all()
    where = own.index(1)
    assert (found.camera_individual[:, 3, where] == -1).all()
    assert np.isnan(found.camera_error[:, 3, where]).all()


@settings(max_examples=3)
@given(st.integers(0, 1000), st.permutations(range(3)))
# The animals that two views lack are not the same ones.
@example(313, [1, 0, 2])
def test_order_of_cameras_and_turn_of_the_world_do_not_matter(seed, order):
    rig, points = make_rig(3), circle_animals(80, 2, seed)
    views = [track(one) for one in spoil(see(points, rig.cameras, 1.0, seed), seed)]
    views[1] = exchange(views[1], 0, 1, 40)
    turn = Rotation.random(random_state=seed).as_matrix()
    cameras = [replace(one, rotation=one.rotation @ turn.T) for one in rig.cameras]
    turned = Calibration(tuple(cameras[place] for place in order), "mm")
    first, second = solve(views, rig), solve([views[place] for place in order], turned)
    assert np.allclose(first.position @ turn.T, second.position, atol=1e-2, equal_nan=True)
    assert (first.camera_individual[:, order] == second.camera_individual).all()
    assert (first.track_status == second.track_status).all()


def test_unique_bodyparts_and_single_animals_need_no_match():
    rig, points = make_rig(3), circle_animals(60, 3)
    views = []
    for view in see(points, rig.cameras):
        position = view.poses.position.copy()
        position[:, :2, 5] = np.nan
        position[:, 2, :5] = np.nan
        poses = replace(view.poses, position=position, individuals=("a", "b", UNIQUE_INDIVIDUAL))
        views.append(track(replace(view, poses=poses)))
    views[1] = exchange(views[1], 0, 1, 0)
    found = solve(views, rig)
    assert found.individuals == ("a", "b", UNIQUE_INDIVIDUAL)
    assert np.abs(found.position[:, 2, 5] - points[:, 2, 5]).max() < 1e-2
    assert np.abs(found.position[:, :2, :5] - points[:, :2, :5]).max() < 1e-2
    assert (found.camera_individual[:, 1] == [1, 0, 2]).all()


def test_an_individual_that_leaves_is_absent_and_one_that_is_hidden_has_a_gap():
    rig, points = make_rig(3), circle_animals(100, 2)
    views = []
    for view in see(points, rig.cameras):
        position = view.poses.position.copy()
        position[30:40, 1] = np.nan
        position[80:, 1] = np.nan
        views.append(track(replace(view, poses=replace(view.poses, position=position))))
    status = solve(views, rig).track_status
    assert (status[:, 0] == TrackStatus.FOLLOWED).all()
    assert (status[30:40, 1] == TrackStatus.GAP).all()
    assert (status[80:, 1] == TrackStatus.ABSENT).all()
    assert status[:30, 1] == pytest.approx(TrackStatus.FOLLOWED)


def test_a_camera_that_is_off_spoils_no_match():
    rig, points = make_rig(4), circle_animals(120, 2)
    views = [track(one) for one in see(points, rig.cameras, noise=0.5)]
    moved = views[3].poses.position + np.float32([12, -9])
    views[3] = exchange(replace(views[3], poses=replace(views[3].poses, position=moved)), 0, 1, 50)
    found = solve(views, rig)
    assert (found.camera_individual[50:, 3] == [1, 0]).all()
    assert (found.camera_individual[:50, 3] == [0, 1]).all()
    assert np.abs(found.position - points).max() < 10
