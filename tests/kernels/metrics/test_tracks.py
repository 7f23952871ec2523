"""Track metrics by hand; agreement with motmetrics and TrackEval is tested among the peers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.metrics.tracks import measure_tracks

NAN = np.nan
ABSENT = NAN


def tracks(*places):
    """Return (frame, individual, 2, 2): one list of x per individual; NaN: absent."""
    x = np.array(places, float).T[..., None]
    far = np.stack([np.concatenate([x, x + 10.0], -1), np.zeros((*x.shape[:2], 2))], -1)
    far[..., 1, 1] = 10.0
    return np.where(np.isfinite(x[..., None]), far, NAN)


def measure(predicted, truth):
    return measure_tracks(tracks(*predicted), tracks(*truth), max_distance=5.0)


def test_perfect_tracks():
    truth = [[0, 1, 2, 3], [100, 100, 100, 100]]
    found = measure(truth, truth)
    assert (found.frames, found.truths, found.predictions, found.matches) == (4, 8, 8, 8)
    assert (found.misses, found.false_positives, found.identity_switches) == (0, 0, 0)
    assert (found.mota, found.idf1, found.hota) == (1.0, 1.0, 1.0)


def test_names_of_tracks_do_not_matter():
    truth = [[0, 1, 2, 3], [100, 100, 100, 100], [200, 200, 200, 200]]
    assert measure([truth[2], truth[0], truth[1]], truth) == measure(truth, truth)


def test_an_exchange_of_two_animals():
    truth = [[0] * 4, [100] * 4]
    found = measure([[0, 0, 0, 100], [100, 100, 100, 0]], truth)
    assert found.identity_switches == 2
    assert found.mota == 1 - 2 / 8
    # Each track is right in three of four frames.
    assert (found.idf1, found.id_precision, found.id_recall) == (0.75, 0.75, 0.75)
    # Of 8 matches 6 are of pairs seen 3 times, 2 of pairs seen once; a pair shares c frames of
    # 4 + 4 - c: (6 * 3/5 + 2 * 1/7) / 8. Everything is detected, at every threshold.
    assert found.detection_accuracy == 1.0
    assert found.association_accuracy == pytest.approx((6 * 3 / 5 + 2 / 7) / 8)
    assert found.hota == pytest.approx(math.sqrt((6 * 3 / 5 + 2 / 7) / 8))


def test_misses_and_false_positives():
    found = measure([[0, ABSENT, 0, 0], [ABSENT, 50, ABSENT, 200]], [[0] * 4, [100] * 4])
    assert (found.misses, found.false_positives, found.identity_switches) == (5, 2, 0)
    assert found.mota == pytest.approx(1 - 7 / 8)
    assert found.idf1 == pytest.approx(2 * 3 / (8 + 5))


def test_a_gap_is_no_switch_but_a_new_track_after_it_is():
    truth = [[0] * 5]
    assert measure([[0, 0, ABSENT, 0, 0]], truth).identity_switches == 0
    fragments = [[0, 0, ABSENT, ABSENT, ABSENT], [ABSENT, ABSENT, ABSENT, 0, 0]]
    found = measure(fragments, truth)
    assert (found.identity_switches, found.misses) == (1, 1)
    assert found.idf1 == pytest.approx(2 * 2 / (5 + 4))


def test_an_old_pair_is_kept_though_another_is_nearer():
    # The second track comes nearer in the last frame; the first one is within reach all the same.
    found = measure([[4, 4, 4], [ABSENT, 50, 0]], [[0, 0, 0]])
    assert (found.identity_switches, found.matches, found.false_positives) == (0, 3, 2)


def test_the_distance_counts_as_far_as_it_is_given():
    for away, matches in ((5.0, 1), (5.001, 0)):
        assert measure([[away]], [[0.0]]).matches == matches
    # 2.5 px of 10 px: similarity 0.75, right at the thresholds 0.05 to 0.75 (15 of 19).
    found = measure([[2.5, 2.5]], [[0.0, 0.0]])
    assert found.hota == pytest.approx(15 / 19)
    assert found.localisation_accuracy == pytest.approx((15 * 0.75 + 4 * 1.0) / 19)


def test_tracks_are_compared_by_oks_unless_a_distance_is_given():
    truth = tracks([0, 0, 0])
    predicted = truth + np.array([2.0, 0.0])
    # Area 100, sigma 0.1: OKS = exp(-4 / 8) = 0.607.
    assert measure_tracks(predicted, truth).matches == 3
    assert measure_tracks(predicted, truth, min_similarity=0.61).matches == 0
    assert measure_tracks(predicted, truth, sigmas=0.05).matches == 0


@pytest.mark.parametrize("shape", [(0, 2, 3, 2), (4, 0, 3, 2)])
def test_nothing_to_follow(shape):
    found = measure_tracks(np.zeros(shape), np.zeros(shape))
    assert (found.truths, found.predictions, found.identity_switches) == (0, 0, 0)
    assert all(math.isnan(value) for value in (found.mota, found.idf1, found.hota))


def test_nothing_predicted():
    for predicted in (np.zeros((3, 0, 2, 2)), tracks([ABSENT] * 3)):
        found = measure_tracks(predicted, tracks([0, 0, 0]), max_distance=5.0)
        assert (found.misses, found.false_positives) == (3, 0)
        assert (found.mota, found.idf1, found.hota) == (0.0, 0.0, 0.0)


def test_everything_false():
    found = measure_tracks(tracks([0, 0, 0]), tracks([ABSENT] * 3), max_distance=5.0)
    assert (found.misses, found.false_positives) == (0, 3)
    assert math.isnan(found.mota)
    assert (found.idf1, found.hota) == (0.0, 0.0)


@given(st.permutations(range(3)), st.permutations(range(4)), st.integers(0, 2**31))
def test_the_order_of_the_individuals_does_not_matter(truths, predictions, seed):
    stream = np.random.default_rng(seed)
    truth = stream.uniform(0, 60, (12, 3, 3, 2))
    predicted = stream.uniform(0, 60, (12, 4, 3, 2))
    predicted[:, :3] = truth + stream.normal(0, 3, truth.shape)
    predicted[stream.random((12, 4)) < 0.3] = NAN
    found = measure_tracks(predicted, truth, max_distance=4.0)
    again = measure_tracks(
        predicted[:, list(predictions)], truth[:, list(truths)], max_distance=4.0
    )
    assert again.hota == pytest.approx(found.hota)
    assert again.idf1 == pytest.approx(found.idf1)
    assert again.predictions == found.predictions
