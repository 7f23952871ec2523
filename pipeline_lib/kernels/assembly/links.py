"""Link peaks along edges: the first step of assembly.

Peaks and edges are sorted into a canonical order (peaks by confidence, then by position), so that
the result does not depend on the order in which they are given.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.assignment import assign_most

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

# Up to this number of peaks all permutations are compared, for all frames and edges at once.
_FEW = 5


class Graph(NamedTuple):
    """Edges between the bodyparts of an animal, each from the lower to the higher, sorted.

    Attributes
    ----------
    first, second
        Shape (edge,), int64: indices of the animal's bodyparts, first < second.
    given
        Shape (edge,), int64: index of each edge in the given order.
    flipped
        Shape (edge,), bool: whether the edge was given from the higher to the lower bodypart.
    hops
        Shape (bodypart, bodypart), float32: edges on the shortest path; inf: there is none.
    """

    first: IntArray
    second: IntArray
    given: IntArray
    flipped: BoolArray
    hops: FloatArray


class Peaks(NamedTuple):
    """The best peaks of the animals' bodyparts, in canonical order.

    Attributes
    ----------
    position
        Shape (frame, bodypart, peak, 2), float32, px; NaN where missing.
    confidence
        Shape (frame, bodypart, peak), float32, falling; -inf where missing.
    affinity
        Shape (frame, edge, peak of the first, peak of the second), float32, edges as in `Graph`;
        0 where either is missing.
    """

    position: FloatArray
    confidence: FloatArray
    affinity: FloatArray


def make_graph(edges: Sequence[tuple[int, int]], bodyparts: Sequence[int]) -> Graph:
    """Sort edges and express them by the bodyparts of animals.

    Parameters
    ----------
    edges
        Pairs of indices on the keypoint axis.
    bodyparts
        Indices of the animal's bodyparts on the keypoint axis.

    Raises
    ------
    ValueError
        If an edge joins a bodypart that is not among these, or with itself, or is there twice.
    """
    place = {keypoint: index for index, keypoint in enumerate(bodyparts)}
    rows: dict[tuple[int, int], tuple[int, bool]] = {}
    for index, (a, b) in enumerate(edges):
        if a not in place or b not in place or a == b:
            raise ValueError(f"edge ({a}, {b}) does not join two of the bodyparts {list(place)}")
        pair = (min(place[a], place[b]), max(place[a], place[b]))
        if pair in rows:
            raise ValueError(f"two edges join the bodyparts {a} and {b}; expected one")
        rows[pair] = (index, place[a] > place[b])
    # It takes half a second, which networks of one animal do without.
    from scipy.sparse.csgraph import shortest_path  # noqa: PLC0415

    pairs = sorted(rows)
    ends = np.array(pairs, np.int64).reshape(-1, 2)
    joined = np.zeros((len(place), len(place)), np.bool_)
    joined[ends[:, 0], ends[:, 1]] = True
    return Graph(
        ends[:, 0],
        ends[:, 1],
        np.array([rows[pair][0] for pair in pairs], np.int64),
        np.array([rows[pair][1] for pair in pairs], np.bool_),
        shortest_path(joined, directed=False, unweighted=True).astype(np.float32),
    )


def sort_peaks(
    position: FloatArray, confidence: FloatArray, affinity: FloatArray, graph: Graph, most: int
) -> Peaks:
    """Sort the peaks of each bodypart into canonical order and keep the best.

    Peaks of higher confidence come first; ties are resolved from left to right, then downwards.

    Parameters
    ----------
    position
        Shape (frame, bodypart, peak, 2), float32, px; NaN where missing.
    confidence
        Shape (frame, bodypart, peak), float32; -inf where missing.
    affinity
        Shape (frame, edge, peak, peak), float32, edges in the given order.
    graph
        The edges.
    most
        Number of peaks of each bodypart to keep.
    """
    order = np.lexsort((position[..., 1], position[..., 0], -confidence))[..., :most]
    frames, count = position.shape[0], position.shape[2]
    low, high = (order[:, index] for index in (graph.first, graph.second))
    flipped = graph.flipped[:, None, None]
    row = np.where(flipped, high[..., None, :], low[..., :, None])
    column = np.where(flipped, low[..., :, None], high[..., None, :])
    matrix = np.arange(frames)[:, None] * affinity.shape[1] + graph.given
    values = affinity.reshape(-1)[(matrix[..., None, None] * count + row) * count + column]
    return Peaks(
        np.take_along_axis(position, order[..., None], axis=2),
        np.take_along_axis(confidence, order, axis=2),
        np.nan_to_num(values, copy=False, nan=0.0),
    )


def link_peaks(peaks: Peaks, most: int, min_affinity: float) -> FloatArray:
    """Link the best peaks along each edge so that the sum of affinities is largest.

    Parameters
    ----------
    peaks
        In canonical order.
    most
        Number of peaks of each bodypart, the most confident ones, that are used.
    min_affinity
        Pairs below this affinity are not linked, nor are pairs of 0 or less.

    Returns
    -------
    ndarray
        Shape (frame, edge, peak of the first, peak of the second), float32: affinity of linked
        pairs, 0 otherwise. A peak has at most one link along an edge.
    """
    affinity = np.maximum(peaks.affinity[..., :most, :most], 0)
    matrices = affinity.reshape(-1, *affinity.shape[2:])
    # Weak pairs count in the sum, as in DeepLabCut, but are not linked.
    chosen = choose_pairs(matrices) & (matrices >= min_affinity)
    return np.where(chosen, matrices, 0).reshape(affinity.shape)


def choose_pairs(matrices: FloatArray) -> BoolArray:
    """Choose at most one positive entry of each row and column, with the greatest sum.

    Parameters
    ----------
    matrices
        Shape (matrix, row, column), float32, as many rows as columns.

    Returns
    -------
    ndarray
        Shape (matrix, row, column), bool.
    """
    chosen = _choose_best_of_rows(matrices)
    clash = np.flatnonzero(chosen.sum(axis=1).max(axis=1, initial=0) > 1)
    if clash.size:
        turned = _choose_best_of_rows(matrices[clash].swapaxes(1, 2)).swapaxes(1, 2)
        chosen[clash] = turned
        clash = clash[turned.sum(axis=2).max(axis=1) > 1]
        chosen[clash] = _assign(matrices[clash])
    return chosen


def _choose_best_of_rows(matrices: FloatArray) -> BoolArray:
    """Choose the greatest of each row, if positive: optimal where no column is chosen twice."""
    best = matrices.argmax(axis=2)
    columns = np.arange(matrices.shape[2])
    chosen: BoolArray = (best[..., None] == columns) & (matrices > 0)
    return chosen


def _assign(matrices: FloatArray) -> BoolArray:
    """Choose at most one of each row and column with the greatest sum."""
    chosen = np.zeros(matrices.shape, np.bool_)
    size = matrices.shape[1]
    rows = np.arange(size)
    if size <= _FEW:
        permutations = np.array(list(itertools.permutations(range(size))))
        # Adding row by row, so that the sum of a matrix does not depend on those beside it.
        total = np.zeros((len(matrices), len(permutations)), np.float32)
        for row in rows:
            total += matrices[:, row, permutations[:, row]]
        best = permutations[total.argmax(axis=1)]
        np.put_along_axis(chosen, best[..., None], values=True, axis=2)
    else:
        for matrix, choice in zip(matrices, chosen, strict=True):
            choice[assign_most(matrix)] = True
    chosen &= matrices > 0
    return chosen
