"""Test peaks of score maps made by hand, and properties for any maps, in NumPy and in torch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.maps.peaks import find_peaks
from pipeline_lib.kernels.maps.score_maps import (
    MapShape,
    encode_gaussian,
    encode_location_refinement,
    encode_plateau,
)

NAN = np.nan
STRIDE = 4  # cell (row, column) has its centre at (4·column + 1.5, 4·row + 1.5)


def centre(row: float, column: float) -> list[float]:
    return [4 * column + 1.5, 4 * row + 1.5]


def make_map(rows: int, columns: int, **cells: float) -> np.ndarray:
    """Make maps (1, rows, columns) of 0 with some cells, named like r1c2, set."""
    score = np.zeros((1, rows, columns), np.float32)
    for name, value in cells.items():
        row, column = name[1:].split("c")
        score[0, int(row), int(column)] = value
    return score


def find(score, offset=None, *, threshold=0.1, most=4, **options):
    if offset is None and not options.pop("quadratic", False):
        offset = np.zeros((*score.shape[:-2], 2, *score.shape[-2:]), np.float32)
    return find_peaks(score, offset, STRIDE, threshold=threshold, most=most, **options)


def test_peaks_come_best_first_and_the_rest_is_nan():
    score = make_map(6, 10, r1c1=0.5, r4c8=0.9, r1c7=0.05)
    position, confidence = find(score)
    np.testing.assert_array_equal(position, [[centre(4, 8), centre(1, 1), [NAN, NAN], [NAN, NAN]]])
    np.testing.assert_array_equal(confidence, np.float32([[0.9, 0.5, NAN, NAN]]))
    assert position.dtype == confidence.dtype == np.float32


def test_only_the_best_are_kept_and_equal_ones_by_row_and_column():
    score = make_map(9, 9, r0c0=0.5, r0c8=0.5, r4c4=0.7, r8c0=0.5)
    position, _ = find(score, most=3)
    assert position.tolist() == [[centre(4, 4), centre(0, 0), centre(0, 8)]]


def test_the_threshold_is_enough_and_zero_never_is():
    score = make_map(3, 3, r1c1=0.25)
    assert np.isfinite(find(score, threshold=0.25)[1]).sum() == 1
    assert not np.isfinite(find(score, threshold=0.26)[1]).any()
    assert np.isfinite(find(score, threshold=0.0)[1]).sum() == 1


@pytest.mark.parametrize(("radius", "count"), [(1, 3), (2, 2), (4, 1)])
def test_a_peak_is_the_best_within_its_radius(radius, count):
    # Columns 0, 2 and 6: two apart from each other, and four.
    score = make_map(1, 9, r0c0=0.5, r0c2=0.6, r0c6=0.7)
    assert np.isfinite(find(score, radius=radius)[1]).sum() == count


def test_offsets_move_peaks():
    offset = np.zeros((1, 2, 6, 6), np.float32)
    offset[0, :, 2, 3] = (-3.25, 1.5)
    position, _ = find(make_map(6, 6, r2c3=0.5), offset, most=1)
    x, y = centre(2, 3)
    assert position.tolist() == [[[x - 3.25, y + 1.5]]]


def test_two_maxima_whose_offsets_mean_the_same_point_are_one():
    # Cells 3 columns apart; the worse one's offset leads to 3 px from the better one's.
    score = make_map(1, 9, r0c2=0.6, r0c5=0.5, r0c8=0.4)
    offset = np.zeros((1, 2, 1, 9), np.float32)
    offset[0, 0, 0, 5] = -9.0
    position, confidence = find(score, offset, most=2)
    assert position.tolist() == [[centre(0, 2), centre(0, 8)]]
    np.testing.assert_array_equal(confidence, np.float32([[0.6, 0.4]]))
    assert (
        find(score, offset, most=2, separation=2.9)[1].tolist() == np.float32([[0.6, 0.5]]).tolist()
    )


def test_a_gaussian_between_cells_is_found_exactly():
    score = encode_gaussian(np.array([[[10.2, 14.9]]], np.float32), MapShape(8, 8, STRIDE), 6.0)
    position, _ = find(score, quadratic=True, most=1)
    np.testing.assert_allclose(position, [[[10.2, 14.9]]], atol=1e-4)


def test_without_neighbours_there_is_nothing_to_refine_with():
    assert find(make_map(3, 3, r0c2=0.5), quadratic=True, most=1)[0].tolist() == [[centre(0, 2)]]
    assert find(np.full((1, 1, 1), 0.5), quadratic=True, most=1)[0].tolist() == [[[1.5, 1.5]]]


@pytest.mark.parametrize("point", [(30.0, 30.0), (29.5, 33.5), (24.1, 37.9)])
@pytest.mark.parametrize("radius", [6.0, 9.0, 17.0])
def test_a_disc_is_one_peak_in_its_middle(point, radius):
    shape = MapShape(16, 16, STRIDE)
    points = np.array([[point]], np.float32)
    score = encode_plateau(points, shape, radius)
    offset, _ = encode_location_refinement(points, shape, radius)
    for neighbourhood in (1, 2):
        position, confidence = find(score, offset, radius=neighbourhood)
        assert np.isfinite(confidence).sum() == 1
        np.testing.assert_allclose(position[0, 0], point, atol=1e-4)
        position, confidence = find(score, quadratic=True, radius=neighbourhood)
        assert np.isfinite(confidence).sum() == 1
        np.testing.assert_allclose(position[0, 0], point, atol=STRIDE / 2)


def test_a_plateau_is_one_peak_whatever_its_shape():
    score = np.zeros((1, 12, 12), np.float32)
    score[0, 2:10, 2] = score[0, 2:10, 9] = score[0, 9, 2:10] = 1.0  # the shape of a U
    position, confidence = find(score, quadratic=True, radius=1)
    assert np.isfinite(confidence).sum() == 1
    # 8 + 8 + 6 cells; columns 2, 9 and 3..8; rows 2..9 twice and six times 9.
    np.testing.assert_allclose(position[0, 0], centre((44 * 2 + 54) / 22, 121 / 22), rtol=1e-6)


def test_the_middle_of_a_plateau_is_the_cell_whose_offset_counts():
    score = make_map(1, 7, r0c1=1, r0c2=1, r0c3=1)
    offset = np.zeros((1, 2, 1, 7), np.float32)
    offset[0, 0, 0, 2] = 0.5
    assert find(score, offset, most=1, votes=False)[0].tolist() == [[[4 * 2 + 1.5 + 0.5, 1.5]]]
    # The cell to the right votes for 13.5, which is 3.5 px away; the one to the left for 5.5.
    assert find(score, offset, most=1)[0].tolist() == [[[(10.0 + 13.5) / 2, 1.5]]]


@pytest.mark.parametrize("values", [[1, 3, 3, 3, 5], [5, 3, 3, 3, 1], [5, 3, 3, 3, 5]])
def test_a_shoulder_is_no_peak(values):
    score = np.array([[values]], np.float32) / 8
    assert np.nanmin(find(score, radius=1)[1]) == 5 / 8


def test_a_map_that_is_the_same_everywhere_has_no_peak():
    score = np.full((2, 4, 5), 0.5, np.float32)
    score[1, 2, 2] = 0.6
    _, confidence = find(score)
    assert np.isfinite(confidence).sum(axis=1).tolist() == [0, 1]


def test_no_peak_at_all_and_not_a_number():
    score = np.zeros((2, 3, 4, 5), np.float32)
    position, confidence = find(score)
    assert position.shape == (2, 3, 4, 2)
    assert np.isnan(position).all()
    assert np.isnan(confidence).all()
    score[:] = NAN
    score[0, 1, 2, 2] = 0.5
    assert np.isfinite(find(score)[1]).sum() == 1


def find_slowly(score, radius):
    """Find regional maxima of one map by flooding: score and size of each."""
    rows, columns = score.shape
    seen = np.zeros(score.shape, bool)
    found = []
    for start in np.ndindex(score.shape):
        if seen[start]:
            continue
        flood, is_top, cells = [start], True, set()
        while flood:
            row, column = flood.pop()
            if (row, column) in cells:
                continue
            cells.add((row, column))
            seen[row, column] = True
            for i in range(max(row - radius, 0), min(row + radius + 1, rows)):
                for j in range(max(column - radius, 0), min(column + radius + 1, columns)):
                    if score[i, j] > score[row, column]:
                        is_top = False
                    elif score[i, j] == score[row, column]:
                        flood.append((i, j))
        if is_top and score[start] > 0 and (len(cells) < score.size or score.size == 1):
            found.append(score[start])
    return sorted(found, reverse=True)


# Few levels make plateaus and shoulders of all shapes.
def coarse_maps(rows, columns):
    return st.lists(st.integers(0, 3), min_size=rows * columns, max_size=rows * columns).map(
        lambda values: np.array(values, np.float32).reshape(1, rows, columns) / 4
    )


sizes = st.integers(1, 7)


@given(data=st.data(), rows=sizes, columns=sizes, radius=st.integers(1, 2))
def test_peaks_are_the_regional_maxima(data, rows, columns, radius):
    score = data.draw(coarse_maps(rows, columns))
    _, confidence = find(score, radius=radius, most=49, separation=0.0)
    assert confidence[np.isfinite(confidence)].tolist() == find_slowly(score[0], radius)


@given(scores=st.lists(coarse_maps(3, 3), min_size=1, max_size=3))
def test_maps_do_not_know_each_other(scores):
    together, _ = find(np.stack(scores))
    for score, position in zip(scores, together, strict=True):
        np.testing.assert_array_equal(find(score)[0], position)


@pytest.mark.parametrize("with_offset", [True, False])
def test_torch_finds_the_same(with_offset):
    generator = np.random.default_rng(1)
    point = generator.uniform(0, 64, (2, 3, 4, 2)).astype(np.float32)
    shape = MapShape(16, 18, STRIDE)
    for score in (encode_gaussian(point, shape, 5.0), encode_plateau(point, shape, 7.0)):
        offset = encode_location_refinement(point, shape, 9.0)[0] if with_offset else None
        expected = find_peaks(score, offset, STRIDE, threshold=0.1, most=3)
        found = find_peaks(
            torch.from_numpy(score),
            None if offset is None else torch.from_numpy(offset),
            STRIDE,
            threshold=0.1,
            most=3,
        )
        for ours, theirs in zip(expected, found, strict=True):
            np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-5)


def test_half_precision_scores():
    score = torch.from_numpy(make_map(6, 10, r1c1=0.5, r4c8=0.75)).to(torch.bfloat16)
    position, confidence = find_peaks(score, None, STRIDE, threshold=0.1, most=2)
    assert position.dtype == confidence.dtype == torch.float32
    assert confidence.tolist() == [[0.75, 0.5]]
