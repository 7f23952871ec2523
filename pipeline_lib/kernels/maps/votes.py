"""Average the positions that the cells around a peak vote for.

Location refinement lets each cell near a keypoint vote for its position. The mean of these votes
has a smaller error than the vote of the best cell alone. NumPy arrays and torch tensors are
served alike.

References
----------
.. [1] Papandreou et al., Towards Accurate Multi-person Pose Estimation in the Wild, CVPR 2017:
       score maps and offsets are combined by votes.
"""

import itertools
from typing import Any

from array_api_compat import array_namespace

Array = Any  # an array of any library that array_api_compat knows

# Steps in rows and columns to the eight neighbours of a cell.
_AROUND = tuple(step for step in itertools.product((-1, 0, 1), repeat=2) if step != (0, 0))


def read_votes(score: Array, offset: Array, cell: Array, stride: int) -> Array:
    """Return the mean of what cells and their neighbours vote for, weighted by score.

    A neighbour whose vote is a stride or more away means another point, and does not count.

    Parameters
    ----------
    score
        Shape (..., rows, columns), probabilities in 0..1.
    offset
        Shape (..., 2, rows, columns), (x, y) in network px.
    cell
        Shape (peak,), int64: flat positions of the best cells among all cells of `score`.
    stride
        Network pixels per cell side.

    Returns
    -------
    array
        Shape (peak, 2), float32, x and y in network px.
    """
    xp = array_namespace(score)
    rows, columns = score.shape[-2:]
    scores, offsets = xp.reshape(score, (-1,)), xp.reshape(offset, (-1,))
    own = read_vote(offsets, cell, (rows, columns), stride)
    column, row = cell % columns, cell // columns % rows
    total = _weigh(scores, cell, xp.ones_like(cell, dtype=xp.bool))
    # Differences from the own vote: where all agree, the mean is exactly this vote.
    shift = xp.zeros_like(own)
    for down, across in _AROUND:
        inside = (row + down >= 0) & (row + down < rows)
        inside = inside & (column + across >= 0) & (column + across < columns)
        neighbour = xp.where(inside, cell + (down * columns + across), cell)
        way = read_vote(offsets, neighbour, (rows, columns), stride) - own
        # False for NaN, too.
        counts = inside & (xp.sum(way**2, axis=-1) < stride * stride)
        weight = _weigh(scores, neighbour, counts)
        total = total + weight
        shift = shift + weight[:, None] * xp.where(counts[:, None], way, xp.zeros_like(way))
    return own + shift / xp.where(total > 0, total, xp.ones_like(total))[:, None]


def read_vote(offsets: Array, cell: Array, size: tuple[int, int], stride: int) -> Array:
    """Return the position that each cell votes for: its centre, moved by its offset.

    Parameters
    ----------
    offsets
        Shape (map · 2 · row · column,), network px, x before y in each map.
    cell
        Shape (peak,), int64: flat positions among the cells of all maps.
    size
        Rows and columns of a map.
    stride
        Network pixels per cell side.

    Returns
    -------
    array
        Shape (peak, 2), float32, x and y in network px.
    """
    xp = array_namespace(offsets)
    rows, columns = size
    cells = rows * columns
    in_x = cell + cell // cells * cells
    moved = xp.stack([offsets[in_x], offsets[in_x + cells]], axis=-1)
    place = xp.stack([cell % columns, cell // columns % rows], axis=-1)
    middle = (stride - 1) / 2
    return xp.astype(place, xp.float32) * stride + middle + xp.astype(moved, xp.float32)


def _weigh(scores: Array, cell: Array, counts: Array) -> Array:
    """Return the weights of votes, float32: the scores of cells that count.

    The weight is 0 where a cell does not count, or its score is negative or NaN.
    """
    xp = array_namespace(scores)
    weight = xp.astype(scores[cell], xp.float32)
    return xp.where(counts & (weight > 0), weight, xp.zeros_like(weight))
