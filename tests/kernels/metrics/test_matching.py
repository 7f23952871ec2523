"""Test the matching of individuals against the best pairs found by hand."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.metrics.keypoints import compare_individuals
from pipeline_lib.kernels.metrics.matching import assign_pairs, match_individuals

NAN = np.nan
SQUARE = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]])


def place(*shifts):
    """Return squares (1, individual, keypoint, 2), shifted in x; NaN: absent."""
    return np.array([[SQUARE + np.array([shift, 0.0]) for shift in shifts]])


def test_the_best_pairs_are_not_each_individuals_nearest():
    # Truths at 0 and 4, predictions at 3 and 12: both truths are nearest to the one at 3.
    predicted, truth = place(3.0, 12.0), place(0.0, 4.0)
    matched = match_individuals(predicted, truth, max_distance=20.0)
    # 0-3 and 4-12 are 11 px together, 0-12 and 4-3 are 13.
    assert matched.tolist() == [[0, 1]]


def test_matching_by_oks_and_by_distance_differ_where_a_keypoint_is_far_off():
    truth = place(0.0, 6.0)
    predicted = place(0.0, 6.0)
    # One keypoint is 80 px off: by mean distance 20 px, by OKS still three quarters right.
    predicted[0, 0, 3] += [0.0, 80.0]
    assert match_individuals(predicted, truth, min_similarity=0.7).tolist() == [[0, 1]]
    near = match_individuals(predicted, truth, max_distance=19.0, min_similarity=0.5)
    assert near.tolist() == [[-1, 1]]


def test_poses_below_the_similarity_limit_are_not_matched():
    predicted, truth = place(5.0), place(0.0)
    for limit, expected in ((5.0, 0), (4.999, -1)):
        found = match_individuals(predicted, truth, max_distance=limit, min_similarity=0.5)
        assert found.tolist() == [[expected]]


def test_missing_individuals_are_not_matched():
    predicted, truth = place(NAN, 0.0, 50.0), place(50.0, NAN)
    assert match_individuals(predicted, truth).tolist() == [[2, -1]]
    nobody = np.full_like(truth, NAN)
    assert match_individuals(predicted, nobody).tolist() == [[-1, -1]]
    assert match_individuals(np.full_like(predicted, NAN), truth).tolist() == [[-1, -1]]


def test_a_missing_keypoint_does_not_hinder():
    predicted, truth = place(50.0, 0.0), place(0.0, 50.0)
    predicted[0, 1, 0], truth[0, 1, 2] = NAN, NAN
    assert match_individuals(predicted, truth, min_similarity=0.5).tolist() == [[1, 0]]
    assert match_individuals(predicted, truth, max_distance=5.0).tolist() == [[1, 0]]


def test_individuals_without_a_common_keypoint_are_not_alike():
    predicted, truth = place(0.0), place(0.0)
    predicted[0, 0, :2], truth[0, 0, 2:] = NAN, NAN
    assert compare_individuals(predicted, truth).tolist() == [[[0.0]]]
    assert compare_individuals(predicted, truth, max_distance=9.0).tolist() == [[[0.0]]]


def test_axes_without_extent():
    for frames, n, m in ((0, 2, 3), (4, 0, 3), (4, 2, 0)):
        matched = match_individuals(np.zeros((frames, n, 4, 2)), np.zeros((frames, m, 4, 2)))
        assert matched.shape == (frames, m)
        assert (matched == -1).all()


def test_individuals_that_coincide_are_matched_one_to_one():
    predicted, truth = place(0.0, 0.0, 0.0), place(0.0, 0.0)
    matched = match_individuals(predicted, truth)
    assert len(set(matched[0].tolist())) == 2
    assert (matched >= 0).all()
    np.testing.assert_array_equal(match_individuals(predicted, truth), matched)


SCORES = st.lists(st.floats(0.0, 1.0), min_size=9, max_size=9)


@given(SCORES, st.lists(st.booleans(), min_size=9, max_size=9))
def test_no_other_pairs_have_a_higher_sum(scores, allowed):
    score = np.reshape(scores, (1, 3, 3))
    allowed = np.reshape(allowed, (1, 3, 3))
    gain = np.where(allowed, score, 0.0)[0]
    best = max(gain[list(order), range(3)].sum() for order in itertools.permutations(range(3)))
    pairs = assign_pairs(score, allowed)[0]
    columns = np.flatnonzero(pairs >= 0)
    assert len(set(pairs[columns].tolist())) == len(columns)
    assert allowed[0, pairs[columns], columns].all()
    np.testing.assert_allclose(score[0, pairs[columns], columns].sum(), best, atol=1e-12)


@given(st.permutations(range(4)), st.integers(0, 2**31))
def test_the_order_of_predictions_does_not_matter(order, seed):
    stream = np.random.default_rng(seed)
    truth = stream.uniform(0, 100, (3, 4, 5, 2))
    predicted = truth + stream.normal(0, 8, truth.shape)
    matched = match_individuals(predicted, truth, min_similarity=0.05)
    again = match_individuals(predicted[:, list(order)], truth, min_similarity=0.05)
    np.testing.assert_array_equal(np.where(again >= 0, np.array(order)[again], -1), matched)
