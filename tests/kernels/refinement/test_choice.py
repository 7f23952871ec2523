"""Test the choice among scored frames: rare ones first, apart in time, spread, different."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.kernels.refinement.choice import (
    choose_different,
    count_scores,
    keep_worst,
    rank_scores,
    reduce_embeddings,
    spread_candidates,
)


def test_a_score_is_ranked_by_the_share_of_frames_that_are_as_bad():
    scores = np.r_[np.full(900, 0.1), np.full(90, 5.0), np.full(9, 70.0), 1e6].astype(np.float32)
    counts = count_scores(scores)
    assert counts.sum() == 1000
    found = rank_scores(counts, np.array([5.0, 70.0, 1e6], np.float32))
    np.testing.assert_allclose(found, [1.0, 2.0, 3.0])


def test_the_rarest_frames_of_a_criterion_without_outliers_come_after_outliers_of_another():
    random = np.random.default_rng(0)
    usual = np.abs(random.normal(0, 1, 2000)).clip(0, 3.5).astype(np.float32)
    found = rank_scores(count_scores(usual), usual)
    assert found.max() <= 0
    assert found.argmax() == usual.argmax()
    outliers = np.r_[usual, np.full(100, 9.0)].astype(np.float32)
    ranked = rank_scores(count_scores(outliers), outliers)
    np.testing.assert_allclose(ranked[2000:], np.log10(21))
    assert ranked[:2000].max() < 0


def test_the_fence_is_three_distances_between_the_quartiles_away():
    scores = np.arange(1, 1001, dtype=np.float32)
    counts = count_scores(scores)
    near, far = rank_scores(counts, np.array([2200, 2300], np.float32))
    assert near <= 0 < far
    # Of scores that are nearly all the same every other one is beyond.
    rare = np.r_[np.zeros(99), 1.0].astype(np.float32)
    np.testing.assert_allclose(rank_scores(count_scores(rare), rare)[[0, 99]], [-np.inf, 2])


def test_units_do_not_matter():
    scores = np.random.default_rng(0).gamma(1, size=20_000).astype(np.float32)
    first = rank_scores(count_scores(scores), scores)
    second = rank_scores(count_scores(scores * 1024), scores * 1024)
    np.testing.assert_array_equal(first, second)
    # And the order is that of the scores, within a bin of 0.8 %.
    exact = np.log10(len(scores) / (len(scores) - scores.argsort().argsort()))
    rarity = np.where(first > 0, first, first + np.log10(len(scores)))
    assert np.abs(rarity - exact)[np.argsort(scores)[:-50]].max() < 0.05


def test_histograms_add_up():
    scores = np.random.default_rng(0).gamma(1, size=1000).astype(np.float32)
    parts = count_scores(scores[:300]) + count_scores(scores[300:])
    np.testing.assert_array_equal(parts, count_scores(scores))


def test_what_is_not_scored_or_zero_is_no_outlier():
    counts = count_scores(np.array([np.nan, 0, -0.0, 0, 0, 2], np.float32))
    assert counts.sum() == 5
    found = rank_scores(counts, np.array([np.nan, 0, 2], np.float32))
    np.testing.assert_allclose(found, [-np.inf, -np.inf, np.log10(5)])
    assert rank_scores(count_scores(np.empty(0, np.float32)), np.float32([1])).tolist() == [0]


def test_where_all_frames_are_alike_none_is_an_outlier():
    scores = np.full(50, 9.0, np.float32)
    np.testing.assert_allclose(rank_scores(count_scores(scores), scores), -np.log10(50))


def test_frames_are_kept_apart_in_time():
    score = np.array([5, 9, 8, 1, 7, 0, np.nan], np.float32)
    time = np.array([0.0, 0.4, 0.8, 1.2, 1.6, 9.0, 12.0])
    assert keep_worst(score, time, number=9, gap=1.0).tolist() == [1, 4]
    assert keep_worst(score, time, number=1, gap=1.0).tolist() == [1]
    assert keep_worst(score, time, number=9, gap=0).tolist() == [1, 2, 4, 0, 3]


@settings(deadline=None)
@given(
    scores=st.lists(st.one_of(st.floats(0, 100, width=32), st.just(np.nan)), max_size=80),
    gap=st.floats(0, 3),
    number=st.integers(1, 20),
)
def test_kept_frames_are_apart_and_positive(scores, gap, number):
    score, time = np.array(scores, np.float32), np.arange(len(scores)) / 10
    kept = keep_worst(score, time, number=number, gap=gap)
    assert len(kept) <= number
    assert (score[kept] > 0).all()
    assert (np.diff(score[kept]) <= 0).all()
    assert (np.diff(np.sort(time[kept])) >= gap - 1e-12).all()
    positive = np.nan_to_num(score) > 0
    if positive.any():
        assert score[kept[0]] == np.nanmax(score)


def test_frames_of_unknown_time_are_not_kept():
    assert keep_worst(np.ones(2, np.float32), np.full(2, np.nan), number=2, gap=1).tolist() == []


def test_a_bad_video_does_not_take_the_whole_budget():
    """The second frame of a video counts as if twice as many frames were as bad."""
    rarity = np.array([3.0, 3.0, 3.0, 2.9, 2.4])
    value = spread_candidates(rarity, np.array([0, 0, 0, 1, 2]), np.zeros(5, int))
    assert np.argsort(-value, kind="stable").tolist()[:2] == [0, 3]
    np.testing.assert_allclose(value[0], 3.0)
    ranks = spread_candidates(rarity, np.array([0, 0, 0, 1, 2]), np.arange(5))
    np.testing.assert_allclose(ranks, rarity - np.log10([1, 2, 3, 1, 1]))


def test_groups_share_the_budget():
    rarity = np.full(20, 2.0) - np.r_[np.zeros(15), np.full(5, 0.01)]
    parts, groups = np.arange(20), np.r_[np.zeros(15, int), np.ones(5, int)]
    order = np.argsort(-spread_candidates(rarity, parts, groups), kind="stable")
    assert groups[order[:10]].sum() == 5
    alone = np.argsort(-spread_candidates(rarity, parts, np.zeros(20, int)), kind="stable")
    assert groups[alone[:10]].sum() == 0


def make_embeddings(kinds):
    """Return embeddings of which those of a kind are nearly alike."""
    random = np.random.default_rng(0)
    bases = random.normal(0, 10, (max(kinds) + 1, 40))
    return (bases[kinds] + random.normal(0, 0.1, (len(kinds), 40))).astype(np.float32)


def choose(value, kinds, number, known=()):
    places = reduce_embeddings(make_embeddings([*kinds, *known]))
    return choose_different(
        np.array(value, float), places[: len(kinds)], number, places[len(kinds) :]
    ).tolist()


def test_the_worst_frame_comes_first_then_bad_frames_of_each_appearance():
    kinds = [0] * 30 + [1] * 20 + [2] * 10
    value = np.r_[np.arange(90, 60, -1.0), np.arange(20, 40.0), np.arange(10.0)]
    chosen = choose(value, kinds, 3)
    assert chosen[0] == 0
    assert sorted(kinds[one] for one in chosen) == [0, 1, 2]
    # Among those that are alike it is one of the worst.
    assert {one for one in chosen if kinds[one] == 1} <= set(range(45, 50))


def test_looks_that_are_labelled_already_come_last():
    kinds = [0] * 10 + [1] * 10
    value = np.r_[np.full(10, 9.0), np.full(10, 8.0)]
    assert [kinds[one] for one in choose(value, kinds, 2)] == [0, 1]
    assert kinds[choose(value, kinds, 1, known=[0])[0]] == 1
    assert kinds[choose(value, kinds, 1, known=[1, 1])[0]] == 0


def test_frames_that_are_alike_complete_the_choice_worst_first():
    places = reduce_embeddings(np.zeros((5, 4), np.float32))
    assert choose_different(np.array([1, 5, 3, 2, 4.0]), places, 3).tolist() == [1, 4, 2]


@pytest.mark.parametrize("number", [6, 7])
def test_a_budget_of_all_frames_or_more_chooses_all(number):
    chosen = choose([1, 5, 3, 2, 4, 4.0], [0] * 6, number)
    assert chosen[0] == 1
    assert sorted(chosen) == list(range(6))


def test_scale_and_channels_that_never_change_do_not_matter():
    random = np.random.default_rng(1)
    embeddings = random.normal(0, 1, (60, 8)).astype(np.float32)
    other = np.c_[embeddings * np.float32([1, 2, 4, 8, 16, 32, 64, 128]), np.ones(60)]
    value = random.random(60)
    first, second = (
        choose_different(value, reduce_embeddings(one.astype(np.float32)), 20).tolist()
        for one in (embeddings, other)
    )
    assert first == second
    assert len(set(first)) == 20


def test_no_candidates_give_no_choice():
    assert choose_different(np.empty(0), np.empty((0, 1)), 3).tolist() == []
