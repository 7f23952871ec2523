"""Group tracklets that show one animal: correlation clustering under constraints.

Positive weights join two tracklets, negative weights keep them apart, and tracklets of one view
that overlap in time are never joined. Groups are merged greedily, most evidence first; the weights
of merged groups add up (greedy additive edge contraction, Keuper et al. 2015). A merge is decided
by all evidence between two groups, of every pair of views and every moment, so that the views stay
consistent. Then single tracklets are moved or exchanged as long as this raises the total (Kernighan
and Lin 1970).
"""

import heapq
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

NO_GROUP = -1
# A gain below this is rounding.
_SMALLEST = 1e-9
_PASSES = 20


@dataclass(frozen=True)
class Pieces:
    """Hold the tracklets of all views: `view`, `start` and `end` (inclusive), each (piece,)."""

    view: Numbers
    start: Numbers
    end: Numbers


@dataclass(frozen=True)
class Evidence:
    """Hold weights between pieces: `first`, `second` and `weight`, each (pair,)."""

    first: Numbers
    second: Numbers
    weight: Floats


def merge_pieces(pieces: Pieces, evidence: Evidence, start: Numbers | None = None) -> Numbers:
    """Merge pieces greedily.

    Parameters
    ----------
    pieces
        What to group.
    evidence
        Weights; several of one pair add up.
    start
        Shape (piece,): initial groups; None: each piece is a group.

    Returns
    -------
    NDArray[np.int64]
        Shape (piece,): groups, numbered in the order of their first piece.
    """
    count = len(pieces.view)
    group = np.arange(count) if start is None else np.unique(start, return_inverse=True)[1]
    times: list[dict[int, list[tuple[int, int]]]] = [{} for _ in range(group.max(initial=-1) + 1)]
    columns = (group, pieces.view, pieces.start, pieces.end)
    for number, view, begin, end in zip(*(one.tolist() for one in columns), strict=True):
        insort(times[number].setdefault(view, []), (begin, end))
    weights: list[dict[int, float]] = [defaultdict(float) for _ in times]
    for first, second, weight in zip(
        group[evidence.first].tolist(),
        group[evidence.second].tolist(),
        evidence.weight.tolist(),
        strict=True,
    ):
        if first != second:
            weights[first][second] += weight
            weights[second][first] += weight
    parent = _contract(times, weights)
    merged = np.array([parent[number] for number in group.tolist()], np.int64)
    return _renumber(merged)


def _contract(
    times: list[dict[int, list[tuple[int, int]]]], weights: list[dict[int, float]]
) -> list[int]:
    parent = list(range(len(times)))
    heap = [
        (-weight, first, second)
        for first, row in enumerate(weights)
        for second, weight in row.items()
        if first < second and weight > _SMALLEST
    ]
    heapq.heapify(heap)
    members = [[number] for number in parent]
    while heap:
        weight, first, second = heapq.heappop(heap)
        # Groups that were merged or changed since have another entry.
        if weights[first].get(second) != -weight:
            continue
        if _overlap(times[first], times[second]):
            del weights[first][second], weights[second][first]
            weights[first][second] = weights[second][first] = -np.inf
            continue
        if len(weights[first]) < len(weights[second]):
            first, second = second, first
        _join_times(times[first], times[second])
        for member in members[second]:
            parent[member] = first
        members[first] += members[second]
        del weights[first][second]
        for other, its in weights[second].items():
            if other == first:
                continue
            total = weights[first].get(other, 0.0) + its
            weights[first][other] = weights[other][first] = total
            del weights[other][second]
            if total > _SMALLEST:
                heapq.heappush(heap, (-total, min(first, other), max(first, other)))
        weights[second] = {}
        times[second] = {}
    return parent


def _overlap(
    first: Mapping[int, Sequence[tuple[int, int]]], second: Mapping[int, Sequence[tuple[int, int]]]
) -> bool:
    """Tell whether two groups have pieces of one view at one moment."""
    for view in first.keys() & second.keys():
        few, many = sorted((first[view], second[view]), key=len)
        for begin, end in few:
            index = bisect_left(many, (begin, begin))
            if index < len(many) and many[index][0] <= end:
                return True
            if index and many[index - 1][1] >= begin:
                return True
    return False


def _join_times(
    target: dict[int, list[tuple[int, int]]], source: Mapping[int, Sequence[tuple[int, int]]]
) -> None:
    for view, intervals in source.items():
        own = target.setdefault(view, [])
        own += intervals
        own.sort()


def _renumber(groups: Numbers) -> Numbers:
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


class Assignment:
    """Assign pieces to a fixed number of labels, and improve the assignment.

    Parameters
    ----------
    pieces, evidence
        As for `merge_pieces`.
    labels
        Shape (piece,): label of each piece; -1: none. Pieces of one view at one moment have
        different labels.
    count
        Number of labels.
    """

    def __init__(self, pieces: Pieces, evidence: Evidence, labels: Numbers, count: int) -> None:
        self.labels = labels.astype(np.int64)
        self._count = count
        self._near: list[dict[int, float]] = [{} for _ in labels]
        for first, second, weight in zip(
            evidence.first.tolist(),
            evidence.second.tolist(),
            evidence.weight.tolist(),
            strict=True,
        ):
            self._near[first][second] = self._near[first].get(second, 0.0) + weight
            self._near[second][first] = self._near[second].get(first, 0.0) + weight
        self._rivals = _find_rivals(pieces)

    def score(self, piece: int) -> Floats:
        """Return the evidence that a piece belongs to each label; shape (label,)."""
        total = np.zeros(self._count)
        for other, weight in self._near[piece].items():
            label = self.labels[other]
            if label != NO_GROUP:
                total[label] += weight
        return total

    def improve(self) -> int:
        """Move and exchange pieces while this raises the evidence; return the number of moves."""
        moves = 0
        for _ in range(_PASSES):
            before = moves
            for piece in range(len(self.labels)):
                if self._near[piece]:
                    moves += self._improve(piece)
            if moves == before:
                break
        return moves

    def drop_strangers(self) -> int:
        """Remove pieces from labels that they disagree with, worst first; return their number."""
        dropped = 0
        for _ in range(_PASSES):
            against = [
                (float(self.score(piece)[label]), piece)
                for piece, label in enumerate(self.labels.tolist())
                if label != NO_GROUP
            ]
            worst: set[int] = set()
            for score, piece in sorted(against):
                if score >= -_SMALLEST:
                    break
                # A piece that disagrees with a stranger need not be one itself.
                if not worst.intersection(self._near[piece]):
                    self.labels[piece] = NO_GROUP
                    worst.add(piece)
            dropped += len(worst)
            if not worst:
                break
        return dropped

    def _improve(self, piece: int) -> bool:
        own, scores = int(self.labels[piece]), self.score(piece)
        best, gain = None, _SMALLEST
        for label in range(self._count):
            if label == own:
                continue
            found = self.weigh_exchange(piece, label, scores)
            if found > gain:
                best, gain = label, found
        if best is None:
            return False
        for rival in self._list_rivals(piece, best):
            self.labels[rival] = own
        self.labels[piece] = best
        return True

    def weigh_exchange(self, piece: int, label: int, scores: Floats | None = None) -> float:
        """Return the evidence gained if a piece gets another label.

        The overlapping pieces of its view that have this label get the label of the piece instead;
        minus infinity if they cannot.
        """
        own = int(self.labels[piece])
        scores = self.score(piece) if scores is None else scores
        gain = float(scores[label] - (scores[own] if own != NO_GROUP else 0.0))
        for rival in self._list_rivals(piece, label):
            if own != NO_GROUP and any(
                self.labels[other] == own and other != piece for other in self._rivals[rival]
            ):
                return -np.inf
            its = self.score(rival)
            gain += float((its[own] if own != NO_GROUP else 0.0) - its[label])
        return gain

    def _list_rivals(self, piece: int, label: int) -> list[int]:
        return [other for other in self._rivals[piece] if self.labels[other] == label]


def _find_rivals(pieces: Pieces) -> list[list[int]]:
    """Return for each piece the pieces of its view that overlap with it in time."""
    rivals: list[list[int]] = [[] for _ in pieces.view]
    for view in np.unique(pieces.view):
        own = np.flatnonzero(pieces.view == view)
        own = own[np.argsort(pieces.start[own], kind="stable")]
        active: list[int] = []
        for piece in own.tolist():
            active = [other for other in active if pieces.end[other] >= pieces.start[piece]]
            for other in active:
                rivals[piece].append(other)
                rivals[other].append(piece)
            active.append(piece)
    return rivals
