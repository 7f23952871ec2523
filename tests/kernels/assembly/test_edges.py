"""Test the choice of edges: areas under ROC curves counted by hand, and the best tree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.assembly.edges import choose_edges, discriminability, split_pairs

NAN = np.nan
GOOD, FAIR, POOR = (
    ([0.9, 0.8], [0.1, 0.2]),  # 4 of 4 pairs in order: 1
    ([0.9, 0.3], [0.1, 0.5]),  # 3 of 4: 0.75
    ([0.1, 0.6], [0.5, 0.7]),  # 1 of 4: 0.25
)


def arrays(*pairs):
    return [[np.array(pair[side]) for pair in pairs] for side in (0, 1)]


@pytest.mark.parametrize(
    ("same", "different", "expected"),
    [
        (*GOOD, 1.0),
        (*FAIR, 0.75),
        (*POOR, 0.25),
        ([0.5], [0.5], 0.5),
        # 0.4 beats 0.1 and ties with 0.4: 1.5; 0.9 beats both: 2; of 4.
        ([0.4, 0.9], [0.1, 0.4], 0.875),
        ([0.4, NAN], [NAN, 0.1], 1.0),
    ],
)
def test_discriminability_by_hand(same, different, expected):
    assert discriminability(np.array(same), np.array(different)) == expected


@pytest.mark.parametrize(("same", "different"), [([], [0.1]), ([0.1], []), ([NAN], [0.1])])
def test_nothing_is_known_without_pairs_of_both_kinds(same, different):
    assert np.isnan(discriminability(np.array(same), np.array(different)))


values = st.lists(st.floats(-1, 1), min_size=1, max_size=8).map(np.array)


@given(same=values, different=values)
def test_discriminability_is_the_share_of_pairs_in_order(same, different):
    above = same[:, None] > different
    ties = same[:, None] == different
    assert discriminability(same, different) == pytest.approx(np.mean(above + ties / 2))


def test_pairs_of_labelled_points():
    affinity = np.array([[[[1, 2], [3, NAN]]], [[[NAN, 5], [6, 7]]]])  # two frames, one edge
    same, different = split_pairs(affinity)
    assert [pairs.tolist() for pairs in same] == [[1, 7]]
    assert [pairs.tolist() for pairs in different] == [[2, 3, 5, 6]]


def test_the_best_tree_and_the_next_best_edges():
    # A triangle 0-1-2 and 3, which hangs on a poor edge that nothing can replace.
    candidates = [(0, 1), (1, 2), (2, 0), (3, 2)]
    same, different = arrays(FAIR, GOOD, GOOD, POOR)
    choice = choose_edges(candidates, same, different, bodyparts=range(4))
    assert choice.edges == (1, 2, 3)
    assert choice.discriminability.tolist() == [0.75, 1.0, 1.0, 0.25]
    more = choose_edges(candidates, same, different, bodyparts=range(4), further=1)
    assert more.edges == (0, 1, 2, 3)
    most = choose_edges(candidates, same, different, bodyparts=range(4), further=9)
    assert most.edges == (0, 1, 2, 3)


def test_an_edge_without_pairs_is_worth_as_much_as_chance():
    candidates = [(0, 1), (1, 2), (0, 2)]
    same, different = arrays(GOOD, ([], []), POOR)
    choice = choose_edges(candidates, same, different, bodyparts=range(3))
    assert choice.edges == (0, 1)  # chance, 0.5, is better than 0.25
    assert np.isnan(choice.discriminability[1])


@given(order=st.permutations(range(6)))
def test_the_order_of_candidates_plays_no_part(order):
    candidates = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    pairs = [GOOD, FAIR, GOOD, GOOD, POOR, FAIR]
    same, different = arrays(*(pairs[edge] for edge in order))
    choice = choose_edges(
        [candidates[edge] for edge in order], same, different, bodyparts=range(4), further=1
    )
    chosen = {candidates[order[edge]] for edge in choice.edges}
    # The tree 0-1, 0-3, 1-2, and 0-2 (before 2-3, which is as good).
    assert chosen == {(0, 1), (0, 3), (0, 2), (1, 2)}


def test_candidates_that_do_not_connect_all_bodyparts():
    same, different = arrays(GOOD)
    with pytest.raises(ValueError, match=r"do not connect the bodyparts: \[\[0, 1\], \[2\]\]"):
        choose_edges([(0, 1)], same, different, bodyparts=range(3))


def test_a_candidate_of_other_bodyparts():
    same, different = arrays(GOOD, GOOD)
    with pytest.raises(ValueError, match=r"candidate \(1, 2\) joins other bodyparts than \[0, 1\]"):
        choose_edges([(0, 1), (1, 2)], same, different, bodyparts=[0, 1])


def test_one_bodypart_needs_no_edge():
    assert choose_edges([], [], [], bodyparts=[0]).edges == ()
