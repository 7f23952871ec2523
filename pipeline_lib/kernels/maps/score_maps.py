"""Draw keypoints into score maps and location refinement, and read them back.

A map of stride s has one cell per s by s network pixels; cell (r, c) has its centre at
x = c·s + (s - 1)/2, y = r·s + (s - 1)/2, pixel centres being at integer coordinates.

Every function takes NumPy arrays or torch tensors and returns the same kind on the same
device, so that the targets that are stored and those drawn after augmentation are one code.
Only the window of cells around a point is ever computed; the cost does not grow with the map.

References
----------
.. [1] Insafutdinov et al., DeeperCut, ECCV 2016: score maps with location refinement.
.. [2] Mathis et al., Nature Neuroscience 21:1281, 2018: their use in DeepLabCut, whose plateau
       (`pos_dist_thresh`) and scale of offsets (`locref_stdev`) are kept here.
"""

import math
from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

from pipeline_lib.kernels.maps.votes import read_vote, read_votes

Array = Any  # an array of any library that array_api_compat knows

GAUSSIAN_REACH = 4.0  # in standard deviations; beyond it the map is below 0.0004 and set to 0


class MapShape(NamedTuple):
    """Cells of a map: rows, columns, and the network pixels per cell side."""

    rows: int
    columns: int
    stride: int


class _Window(NamedTuple):
    """Cells around the points of one individual, each cell at most once.

    ``cell`` holds flat positions in a (map, row, column) array; ``offset_x`` and ``offset_y``
    the way from the cell's centre to the point, in network px.
    """

    cell: Array
    offset_x: Array
    offset_y: Array


def map_shape(height: int, width: int, stride: int) -> MapShape:
    """Return the map that covers an image of this size in network pixels."""
    return MapShape(math.ceil(height / stride), math.ceil(width / stride), stride)


def encode_gaussian(position: Array, shape: MapShape, sigma: float) -> Array:
    """Draw score maps with a Gaussian of height 1 at every keypoint.

    Parameters
    ----------
    position
        Shape (..., individual, keypoint, 2), x and y in network px; NaN where missing.
    shape
        The maps to draw.
    sigma
        Standard deviation in network px.

    Returns
    -------
    array
        Shape (..., keypoint, rows, columns), float32 in 0..1, the largest over individuals;
        all 0 for a keypoint that no individual shows.
    """

    def value(window: _Window) -> Array:
        distance2 = window.offset_x**2 + window.offset_y**2
        return array_namespace(distance2).exp(distance2 / (-2.0 * sigma * sigma))

    return _draw_largest(position, shape, GAUSSIAN_REACH * sigma, value)


def encode_plateau(position: Array, shape: MapShape, radius: float) -> Array:
    """Draw score maps that are 1 within a radius of every keypoint and 0 elsewhere.

    Parameters
    ----------
    position
        Shape (..., individual, keypoint, 2), x and y in network px; NaN where missing.
    shape
        The maps to draw.
    radius
        In network px, from the cell's centre (DeepLabCut's ``pos_dist_thresh``).

    Returns
    -------
    array
        Shape (..., keypoint, rows, columns), float32, 0 or 1.
    """

    def value(window: _Window) -> Array:
        return array_namespace(window.offset_x).ones_like(window.offset_x)

    return _draw_largest(position, shape, radius, value)


def encode_location_refinement(
    position: Array, shape: MapShape, radius: float
) -> tuple[Array, Array]:
    """Draw, around every keypoint, the way from each cell's centre to the keypoint.

    Where two individuals are near, the nearer one counts; at equal distance the one with the
    smaller x, then y: the result does not depend on the order of individuals.

    Parameters
    ----------
    position
        Shape (..., individual, keypoint, 2), x and y in network px; NaN where missing.
    shape
        The maps to draw.
    radius
        How far from a keypoint cells receive an offset, in network px.

    Returns
    -------
    offset
        Shape (..., keypoint, 2, rows, columns), float32, (x, y) in network px; 0 elsewhere.
    mask
        Shape (..., keypoint, rows, columns), bool: where an offset was drawn.
    """
    xp = array_namespace(position)
    *batch, individuals, keypoints, _ = position.shape
    maps, cells = math.prod(batch) * keypoints, shape.rows * shape.columns
    where = device(position)
    # Each map has two planes of offsets, x before y.
    offset = xp.zeros(2 * maps * cells, dtype=xp.float32, device=where)
    mask = xp.zeros(maps * cells, dtype=xp.bool, device=where)
    for individual in range(individuals):
        window = _find_window(position[..., individual, :, :], shape, radius)
        if individual > 0:
            window = _keep_nearer(window, offset, mask, cells)
        in_x = _plane_of_x(window.cell, cells)
        offset[in_x] = window.offset_x
        offset[in_x + cells] = window.offset_y
        mask[window.cell] = True
    grid = (shape.rows, shape.columns)
    return (
        xp.reshape(offset, (*batch, keypoints, 2, *grid)),
        xp.reshape(mask, (*batch, keypoints, *grid)),
    )


def find_present(position: Array) -> Array:
    """Return which keypoints are present in at least one individual.

    Parameters
    ----------
    position
        Shape (..., individual, keypoint, 2); NaN where missing.

    Returns
    -------
    array
        Shape (..., keypoint), bool: the weight of each score map in the loss.
    """
    xp = array_namespace(position)
    return xp.any(xp.all(xp.isfinite(position), axis=-1), axis=-2)


def decode_peaks(
    score: Array, offset: Array, stride: int, *, votes: bool = True
) -> tuple[Array, Array]:
    """Read the most likely position of each keypoint: around the best cell, by location refinement.

    Parameters
    ----------
    score
        Shape (..., keypoint, rows, columns), probabilities in 0..1.
    offset
        Shape (..., keypoint, 2, rows, columns), (x, y) in network px.
    stride
        Network pixels per cell side.
    votes
        Average what the best cell and its neighbours vote for (`votes.read_votes`); False: the
        best cell alone counts, as in DeepLabCut.

    Returns
    -------
    position
        Shape (..., keypoint, 2), float32, x and y in network px. Never NaN: what is too
        uncertain to use is the reader's choice, by ``confidence``.
    confidence
        Shape (..., keypoint), float32: the score of the best cell.
    """
    xp = array_namespace(score)
    *lead, rows, columns = score.shape
    count, cells = math.prod(lead), rows * columns
    flat = xp.reshape(score, (count, cells))
    best = xp.argmax(flat, axis=-1) + xp.arange(count, device=device(score)) * cells
    confidence = xp.astype(xp.reshape(flat, (-1,))[best], xp.float32)
    if votes:
        position = read_votes(score, offset, best, stride)
    else:
        position = read_vote(xp.reshape(offset, (-1,)), best, (rows, columns), stride)
    return xp.reshape(position, (*lead, 2)), xp.reshape(confidence, tuple(lead))


def _draw_largest(position: Array, shape: MapShape, reach: float, value: Any) -> Array:  # noqa: ANN401
    xp = array_namespace(position)
    *batch, individuals, keypoints, _ = position.shape
    size = math.prod(batch) * keypoints * shape.rows * shape.columns
    drawn = xp.zeros(size, dtype=xp.float32, device=device(position))
    for individual in range(individuals):
        window = _find_window(position[..., individual, :, :], shape, reach)
        # Within one individual every cell occurs once, so reading and writing cannot clash.
        drawn[window.cell] = xp.maximum(drawn[window.cell], value(window))
    return xp.reshape(drawn, (*batch, keypoints, shape.rows, shape.columns))


def _find_window(position: Array, shape: MapShape, reach: float) -> _Window:
    """List the cells within reach of the points (..., keypoint, 2) of one individual."""
    xp = array_namespace(position)
    where = device(position)
    point = xp.reshape(xp.astype(position, xp.float32), (-1, 2))
    present = xp.all(xp.isfinite(point), axis=-1)
    number = xp.nonzero(present)[0]
    point = point[number, :]
    centre = (shape.stride - 1) / 2
    # Points far outside would overflow an integer; they reach no cell once clipped.
    limit = 2.0 * max(shape.rows, shape.columns) + reach / shape.stride + 2.0
    nearest = xp.clip(xp.round((point - centre) / shape.stride), -limit, limit)
    first = xp.astype(nearest, xp.int64)
    half = math.ceil(reach / shape.stride + 0.5)
    span = xp.arange(-half, half + 1, dtype=xp.int64, device=where)
    column = first[:, :1] + span
    row = first[:, 1:] + span
    offset_x = point[:, :1] - (xp.astype(column, xp.float32) * shape.stride + centre)
    offset_y = point[:, 1:] - (xp.astype(row, xp.float32) * shape.stride + centre)
    # Columns and rows outside of the map are infinitely far, so that one comparison of the
    # whole windows is enough: everything else is done per side or per cell that is reached.
    far_x = xp.where((column >= 0) & (column < shape.columns), offset_x**2, math.inf)
    far_y = xp.where((row >= 0) & (row < shape.rows), offset_y**2, math.inf)
    reached = far_y[:, :, None] + far_x[:, None, :] <= reach * reach
    which, down, across = xp.nonzero(reached)
    start_of_row = (number[:, None] * shape.rows + row) * shape.columns
    return _Window(
        cell=start_of_row[which, down] + column[which, across],
        offset_x=offset_x[which, across],
        offset_y=offset_y[which, down],
    )


def _keep_nearer(window: _Window, offset: Array, mask: Array, cells: int) -> _Window:
    """Keep the cells that are free, or whose drawn offset is longer than the window's."""
    in_x = _plane_of_x(window.cell, cells)
    other_x, other_y = offset[in_x], offset[in_x + cells]
    other2 = other_x**2 + other_y**2
    x, y = window.offset_x, window.offset_y
    own2 = x**2 + y**2
    nearer = (own2 < other2) | (
        (own2 == other2) & ((x < other_x) | ((x == other_x) & (y < other_y)))
    )
    keep = nearer | ~mask[window.cell]
    return _Window(*(field[keep] for field in window))


def _plane_of_x(cell: Array, cells: int) -> Array:
    """Return where the x offsets of cells lie among planes of x and y in turn."""
    return cell + cell // cells * cells
