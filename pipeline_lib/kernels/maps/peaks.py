"""Find the peaks of score maps: all positions at which a bodypart may be.

A peak is a regional maximum: cells of one value (mostly one cell) none of which has a greater
one in its neighbourhood; a map of equal cells has none. Only cells that reach the
threshold are looked at, so that the cost hardly depends on the size of the maps. NumPy arrays
and torch tensors are served alike.

References
----------
.. [1] Lauer et al., Nature Methods 19:496, 2022: peaks of score maps moved by location
       refinement, in DeepLabCut with several animals.
.. [2] Zhang et al., CVPR 2020 (DARK): the peak of a Gaussian between cells from the logarithms
       of its neighbours.
"""

import itertools
import math
from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

from pipeline_lib.kernels.maps.votes import read_vote, read_votes

Array = Any  # an array of any library that array_api_compat knows

# As many candidates again as peaks are wanted, should some be two maxima of one point.
_SPARE = 2
_SMALLEST_SCORE = 1e-6  # whose logarithm is taken for that of 0


class _Maps(NamedTuple):
    """Score maps one after another, with their size."""

    score: Array  # (map · row · column,)
    rows: int
    columns: int


class _Cells(NamedTuple):
    """Regional maxima, one entry each, in the order of maps and, within, of cells.

    Attributes
    ----------
    cell
        Shape (maximum,), int64: flat position among all maps of the cell nearest to the centre.
    centre
        Shape (maximum, 2), float32: mean column and row of the cells of the maximum.
    """

    cell: Array
    centre: Array


def find_peaks(  # noqa: PLR0913 - the last three have defaults that hardly anyone changes
    score: Array,
    offset: Array | None,
    stride: int,
    *,
    threshold: float,
    most: int,
    radius: int = 2,
    separation: float | None = None,
    votes: bool = True,
) -> tuple[Array, Array]:
    """Find the best peaks of each score map.

    Parameters
    ----------
    score
        Shape (..., keypoint, rows, columns), probabilities in 0..1.
    offset
        Shape (..., keypoint, 2, rows, columns), (x, y) in network px: location refinement. None:
        the peak between the cells is that of a Gaussian through the best cell and its neighbours.
    stride
        Network pixels per cell side.
    threshold
        Score below which a cell is no peak; one of 0 never is.
    most
        Length of the peak axis: how many peaks of a map are kept.
    radius
        A peak is the best cell within this number of rows and columns; equal cells within this
        distance are one peak.
    separation
        Network px; where the refined positions of two peaks are nearer than this, both mean the
        same point and the better one is kept. None: a stride.
    votes
        As for `score_maps.decode_peaks`.

    Returns
    -------
    position
        Shape (..., keypoint, peak, 2), float32, x and y in network px; NaN where there is no peak.
    confidence
        Shape (..., keypoint, peak), float32, score of the peak's cell, falling along the axis,
        equal ones in the order of rows and columns; NaN where there is no peak.
    """
    xp = array_namespace(score)
    *lead, rows, columns = score.shape
    flat = _Maps(xp.reshape(score, (-1,)), rows, columns)
    count = math.prod(lead)
    maxima = _find_maxima(flat, threshold, radius)
    value = xp.astype(flat.score[maxima.cell], xp.float32)
    number = maxima.cell // (rows * columns)

    # Best first within each map: equal scores stay in the order of cells.
    order = xp.argsort(-value, stable=True)
    order = order[xp.argsort(number[order], stable=True)]
    number = number[order]
    start = xp.searchsorted(number, xp.arange(count, dtype=xp.int64, device=device(score)))
    rank = xp.arange(number.shape[0], dtype=xp.int64, device=device(score)) - start[number]
    candidates = most * _SPARE
    kept = rank < candidates
    place = number[kept] * candidates + rank[kept]
    position = xp.full((count * candidates, 2), math.nan, dtype=xp.float32, device=device(score))
    confidence = xp.full((count * candidates,), math.nan, dtype=xp.float32, device=device(score))
    best = order[kept]
    chosen = _Cells(maxima.cell[best], maxima.centre[best, :])
    position[place, :] = _refine(flat, chosen, offset, stride, votes=votes)
    confidence[place] = value[best]
    position, confidence = _keep_separate(
        xp.reshape(position, (count, candidates, 2)),
        xp.reshape(confidence, (count, candidates)),
        float(stride) if separation is None else separation,
        most,
    )
    return xp.reshape(position, (*lead, most, 2)), xp.reshape(confidence, (*lead, most))


def _find_maxima(maps: _Maps, threshold: float, radius: int) -> _Cells:
    """List the regional maxima that reach the threshold."""
    xp = array_namespace(maps.score)
    cell = xp.nonzero((maps.score >= threshold) & (maps.score > 0))[0]
    around = [
        (down, across)
        for down, across in itertools.product(range(-radius, radius + 1), repeat=2)
        if (down, across) != (0, 0)
    ]
    # Next cells first: nearly all candidates end there.
    around.sort(key=lambda step: (step[0] ** 2 + step[1] ** 2, step))
    has_equal = xp.zeros(cell.shape, dtype=xp.bool, device=device(cell))
    for step in around:
        neighbour, inside = _step(maps, cell, step)
        own, other = maps.score[cell], maps.score[neighbour]
        has_equal = has_equal | (inside & (other == own))
        keep = ~(inside & (other > own))
        cell, has_equal = cell[keep], has_equal[keep]
    if not bool(xp.any(has_equal)):
        return _Cells(cell, _coordinates(maps, cell))
    return _join_plateaus(maps, cell, around)


def _step(maps: _Maps, cell: Array, step: tuple[int, int]) -> tuple[Array, Array]:
    """Return the cells `step` (rows, columns) away, unchanged if outside, and a mask of inside."""
    xp = array_namespace(cell)
    down, across = step
    column = cell % maps.columns
    row = cell // maps.columns % maps.rows
    inside = (
        (column >= -across)
        & (column < maps.columns - across)
        & (row >= -down)
        & (row < maps.rows - down)
    )
    return xp.where(inside, cell + (down * maps.columns + across), cell), inside


def _join_plateaus(maps: _Maps, cell: Array, around: list[tuple[int, int]]) -> _Cells:
    """Join equal cells near each other to one maximum, and drop those that continue uphill.

    ``cell`` are the cells without a greater neighbour. A set of equal ones is a shoulder, not a
    top, if one of it has an equal neighbour that is not among them. A map of equal cells has no
    top.
    """
    xp = array_namespace(maps.score)
    where = device(cell)
    cell = _leave_out_constant(maps, cell)
    count = cell.shape[0]
    itself = xp.arange(count, dtype=xp.int64, device=where)
    place_of = xp.full(maps.score.shape, -1, dtype=xp.int64, device=where)
    place_of[cell] = itself
    neighbours = []
    is_shoulder = xp.zeros(count, dtype=xp.bool, device=where)
    for step in around:
        reached, inside = _step(maps, cell, step)
        equal = inside & (maps.score[reached] == maps.score[cell])
        place = place_of[reached]
        is_shoulder = is_shoulder | (equal & (place < 0))
        neighbours.append(xp.where(equal & (place >= 0), place, itself))
    # All take the smallest number of those they are connected with, by pointer jumping.
    label, previous = itself, None
    while previous is None or bool(xp.any(label != previous)):
        previous = label
        for neighbour in neighbours:
            label = xp.minimum(label, label[neighbour])
        label = label[label]
    shoulder = xp.zeros(count, dtype=xp.bool, device=where)
    shoulder[label[is_shoulder]] = True
    top = ~shoulder[label]
    return _take_centres(maps, cell[top], label[top])


def _leave_out_constant(maps: _Maps, cell: Array) -> Array:
    """Drop maps of several cells all of which are listed: none has a greater neighbour."""
    xp = array_namespace(cell)
    size = maps.rows * maps.columns
    number = cell // size
    first = xp.searchsorted(number, number)
    last = xp.searchsorted(number, number, side="right")
    return cell[(last - first < size) | (size == 1)]


def _take_centres(maps: _Maps, cell: Array, label: Array) -> _Cells:
    """Return, for each label, the mean of its cells and the cell nearest to it."""
    xp = array_namespace(cell)
    order = xp.argsort(label, stable=True)
    cell, label = cell[order], label[order]
    is_first = xp.ones(cell.shape, dtype=xp.bool, device=device(cell))
    is_first[1:] = label[1:] != label[:-1]
    first = xp.nonzero(is_first)[0]
    last = xp.concat([first[1:], xp.full_like(first[:1], cell.shape[0])]) - 1
    group = xp.cumulative_sum(xp.astype(is_first, xp.int64)) - 1
    means = []
    for values in (cell % maps.columns, cell // maps.columns % maps.rows):
        # Sums of integers are exact.
        total = xp.cumulative_sum(values)
        sums = total[last] - total[first] + values[first]
        means.append(xp.astype(sums, xp.float32) / xp.astype(last - first + 1, xp.float32))
    centre = xp.stack(means, axis=-1)
    distance = xp.sum((_coordinates(maps, cell) - centre[group, :]) ** 2, axis=-1)
    nearest = xp.argsort(distance, stable=True)
    nearest = nearest[xp.argsort(group[nearest], stable=True)]
    found = cell[nearest[first]]
    along = xp.argsort(found)
    return _Cells(found[along], centre[along, :])


def _coordinates(maps: _Maps, cell: Array) -> Array:
    """Return column and row of flat cells, float32."""
    xp = array_namespace(cell)
    pair = [cell % maps.columns, cell // maps.columns % maps.rows]
    return xp.astype(xp.stack(pair, axis=-1), xp.float32)


def _refine(
    maps: _Maps, maxima: _Cells, offset: Array | None, stride: int, *, votes: bool
) -> Array:
    """Return the points (maximum, 2) in network px that the maxima stand for."""
    xp = array_namespace(maps.score)
    if offset is None:
        middle = (stride - 1) / 2
        shift = [_between_cells(maps, maxima.cell, step) for step in ((0, 1), (1, 0))]
        return (maxima.centre + xp.stack(shift, axis=-1)) * stride + middle
    if votes:
        score = xp.reshape(maps.score, (-1, maps.rows, maps.columns))
        return read_votes(score, offset, maxima.cell, stride)
    return read_vote(xp.reshape(offset, (-1,)), maxima.cell, (maps.rows, maps.columns), stride)


def _between_cells(maps: _Maps, cell: Array, step: tuple[int, int]) -> Array:
    """Return how far, in cells along one axis, the top of a Gaussian is from the best cell.

    0 at the border, where one neighbour is missing, and on plateaus, whose mean is taken.
    """
    xp = array_namespace(maps.score)
    before, inside_before = _step(maps, cell, (-step[0], -step[1]))
    after, inside_after = _step(maps, cell, step)
    low, high, top = (
        xp.log(xp.clip(xp.astype(maps.score[at], xp.float32), _SMALLEST_SCORE, None))
        for at in (before, after, cell)
    )
    curvature = 2 * top - low - high
    usable = inside_before & inside_after & (low < top) & (high < top)
    shift = (high - low) / (2 * xp.where(usable, curvature, 1.0))
    return xp.where(usable, shift, xp.zeros_like(shift))


def _keep_separate(
    position: Array, confidence: Array, separation: float, most: int
) -> tuple[Array, Array]:
    """Drop peaks (map, candidate) that are too near to a better one; keep the best ``most``."""
    xp = array_namespace(position)
    count, candidates, _ = position.shape
    difference = position[:, :, None, :] - position[:, None, :, :]
    near = xp.sum(difference**2, axis=-1) < separation * separation
    kept = xp.isfinite(confidence)
    for candidate in range(1, candidates):
        beaten = xp.any(near[:, candidate, :candidate] & kept[:, :candidate], axis=-1)
        kept[:, candidate] = kept[:, candidate] & ~beaten
    rank = xp.cumulative_sum(xp.astype(kept, xp.int64), axis=-1) - 1
    which, candidate = xp.nonzero(kept & (rank < most))
    best = xp.full((count, most, 2), math.nan, dtype=xp.float32, device=device(position))
    best_confidence = xp.full((count, most), math.nan, dtype=xp.float32, device=device(position))
    to = rank[which, candidate]
    best[which, to, :] = position[which, candidate, :]
    best_confidence[which, to] = confidence[which, candidate]
    return best, best_confidence
