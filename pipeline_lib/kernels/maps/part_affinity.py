"""Draw part affinity fields, and measure the affinity of two peaks by them.

The field of an edge holds, near the segment between the two bodyparts of one animal, the unit
vector from the first to the second. Two peaks whose segment runs along such vectors are of one
animal. NumPy arrays and torch tensors are served alike, so that fields are drawn after
augmentation on the device by the code that draws those that are stored. Only cells around the
segments are computed; the cost does not grow with the map.

References
----------
.. [1] Cao et al., CVPR 2017 (OpenPose): part affinity fields and their line integral.
.. [2] Lauer et al., Nature Methods 19:496, 2022: fields between any two bodyparts of an animal.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

from pipeline_lib.kernels.maps.score_maps import MapShape

Array = Any  # an array of any library that array_api_compat knows
Edges = Sequence[tuple[int, int]]

# Unit vectors are added as whole numbers of this part: such sums do not depend on the order of
# individuals. 32 bits then hold the sum of 511 individuals.
_FIXED_POINT = 2.0**22
_NEARLY_LEVEL = 1e-6


class _Segments(NamedTuple):
    """Segments of one individual of which both ends are visible and distinct.

    Attributes
    ----------
    number
        Shape (segment,), int64: which of the maps each is drawn in.
    start, direction
        Shape (segment, 2), float32: first end in network px; unit vector to the second.
    length
        Shape (segment,), float32, network px.
    """

    number: Array
    start: Array
    direction: Array
    length: Array


def encode_part_affinity(
    position: Array, edges: Edges, shape: MapShape, width: float
) -> tuple[Array, Array]:
    """Draw the part affinity fields of all edges.

    Parameters
    ----------
    position
        Shape (..., individual, keypoint, 2), x and y in network px; NaN where missing.
    edges
        Pairs of places on the keypoint axis, from the first to the second.
    shape
        The maps to draw.
    width
        How far from the segment cells belong to it, in network px; below 0.71 strides gaps may
        be left between its cells.

    Returns
    -------
    field
        Shape (..., edge, 2, rows, columns), float32: unit vectors (x, y); where segments of
        several individuals pass, their mean, whatever the order of individuals; 0 elsewhere.
    mask
        Shape (..., edge, rows, columns), bool: where a vector was drawn. An edge whose ends
        coincide has no direction and draws nothing, nor does one with a missing end.
    """
    xp = array_namespace(position)
    where = device(position)
    *batch, individuals, _, _ = position.shape
    maps, cells = math.prod(batch) * len(edges), shape.rows * shape.columns
    count = xp.zeros(maps * cells, dtype=xp.int32, device=where)
    # Two planes for each map, x before y.
    total = xp.zeros(2 * maps * cells, dtype=xp.int32, device=where)
    for individual in range(individuals):
        segments = _find_segments(position[..., individual, :, :], edges)
        cell, which = _find_cells(segments, shape, width)
        vector = xp.astype(xp.round(segments.direction * _FIXED_POINT), xp.int32)
        # Within one individual every cell of a map occurs once, so that nothing is lost.
        in_x = cell + cell // cells * cells
        total[in_x] += vector[which, 0]
        total[in_x + cells] += vector[which, 1]
        count[cell] += 1
    grid = (shape.rows, shape.columns)
    total = xp.reshape(total, (maps, 2, cells))
    several = xp.reshape(xp.clip(count, 1, None), (maps, 1, cells))
    field = xp.astype(total, xp.float32) / (xp.astype(several, xp.float32) * _FIXED_POINT)
    return (
        xp.reshape(field, (*batch, len(edges), 2, *grid)),
        xp.reshape(count > 0, (*batch, len(edges), *grid)),
    )


def measure_affinity(
    field: Array, position: Array, edges: Edges, stride: int, samples: int = 10
) -> Array:
    """Measure how well each pair of peaks agrees with the field of its edge.

    Parameters
    ----------
    field
        Shape (..., edge, 2, rows, columns): part affinity fields, (x, y).
    position
        Shape (..., keypoint, peak, 2), x and y in network px; NaN where there is no peak.
    edges
        Pairs of places on the keypoint axis, from the first to the second.
    stride
        Network pixels per cell side.
    samples
        Points on the segment, both ends included, at which the field is read: at the nearest
        cell, at the border for points outside of the map.

    Returns
    -------
    array
        Shape (..., edge, peak of the first keypoint, peak of the second), float32, about -1..1:
        mean over the samples of the field's component along the segment. NaN where either
        peak is missing; 0 where both are at the same place, which have no direction.
    """
    xp = array_namespace(field)
    where = device(field)
    *batch, count, _, rows, columns = field.shape
    frames, (keypoints, peaks) = math.prod(batch), position.shape[-3:-1]
    point = xp.reshape(xp.astype(position, xp.float32), (frames, keypoints, peaks, 2))
    first = xp.asarray([a for a, _ in edges], dtype=xp.int64, device=where)
    second = xp.asarray([b for _, b in edges], dtype=xp.int64, device=where)
    start, end = xp.take(point, first, axis=1), xp.take(point, second, axis=1)
    present = xp.all(xp.isfinite(point), axis=-1)
    pairs = (
        xp.take(present, first, axis=1)[..., :, None]
        & xp.take(present, second, axis=1)[..., None, :]
    )
    frame, edge, a, b = xp.nonzero(pairs)
    start, end = start[frame, edge, a, :], end[frame, edge, b, :]
    way = end - start
    length = xp.sqrt(xp.sum(way**2, axis=-1, keepdims=True))
    direction = xp.where(length > 0, way / xp.where(length > 0, length, 1.0), 0.0)

    along = xp.linspace(0.0, 1.0, samples, dtype=xp.float32, device=where)
    at = start[:, None, :] + along[None, :, None] * way[:, None, :]
    nearest = xp.round((at - (stride - 1) / 2) / stride)
    column = xp.astype(xp.clip(nearest[..., 0], 0, columns - 1), xp.int64)
    row = xp.astype(xp.clip(nearest[..., 1], 0, rows - 1), xp.int64)
    flat = xp.reshape(field, (-1,))
    cell = ((frame * count + edge)[:, None] * 2 * rows + row) * columns + column
    along_x = xp.mean(xp.astype(flat[cell], xp.float32), axis=-1)
    along_y = xp.mean(xp.astype(flat[cell + rows * columns], xp.float32), axis=-1)
    affinity = xp.full(pairs.shape, math.nan, dtype=xp.float32, device=where)
    affinity[frame, edge, a, b] = along_x * direction[:, 0] + along_y * direction[:, 1]
    return xp.reshape(affinity, (*batch, count, peaks, peaks))


def _find_segments(position: Array, edges: Edges) -> _Segments:
    """List the segments of one individual's points (..., keypoint, 2)."""
    xp = array_namespace(position)
    where = device(position)
    count = math.prod(position.shape[:-2])
    point = xp.reshape(xp.astype(position, xp.float32), (count, *position.shape[-2:]))
    ends = [
        xp.reshape(xp.take(point, xp.asarray(index, dtype=xp.int64, device=where), axis=1), (-1, 2))
        for index in ([a for a, _ in edges], [b for _, b in edges])
    ]
    way = ends[1] - ends[0]
    length = xp.sqrt(xp.sum(way**2, axis=-1))
    number = xp.nonzero(xp.isfinite(length) & (length > 0))[0]
    length = length[number]
    return _Segments(number, ends[0][number, :], way[number, :] / length[:, None], length)


def _find_cells(segments: _Segments, shape: MapShape, width: float) -> tuple[Array, Array]:
    """List the cells within ``width`` of the segments.

    Returns
    -------
    cell
        Shape (cell,), int64: flat positions in a (map, row, column) array, each at most once.
    which
        Shape (cell,), int64: the segment that each is near to.
    """
    xp = array_namespace(segments.start)
    middle = (shape.stride - 1) / 2
    end = segments.start + segments.direction * segments.length[:, None]
    low = (xp.minimum(segments.start, end) - width - middle) / shape.stride
    high = (xp.maximum(segments.start, end) + width - middle) / shape.stride
    which, row = _count_up(low[:, 1], high[:, 1], shape.rows)

    # In a row of cells, the band around the whole line runs from one column to another.
    start, direction = segments.start[which, :], segments.direction[which, :]
    down = xp.astype(row, xp.float32) * shape.stride + middle - start[:, 1]
    steepness = xp.where(
        xp.abs(direction[:, 1]) < _NEARLY_LEVEL,
        _NEARLY_LEVEL,
        direction[:, 1],
    )
    centre = (start[:, 0] + down * direction[:, 0] / steepness - middle) / shape.stride
    half = xp.abs(width / steepness) / shape.stride
    line, column = _count_up(
        xp.maximum(centre - half, low[which, 0]),
        xp.minimum(centre + half, high[which, 0]),
        shape.columns,
    )

    which, row, down = which[line], row[line], down[line]
    start, direction = segments.start[which, :], segments.direction[which, :]
    across = xp.astype(column, xp.float32) * shape.stride + middle - start[:, 0]
    length = segments.length[which]
    along = across * direction[:, 0] + down * direction[:, 1]
    along = xp.minimum(xp.maximum(along, xp.zeros_like(along)), length)
    distance2 = (across - along * direction[:, 0]) ** 2 + (down - along * direction[:, 1]) ** 2
    near = distance2 <= width * width
    cell = (segments.number[which] * shape.rows + row) * shape.columns + column
    return cell[near], which[near]


def _count_up(low: Array, high: Array, size: int) -> tuple[Array, Array]:
    """Return, for ranges of cells of 0..size - 1, the range and the number of every cell.

    A cell more is taken at both ends, for what rounding may have lost.
    """
    xp = array_namespace(low)
    first = xp.astype(xp.clip(xp.ceil(low) - 1, 0, size), xp.int64)
    last = xp.astype(xp.clip(xp.floor(high) + 1, -1, size - 1), xp.int64)
    count = xp.clip(last - first + 1, 0, None)
    total = xp.cumulative_sum(count)
    cells = int(total[-1]) if total.shape[0] else 0
    index = xp.arange(cells, dtype=xp.int64, device=device(low))
    which = xp.searchsorted(total, index, side="right")
    return which, first[which] + index - (total - count)[which]
