"""Test pairs between frames and their ambiguity."""

import itertools

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.tracking.pairing import measure_ambiguity, pair_frames

shapes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
similarities = shapes.flatmap(
    lambda shape: npst.arrays(np.float64, shape, elements=st.sampled_from([0, 0.1, 0.3, 0.6, 0.9]))
)


def best_sum(similarity, least):
    """Try every way to pair."""
    rows, columns = similarity.shape
    gain = np.where(similarity >= least, similarity, 0.0)
    padded = np.zeros((rows, columns + rows))
    padded[:, :columns] = gain
    return max(
        padded[range(rows), order].sum()
        for order in itertools.permutations(range(columns + rows), rows)
    )


@given(similarities, st.sampled_from([0.0, 0.2, 0.5]))
def test_pairs_have_the_largest_sum(similarity, least):
    partner = pair_frames(similarity, least)
    for one, paired in zip(similarity, partner, strict=True):
        rows = np.flatnonzero(paired >= 0)
        assert len(set(paired[rows])) == len(rows)
        assert (one[rows, paired[rows]] >= max(least, 1e-9)).all()
        assert one[rows, paired[rows]].sum() == pytest.approx(best_sum(one, least))


def test_frames_without_individuals_have_no_pairs():
    assert pair_frames(np.zeros((2, 3, 0)), 0.1).tolist() == [[-1] * 3] * 2
    assert pair_frames(np.zeros((2, 0, 3)), 0.1).shape == (2, 0)
    assert measure_ambiguity(np.zeros((1, 2, 0)), np.full((1, 2), -1)).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("similarity", "partner", "ambiguity"),
    [
        # Nobody else.
        ([[0.8]], [0], [0.0]),
        # A free partner that is half as good; then a pose that has none and would do as well.
        ([[0.8, 0.4]], [0], [0.5]),
        ([[0.8], [0.8]], [0, -1], [1.0, 0.0]),
        # Exchanging: 0.1 + 0.3 of 0.8 + 0.4.
        ([[0.8, 0.1], [0.3, 0.4]], [0, 1], [1 / 3, 1 / 3]),
    ],
)
def test_the_next_best_choice(similarity, partner, ambiguity):
    found = measure_ambiguity(np.array([similarity]), np.array([partner]))
    np.testing.assert_allclose(found, [ambiguity])


@given(similarities)
def test_no_choice_is_better_than_the_best(similarity):
    assert measure_ambiguity(similarity, pair_frames(similarity, 0.0)).max() <= 1.0 + 1e-12
