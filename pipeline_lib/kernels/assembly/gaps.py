"""Merge parts of one animal between which a keypoint is missing, and fill missing keypoints.

In a graph with few edges, a keypoint that was not found leaves its neighbours unconnected: no edge
provides evidence that they belong to one animal. Distance decides then if it is unambiguous. A
keypoint that an individual still lacks is taken from the peaks that belong to no individual.
"""

import numpy as np

from pipeline_lib.kernels.assembly.exchange import add_up_affinity
from pipeline_lib.kernels.assembly.links import BoolArray, FloatArray, Graph, IntArray, Peaks

# Least ratio of the distances to the second-nearest and to the nearest part.
_CLEARLY_FURTHER = 2.0
# Distance of two clusters that may be merged but have no measured distance.
_FAR = np.float32(1e30)


def merge_nearest(label: IntArray, links: FloatArray, peaks: Peaks, graph: Graph) -> IntArray:
    """Merge clusters without an edge between them that are unambiguously each other's nearest.

    In a connected graph, clusters are merged only across one missing keypoint: a path of two edges
    leads from a keypoint of one cluster to a keypoint of the other. Their distance is the shortest
    between such keypoints, and half of it must not exceed the longest link of the two clusters. In
    a graph of several parts, all keypoints of different parts are compared, and any distance is
    allowed.

    Both clusters must be each other's nearest, and alternatives must be at least twice as far.
    Clusters that share a bodypart, or that have an edge between two of their keypoints, are not
    merged: the edge has decided already.

    Parameters
    ----------
    label
        Shape (frame, node), int64: clusters as returned by `clusters.merge_by_affinity`.
    links
        Shape (frame, edge, peak, peak), float32: affinities; 0 where not linked.
    peaks
        In canonical order.
    graph
        The edges.

    Returns
    -------
    ndarray
        As ``label``.
    """
    if (graph.hops <= 1).all():
        return label
    count = links.shape[-1]
    distance = _measure_gaps(peaks, graph, count)
    _merge_rows(distance, label)
    longest = _find_longest_links(label, links, peaks, graph)
    if np.isinf(graph.hops).any():
        longest[:] = np.inf
    label = label.copy()
    frame = np.arange(len(label))
    while frame.size:
        frame, low, high = _find_clear_pairs(distance, longest, frame)
        # Pairs are disjoint, so that all are merged at once: rows first, then columns.
        distance[frame, low] = _combine(distance[frame, low], distance[frame, high])
        distance[frame, high] = np.inf
        columns = _combine(distance[frame, :, low], distance[frame, :, high])
        distance[frame, :, low] = columns
        distance[frame, :, high] = np.inf
        longest[frame, low] = np.maximum(longest[frame, low], longest[frame, high])
        for one, lower, higher in zip(frame, low, high, strict=True):
            label[one, label[one] == higher] = lower
        frame = np.unique(frame)
    return label


def _measure_gaps(peaks: Peaks, graph: Graph, count: int) -> FloatArray:
    """Return distances of peaks (frame, node, node); inf: never merged; `_FAR`: not measured."""
    point = peaks.position[:, :, :count].reshape(len(peaks.position), -1, 2)
    square = np.square(point[:, :, None, 0] - point[:, None, :, 0])
    square += np.square(point[:, :, None, 1] - point[:, None, :, 1])
    distance: FloatArray = np.sqrt(square)
    hops = graph.hops.repeat(count, axis=0).repeat(count, axis=1)
    counts = np.isinf(hops) if np.isinf(hops).any() else hops == 2
    distance[:, ~counts] = _FAR
    distance[:, hops <= 1] = np.inf
    missing = np.isinf(peaks.confidence[:, :, :count]).reshape(point.shape[:2])
    distance[missing[:, :, None] | missing[:, None]] = np.inf
    return distance


def _merge_rows(distance: FloatArray, label: IntArray) -> None:
    """Combine the rows and columns of nodes into those of their clusters, in place."""
    frame = np.arange(len(label))
    for node in range(label.shape[1]):
        moved = frame[label[:, node] != node]
        to = label[moved, node]
        row = _combine(distance[moved, to], distance[moved, node])
        distance[moved, to] = distance[moved, :, to] = row
        distance[moved, node] = distance[moved, :, node] = np.inf


def _combine(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return the distance to two merged clusters: the smaller one, inf if either is inf."""
    lesser: FloatArray = np.minimum(one, other)
    return np.where(np.isinf(one) | np.isinf(other), np.float32(np.inf), lesser)


def _find_longest_links(
    label: IntArray, links: FloatArray, peaks: Peaks, graph: Graph
) -> FloatArray:
    """Return the length of the longest link within each cluster (frame, label); 0: none."""
    count = links.shape[-1]
    frame, edge, a, b = np.nonzero(links)
    first, second = graph.first[edge], graph.second[edge]
    way = peaks.position[frame, first, a] - peaks.position[frame, second, b]
    cluster = label[frame, first * count + a]
    inside = cluster == label[frame, second * count + b]
    longest = np.zeros(label.shape, np.float32)
    length = np.sqrt(np.square(way).sum(axis=1))
    np.maximum.at(longest, (frame[inside], cluster[inside]), length[inside])
    return longest


def _find_clear_pairs(
    distance: FloatArray, longest: FloatArray, frame: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """List pairs of clusters, frame and labels, that are unambiguously each other's nearest."""
    nearest = distance[frame].argmin(axis=2)
    where, one = np.nonzero(distance[frame].min(axis=2) < _FAR)
    which, other = frame[where], nearest[where, one]
    gap = distance[which, one, other]
    # Alternatives are clusters that could not be merged in addition.
    alternatives = np.where(np.isinf(distance[which, other]), distance[which, one], np.inf)
    alternatives[np.arange(one.size), other] = np.inf
    is_clear = gap * _CLEARLY_FURTHER <= alternatives.min(axis=1, initial=np.inf)
    is_clear &= gap / 2 <= np.maximum(longest[which, one], longest[which, other])
    is_clear &= nearest[where, other] == one
    clear = np.zeros(nearest.shape, np.bool_)
    clear[where[is_clear], one[is_clear]] = True
    chosen = is_clear & clear[where, other] & (one < other)
    return which[chosen], one[chosen], other[chosen]


def fill_gaps(member: IntArray, peaks: Peaks, graph: Graph, min_affinity: float) -> IntArray:
    """Fill missing keypoints of individuals from the remaining peaks.

    A peak fits an individual if its mean affinity over all edges to the individual's keypoints is
    high enough. The best fits are assigned first.

    Parameters
    ----------
    member
        Shape (frame, individual, bodypart), int64: the peak of each; -1: none. Individuals without
        any keypoint are left empty.
    peaks
        All peaks that may be used.
    graph
        The edges.
    min_affinity
        Least mean affinity.

    Returns
    -------
    ndarray
        As ``member``.
    """
    free = _find_free(member, peaks)
    missing = (member < 0) & np.any(member >= 0, axis=2, keepdims=True)
    open_ = np.any(missing, axis=1) & np.any(free, axis=2)
    frame = np.flatnonzero(open_.any(axis=1))
    filled = member.copy()
    if not frame.size:
        return filled
    for bodypart in np.flatnonzero(open_.any(axis=0)):
        at = frame[open_[frame, bodypart]]
        support = add_up_affinity(member[at], peaks.affinity[at], graph, int(bodypart))
        mean = support.total / np.maximum(support.edges, 1)
        fit = np.where(support.edges > 0, mean, -np.inf)
        possible = missing[at, :, bodypart, None] & free[at, None, bodypart]
        fit = np.where(possible & (fit >= min_affinity), fit, -np.inf)
        filled[at, :, bodypart] = _give(fit, member[at, :, bodypart])
    return filled


def _find_free(member: IntArray, peaks: Peaks) -> BoolArray:
    """Return a mask of peaks (frame, bodypart, peak) that belong to no individual."""
    free = np.isfinite(peaks.confidence)
    frame, individual, bodypart = np.nonzero(member >= 0)
    free[frame, bodypart, member[frame, individual, bodypart]] = False
    return free


def _give(fit: FloatArray, member: IntArray) -> IntArray:
    """Assign peaks to individuals (frame, individual, peak), the best fit first."""
    given = member.copy()
    count = fit.shape[2]
    for _ in range(min(fit.shape[1:])):
        best = fit.reshape(len(fit), -1).argmax(axis=1)
        individual, peak = best // count, best % count
        frame = np.arange(len(fit))
        going = fit[frame, individual, peak] > -np.inf
        if not going.any():
            break
        frame, individual, peak = frame[going], individual[going], peak[going]
        given[frame, individual] = peak
        fit[frame, individual] = -np.inf
        fit[frame, :, peak] = -np.inf
    return given
