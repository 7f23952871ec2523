"""Choose the edges between bodyparts that distinguish animals best: a data-driven skeleton.

Every edge that is kept costs two maps of the network and a matrix of affinities in each frame,
and those whose fields are hard to learn do harm. Edges are ranked by how well their affinities
separate pairs of one animal from pairs of two; the best tree over all bodyparts is kept, and as
many of the next best as wanted.

References
----------
.. [1] Lauer et al., Nature Methods 19:496, 2022: data-driven pruning of the complete graph.
.. [2] Hanley and McNeil, Radiology 143:29, 1982: the area under the ROC curve as the chance that
       a true pair ranks above a false one.
.. [3] Kruskal, Proceedings of the AMS 7:48, 1956: the best spanning tree.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet
from scipy.stats import rankdata

FloatArray = NDArray[np.floating]

# An edge of which nothing is known is worth as much as one that cannot tell pairs apart.
_UNKNOWN = 0.5


class EdgeChoice(NamedTuple):
    """Chosen edges, and the discriminability of all candidates.

    Attributes
    ----------
    edges
        Indices of the chosen candidates, ascending.
    discriminability
        Shape (candidate,), float64 in 0..1: area under the ROC curve; 0.5: chance. NaN where
        there are no true pairs or no false ones.
    """

    edges: tuple[int, ...]
    discriminability: NDArray[np.float64]


def split_pairs(affinity: FloatArray) -> tuple[list[FloatArray], list[FloatArray]]:
    """Split affinities between labelled points into pairs of one animal and pairs of two.

    Parameters
    ----------
    affinity
        Shape (frame, edge, individual, individual): affinities measured between labelled points
        instead of peaks, the peak axis being that of individuals; NaN where a point is missing.

    Returns
    -------
    same, different
        One array for each edge, shape (pair,), without NaN.
    """
    own = np.eye(affinity.shape[-1], dtype=np.bool_)
    known = np.isfinite(affinity)
    edges = range(affinity.shape[1])
    return (
        [affinity[:, edge][known[:, edge] & own] for edge in edges],
        [affinity[:, edge][known[:, edge] & ~own] for edge in edges],
    )


def discriminability(same: FloatArray, different: FloatArray) -> float:
    """Return the chance that a pair of one animal has a greater affinity than one of two.

    Parameters
    ----------
    same, different
        Shape (pair,): affinities of pairs of one animal, and of two; NaN is left out.

    Returns
    -------
    float
        0..1, ties counting half: the area under the ROC curve. NaN if either is empty.
    """
    same, different = same[np.isfinite(same)], different[np.isfinite(different)]
    if not same.size or not different.size:
        return float("nan")
    rank = rankdata(np.concatenate([same, different]))
    below = rank[: same.size].sum() - same.size * (same.size + 1) / 2
    return float(below / (same.size * different.size))


def choose_edges(
    candidates: Sequence[tuple[int, int]],
    same: Sequence[FloatArray],
    different: Sequence[FloatArray],
    *,
    bodyparts: Sequence[int],
    further: int = 0,
) -> EdgeChoice:
    """Choose the fewest edges that connect all bodyparts and tell animals apart best.

    Parameters
    ----------
    candidates
        Pairs of places on the keypoint axis.
    same, different
        For each candidate, affinities (pair,) of pairs of one animal and of two; see
        `split_pairs`. Where one is empty (one animal only, or never both points labelled) the
        edge counts as no better than chance.
    bodyparts
        Positions on the keypoint axis that are to be connected.
    further
        How many of the next best edges are added to the tree.

    Returns
    -------
    EdgeChoice
        The maximum spanning tree by discriminability, and the further edges; of equally good
        ones those with the lower places, so that the order of candidates plays no part.

    Raises
    ------
    ValueError
        If the candidates do not connect the bodyparts, or join others.
    """
    for pair in candidates:
        if not set(pair) <= set(bodyparts):
            raise ValueError(f"candidate {pair} joins other bodyparts than {list(bodyparts)}")
    quality = np.array([discriminability(*pair) for pair in zip(same, different, strict=True)])
    value = np.where(np.isnan(quality), _UNKNOWN, quality)
    ranked = sorted(
        range(len(candidates)), key=lambda edge: (-value[edge], *sorted(candidates[edge]))
    )
    joined = DisjointSet(bodyparts)
    tree = [edge for edge in ranked if joined.merge(*candidates[edge])]
    if joined.n_subsets > 1:
        parts = [sorted(part) for part in joined.subsets()]
        raise ValueError(f"the candidates do not connect the bodyparts: {parts} stay apart")
    rest = [edge for edge in ranked if edge not in set(tree)]
    return EdgeChoice(tuple(sorted(tree + rest[:further])), quality)
