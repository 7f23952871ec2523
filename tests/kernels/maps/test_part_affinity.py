"""Test part affinity fields: vectors derived by hand, and properties for any animals."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.maps.part_affinity import encode_part_affinity, measure_affinity
from pipeline_lib.kernels.maps.score_maps import MapShape

NAN = np.nan
SHAPE = MapShape(5, 6, 4)  # centres at x = 1.5, 5.5 … 21.5 and y = 1.5 … 17.5


def draw(*animals, edges=((0, 1),), shape=SHAPE, width=3.0):
    return encode_part_affinity(np.array(animals, np.float32), edges, shape, width)


def test_a_level_edge_by_hand():
    """Draw (5.5, 9.5) to (13.5, 9.5): cells 1 to 3 of row 2; the adjacent rows are 4 px away."""
    field, mask = draw([[5.5, 9.5], [13.5, 9.5]])
    expected = np.zeros((5, 6), bool)
    expected[2, 1:4] = True
    np.testing.assert_array_equal(mask, expected[None])
    np.testing.assert_array_equal(field[0, 0], expected)
    assert not field[0, 1].any()
    assert (field.dtype, mask.dtype) == (np.float32, np.bool_)


def test_an_edge_in_the_other_direction_has_the_opposite_field():
    forth, _ = draw([[5.5, 9.5], [13.5, 2.5]])
    back, _ = draw([[13.5, 2.5], [5.5, 9.5]])
    np.testing.assert_allclose(forth, -back, atol=1e-6)


def test_a_diagonal_edge_by_hand():
    """Draw a 3-4-5 triangle from (1.5, 1.5) to (13.5, 17.5); the vector is (0.6, 0.8)."""
    field, mask = draw([[1.5, 1.5], [13.5, 17.5]], width=2.0)
    # Distance of cell (r, c) from the line: |0.8·4c - 0.6·4r| = |3.2c - 2.4r|.
    row, column = np.mgrid[:5, :6]
    near = (np.abs(3.2 * column - 2.4 * row) <= 2.0) & (2.4 * column + 3.2 * row <= 20 + 2)
    np.testing.assert_array_equal(mask[0], near)
    np.testing.assert_allclose(
        field[0][:, near], np.repeat([[0.6], [0.8]], near.sum(), 1), rtol=1e-6
    )


def test_cells_shared_by_two_animals_have_the_mean():
    level = [[1.5, 9.5], [21.5, 9.5]]
    steep = [[9.5, 1.5], [9.5, 17.5]]
    field, mask = draw(level, steep)
    assert field[0, :, 2, 2].tolist() == [0.5, 0.5]
    assert field[0, :, 2, 0].tolist() == [1, 0]
    assert field[0, :, 0, 2].tolist() == [0, 1]
    # Opposite ways leave no direction, but a cell that the loss asks for.
    field, mask = draw(level, level[::-1])
    assert not field.any()
    assert mask.sum() == 6


@pytest.mark.parametrize(
    "animal",
    [
        [[5.5, 9.5], [5.5, 9.5]],
        [[5.5, 9.5], [NAN, NAN]],
        [[5.5, 9.5], [5.5, NAN]],
        [[-50, -50], [-40, 60]],
        [[-1e9, 9.5], [-5e8, 9.5]],
        [[NAN, NAN], [NAN, NAN]],
    ],
)
def test_nothing_is_drawn(animal):
    """Draw edges without length, with a missing end, or outside the image."""
    field, mask = draw(animal)
    assert not field.any()
    assert not mask.any()


def test_no_edge_and_no_animal():
    field, mask = draw([[1, 2], [3, 4]], edges=())
    assert (field.shape, mask.shape) == ((0, 2, 5, 6), (0, 5, 6))
    field, mask = encode_part_affinity(np.empty((3, 0, 2, 2), np.float32), [(0, 1)], SHAPE, 3.0)
    assert field.shape == (3, 1, 2, 5, 6)
    assert not mask.any()


# Multiples of half a pixel: distances to level and steep segments are then exact.
coordinates = st.one_of(st.integers(-20, 80).map(lambda value: value / 2), st.just(NAN))
animals = st.lists(st.lists(coordinates, min_size=6, max_size=6), min_size=1, max_size=4).map(
    lambda values: np.array(values, np.float32).reshape(1, -1, 3, 2)
)
EDGES = ((0, 1), (2, 1), (2, 0))


def draw_slowly(position, width):
    """Draw one frame cell by cell; also say where the distance decides by rounding."""
    row, column = np.mgrid[: SHAPE.rows, : SHAPE.columns]
    cell = np.stack([column, row], axis=-1) * 4 + 1.5
    total = np.zeros((len(EDGES), 5, 6, 2))
    count = np.zeros((len(EDGES), 5, 6))
    unsure = np.zeros((len(EDGES), 5, 6), bool)
    for animal in position.astype(np.float64):
        for edge, (a, b) in enumerate(EDGES):
            length = np.linalg.norm(animal[b] - animal[a])
            if not length > 0:
                continue
            unit = (animal[b] - animal[a]) / length
            along = np.clip((cell - animal[a]) @ unit, 0, length)
            distance = np.linalg.norm(cell - animal[a] - along[..., None] * unit, axis=-1)
            total[edge] += np.where(distance[..., None] <= width, unit, 0)
            count[edge] += distance <= width
            unsure[edge] |= np.abs(distance - width) < 1e-4
    return np.moveaxis(total / np.maximum(count, 1)[..., None], -1, 1), count > 0, unsure


@given(position=animals, width=st.sampled_from([0.5, 2.0, 3.3, 9.0]))
def test_fields_are_what_a_loop_over_cells_draws(position, width):
    field, mask = encode_part_affinity(position, EDGES, SHAPE, width)
    expected, expected_mask, unsure = draw_slowly(position[0], width)
    np.testing.assert_array_equal(mask[0] | unsure, expected_mask | unsure)
    np.testing.assert_allclose(
        np.where(unsure[:, None], 0, field[0]), np.where(unsure[:, None], 0, expected), atol=1e-6
    )


@given(position=animals, data=st.data())
def test_the_order_of_animals_plays_no_part(position, data):
    order = data.draw(st.permutations(range(position.shape[1])))
    field, mask = encode_part_affinity(position, EDGES, SHAPE, 5.0)
    other_field, other_mask = encode_part_affinity(position[:, order], EDGES, SHAPE, 5.0)
    np.testing.assert_array_equal(field, other_field)
    np.testing.assert_array_equal(mask, other_mask)


@given(position=animals)
def test_torch_draws_and_measures_the_same(position):
    field, mask = encode_part_affinity(position, EDGES, SHAPE, 5.0)
    theirs, their_mask = encode_part_affinity(torch.from_numpy(position), EDGES, SHAPE, 5.0)
    np.testing.assert_array_equal(their_mask.numpy(), mask)
    np.testing.assert_allclose(theirs.numpy(), field, atol=1e-6)
    peaks = np.swapaxes(position, 1, 2)
    ours = measure_affinity(field, peaks, EDGES, 4)
    found = measure_affinity(torch.from_numpy(field), torch.from_numpy(peaks), EDGES, 4)
    np.testing.assert_allclose(found.numpy(), ours, atol=1e-5)


def test_affinity_by_hand():
    """Set the field to (1, 0) in the right half; segments lie inside, partly inside, or across."""
    field = np.zeros((1, 2, 4, 10), np.float32)
    field[0, 0, :, 5:] = 1.0
    first, second = (21.5, 1.5), (37.5, 1.5)  # cells 5 and 9 of row 0
    far, below = (1.5, 1.5), (21.5, 13.5)  # cell 0 of row 0, and cell 5 of row 3
    position = np.array([[first, far, (NAN, NAN)], [second, below, first]], np.float32)
    affinity = measure_affinity(field, position, [(0, 1)], 4)
    assert affinity.shape == (1, 3, 3)
    # Ten samples from cell 0 to 9: one in each, half of them in the field. To the one below,
    # from cell 0 to 5: at columns 0, 5/9 … 5, of which 5 is in the field and 40/9 is not.
    down = 0.1 * 20 / np.hypot(20, 12)
    half = 0.1 * sum(round(5 * sample / 9) >= 5 for sample in range(10))
    expected = [[1.0, 0.0, 0.0], [0.5, down, half], [NAN, NAN, NAN]]
    np.testing.assert_allclose(affinity[0], expected, atol=1e-6)
    # The other way round the same field speaks against them.
    back = measure_affinity(field, position[::-1], [(0, 1)], 4)
    np.testing.assert_allclose(back[0, 0, 0], -1.0, atol=1e-6)


@given(position=animals)
def test_an_animal_agrees_with_its_own_field(position):
    alone = position[:, :1]
    field, _ = encode_part_affinity(alone, EDGES, MapShape(20, 20, 4), 3.0)
    inside = np.where((alone >= 0) & (alone <= 78), alone, NAN)
    inside[np.isnan(inside).any(axis=-1)] = NAN
    affinity = measure_affinity(field, np.swapaxes(inside, 1, 2), EDGES, 4)[0, :, 0, 0]
    for value, (a, b) in zip(affinity, EDGES, strict=True):
        ends = inside[0, 0, [a, b]]
        if np.isnan(ends).any():
            assert np.isnan(value)
        elif (ends[0] == ends[1]).all():
            assert value == 0
        else:
            assert value == pytest.approx(1.0, abs=1e-5)


def test_no_peak_and_no_edge():
    field = np.zeros((2, 1, 2, 4, 4), np.float32)
    assert measure_affinity(field, np.empty((2, 3, 0, 2)), [(0, 1)], 4).shape == (2, 1, 0, 0)
    nothing = np.full((2, 3, 2, 2), NAN, np.float32)
    assert np.isnan(measure_affinity(field, nothing, [(0, 1)], 4)).all()
    assert measure_affinity(field[:, :0], nothing, [], 4).shape == (2, 0, 2, 2)
