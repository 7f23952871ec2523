"""Score maps: hand-derived cells, and what must hold for any points, in NumPy and in torch."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.kernels.maps.score_maps import (
    GAUSSIAN_REACH,
    MapShape,
    decode_peaks,
    encode_gaussian,
    encode_location_refinement,
    encode_plateau,
    find_present,
    map_shape,
)

NAN = np.nan
ENCODERS: dict[str, Callable] = {
    "gaussian": lambda position, shape: encode_gaussian(position, shape, sigma=5.0),
    "plateau": lambda position, shape: encode_plateau(position, shape, radius=11.0),
    "offset": lambda position, shape: encode_location_refinement(position, shape, 11.0)[0],
    "mask": lambda position, shape: encode_location_refinement(position, shape, 11.0)[1],
}

HEIGHT, WIDTH = 48, 72
strides = st.sampled_from([4, 8])
# The image covers half a pixel around its outermost pixel centres.
inside_points = st.tuples(
    st.floats(-0.5, WIDTH - 0.5, width=32), st.floats(-0.5, HEIGHT - 0.5, width=32)
)
missing_points = st.just((NAN, NAN))
# A coarse grid makes ties between individuals frequent.
grid_points = st.tuples(st.integers(-3, 20), st.integers(-3, 14)).map(
    lambda point: (4.0 * point[0] + 1.5, 4.0 * point[1] + 1.5)
)
any_points = st.one_of(
    inside_points,
    grid_points,
    missing_points,
    st.tuples(st.floats(-300, 300, width=32), st.floats(-300, 300, width=32)),
)


@st.composite
def positions(draw, points=any_points, most_individuals=3):
    """Draw an array (batch, individual, keypoint, 2)."""
    batch, individuals, keypoints = (draw(st.integers(1, n)) for n in (2, most_individuals, 3))
    count = batch * individuals * keypoints
    values = draw(st.lists(points, min_size=count, max_size=count))
    return np.array(values, np.float32).reshape(batch, individuals, keypoints, 2)


def one_point(x: float, y: float) -> np.ndarray:
    return np.array([[[x, y]]], np.float32)


def test_a_map_covers_the_whole_image():
    assert map_shape(64, 96, 8) == (8, 12, 8)
    assert map_shape(65, 95, 8) == (9, 12, 8)
    assert map_shape(1, 3, 4) == (1, 1, 4)


@pytest.mark.parametrize(
    ("stride", "column", "row", "x", "y"),
    [(8, 0, 0, 3.5, 3.5), (8, 2, 1, 19.5, 11.5), (4, 0, 0, 1.5, 1.5), (4, 3, 5, 13.5, 21.5)],
)
def test_cell_centres(stride, column, row, x, y):
    """Check that the cell under x = c·s + (s - 1)/2 is exactly 1, with an offset of exactly 0."""
    shape = map_shape(HEIGHT, WIDTH, stride)
    score = encode_gaussian(one_point(x, y), shape, sigma=3.0)
    offset, mask = encode_location_refinement(one_point(x, y), shape, radius=stride / 2)
    assert score[0, row, column] == 1.0
    assert np.count_nonzero(score == 1.0) == 1
    assert np.argwhere(mask[0]).tolist() == [[row, column]]
    assert not offset.any()
    found, confidence = decode_peaks(score, np.zeros_like(offset), stride)
    assert found.tolist() == [[x, y]]
    assert confidence.tolist() == [1.0]


@pytest.mark.parametrize("stride", [8, 4])
def test_gaussian_by_hand(stride):
    """Use sigma 6: the next cell is exp(-s²/72), the next across the corner exp(-s²/36)."""
    sigma, centre = 6.0, 2 * stride + (stride - 1) / 2
    score = encode_gaussian(one_point(centre, centre), MapShape(5, 5, stride), sigma)[0]
    side, corner = math.exp(-(stride**2) / 72), math.exp(-(stride**2) / 36)
    np.testing.assert_allclose(
        score[1:4, 1:4],
        [[corner, side, corner], [side, 1, side], [corner, side, corner]],
        rtol=1e-6,
    )
    assert score.dtype == np.float32


def test_gaussian_between_cells_and_its_reach():
    # Stride 4: x = 4 lies 2.5 px right of cell 0 and 1.5 px left of cell 1; y is on row 0.
    score = encode_gaussian(one_point(4.0, 1.5), MapShape(1, 4, 4), sigma=2.0)[0, 0]
    expected = [math.exp(-6.25 / 8), math.exp(-2.25 / 8), math.exp(-30.25 / 8), 0.0]
    assert GAUSSIAN_REACH * 2.0 < 9.5  # the last cell is out of reach
    np.testing.assert_allclose(score, expected, rtol=1e-6)


def test_plateau_by_hand():
    # Stride 8, radius 8: from (19.5, 19.5) the four neighbours are at exactly 8 px.
    score = encode_plateau(one_point(19.5, 19.5), MapShape(5, 5, 8), radius=8.0)[0]
    cross = np.zeros((5, 5))
    cross[2, 1:4] = cross[1:4, 2] = 1.0
    np.testing.assert_array_equal(score, cross)
    # Stride 4, radius 6: corners at 4√2 = 5.66 px are in, two cells aside (8 px) are out.
    score = encode_plateau(one_point(9.5, 9.5), MapShape(5, 5, 4), radius=6.0)[0]
    square = np.zeros((5, 5))
    square[1:4, 1:4] = 1.0
    np.testing.assert_array_equal(score, square)


def test_location_refinement_by_hand():
    # Stride 8: cell centres at 3.5, 11.5, 19.5; the point lies 1.5 px right of and 2 below (1, 1).
    offset, mask = encode_location_refinement(one_point(13.0, 13.5), MapShape(3, 3, 8), 8.0)
    assert np.argwhere(mask[0]).tolist() == [[1, 1], [1, 2], [2, 1]]
    assert offset[0, :, 1, 1].tolist() == [1.5, 2.0]
    assert offset[0, :, 1, 2].tolist() == [-6.5, 2.0]
    assert offset[0, :, 2, 1].tolist() == [1.5, -6.0]
    assert not offset[0, :, 0].any()
    assert (offset.dtype, mask.dtype) == (np.float32, np.bool_)


def test_two_individuals_share_cells_by_nearness():
    """Check that the cell halfway between two points belongs to the one with the smaller x."""
    position = np.array([[[3.5, 3.5]], [[19.5, 3.5]]], np.float32)
    for order in (position, position[::-1]):
        offset, mask = encode_location_refinement(order, MapShape(1, 3, 8), 8.0)
        assert offset[0, 0, 0].tolist() == [0.0, -8.0, 0.0]
        assert mask[0, 0].tolist() == [1.0, 1.0, 1.0]
        score = encode_gaussian(order, MapShape(1, 3, 8), 4.0)[0, 0]
        np.testing.assert_allclose(score, [1, math.exp(-2), 1], rtol=1e-6)


def test_at_equal_x_the_smaller_y_counts():
    position = np.array([[[3.5, 19.5]], [[3.5, 3.5]]], np.float32)
    for order in (position, position[::-1]):
        offset, _ = encode_location_refinement(order, MapShape(3, 1, 8), 8.0)
        assert offset[0, 1, :, 0].tolist() == [0.0, -8.0, 0.0]


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
@given(position=positions(), stride=strides, data=st.data())
@settings(max_examples=40)
def test_the_order_of_individuals_does_not_matter(encode, position, stride, data):
    shape = map_shape(HEIGHT, WIDTH, stride)
    order = data.draw(st.permutations(range(position.shape[1])))
    np.testing.assert_array_equal(encode(position, shape), encode(position[:, order], shape))


@given(position=positions(inside_points, most_individuals=1), stride=strides)
def test_encoding_then_decoding_gives_the_points_back(position, stride):
    shape = map_shape(HEIGHT, WIDTH, stride)
    score = encode_gaussian(position, shape, sigma=5.0)
    offset, _ = encode_location_refinement(position, shape, radius=10.0)
    found, confidence = decode_peaks(score, offset, stride)
    np.testing.assert_allclose(found, position[:, 0], atol=1e-3, rtol=0)
    nearest = math.exp(-((stride / math.sqrt(2)) ** 2) / 50)
    assert (confidence > nearest - 1e-6).all()
    coarse, _ = decode_peaks(score, np.zeros_like(offset), stride)
    # At the very edge of two cells either may win by rounding.
    assert (np.abs(coarse - position[:, 0]) < stride / 2 + 1e-3).all()


@given(point=inside_points, stride=strides)
def test_a_point_reaches_at_least_one_cell(point, stride):
    """Check that points are at most half a cell's diagonal from the centre of a cell."""
    shape = map_shape(HEIGHT, WIDTH, stride)
    _, mask = encode_location_refinement(one_point(*point), shape, radius=stride * 0.7072)
    assert mask.sum() >= 1


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
def test_missing_points_draw_nothing(encode):
    shape = map_shape(HEIGHT, WIDTH, 8)
    position = np.array([[[20, 20], [NAN, NAN], [NAN, 5], [30, 5]]] * 2, np.float32)
    position[1, [0, 3]] = NAN
    drawn = encode(position, shape)
    assert drawn[0].any()
    assert drawn[3].any()
    assert not drawn[1].any()
    assert not drawn[2].any()
    assert find_present(position).tolist() == [True, False, False, True]


def test_a_point_that_one_individual_shows_is_present():
    position = np.full((2, 2, 3, 2), NAN)
    position[0, 1, 2] = position[1, 0, 0] = 4.0
    assert find_present(position).tolist() == [[False, False, True], [True, False, False]]


def reference(position, shape, reach, sigma):
    """Draw cell by cell over the whole map in double precision: score, offset, margin.

    The margin says how far a cell is from changing its value by rounding: 0 at a cell that lies
    on the rim of a disc or is as near to two points.
    """
    individuals, keypoints, _ = position.shape
    score = np.zeros((keypoints, shape.rows, shape.columns))
    offset = np.zeros((keypoints, 2, shape.rows, shape.columns))
    margin = np.full((keypoints, shape.rows, shape.columns), np.inf)
    for k in range(keypoints):
        for row in range(shape.rows):
            for column in range(shape.columns):
                centre = np.array([column, row]) * shape.stride + (shape.stride - 1) / 2
                ways = position[:, k].astype(np.float64) - centre
                lengths = np.hypot(*ways.T)
                lengths = np.where(np.isfinite(lengths), lengths, np.inf)
                margin[k, row, column] = np.abs(lengths - reach).min()
                ranked = sorted(range(individuals), key=lambda i: (lengths[i], *ways[i]))
                if individuals > 1 and np.isfinite(lengths[ranked[1]]):
                    gap = lengths[ranked[1]] - lengths[ranked[0]]
                    margin[k, row, column] = min(margin[k, row, column], gap)
                if lengths[ranked[0]] <= reach:
                    offset[k, :, row, column] = ways[ranked[0]]
                    score[k, row, column] = math.exp(-(lengths[ranked[0]] ** 2) / (2 * sigma**2))
    return score, offset, margin


@given(
    position=positions(most_individuals=2),
    stride=strides,
    reach=st.sampled_from([3.0, 10.3, 17.0, 40.0]),
)
@settings(max_examples=40)
def test_drawing_in_windows_equals_drawing_everywhere(position, stride, reach):
    position = position[0]
    shape = map_shape(24, 40, stride)
    sigma = reach / GAUSSIAN_REACH
    score, offset, margin = reference(position, shape, reach, sigma)
    clear = margin > 1e-3
    drawn, mask = encode_location_refinement(position, shape, reach)
    np.testing.assert_array_equal(mask[clear], (score > 0)[clear])
    for axis in (0, 1):
        np.testing.assert_allclose(drawn[:, axis][clear], offset[:, axis][clear], atol=1e-4)
    plateau = encode_plateau(position, shape, reach)
    np.testing.assert_array_equal(plateau[clear], (score > 0)[clear])
    gaussian = encode_gaussian(position, shape, sigma)
    np.testing.assert_allclose(gaussian[clear], score[clear], atol=1e-5)


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
def test_points_at_and_beyond_the_border(encode):
    shape = map_shape(HEIGHT, WIDTH, 8)
    # On the first pixel's corner: the same as inside, cut off at the border.
    assert encode(one_point(-0.5, -0.5), shape)[..., 0, 0].any()
    assert encode(one_point(WIDTH - 0.5, HEIGHT - 0.5), shape)[..., -1, -1].any()
    # 5 px left of the image: reaches the first columns only (cell 2 is 24.5 px away).
    outside = encode(one_point(-5.0, 19.5), shape)
    assert outside[..., 2, 0].any()
    assert not outside[..., 2:].any()
    # Out of reach.
    assert not encode(one_point(-40.0, 19.5), shape).any()


@pytest.mark.parametrize("far", [1e4, 2.0**31, 2.0**63, 1e20, 3e38, -1e20, np.inf])
@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.filterwarnings("error:invalid value encountered in cast:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_points_too_far_for_an_integer_draw_nothing(encode, far):
    """Check that no integer wraps, which would put them into the map or outside the array."""
    shape = map_shape(HEIGHT, WIDTH, 8)
    position = np.array([[[far, 20.0], [20.0, far], [20.0, 20.0]]], np.float32)
    for drawn in (encode(position, shape), encode(torch.from_numpy(position), shape).numpy()):
        assert not drawn[:2].any()
        assert drawn[2].any()


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
@given(position=positions(), stride=strides)
@settings(max_examples=40)
def test_numpy_and_torch_agree(encode, position, stride):
    shape = map_shape(HEIGHT, WIDTH, stride)
    by_torch = encode(torch.from_numpy(position), shape)
    assert isinstance(by_torch, torch.Tensor)
    np.testing.assert_allclose(by_torch.numpy(), encode(position, shape), atol=1e-6, rtol=0)


@given(seed=st.integers(0, 1000), stride=strides)
@settings(max_examples=20)
def test_decoding_agrees_between_numpy_and_torch(seed, stride):
    stream = np.random.default_rng(seed)
    score = stream.random((2, 3, 6, 9), np.float32)
    offset = stream.normal(size=(2, 3, 2, 6, 9)).astype(np.float32)
    found, confidence = decode_peaks(score, offset, stride)
    by_torch, confidence_by_torch = decode_peaks(
        torch.from_numpy(score), torch.from_numpy(offset), stride
    )
    np.testing.assert_allclose(by_torch.numpy(), found, atol=1e-6)
    np.testing.assert_array_equal(confidence_by_torch.numpy(), confidence)


def test_decoding_by_hand():
    score = np.zeros((1, 2, 3), np.float32)
    score[0, 1, 2] = 0.7
    offset = np.zeros((1, 2, 2, 3), np.float32)
    offset[0, :, 1, 2] = (-1.25, 2.5)
    # Cell (1, 2) of stride 8 has its centre at (19.5, 11.5).
    found, confidence = decode_peaks(score, offset, 8)
    assert found.tolist() == [[18.25, 14.0]]
    np.testing.assert_array_equal(confidence, np.array([0.7], np.float32))
    assert (found.dtype, confidence.dtype) == (np.float32, np.float32)


def test_half_precision_targets_decode_as_well():
    """Check that float16, in which maps are stored, keeps positions to a hundredth of a pixel."""
    position = one_point(33.3, 20.7)
    shape = map_shape(HEIGHT, WIDTH, 8)
    score = encode_gaussian(position, shape, 5.0).astype(np.float16)
    offset, _ = encode_location_refinement(position, shape, 10.0)
    found, _ = decode_peaks(score, offset.astype(np.float16), 8)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, position[0], atol=0.01)
