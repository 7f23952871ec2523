"""Merge linked peaks into clusters by greedy contraction, many frames in lockstep.

The peaks of a frame are nodes of a graph with signed weights. As long as two clusters are
attracted, those attracted most are merged and their weights to all others are added up, as in
greedy additive edge contraction [1]_ for the graph cuts by which peaks were first grouped into
bodies [2]_. Two peaks of one bodypart never come into one cluster.

References
----------
.. [1] Keuper et al., ICCV 2015: greedy additive edge contraction for (lifted) multicuts.
.. [2] Insafutdinov et al., DeeperCut, ECCV 2016: multi-person pose estimation as such a cut.
"""

from typing import NamedTuple

import numpy as np

from pipeline_lib.kernels.assembly.links import BoolArray, FloatArray, Graph, IntArray


class _Best(NamedTuple):
    """Greatest weight of every node of every frame, and the other node of that weight."""

    weight: FloatArray
    other: IntArray


def merge_by_affinity(
    links: FloatArray, present: BoolArray, graph: Graph, min_affinity: float
) -> IntArray:
    """Merge peaks into clusters by the links of all edges between them.

    A link counts its affinity, a pair of peaks that an edge could link but does not counts
    -``min_affinity``: one link of many possible ones does not join what all others keep apart.

    Parameters
    ----------
    links
        Shape (frame, edge, peak, peak), float32: affinities; 0 where not linked.
    present
        Shape (frame, bodypart, peak).
    graph
        The edges.
    min_affinity
        What a missing link counts.

    Returns
    -------
    ndarray
        Shape (frame, node), int64, nodes being peaks, bodypart by bodypart: the lowest node of
        each one's cluster; its own number where it is alone or missing.
    """
    frames, bodyparts, count = present.shape
    weight = _start_weights(present)
    blocks = weight.reshape(frames, bodyparts, count, bodyparts, count)
    both = present[:, graph.first, :, None] & present[:, graph.second, None, :]
    value = np.where(links > 0, links, np.float32(-min_affinity))
    value[~both] = -np.inf
    blocks[:, graph.first, :, graph.second, :] = value.transpose(1, 0, 2, 3)
    blocks[:, graph.second, :, graph.first, :] = value.transpose(1, 0, 3, 2)
    label = np.tile(np.arange(bodyparts * count), (frames, 1))
    return _contract(weight, label)


def _start_weights(present: BoolArray) -> FloatArray:
    """Return weights (frame, node, node): 0, -inf within a bodypart and of missing peaks."""
    frames, bodyparts, count = present.shape
    there = present.reshape(frames, -1)
    bodypart = np.arange(bodyparts).repeat(count)
    allowed = there[:, :, None] & there[:, None, :] & (bodypart[:, None] != bodypart)
    return np.where(allowed, np.float32(0), np.float32(-np.inf))


def _contract(weight: FloatArray, label: IntArray) -> IntArray:
    """Merge the two clusters of the greatest weight, as long as it is positive.

    Parameters
    ----------
    weight
        Shape (frame, node, node), symmetric, -inf for what must not be merged; overwritten.
    label
        Shape (frame, node): cluster of each node; overwritten and returned.
    """
    best = _Best(weight.max(axis=2), weight.argmax(axis=2))
    active = np.arange(len(weight))
    while active.size:
        node = best.weight[active].argmax(axis=1)
        going = best.weight[active, node] > 0
        active, node = active[going], node[going]
        other = best.other[active, node]
        low, high = np.minimum(node, other), np.maximum(node, other)
        row = weight[active, low] + weight[active, high]
        line = np.arange(active.size)
        row[line, low] = row[line, high] = -np.inf
        weight[active, low] = weight[active, :, low] = row
        weight[active, high] = weight[active, :, high] = -np.inf
        joined = label[active]
        label[active] = np.where(joined == high[:, None], low[:, None], joined)
        _renew_best(weight, best, active, low, high)
    return label


def _renew_best(
    weight: FloatArray, best: _Best, frame: IntArray, low: IntArray, high: IntArray
) -> None:
    """Update the best weight of each node after ``high`` was merged into ``low``."""
    value = weight[frame, :, low]
    known, other = best.weight[frame], best.other[frame]
    is_stale = (other == low[:, None]) | (other == high[:, None])
    # Ties: the lower node, as argmax returns it.
    is_better = (value > known) | ((value == known) & (low[:, None] < other))
    best.weight[frame] = np.where(is_better, value, known)
    best.other[frame] = np.where(is_better, low[:, None], other)
    is_stale &= ~is_better
    line = np.arange(frame.size)
    is_stale[line, low] = True
    is_stale[line, high] = True
    which, node = np.nonzero(is_stale)
    rows = weight[frame[which], node]
    best.weight[frame[which], node] = rows.max(axis=1)
    best.other[frame[which], node] = rows.argmax(axis=1)
