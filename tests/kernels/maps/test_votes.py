"""Test votes of the cells around a peak, with maps made by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.maps.peaks import find_peaks
from pipeline_lib.kernels.maps.score_maps import (
    MapShape,
    decode_peaks,
    encode_gaussian,
    encode_location_refinement,
)
from pipeline_lib.kernels.maps.votes import read_votes

NAN = math.nan
STRIDE = 8  # cell (row, column) has its centre at (8·column + 3.5, 8·row + 3.5)


def empty(maps: int = 1, rows: int = 3, columns: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Make score maps of 0, and offsets that send each cell far away."""
    return np.zeros((maps, rows, columns), np.float32), np.full(
        (maps, 2, rows, columns), 99, np.float32
    )


def test_votes_are_averaged_by_score():
    score, offset = empty()
    # Votes for (19.5 + 1, 11.5), (27.5 - 5, 11.5) and (19.5, 3.5 + 10), by 0.5, 0.25 and 0.25.
    score[0, 1, 2], score[0, 1, 3], score[0, 0, 2] = 0.5, 0.25, 0.25
    offset[0, :, 1, 2], offset[0, :, 1, 3], offset[0, :, 0, 2] = (1, 0), (-5, 0), (0, 10)
    position, confidence = decode_peaks(score, offset, STRIDE)
    x = (0.5 * 20.5 + 0.25 * 22.5 + 0.25 * 19.5) / 1.0
    y = (0.5 * 11.5 + 0.25 * 11.5 + 0.25 * 13.5) / 1.0
    assert position.tolist() == [[x, y]]
    assert confidence.tolist() == [0.5]
    alone, _ = decode_peaks(score, offset, STRIDE, votes=False)
    assert alone.tolist() == [[20.5, 11.5]]


@pytest.mark.parametrize(("away", "counts"), [(7.75, True), (8.0, False), (30.0, False)])
def test_a_vote_for_another_point_does_not_count(away, counts):
    score, offset = empty()
    score[0, 1, 1], score[0, 1, 2] = 0.6, 0.6
    offset[0, :, 1, 1], offset[0, :, 1, 2] = (0, 0), (away - 8, 0)
    position, _ = decode_peaks(score, offset, STRIDE)
    assert position[0].tolist() == [11.5 + (away / 2 if counts else 0), 11.5]


def test_neighbours_are_of_the_same_map_and_row():
    """Check that cells beyond a border, where flat positions go on, have no vote."""
    score, offset = empty(maps=2)
    # The last cell of a row of the first map, the first cell of the next row, and the next map.
    score[0, 2, 3], score[0, 1, 0], score[1, 0, 0] = 0.9, 0.8, 0.8
    offset[0, :, 2, 3], offset[1, :, 0, 0] = (0, 0), (2, 2)
    offset[0, :, 1, 0] = (27.5 - 3.5, 19.5 - 11.5)  # votes for the centre of cell (2, 3)
    offset[0, 0, 1, 0] += 1
    position, _ = decode_peaks(score, offset, STRIDE)
    assert position.tolist() == [[27.5, 19.5], [5.5, 5.5]]


def test_scores_of_zero_leave_the_best_cell():
    score, offset = empty()
    offset[0, :, 0, 0] = (0.5, 0.25)
    assert decode_peaks(score, offset, STRIDE)[0].tolist() == [[4.0, 3.75]]


@pytest.mark.parametrize(
    ("score_there", "offset_there"),
    [(0.5, NAN), (0.5, math.inf), (0.5, -math.inf), (-1.0, -4.0), (NAN, -4.0)],
)
def test_a_broken_neighbour_has_no_vote(score_there, offset_there):
    """Check maps of half precision that overflowed, and scores below 0 of other tools."""
    score, offset = empty()
    score[0, 1, 1], offset[0, :, 1, 1] = 0.6, (0, 0)
    score[0, 1, 2], offset[0, :, 1, 2] = score_there, (offset_there, 0)
    best = np.array([5])  # cell (1, 1) of four columns
    for maps in ((score, offset, best), map(torch.from_numpy, (score, offset, best))):
        assert np.asarray(read_votes(*maps, STRIDE)).tolist() == [[11.5, 11.5]]


def test_two_animals_keep_their_votes():
    """Check animals whose cells touch: the votes of one do not move the other."""
    position = np.array([[[20.0, 20.0]], [[38.0, 21.0]]], np.float32)
    shape = MapShape(6, 8, STRIDE)
    score = encode_gaussian(position, shape, 6.0)
    offset, _ = encode_location_refinement(position, shape, 14.0)
    found, _ = find_peaks(score, offset, STRIDE, threshold=0.1, most=2, radius=1)
    found = found[0][np.argsort(found[0, :, 0])]
    np.testing.assert_allclose(found, position[:, 0], atol=1e-4)


@given(seed=st.integers(0, 1000), votes=st.booleans())
def test_one_peak_is_what_decoding_finds(seed, votes):
    stream = np.random.default_rng(seed)
    score = stream.random((2, 3, 5, 7), np.float32)
    offset = stream.normal(size=(2, 3, 2, 5, 7), scale=4).astype(np.float32)
    position, confidence = decode_peaks(score, offset, STRIDE, votes=votes)
    peaks, scores = find_peaks(score, offset, STRIDE, threshold=0.0, most=1, votes=votes)
    np.testing.assert_array_equal(peaks[..., 0, :], position)
    np.testing.assert_array_equal(scores[..., 0], confidence)
    by_torch, _ = decode_peaks(
        torch.from_numpy(score), torch.from_numpy(offset), STRIDE, votes=votes
    )
    np.testing.assert_allclose(by_torch.numpy(), position, atol=2e-5)


def test_votes_lower_random_errors():
    """Check noise of 2 px in x and y on every offset: alone the error is 2·√(π/2) px.

    Point (19.5, 19.5) is a cell's centre. With sigma 6 the weights of it, of the four cells
    beside and of the four at the corners are 1, w = exp(-64/72) and w²: the mean of independent
    votes has the standard deviation 2·√(1 + 4w² + 4w⁴)/(1 + 4w + 4w²).
    """
    point = np.array([[[19.5, 19.5]]], np.float32)
    shape = MapShape(5, 5, STRIDE)
    score = np.repeat(encode_gaussian(point, shape, 6.0)[None], 4000, axis=0)
    offset, _ = encode_location_refinement(point, shape, 12.0)
    noise = np.random.default_rng(0).normal(size=(4000, 1, 2, 5, 5), scale=2.0)
    noisy = (offset + noise).astype(np.float32)
    w = math.exp(-64 / 72)
    alone, together = (
        np.hypot(*(decode_peaks(score, noisy, STRIDE, votes=votes)[0][:, 0] - 19.5).T).mean()
        for votes in (False, True)
    )
    assert alone == pytest.approx(2 * math.sqrt(math.pi / 2), rel=0.03)
    share = math.sqrt(1 + 4 * w**2 + 4 * w**4) / (1 + 4 * w + 4 * w**2)
    assert together == pytest.approx(alone * share, rel=0.05)
