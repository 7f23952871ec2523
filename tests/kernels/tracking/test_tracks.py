"""Test that tracks keep each animal in one slot, or flag the frames in doubt."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.kernels.metrics.tracks import measure_tracks
from pipeline_lib.kernels.tracking.detections import Detections
from pipeline_lib.kernels.tracking.tracks import track_individuals
from tests.kernels.tracking.tracking_scenes import (
    BODY,
    NAN,
    count_switches,
    detect,
    drop,
    identify,
    make_rules,
    mislead,
    shuffle,
    slide,
    walk,
)

RULES = make_rules()
ABSENT, FOLLOWED, GAP, UNCERTAIN = TrackStatus


def track(position, individuals, rules=RULES, segment_frames=2000):
    return track_individuals(detect(position), individuals, rules, segment_frames=segment_frames)


@pytest.fixture(scope="module")
def crossing():
    """Return three animals of the demo that cross for 1,000 frames, without errors."""
    return walk(1000, 3, seed=0)


def test_exact_detections_give_the_truth(crossing):
    tracks = track(shuffle(crossing), 3)
    assert count_switches(tracks.position, crossing) == 0
    assert np.isfinite(tracks.position).all()
    np.testing.assert_array_equal(np.sort(tracks.position[..., 0], 1), np.sort(crossing[..., 0], 1))


@pytest.mark.parametrize("seed", range(3))
def test_crossing_animals_keep_their_places_in_spite_of_losses_and_false_points(seed):
    truth = walk(1000, 3, seed)
    found = mislead(drop(truth, 0.1, seed), 0.05, seed)
    tracks = track(shuffle(found, seed), 3)
    assert count_switches(tracks.position, truth) == 0
    metrics = measure_tracks(tracks.position, truth, max_distance=200.0)
    assert metrics.identity_switches <= 1
    assert metrics.idf1 > 0.99


def test_animals_that_are_missed_now_and_then_keep_their_places(crossing):
    found = mislead(drop(crossing, 0.1), 0.05)
    lost = np.random.default_rng(5).random(found.shape[:2]) < 0.1
    found[lost] = NAN
    tracks = track(shuffle(found), 3)
    assert count_switches(tracks.position, crossing) <= 1
    # Hardly anything that was found of them is lost again.
    seen = np.isfinite(tracks.position).all(-1).any(-1)
    assert seen.sum() >= 0.995 * np.isfinite(found).all(-1).any(-1).sum()
    assert (tracks.status[~seen] <= GAP).all()
    assert np.isin(tracks.status[seen], (FOLLOWED, UNCERTAIN)).all()


@pytest.mark.parametrize("similarity", ["oks", "ellipse", "centroid"])
@pytest.mark.parametrize("motion", ["kalman", "none"])
def test_every_way_to_compare_follows_animals(crossing, similarity, motion):
    rules = make_rules(similarity=similarity, motion=motion)
    tracks = track(shuffle(crossing[:300]), 3, rules)
    # Poses side by side may have one centre: only that is allowed to be confused.
    assert count_switches(tracks.position, crossing[:300]) <= (0 if similarity == "oks" else 2)


@settings(max_examples=15)
@given(st.integers(0, 99), st.integers(7, 200))
def test_tracks_do_not_depend_on_order_segments_position_or_unit(seed, segment_frames):
    found = drop(walk(150, 3, seed=4), 0.2, seed)
    found[np.random.default_rng(seed).random(found.shape[:2]) < 0.1] = NAN
    expected = track(found, 3)
    for other in (
        track(shuffle(found, seed), 3),
        track(found, 3, segment_frames=segment_frames),
    ):
        np.testing.assert_array_equal(other.position, expected.position)
        np.testing.assert_array_equal(other.status, expected.status)
    moved = track(found * 4.0 + 256.0, 3)
    np.testing.assert_allclose(moved.position, expected.position * 4.0 + 256.0)
    np.testing.assert_array_equal(moved.status, expected.status)


def test_places_are_in_the_order_of_appearance_then_from_left_to_right():
    truth = slide(40, [[300, 0], [0, 0], [600, 0]], np.zeros((3, 2)))
    truth[:10, 1] = NAN
    tracks = track(shuffle(truth), 4)
    assert identify(tracks.position, truth)[20].tolist() == [0, 2, 1, -1]
    assert (tracks.status[:, 3] == ABSENT).all()


def test_status_tells_absence_from_gaps():
    truth = slide(60, [[0, 0]], [[1, 0]])
    for lost in (slice(0, 5), slice(20, 23), slice(30, 45), slice(55, 60)):
        truth[lost] = NAN
    status = track(truth, 1).status[:, 0]
    expected = np.full(60, FOLLOWED)
    expected[:5] = expected[55:] = ABSENT
    expected[20:23] = expected[30:45] = GAP
    np.testing.assert_array_equal(status, expected)


def test_an_animal_that_leaves_and_comes_back_is_itself():
    truth = slide(900, [[0, 0], [0, 300]], [[0.5, 0], [-0.5, 0]])
    truth[200:600, 1] = NAN
    tracks = track(shuffle(truth), 2)
    assert count_switches(tracks.position, truth) == 0
    # There is no other place: it is no question.
    assert (tracks.status[200:600, 1] == GAP).all()
    assert (np.delete(tracks.status, slice(200, 600), axis=0) == FOLLOWED).all()


def test_a_returning_animal_is_uncertain_if_two_had_left():
    truth = slide(900, [[0, 0], [0, 300], [0, 600]], np.zeros((3, 2)))
    truth[200:600, 1:] = NAN
    truth[200:601, 2] = NAN
    tracks = track(shuffle(truth), 3)
    assert count_switches(tracks.position, truth) == 0
    assert (tracks.status[600:605, 1] == UNCERTAIN).all()
    assert (tracks.status[:, 0] == FOLLOWED).all()


def test_animals_that_coincide_for_a_while_are_found_and_in_doubt():
    truth = slide(120, [[0, 0], [0, 400]], np.zeros((2, 2)))
    # They meet, lie on each other from frame 40 to 80, and part.
    way = np.clip(np.minimum(np.arange(120), 120 - np.arange(120)) / 40, 0, 1) * 200
    truth[:, 0, :, 1] += way[:, None]
    truth[:, 1, :, 1] -= way[:, None]
    tracks = track(shuffle(truth), 2)
    assert np.isfinite(tracks.position).all()
    assert (tracks.status[45:75] == UNCERTAIN).all()
    assert (tracks.status[:30] == FOLLOWED).all()
    assert (tracks.status[90:] == FOLLOWED).all()


def test_an_animal_hidden_by_another_one_comes_out_as_it_went_in():
    # They pass each other; while near, only one is found.
    truth = slide(100, [[-200, 0], [200, 10]], [[4, 0], [-4, 0]])
    truth[46:55, 1] = NAN
    tracks = track(shuffle(truth), 2)
    assert count_switches(tracks.position, truth) == 0


def test_false_detections_are_no_animals():
    truth = slide(200, [[0, 0], [0, 200]], [[1, 0], [1, 0]])
    random = np.random.default_rng(0)
    false = random.uniform(-100, 400, (200, 2, 1, 2)) + BODY
    tracks = track(shuffle(np.concatenate([truth, false], axis=1)), 3)
    assert count_switches(tracks.position[:, :2], truth) == 0
    # Here and there one lies so near to an animal that it might be it.
    assert np.isin(tracks.status[:, :2], (FOLLOWED, UNCERTAIN)).all()
    assert (tracks.status[:, :2] == FOLLOWED).mean() > 0.9
    assert (tracks.status[:, 2] == ABSENT).mean() > 0.9


def test_the_best_of_too_many_detections_are_animals():
    truth = slide(50, [[0, 0], [0, 200], [0, 400]], np.zeros((3, 2)))
    confidence = np.ones((50, 3, 5))
    confidence[:, 1] = 0.3
    tracks = track_individuals(Detections(truth, confidence), 2, RULES, segment_frames=2000)
    np.testing.assert_array_equal(tracks.position, truth[:, [0, 2]])


@pytest.mark.parametrize("shape", [(0, 2, 3), (7, 0, 3), (7, 2, 3), (1, 2, 3)])
def test_nothing_found_is_a_result(shape):
    position = np.full((*shape, 2), NAN)
    confidence = np.zeros(shape)
    confidence[3:4] = NAN
    tracks = track_individuals(Detections(position, confidence), 2, RULES, segment_frames=2000)
    assert tracks.position.shape == (shape[0], 2, 3, 2)
    assert np.isnan(tracks.position).all()
    assert (tracks.status == ABSENT).all()
    # A frame that could not be decoded stays one.
    lost = np.zeros(shape[0], bool)
    lost[3:4] = shape[1] > 0
    np.testing.assert_array_equal(np.isnan(tracks.confidence).all((1, 2)), lost)
    assert (tracks.confidence[~lost] == 0).all()


def test_a_video_shorter_than_a_track_has_tracks():
    truth = slide(2, [[0, 0], [0, 200]], np.zeros((2, 2)))
    np.testing.assert_array_equal(track(truth, 2).position, truth)
    single = track(truth[:1], 2)
    np.testing.assert_array_equal(single.position, truth[:1])
    assert (single.status == FOLLOWED).all()


def test_single_keypoints_are_followed():
    truth = slide(100, [[0, 0], [0, 60], [0, 120]], [[1, 0], [-1, 0], [0, 0.2]], np.zeros((1, 2)))
    tracks = track(shuffle(drop(truth, 0.05)), 3)
    assert count_switches(tracks.position, truth) == 0


def make_identity(truth_place, individuals, certainty, seed=0):
    """Return how much each detection looks like each animal."""
    rest = (1 - certainty) / (individuals - 1)
    likeness = np.full((*truth_place.shape, individuals), rest)
    np.put_along_axis(likeness, truth_place[..., None], certainty, axis=-1)
    noise = np.random.default_rng(seed).uniform(0.5, 1.5, likeness.shape)
    return likeness * noise / (likeness * noise).sum(-1, keepdims=True)


def test_identities_are_the_places_and_undo_what_motion_cannot():
    # Both vanish and come back, each where the other one was.
    truth = slide(200, [[0, 0], [0, 100]], np.zeros((2, 2)))
    truth[90:110] = NAN
    truth[110:] = truth[110:, ::-1]
    order = np.array([1, 0])
    identity = make_identity(np.broadcast_to(order, (200, 2)), 2, 0.7)
    detections = Detections(truth[:, order], detect(truth[:, order]).confidence, identity)
    tracks = track_individuals(detections, 2, RULES, segment_frames=2000)
    np.testing.assert_array_equal(tracks.position, truth)
    # Without them, nobody could know.
    blind = track(truth[:, order], 2)
    assert count_switches(blind.position, truth) == 2


def test_identities_that_tell_nothing_leave_motion_to_decide(crossing):
    found = shuffle(crossing[:200])
    unknown = np.full((200, 3, 3), NAN)
    tracks = track_individuals(
        Detections(found, detect(found).confidence, unknown), 3, RULES, segment_frames=2000
    )
    assert count_switches(tracks.position, crossing[:200]) == 0
