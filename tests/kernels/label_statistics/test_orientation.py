"""How animals turn, from poses whose orientation is known."""

import numpy as np
import pytest

from pipeline_lib.kernels.label_statistics import orientation

# A body of five keypoints, px: nose, left and right ear, back, tail.
BODY = np.array([[0, -40], [-8, -25], [8, -25], [0, 0], [0, 40]], float)
PARTNER = (0, 2, 1, 3, 4)
ALL = np.ones(5, bool)


def turn(body, degrees, seed=0):
    """Return the body turned by each angle, at places drawn at random."""
    place = np.random.default_rng(seed).uniform(100, 900, (len(degrees), 1, 2))
    angle = np.radians(degrees)
    matrix = np.stack([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.einsum("ijf,kj->fki", matrix, body) + place


@pytest.mark.parametrize(
    ("centre", "video", "places"),
    [
        ([], [], 0),
        ([(0, 0), (99, 0), (0, 99)], [0, 0, 0], 1),
        ([(0, 0), (101, 0), (0, 101)], [0, 0, 0], 3),
        ([(0, 0), (101, 0), (1, 0), (100, 0)], [0, 0, 0, 0], 2),  # there and back
        ([(0, 0), (0, 0), (0, 0)], [2, 0, 2], 2),  # the same place of two videos
    ],
)
def test_places_of_one_video_are_an_animal_apart(centre, video, places):
    centre = np.array(centre, float).reshape(-1, 2)
    video = np.array(video, int)
    assert orientation.count_places(centre, video, 100.0, 9) == places
    assert orientation.count_places(centre, video, 100.0, 2) == min(places, 2)


def roam(*videos, apart=False):
    """Measure two keypoints 50 px apart, given the x of the first, one list per video."""
    first = np.array([(x, 7.0) for video in videos for x in video]).reshape(-1, 1, 2)
    number = np.repeat(np.arange(len(videos)), [len(video) for video in videos])
    poses = first + np.array([[0, 0], [50, 0]])
    return orientation.measure_roaming(poses, number, apart=apart)


def test_roaming_is_the_distance_from_the_usual_place():
    # Of 21 places 0 to 20 px, the median is 10, and the 20th of the distances, in order, is 10.
    assert roam(range(21)) == 10.0
    assert np.isnan(roam([]))


@pytest.mark.parametrize(("apart", "expected"), [(True, 0.0), (False, 50.0)])
def test_each_camera_sees_an_animal_in_a_place_of_its_own(apart, expected):
    assert roam([100] * 10, [200] * 10, apart=apart) == expected


@pytest.mark.parametrize(("poses", "expected"), [(6, 0.0), (5, np.nan)])
def test_few_poses_of_a_video_do_not_tell_its_place(poses, expected):
    found = roam([100] * 20, [200] * poses, apart=True)
    np.testing.assert_equal(found, expected)


def test_one_video_in_which_an_animal_leaves_its_place_is_enough():
    assert roam([100] * 20, [100] * 8 + [160] * 12, [100] * 60, apart=True) == 60.0


def test_missing_keypoints_and_one_misplaced_label_are_not_movement():
    poses = np.tile([[0.0, 0], [100, 0], [0, 100]], (12, 1, 1))
    poses[::2, 0], poses[1::2, 2] = np.nan, np.nan
    poses[5, 1] = 900, 900
    assert orientation.measure_roaming(poses, np.zeros(12, int), apart=False) == 0.0


def test_limbs_that_swing_against_each_other_are_not_movement():
    poses = np.zeros((12, 2, 2))
    poses[:, 0, 0] = np.linspace(-40, 40, 12)
    poses[:, 1, 0] = -poses[:, 0, 0]
    assert orientation.measure_roaming(poses, np.zeros(12, int), apart=False) == 0.0


def measure(poses):
    return orientation.measure_turning(poses, np.ones(poses.shape[1], bool))


def test_animals_seen_from_above_turn_all_round():
    # Each direction is equally frequent: 95 % are within 171 degrees of any.
    assert measure(turn(BODY, np.arange(0, 360, 10))) == pytest.approx(171, abs=10)


@pytest.mark.parametrize(("most", "expected"), [(0, 0), (10, 9.5), (40, 38)])
def test_a_fixed_view_turns_as_far_as_its_animals(most, expected):
    degrees = 90 + np.linspace(-most, most, 401)
    assert measure(turn(BODY, degrees)) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(
    ("frames", "together", "known"),
    # Three quarters of 8 poses are 6; ten poses are enough.
    [(8, 6, True), (8, 5, False), (40, 10, True), (40, 9, False)],
)
def test_keypoints_that_were_seen_together_a_few_times_tell_nothing(frames, together, known):
    poses = turn(BODY, np.arange(frames) * 10.0)
    poses[together:, 1:] = np.nan
    assert np.isfinite(measure(poses)) == known


def test_a_mouse_in_profile_that_runs_both_ways_does_not_turn():
    # Two paws below the back: the mirror image has them below, too.
    profile = np.array([[-50, 0], [50, 5], [-30, 30], [-30, 0], [30, 32], [30, 0]], float)
    mirrored = profile * (-1, 1)
    poses = np.concatenate([turn(profile, np.zeros(20)), turn(mirrored, np.zeros(20))])
    assert measure(poses) == 0.0
    assert orientation.faces_both_ways(poses, np.ones(6, bool), 0.1)
    assert not orientation.faces_both_ways(poses[:20], np.ones(6, bool), 0.1)


def test_two_views_in_one_image_are_upright_although_the_animal_turns():
    angles = np.arange(0, 360, 15)
    below = turn(BODY, angles)
    above = np.stack([below[..., 0], 50 + 0.05 * below[..., 1]], axis=-1)
    poses = np.concatenate([above, below + np.array([0, 600])], axis=1)
    assert measure(poses) < 15
    assert measure(below) > 150


def test_an_object_that_stands_still_does_not_make_the_view_upright():
    rng = np.random.default_rng(1)
    body = turn(BODY[[0, 3, 4]], np.arange(0, 360, 10))
    corners = np.array([[20, 20], [20, 1000], [1000, 20]]) + rng.normal(0, 2, (36, 3, 2))
    poses = np.concatenate([body, corners], axis=1)
    moving = orientation.find_moving(poses, 80.0)
    assert moving.tolist() == [True, True, True, False, False, False]
    assert orientation.measure_turning(poses, moving) > 150


def test_one_misplaced_label_is_not_movement():
    poses = np.tile([[0.0, 0], [100, 0]], (20, 1, 1))
    poses[:, 0, 0] = np.arange(20)
    poses[7, 1] = 4000, 3000
    assert orientation.find_moving(poses, 100.0).tolist() == [True, False]


def test_a_bodypart_that_is_never_labelled_changes_nothing():
    poses = turn(BODY, np.linspace(-10, 10, 401))
    unseen = np.concatenate([poses, np.full((401, 1, 2), np.nan)], axis=1)
    assert orientation.find_moving(unseen, 80.0).tolist() == [True] * 5 + [False]
    assert measure(unseen) == measure(poses)


def test_a_pair_that_is_rarely_seen_does_not_decide():
    poses = turn(BODY[[0, 3, 4]], np.arange(0, 360, 5))
    # Of the bodypart and two paws, which are always below it, in 12 of 72 frames.
    paws = np.full((72, 2, 2), np.nan)
    paws[:12] = poses[:12, :1] + [[0, 10], [0, 30]]
    poses = poses[:, [0, 2]]
    assert measure(np.concatenate([poses, paws], axis=1)) > 150


@pytest.mark.parametrize(
    "poses",
    [
        np.full((9, 4, 2), np.nan),
        np.zeros((9, 1, 2)),
        np.zeros((9, 3, 2)),
        np.zeros((0, 4, 2)),
    ],
    ids=["unlabelled", "one bodypart", "one place", "no pose"],
)
def test_without_directions_the_turning_is_unknown(poses):
    assert np.isnan(measure(poses))
    assert not orientation.find_moving(poses, 0.0).any()


def test_repeated_poses_count_once():
    poses = turn(BODY, [0, 0, 0, 90])
    poses[1], poses[2] = poses[0] + 1, poses[0]
    assert orientation.count_distinct(poses, 2.0, 6) == 2
    assert orientation.count_distinct(poses, 0.5, 6) == 3
    assert orientation.count_distinct(poses, 0.5, 2) == 2
    # What is labelled in one of two poses only tells no difference.
    poses[1, 0] = np.nan
    assert orientation.count_distinct(poses[:2], 2.0, 6) == 1


def test_a_bodypart_of_one_side_without_its_partner_is_found():
    body = np.concatenate([BODY, [[-14, 10]]])
    poses = turn(body, np.arange(0, 360, 18))
    found = orientation.find_unpaired(poses, (*PARTNER, 5), 0.25)
    assert found.tolist() == [False] * 5 + [True]
    assert not orientation.find_unpaired(poses[:, :5], PARTNER, 0.25).any()
    assert not orientation.find_unpaired(poses[:19], (*PARTNER, 5), 0.25).any()
    # A tail that is bent to the left in 18 of 20 poses has no side.
    swung = poses[:, :5].copy()
    left, right = swung[:, 1], swung[:, 2]
    swung[:, 4] += 2 * np.where(np.arange(20)[:, None] < 18, left - right, right - left)
    assert not orientation.find_unpaired(swung, PARTNER, 0.25).any()
    swung[:, 4] = poses[:, 4] + 2 * (left - right)
    assert orientation.find_unpaired(swung, PARTNER, 0.25).tolist() == [False] * 4 + [True]
    assert not orientation.find_unpaired(poses, (0, 1, 2, 3, 4, 5), 0.25).any()
