"""Assemble the peaks of each frame into individuals.

Many frames are processed in lockstep, in these steps:

1. The most confident peaks of each bodypart, as many as there are animals, are linked one to one
   along each edge so that the sum of affinities is largest (`links`).
2. Linked peaks are merged into clusters, in descending order of the affinity between clusters. All
   edges between two clusters count together, so that in a graph with many edges single wrong
   links are outvoted (`clusters`).
3. Clusters without an edge between them, because the keypoints in between were not found, are
   merged with the nearest cluster if no other is nearly as near (`gaps`).
4. The clusters of the best scores become the animals (`selection`).
5. Where links contradict the result, keypoints are reassigned, bodypart by bodypart, to the animals
   of greatest affinity (`exchange`).
6. Remaining peaks, also those of low confidence, fill the gaps of animals that they fit (`gaps`).

If links do not contradict each other and reach all keypoints, the result equals that of
DeepLabCut's assembler [1]_; `pipeline_lib.kernels.assembly.deeplabcut` reproduces it always.

References
----------
.. [1] Lauer et al., Nature Methods 19:496, 2022: data-driven assembly of animals.
.. [2] Cao et al., CVPR 2017 (OpenPose): one-to-one links along each edge.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.assembly.clusters import merge_by_affinity
from pipeline_lib.kernels.assembly.exchange import exchange_keypoints
from pipeline_lib.kernels.assembly.gaps import fill_gaps, merge_nearest
from pipeline_lib.kernels.assembly.links import (
    FloatArray,
    Graph,
    IntArray,
    Peaks,
    link_peaks,
    make_graph,
    sort_peaks,
)
from pipeline_lib.kernels.assembly.selection import (
    AssemblyRules,
    rank_individuals,
    select_individuals,
)

# Less confident peaks of each bodypart, besides one for each animal, that may fill a gap.
SPARE_PEAKS = 8
# Weights between all peaks of the frames that go in lockstep; some megabytes.
_WEIGHTS_AT_A_TIME = 2**20
_MOST_FRAMES = 512


class Assemblies(NamedTuple):
    """Individuals of each frame, best score first; their order carries no identity.

    Attributes
    ----------
    position
        Shape (frame, individual, keypoint, 2), float32, px as the peaks; NaN where missing.
    confidence
        Shape (frame, individual, keypoint), float32: confidence of the peak; 0 where missing.
    score
        Shape (frame, individual), float32: mean affinity of the individual's edges of sufficient
        affinity, or the mean confidence if there are none, times the share of bodyparts found.
        NaN where there is no individual.
    """

    position: FloatArray
    confidence: FloatArray
    score: FloatArray


def assemble_individuals(  # noqa: PLR0913 - what is known of peaks, and the rules
    position: NDArray[np.floating],
    confidence: NDArray[np.floating],
    affinity: NDArray[np.floating],
    edges: Sequence[tuple[int, int]],
    rules: AssemblyRules,
    *,
    unique: Sequence[int] = (),
) -> Assemblies:
    """Assemble peaks into individuals.

    Frames are independent of each other. The result does not depend on the order of peaks and
    edges; among peaks of equal confidence those further left, then further up, come first.

    Parameters
    ----------
    position
        Shape (frame, keypoint, peak, 2), px of any scale; NaN where there is no peak.
    confidence
        Shape (frame, keypoint, peak); NaN where there is no peak.
    affinity
        Shape (frame, edge, peak of the first keypoint, peak of the second); NaN: never linked. 1 is
        full agreement; values of 0 and less count against a link.
    edges
        Pairs of indices on the keypoint axis, each pair once, none of a unique bodypart. Bodyparts
        that no path of edges joins go to the nearest animal if no other is nearly as near.
    rules
        Rules of assembly.
    unique
        Indices of unique bodyparts on the keypoint axis: they belong to no animal and are NaN.

    Returns
    -------
    Assemblies
        Of each bodypart, as many of the most confident peaks as there are individuals are
        assembled, and `SPARE_PEAKS` more can fill gaps; other peaks are ignored. Two animals whose
        peaks all coincide become one.

    Raises
    ------
    ValueError
        If the shapes do not fit, or edges or unique bodyparts are not as above.
    """
    _check_shapes(position, confidence, affinity, edges)
    frames, keypoints, count, _ = position.shape
    bodyparts = [place for place in range(keypoints) if place not in set(unique)]
    if len(bodyparts) != keypoints - len(unique):
        raise ValueError(f"unique bodyparts {list(unique)} are not places among {keypoints}")
    graph = make_graph(edges, bodyparts)
    rules = replace(rules, min_keypoints=min(rules.min_keypoints, len(bodyparts)))
    individuals = rules.individuals
    found = Assemblies(
        np.full((frames, individuals, keypoints, 2), np.nan, np.float32),
        np.zeros((frames, individuals, keypoints), np.float32),
        np.full((frames, individuals), np.nan, np.float32),
    )
    if not bodyparts or not count:
        return found
    nodes = len(bodyparts) * min(count, individuals)
    step = min(max(_WEIGHTS_AT_A_TIME // nodes**2, 1), _MOST_FRAMES)
    for start in range(0, frames, step):
        part = slice(start, start + step)
        points = np.asarray(position[part][:, bodyparts], np.float32)
        values = np.asarray(confidence[part][:, bodyparts], np.float32)
        there = np.isfinite(points).all(axis=-1) & (values >= rules.lowest_confidence)
        peaks = sort_peaks(
            np.where(there[..., None], points, np.float32(np.nan)),
            np.where(there, values, np.float32(-np.inf)),
            np.asarray(affinity[part], np.float32),
            graph,
            individuals + SPARE_PEAKS,
        )
        some = _assemble(peaks, graph, rules)
        found.position[part, :, bodyparts] = some.position
        found.confidence[part, :, bodyparts] = some.confidence
        found.score[part] = some.score
    return found


def _check_shapes(
    position: NDArray[np.floating],
    confidence: NDArray[np.floating],
    affinity: NDArray[np.floating],
    edges: Sequence[tuple[int, int]],
) -> None:
    frames, _, count, _ = position.shape
    expected = {
        "position": (position.shape, (*confidence.shape, 2)),
        "affinity": (affinity.shape, (frames, len(edges), count, count)),
    }
    for name, (found, wanted) in expected.items():
        if found != wanted:
            raise ValueError(f"{name} has shape {found}, expected {wanted}")


def _assemble(peaks: Peaks, graph: Graph, rules: AssemblyRules) -> Assemblies:
    """Assemble frames that have only bodyparts of animals, no unique ones."""
    sure = _leave_out_weak(peaks, graph, rules.pcutoff)
    links = link_peaks(sure, rules.individuals, rules.min_affinity)
    label = _cluster(sure, graph, links, rules)
    member = select_individuals(label, links, sure, graph, rules)
    member = exchange_keypoints(member, links, sure, graph, rules.min_affinity)
    member = fill_gaps(member, peaks, graph, rules.min_affinity)
    member, score = rank_individuals(member, peaks, graph, rules)
    return _gather(member, score, peaks)


def _leave_out_weak(peaks: Peaks, graph: Graph, pcutoff: float) -> Peaks:
    """Return the peaks with those below the cutoff missing; they were last of their bodyparts."""
    weak = peaks.confidence < pcutoff
    if not (weak & np.isfinite(peaks.confidence)).any():
        return peaks
    apart = weak[:, graph.first, :, None] | weak[:, graph.second, None, :]
    return Peaks(
        np.where(weak[..., None], np.float32(np.nan), peaks.position),
        np.where(weak, np.float32(-np.inf), peaks.confidence),
        np.where(apart, np.float32(0), peaks.affinity),
    )


def _cluster(peaks: Peaks, graph: Graph, links: FloatArray, rules: AssemblyRules) -> IntArray:
    """Return the cluster of each of the most confident peaks, shape (frame, node)."""
    present = np.isfinite(peaks.confidence[..., : rules.individuals])
    if rules.individuals == 1:
        return _take_all(present)
    label = merge_by_affinity(links, present, graph, rules.min_affinity)
    return merge_nearest(label, links, peaks, graph)


def _take_all(present: NDArray[np.bool_]) -> IntArray:
    """Put all nodes (frame, bodypart, 1) of a frame into one cluster."""
    there = present[..., 0]
    own = np.arange(there.shape[1])
    return np.where(there, there.argmax(axis=1)[:, None], own)


def _gather(member: IntArray, score: FloatArray, peaks: Peaks) -> Assemblies:
    """Look up the peaks (frame, individual, bodypart) that individuals are made of; -1: none."""
    frame = np.arange(len(member))[:, None, None]
    bodypart = np.arange(member.shape[2])
    at = (frame, bodypart, np.maximum(member, 0))
    is_there = member >= 0
    return Assemblies(
        np.where(is_there[..., None], peaks.position[at], np.float32(np.nan)),
        np.where(is_there, peaks.confidence[at], np.float32(0)),
        score,
    )
