"""Check where individuals may have been exchanged over time, and undo exchanges.

An individual is safe at a moment if a tracklet of any view spans the moment. Where two individuals
are not safe, the slots and the positions in space before and after the moment decide.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.geometry.sessions.groups import NO_GROUP, Evidence, Pieces

Numbers = NDArray[np.int64]

# Share of the evidence that the exchange may have, below which the link is certain; least
# evidence of a certain link.
_CERTAIN, _LEAST = 0.5, 0.5


def link_over_time(
    pieces: Pieces, evidence: Evidence, labels: Numbers, individuals: int
) -> list[tuple[int, int, int]]:
    """Exchange two individuals from a moment on wherever the evidence over time favours it.

    Parameters
    ----------
    pieces
        Tracklets of all views.
    evidence
        Weights between pieces that follow each other.
    labels
        Shape (piece,): individual of each piece, changed in place; -1: none.
    individuals
        Number of individuals.

    Returns
    -------
    list
        Uncertain links: the last moment before, and the two individuals.
    """
    count = int(pieces.end.max(initial=-1)) + 1
    uncertain = []
    for moment, first, second in _list_open(pieces, labels, individuals, count):
        same, crossed = _weigh(pieces, evidence, labels, moment, (first, second))
        if crossed > same:
            after = pieces.start > moment
            here, there = after & (labels == first), after & (labels == second)
            labels[here], labels[there] = second, first
            same, crossed = crossed, same
        if same < _LEAST or crossed > _CERTAIN * same:
            uncertain.append((moment, first, second))
    return uncertain


def _list_open(
    pieces: Pieces, labels: Numbers, individuals: int, count: int
) -> list[tuple[int, int, int]]:
    """Return the moments after which no tracklet spans two individuals; one for each run."""
    spanned = np.zeros((individuals, count + 1), np.int64)
    inside = np.zeros((individuals, count), dtype=bool)
    for label in range(individuals):
        own = np.flatnonzero(labels == label)
        if not len(own):
            continue
        np.add.at(spanned[label], pieces.start[own], 1)
        np.add.at(spanned[label], pieces.end[own], -1)
        inside[label, pieces.start[own].min() : pieces.end[own].max()] = True
    safe = spanned.cumsum(axis=1)[:, :-1] > 0
    found = []
    for first, second in combinations(range(individuals), 2):
        open_ = ~safe[first] & ~safe[second] & inside[first] & inside[second]
        edges = np.diff(np.concatenate([[0], open_.astype(np.int8), [0]]))
        begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
        found += [(int(a + b) // 2, first, second) for a, b in zip(begins, ends, strict=True)]
    return sorted(found)


def _weigh(
    pieces: Pieces, evidence: Evidence, labels: Numbers, moment: int, pair: tuple[int, int]
) -> tuple[float, float]:
    """Return the evidence for both individuals as they are, and for their exchange."""
    one, other = evidence.first, evidence.second
    across = (pieces.end[one] <= moment) & (pieces.start[other] > moment)
    one, other, weight = one[across], other[across], evidence.weight[across]
    before, after = labels[one], labels[other]
    known = (before != NO_GROUP) & np.isin(before, pair) & np.isin(after, pair)
    same = float(weight[known & (before == after)].sum())
    return same, float(weight[known & (before != after)].sum())
