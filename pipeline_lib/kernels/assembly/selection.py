"""Select the clusters of peaks that become individuals: the best ones with enough keypoints."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline_lib.kernels.assembly.links import BoolArray, FloatArray, Graph, IntArray, Peaks


@dataclass(frozen=True)
class AssemblyRules:
    """Rules of assembly.

    Attributes
    ----------
    individuals
        Largest number of animals in a frame. If it is 1, the most confident peak of each bodypart
        is taken, regardless of affinities.
    min_affinity
        Pairs with a lower affinity are not linked.
    min_keypoints
        Clusters with fewer keypoints are dropped; capped at the number of bodyparts.
    pcutoff
        Peaks of at least this confidence make individuals.
    max_overlap
        Below 1: of two individuals that both have at least this share of their keypoints in their
        common rectangle, only the better one is kept, as DeepLabCut does with 0.8; animals that lie
        on each other may be lost. 1: no individual is dropped.
    min_confidence
        Peaks of at least this confidence fill gaps of individuals; None: those of ``pcutoff``.
    """

    individuals: int
    min_affinity: float
    min_keypoints: int
    pcutoff: float
    max_overlap: float
    min_confidence: float | None = None

    @property
    def lowest_confidence(self) -> float:
        """Confidence below which peaks are ignored."""
        return self.pcutoff if self.min_confidence is None else self.min_confidence


class _Clusters(NamedTuple):
    """Clusters of each frame, best first.

    Attributes
    ----------
    member
        Shape (frame, cluster, bodypart), int64: the peak of each bodypart; -1: none.
    score
        Shape (frame, cluster), float32; NaN where there is no cluster.
    """

    member: IntArray
    score: FloatArray


def select_individuals(
    label: IntArray, links: FloatArray, peaks: Peaks, graph: Graph, rules: AssemblyRules
) -> IntArray:
    """Select the clusters of the best scores.

    Parameters
    ----------
    label
        Shape (frame, node), int64: cluster of each peak, see `clusters`.
    links
        Shape (frame, edge, peak, peak), float32: affinities; 0 where not linked.
    peaks, graph, rules
        Peaks, edges and rules of assembly.

    Returns
    -------
    ndarray
        Shape (frame, individual, bodypart), int64: peak of each bodypart; -1: none.
    """
    frames, bodyparts = peaks.confidence.shape[:2]
    present = np.isfinite(peaks.confidence[..., : links.shape[-1]])
    keypoints = _sum_by_cluster(label, present.reshape(frames, -1))
    score = _score(label, peaks, keypoints, _sum_links(label, links, graph))
    score[keypoints < max(rules.min_keypoints, 1)] = -np.inf
    # Ties: the lowest label comes first.
    best = np.argsort(-score, axis=1, kind="stable")
    wanted = rules.individuals * (2 if rules.max_overlap < 1 else 1)
    best = best[:, : min(wanted, best.shape[1])]
    clusters = _list_members(label.reshape(present.shape), present, best, score)
    if rules.max_overlap < 1:
        clusters = _leave_out_overlapping(clusters, peaks, rules.max_overlap)
    member = np.full((frames, rules.individuals, bodyparts), -1)
    taken = min(rules.individuals, clusters.score.shape[1])
    member[:, :taken] = clusters.member[:, :taken]
    return member


def rank_individuals(
    member: IntArray, peaks: Peaks, graph: Graph, rules: AssemblyRules
) -> tuple[IntArray, FloatArray]:
    """Sort individuals by score and drop those with too few certain keypoints.

    Parameters
    ----------
    member
        Shape (frame, individual, bodypart), int64: the peak of each; -1: none.
    peaks, graph, rules
        Peaks, edges and rules of assembly.

    Returns
    -------
    member
        Same shape, the best individual first; ties keep their order.
    score
        Shape (frame, individual), float32: see `assemble.Assemblies`; NaN where there is none.
    """
    frame = np.arange(len(member))[:, None, None]
    values = peaks.confidence[frame, np.arange(member.shape[2]), np.maximum(member, 0)]
    certain = (member >= 0) & (values >= rules.pcutoff)
    is_complete = certain.sum(axis=2, keepdims=True) >= rules.min_keypoints
    member = np.where(is_complete, member, -1)
    is_there = member >= 0
    first, second = member[:, :, graph.first], member[:, :, graph.second]
    affinity = peaks.affinity[frame, np.arange(graph.first.size), first, second]
    linked = (first >= 0) & (second >= 0) & (affinity >= rules.min_affinity) & (affinity > 0)
    confidence = peaks.confidence[frame, np.arange(member.shape[2]), member]
    found = is_there.sum(axis=2)
    number = linked.sum(axis=2)
    mean = np.where(
        number > 0,
        np.where(linked, affinity, 0).sum(axis=2) / np.maximum(number, 1),
        np.where(is_there, confidence, 0).sum(axis=2) / np.maximum(found, 1),
    )
    score = np.where(found > 0, mean * found / member.shape[2], np.nan).astype(np.float32)
    order = np.argsort(-score, axis=1, kind="stable")
    return (
        np.take_along_axis(member, order[..., None], axis=1),
        np.take_along_axis(score, order, axis=1),
    )


def _sum_links(label: IntArray, links: FloatArray, graph: Graph) -> tuple[FloatArray, FloatArray]:
    """Return sum and number of the links within each cluster (frame, label)."""
    frames, nodes = label.shape
    count = links.shape[-1]
    frame, edge, a, b = np.nonzero(links)
    first = label[frame, graph.first[edge] * count + a]
    inside = first == label[frame, graph.second[edge] * count + b]
    where = (frame * nodes + first)[inside]
    size = frames * nodes
    total = np.bincount(where, links[frame, edge, a, b][inside], size).reshape(frames, nodes)
    number = np.bincount(where, minlength=size).reshape(frames, nodes)
    return total.astype(np.float32), number.astype(np.float32)


def _score(
    label: IntArray, peaks: Peaks, keypoints: FloatArray, linked: tuple[FloatArray, FloatArray]
) -> FloatArray:
    """Return the score (frame, label) of each cluster, counting linked pairs only."""
    frames, bodyparts = peaks.confidence.shape[:2]
    total, number = linked
    count = label.shape[1] // bodyparts
    confidence = peaks.confidence[..., :count].reshape(frames, label.shape[1])
    mean_confidence = _sum_by_cluster(label, np.where(np.isfinite(confidence), confidence, 0))
    mean_confidence /= np.maximum(keypoints, 1)
    mean = np.where(number > 0, total / np.maximum(number, 1), mean_confidence)
    return np.asarray(mean * keypoints / bodyparts, np.float32)


def _sum_by_cluster(label: IntArray, value: FloatArray | BoolArray) -> FloatArray:
    """Add up values (frame, node) of the nodes of each cluster, at its label."""
    frames, nodes = label.shape
    where = np.arange(frames)[:, None] * nodes + label
    total = np.bincount(where.ravel(), value.ravel(), frames * nodes).reshape(frames, nodes)
    return total.astype(np.float32)


def _list_members(
    label: IntArray, present: BoolArray, best: IntArray, score: FloatArray
) -> _Clusters:
    """Return the peaks of the best clusters, whose labels are (frame, cluster)."""
    is_member = (label[:, None] == best[:, :, None, None]) & present[:, None]
    found = np.where(is_member.any(axis=-1), is_member.argmax(axis=-1), -1)
    value = np.take_along_axis(score, best, axis=1)
    exists = np.isfinite(value)
    return _Clusters(
        np.where(exists[..., None], found, -1), np.where(exists, value, np.float32(np.nan))
    )


def _leave_out_overlapping(clusters: _Clusters, peaks: Peaks, max_overlap: float) -> _Clusters:
    """Drop clusters that overlap too much with a better one; those kept move up."""
    frame = np.arange(len(clusters.score))
    number = clusters.score.shape[1]
    at = (frame[:, None, None], np.arange(clusters.member.shape[2]), clusters.member)
    point = np.where(clusters.member[..., None] >= 0, peaks.position[at], np.nan)
    low = np.where(np.isnan(point), np.inf, point).min(axis=2)
    high = np.where(np.isnan(point), -np.inf, point).max(axis=2)
    # Share of the keypoints of the first of each pair in the rectangle common to both.
    common_low = np.maximum(low[:, :, None], low[:, None])[:, :, :, None]
    common_high = np.minimum(high[:, :, None], high[:, None])[:, :, :, None]
    within = (point[:, :, None] >= common_low) & (point[:, :, None] <= common_high)
    keypoints = np.maximum((clusters.member >= 0).sum(axis=2), 1)
    share = within.all(axis=-1).sum(axis=-1) / keypoints[:, :, None]
    overlaps = np.minimum(share, share.swapaxes(1, 2)) >= max_overlap
    kept = np.isfinite(clusters.score)
    for cluster in range(1, number):
        kept[:, cluster] &= ~(overlaps[:, cluster, :cluster] & kept[:, :cluster]).any(axis=1)
    order = np.argsort(~kept, axis=1, kind="stable")
    score = np.where(kept, clusters.score, np.float32(np.nan))
    member = np.where(kept[..., None], clusters.member, -1)
    return _Clusters(
        np.take_along_axis(member, order[..., None], axis=1),
        np.take_along_axis(score, order, axis=1),
    )
