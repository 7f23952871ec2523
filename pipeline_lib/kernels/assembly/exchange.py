"""Exchange keypoints between individuals where links contradict each other.

Merging is greedy: a strong wrong link is made early and never undone. Once the individuals are
known, the keypoints of one bodypart after the other are reassigned to the individuals with whose
other keypoints they agree best: block coordinate ascent on the sum of affinities.
"""

from typing import NamedTuple

import numpy as np

from pipeline_lib.kernels.assembly.links import (
    BoolArray,
    FloatArray,
    Graph,
    IntArray,
    Peaks,
    choose_pairs,
)

# Weight that keeps a keypoint with its individual if no edge provides evidence.
_KEPT = np.float32(1e-6)


class Support(NamedTuple):
    """Evidence that the peaks of a bodypart belong to individuals.

    Attributes
    ----------
    total
        Shape (frame, individual, peak), float32: sum over the edges to the individual's keypoints.
    edges
        Shape (frame, individual, 1), int64: number of these edges.
    """

    total: FloatArray
    edges: IntArray


def exchange_keypoints(
    member: IntArray, links: FloatArray, peaks: Peaks, graph: Graph, min_affinity: float
) -> IntArray:
    """Reassign keypoints to the individuals with which they agree best.

    An edge between two keypoints of an individual counts its affinity, or -``min_affinity`` if the
    affinity is below ``min_affinity``. The sum over all edges of all individuals never decreases.

    Parameters
    ----------
    member
        Shape (frame, individual, bodypart), int64: the peak of each; -1: none.
    links
        Shape (frame, edge, peak, peak), float32: affinities of linked peaks; 0: not linked. This
        number of peaks of each bodypart is reassigned. Frames all links of which lie within
        individuals are unchanged.
    peaks, graph
        Peaks and edges.
    min_affinity
        Least affinity that supports an edge.

    Returns
    -------
    ndarray
        As ``member``.
    """
    member = member.copy()
    frame = np.flatnonzero(_find_contradictions(member, links, graph))
    if not frame.size:
        return member
    count = links.shape[-1]
    affinity = peaks.affinity[frame, :, :count, :count]
    weight = np.where(affinity >= min_affinity, affinity, np.float32(-min_affinity))
    present = np.isfinite(peaks.confidence[frame, :, :count])
    some = member[frame]
    bodyparts = range(present.shape[1])
    for bodypart in (*bodyparts, *reversed(bodyparts)):
        support = add_up_affinity(some, weight, graph, bodypart)
        is_kept = (some[:, :, bodypart, None] == np.arange(count)) & (support.edges == 0)
        value = np.where(is_kept, _KEPT, support.total)
        value[np.broadcast_to(~present[:, None, bodypart], value.shape)] = 0
        some[:, :, bodypart] = _give(value)
    member[frame] = some
    return member


def add_up_affinity(member: IntArray, affinity: FloatArray, graph: Graph, bodypart: int) -> Support:
    """Add up affinities (frame, edge, peak, peak) of a bodypart's peaks to individuals."""
    frames, individuals, _ = member.shape
    total = np.zeros((frames, individuals, affinity.shape[2]), np.float32)
    number = np.zeros((frames, individuals, 1), np.int64)
    frame = np.arange(frames)[:, None]
    for edge in np.flatnonzero((graph.first == bodypart) | (graph.second == bodypart)):
        is_first = graph.first[edge] == bodypart
        other = member[:, :, graph.second[edge] if is_first else graph.first[edge]]
        values = affinity[:, edge].swapaxes(1, 2) if is_first else affinity[:, edge]
        is_there = (other >= 0)[..., None]
        total += np.where(is_there, values[frame, other], 0)
        number += is_there
    return Support(total, number)


def _find_contradictions(member: IntArray, links: FloatArray, graph: Graph) -> BoolArray:
    """Return the frames in which a link leads to another individual, or to none."""
    frames, individuals, bodyparts = member.shape
    owner = np.full((frames, bodyparts, links.shape[-1] + 1), -1)
    frame, bodypart = np.arange(frames)[:, None], np.arange(bodyparts)
    for individual in range(individuals):
        # Missing keypoints are written to an additional last peak.
        owner[frame, bodypart, member[:, individual]] = individual
    frame, edge, a, b = np.nonzero(links)
    owners = owner[frame, graph.first[edge], a], owner[frame, graph.second[edge], b]
    found = np.zeros(frames, np.bool_)
    found[frame[(owners[0] != owners[1])]] = True
    return found


def _give(value: FloatArray) -> IntArray:
    """Assign peaks to individuals (frame, individual, peak), largest sum; -1: none."""
    _, individuals, count = value.shape
    square = np.zeros((len(value), individuals, individuals), np.float32)
    square[..., :count] = np.maximum(value, 0)
    chosen = choose_pairs(square)[..., :count]
    return np.where(chosen.any(axis=2), chosen.argmax(axis=2), -1)
