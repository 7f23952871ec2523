"""Assemble peaks as DeepLabCut's Assembler does: the strongest links first, frame by frame.

Detections of DeepLabCut are assembled into the same individuals, including frames with more animals
than wanted and with contradictory links, in these steps:

1. Along each edge the most confident peaks, as many as there are individuals, are linked one to
   one with the greatest sum of affinities.
2. A group of linked peaks with as many peaks as there are bodyparts is an individual.
3. If there are not enough individuals yet, the strongest remaining link begins a new one. It grows
   along the strongest link that leaves it, provided that the peak at its end is free and the
   individual lacks that bodypart; and so on.
4. If there are too many individuals, incomplete ones that are joined by a link and share no
   bodypart are united.
5. Incomplete individuals grow once more along the remaining links.
6. Individuals with too few links are dropped. Of overlapping individuals the one with the greatest
   sum of affinities is kept; if there are still too many, those with the most keypoints are kept.

Only links by which an individual grew count in its sum of affinities, which decides on the last
step. Ties are resolved in the order in which DeepLabCut processes links.

References
----------
.. [1] Lauer et al., Nature Methods 19:496, 2022: data-driven assembly of animals. Behaviour as
   of `Assembler` in DeepLabCut 2.2 to 3.0 without calibration, identities and window.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.assembly.assemble import Assemblies
from pipeline_lib.kernels.assembly.deeplabcut_growth import (
    Ends,
    Individual,
    Link,
    grow_individuals,
)
from pipeline_lib.kernels.assignment import assign_most


@dataclass(frozen=True)
class DeepLabCutRules:
    """Rules of DeepLabCut's assembly.

    Attributes
    ----------
    individuals
        Largest number of animals in a frame. If it is 1, the most confident peak of each bodypart
        is taken, regardless of its confidence and of links.
    pcutoff
        Peaks of a lower confidence are not linked.
    min_affinity
        Pairs of a lower affinity are not linked.
    min_links
        Individuals with fewer links are dropped; capped at one less than the number of bodyparts,
        with which DeepLabCut would find nothing.
    max_overlap
        Above 0 and below 1: of two individuals that both have at least this share of their
        keypoints in the rectangle that is common to both, only the better one is kept.
    """

    individuals: int
    pcutoff: float
    min_affinity: float
    min_links: int
    max_overlap: float


class _Frame(NamedTuple):
    """Peaks of one frame.

    Attributes
    ----------
    position
        Shape (keypoint, peak, 2), px.
    confidence, number
        Shape (keypoint, peak).
    affinity
        Shape (edge, peak, peak).
    best
        For each keypoint the indices of its peaks, the most confident first.
    """

    position: NDArray[np.floating]
    confidence: NDArray[np.floating]
    number: NDArray[np.integer]
    affinity: NDArray[np.floating]
    best: list[list[int]]


def assemble_as_deeplabcut(  # noqa: PLR0913 - what is known of peaks, and the rules
    position: NDArray[np.floating],
    confidence: NDArray[np.floating],
    affinity: NDArray[np.floating],
    edges: Sequence[Ends],
    rules: DeepLabCutRules,
    *,
    unique: Sequence[int] = (),
    number: NDArray[np.integer] | None = None,
) -> Assemblies:
    """Assemble peaks into the individuals that DeepLabCut finds.

    Parameters
    ----------
    position
        Shape (frame, keypoint, peak, 2), px; NaN where there is no peak.
    confidence
        Shape (frame, keypoint, peak); NaN where there is no peak.
    affinity
        Shape (frame, edge, peak of the first keypoint, peak of the second); NaN: 0.
    edges
        Pairs of indices on the keypoint axis, in DeepLabCut's order and direction.
    rules
        Rules of assembly.
    unique
        Indices of unique bodyparts on the keypoint axis: they belong to no animal and are NaN.
    number
        Shape (frame, keypoint, peak), int, DeepLabCut's number of each peak in its frame, by which
        it resolves most ties. None: the order of the arrays.

    Returns
    -------
    Assemblies
        Individuals in DeepLabCut's order; their score is the sum of the affinities of the links
        by which they grew, or their mean confidence where no links were asked for.
    """
    frames, keypoints, count = confidence.shape
    bodyparts = [place for place in range(keypoints) if place not in set(unique)]
    if number is None:
        number = np.broadcast_to(
            np.arange(keypoints * count).reshape(keypoints, count), confidence.shape
        )
    found = Assemblies(
        np.full((frames, rules.individuals, keypoints, 2), np.nan, np.float32),
        np.zeros((frames, rules.individuals, keypoints), np.float32),
        np.full((frames, rules.individuals), np.nan, np.float32),
    )
    rules = replace(rules, min_links=min(rules.min_links, len(bodyparts) - 1))
    there = np.isfinite(position).all(axis=-1) & np.isfinite(confidence)
    order = np.lexsort((number, np.where(there, -confidence, np.inf)))
    peaks = there.sum(axis=-1)
    for line in range(frames):
        best = [order[line, part, : peaks[line, part]].tolist() for part in range(keypoints)]
        frame = _Frame(position[line], confidence[line], number[line], affinity[line], best)
        for place, (score, members) in enumerate(_assemble(frame, edges, rules, bodyparts)):
            part, peak = list(members), list(members.values())
            found.position[line, place, part] = position[line, part, peak]
            found.confidence[line, place, part] = confidence[line, part, peak]
            found.score[line, place] = score
    return found


def _assemble(
    frame: _Frame, edges: Sequence[Ends], rules: DeepLabCutRules, bodyparts: list[int]
) -> list[tuple[float, dict[int, int]]]:
    """Return score and peaks, keypoint by keypoint, of the individuals of a frame."""
    if len(bodyparts) == 1:
        (part,) = bodyparts
        groups = [{part: peak} for peak in _keep_peaks(frame, part, rules)]
    elif rules.individuals == 1:
        groups = [{part: frame.best[part][0] for part in bodyparts if frame.best[part]}]
    else:
        known = {
            int(frame.number[part, peak]): (part, peak)
            for part in bodyparts
            for peak in frame.best[part]
        }
        bodypart = {peak: part for peak, (part, _) in known.items()}
        links = _link(frame, edges, rules)
        grown = grow_individuals(links, bodypart, len(bodyparts), rules.individuals)
        kept = _select(grown, known, frame.position, rules)
        return [(float(one.total), dict(known[peak] for peak in one.peaks)) for one in kept]
    return [
        (float(np.mean([frame.confidence[place] for place in group.items()])), group)
        for group in groups
        if group
    ]


def _keep_peaks(frame: _Frame, part: int, rules: DeepLabCutRules) -> list[int]:
    """Return the most confident peaks of a bodypart that are confident enough."""
    best = frame.best[part][: rules.individuals]
    return [peak for peak in best if frame.confidence[part, peak] >= rules.pcutoff]


def _link(frame: _Frame, edges: Sequence[Ends], rules: DeepLabCutRules) -> list[Link]:
    """Link peaks one to one along each edge so that the sum of affinities is largest."""
    links = []
    for (first, second), all_pairs in zip(edges, frame.affinity, strict=True):
        rows, columns = (_keep_peaks(frame, part, rules) for part in (first, second))
        pairs = all_pairs[np.ix_(rows, columns)]
        if not np.isfinite(pairs).any():
            continue
        pairs = np.nan_to_num(pairs, nan=0.0)
        # Weak pairs count in the sum but are not linked.
        for row, column in zip(*assign_most(pairs), strict=True):
            if pairs[row, column] >= rules.min_affinity:
                ends = frame.number[first, rows[row]], frame.number[second, columns[column]]
                links.append(Link((int(ends[0]), int(ends[1])), pairs[row, column]))
    return links


def _select(
    individuals: list[Individual],
    known: dict[int, Ends],
    position: NDArray[np.floating],
    rules: DeepLabCutRules,
) -> list[Individual]:
    """Return individuals with enough links and without overlap, the best ones if too many."""
    kept = [one for one in individuals if len(one.links) >= rules.min_links and len(one)]
    if 0 < rules.max_overlap < 1:
        kept = _drop_overlapping(kept, known, position, rules.max_overlap)
    if len(kept) > rules.individuals:
        kept = sorted(kept, key=len, reverse=True)[: rules.individuals]
    return kept


def _drop_overlapping(
    individuals: list[Individual],
    known: dict[int, Ends],
    position: NDArray[np.floating],
    most: float,
) -> list[Individual]:
    """Drop individuals that overlap too much with one of a greater sum of affinities."""
    kept: list[Individual] = []
    points: list[NDArray[np.floating]] = []
    for one in sorted(individuals, key=lambda one: one.total, reverse=True):
        point = np.array([position[known[peak]] for peak in one.peaks])
        if all(_measure_overlap(point, other) < most for other in points):
            kept.append(one)
            points.append(point)
    return kept


def _measure_overlap(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return the lower of both shares of keypoints that lie in the common rectangle."""
    low = np.maximum(one.min(axis=0), other.min(axis=0))
    high = np.minimum(one.max(axis=0), other.max(axis=0))
    if (high < low).any():
        return 0.0
    return min(
        float(((point >= low) & (point <= high)).all(axis=1).mean()) for point in (one, other)
    )
