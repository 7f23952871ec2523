"""Test the stitching of tracklets: the cheapest flow, against every other one."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.kernels.tracking.stitching import (
    JoinRules,
    Joins,
    choose_paths,
    compare_tracklets,
    propose_joins,
)
from pipeline_lib.kernels.tracking.tracklet_ends import TrackletEnd, Tracklets

NAN = np.nan
RULES = JoinRules(tolerance=10.0, similarity="oks", persistence=5.0, max_gap=50, min_similarity=0.1)


def make_tracklets(*rows, identity=None):
    """Return tracklets of one keypoint: first and last frame, x there, and velocity along x."""
    first, last, begin, end, speed = np.array(rows, float).T
    velocity = np.stack([speed, 0 * speed], axis=1)

    def make_end(frame, x):
        pose = np.stack([x, 0 * x], axis=1)[:, None]
        return TrackletEnd(frame.astype(np.int64), pose, velocity)

    count = (last - first + 1).astype(np.int64)
    return Tracklets(
        head=make_end(first, begin),
        tail=make_end(last, end),
        count=count,
        worth=count.astype(float),
        log_size=np.full(len(rows), NAN),
        identity=identity,
    )


def compare(tracklets, first=0, second=1):
    return compare_tracklets(tracklets, np.array([first]), np.array([second]), RULES)[0]


def test_tracklets_meet_in_the_middle_of_the_gap():
    # 20 px in 10 frames at rest: the tolerance is 10 * sqrt(10).
    at_rest = make_tracklets((0, 10, 0, 0, 0), (20, 30, 20, 20, 0))
    fading = np.exp(-9 / 50)
    assert compare(at_rest) == pytest.approx(np.exp(-(20**2) / (2 * 1000)) * fading)
    # At 4 px per frame either goes on for 5 * (1 - exp(-2)) / 2 frames.
    moving = make_tracklets((0, 10, 0, 0, 4), (20, 30, 20, 20, 4))
    left = 20 - 4 * 5 * (1 - np.exp(-2))
    assert compare(moving) == pytest.approx(np.exp(-(left**2) / (2 * 1000)) * fading)


def test_an_animal_that_moves_on_is_more_similar_than_one_that_turns():
    onward = make_tracklets((0, 10, -40, 0, 4), (15, 25, 20, 60, 4))
    back = make_tracklets((0, 10, -40, 0, 4), (15, 25, 20, -20, -4))
    assert compare(onward) > compare(back)


def test_size_and_identity_count():
    plain = make_tracklets((0, 9, 0, 0, 0), (10, 19, 0, 0, 0))
    assert compare(plain) == pytest.approx(1.0)
    twice = Tracklets(plain.head, plain.tail, plain.count, plain.worth, np.log([10.0, 20.0]), None)
    assert compare(twice) == pytest.approx(np.exp(-(np.log(2) ** 2) / (2 * 0.35**2)))
    # Likelihoods 0.8 : 0.2 and 0.2 : 0.8, in any unit.
    identity = np.log([[0.8, 0.2], [0.02, 0.08]])
    others = Tracklets(plain.head, plain.tail, plain.count, plain.worth, plain.log_size, identity)
    assert compare(others) == pytest.approx(2 * 0.4)


def test_joins_lead_onward_within_the_longest_gap():
    tracklets = make_tracklets(
        (0, 10, 0, 0, 0),
        (5, 60, 0, 0, 0),
        (11, 20, 0, 0, 0),
        (61, 70, 0, 0, 0),
        (61, 70, 900, 900, 0),
    )
    joins = propose_joins(tracklets, np.arange(5), RULES)
    # From 0 to 3 it is 51 frames; 4 is too far away.
    assert list(zip(joins.first, joins.second, strict=True)) == [(0, 2), (1, 3), (2, 3)]


def test_a_candidate_that_is_worth_little_is_left_out():
    tracklets = make_tracklets((0, 99, 0, 0, 0), (50, 51, 500, 500, 0))
    joins = propose_joins(tracklets, np.arange(2), RULES)
    assert choose_paths(tracklets, np.arange(2), joins, 2, 2.5).tolist() == [-1, -2]
    assert choose_paths(tracklets, np.arange(2), joins, 2, 1.5).tolist() == [-1, -1]
    # There is one animal only.
    assert choose_paths(tracklets, np.arange(2), joins, 1, 1.5).tolist() == [-1, -2]


def test_nothing_to_choose_from():
    tracklets = make_tracklets((0, 99, 0, 0, 0))
    joins = propose_joins(tracklets, np.arange(0), RULES)
    assert choose_paths(tracklets, np.arange(0), joins, 2, 1.0).tolist() == [-2]
    assert choose_paths(tracklets, np.arange(1), joins, 0, 1.0).tolist() == [-2]


def cost_of(tracklets, joins, following, price):
    """Return what a choice costs by the rules of `choose_paths`, and how many are on their way."""
    similarity = {
        (a, b): s for a, b, s in zip(joins.first, joins.second, joins.similarity, strict=True)
    }
    cost, active = 0.0, np.zeros(100, int)
    followed = {after for after in following if after >= 0}
    for number, after in enumerate(following):
        if after == -2:
            continue
        cost -= tracklets.worth[number]
        end = tracklets.tail.frame[number]
        if after >= 0:
            cost += price * (1 - similarity[number, after])
            end = tracklets.head.frame[after] - 1
        else:
            cost += price / 2
        if number not in followed:
            cost += price / 2
        active[tracklets.head.frame[number] : end + 1] += 1
    return cost, active.max()


@settings(max_examples=60)
@given(st.integers(0, 9999), st.integers(1, 3))
def test_no_other_choice_is_cheaper(seed, paths):
    random = np.random.default_rng(seed)
    first = np.sort(random.integers(0, 30, 5))
    last = first + random.integers(0, 12, 5)
    x = random.uniform(0, 30, 5)
    tracklets = make_tracklets(*zip(first, last, x, x, 0 * x, strict=True))
    price = 6.0
    joins = propose_joins(tracklets, np.arange(5), RULES)
    chosen = choose_paths(tracklets, np.arange(5), joins, paths, price)
    found, at_once = cost_of(tracklets, joins, chosen.tolist(), price)
    assert at_once <= paths
    after = [[-2, -1, *joins.second[joins.first == number].tolist()] for number in range(5)]
    for choice in itertools.product(*after):
        targets = [one for one in choice if one >= 0]
        if len(set(targets)) < len(targets) or any(choice[one] == -2 for one in targets):
            continue
        cost, active = cost_of(tracklets, joins, choice, price)
        assert active > paths or cost >= found - 1e-9


def test_joins_are_arrays_of_pairs():
    joins = propose_joins(make_tracklets((0, 1, 0, 0, 0)), np.arange(1), RULES)
    assert isinstance(joins, Joins)
    assert joins.first.shape == joins.second.shape == joins.similarity.shape == (0,)
