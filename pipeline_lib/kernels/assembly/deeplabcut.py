"""Assembly as DeepLabCut's Assembler does it: the strongest links first, frame by frame.

People who come with detections of DeepLabCut get the individuals that they know, also where a
frame shows more animals than are wanted and links contradict each other. Then all of this matters:

1. Along each edge the most confident peaks, as many as there are individuals, are linked one to
   one with the greatest sum of affinities.
2. Linked peaks that are as many as there are bodyparts are an individual.
3. Unless these are as many as wanted, the strongest link that is left begins an individual, which
   takes in the peak at the end of the strongest link that leaves it, unless it has that bodypart
   already or the peak is taken; and so on.
4. Where there are more than wanted, incomplete ones that a link joins and that have no bodypart
   in common become one.
5. Incomplete ones grow once more along links that are left.
6. Individuals of too few links are dropped. Of those that overlap the one with the greatest sum of
   affinities is kept; where there are still too many, those of the most keypoints are.

Only links that took part in an individual's growth count in its sum: this decides who is kept.
Equal affinities are taken in the order in which DeepLabCut comes upon them.

References
----------
.. [1] Lauer et al., Nature Methods 19:496, 2022: data-driven assembly of animals. Behaviour as
   of `Assembler` in DeepLabCut 2.2 to 3.0 without calibration, identities and window.
"""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline_lib.kernels.assembly.assemble import Assemblies

Ends = tuple[int, int]


@dataclass(frozen=True)
class DeepLabCutRules:
    """What individuals are made of, in DeepLabCut's terms.

    Attributes
    ----------
    individuals
        Most animals in a frame. With one, the most confident peak of each bodypart is taken,
        however little that is, whatever the links.
    pcutoff
        Peaks of a lower confidence are not linked.
    min_affinity
        Pairs of a lower affinity are not linked.
    min_links
        Individuals of fewer links are dropped; at most one less than there are bodyparts is
        asked for, where DeepLabCut would find nothing.
    max_overlap
        Above 0 and below 1: of two individuals that both have at least this share of their
        keypoints in the rectangle that is common to both, only the better one is kept.
    """

    individuals: int
    pcutoff: float
    min_affinity: float
    min_links: int
    max_overlap: float


class _Link(NamedTuple):
    """Two peaks, by their numbers, that an edge links."""

    ends: Ends
    affinity: np.float32


class _Frame(NamedTuple):
    """What was found in a frame.

    Attributes
    ----------
    position
        Shape (keypoint, peak, 2), px.
    confidence, number
        Shape (keypoint, peak).
    affinity
        Shape (edge, peak, peak).
    best
        For each keypoint the places of its peaks, the most confident first.
    """

    position: NDArray[np.floating]
    confidence: NDArray[np.floating]
    number: NDArray[np.integer]
    affinity: NDArray[np.floating]
    best: list[list[int]]


@dataclass(eq=False)
class _Individual:
    """Peaks that belong together, at most one of each bodypart, and the links that say so."""

    bodypart: dict[int, int]
    peaks: set[int] = field(default_factory=set)
    shown: set[int] = field(default_factory=set)
    links: list[_Link] = field(default_factory=list)
    total: np.float32 = field(default_factory=lambda: np.float32(0))

    def __len__(self) -> int:
        return len(self.shown)

    def add(self, link: _Link) -> bool:
        """Take in what a link joins; return whether that made it grow."""
        parts = [self.bodypart[end] for end in link.ends]
        is_known = self.peaks.issuperset(link.ends)
        if not is_known and self.shown.issuperset(parts):
            return False
        for end, part in zip(link.ends, parts, strict=True):
            if part not in self.shown:
                self.shown.add(part)
                self.peaks.add(end)
        self.links.append(link)
        self.total += link.affinity
        return not is_known


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
    """Put peaks together to the individuals that DeepLabCut finds.

    Parameters
    ----------
    position
        Shape (frame, keypoint, peak, 2), px; NaN where there is no peak.
    confidence
        Shape (frame, keypoint, peak); NaN where there is no peak.
    affinity
        Shape (frame, edge, peak of the first keypoint, peak of the second); NaN: 0.
    edges
        Pairs of places on the keypoint axis, in DeepLabCut's order and direction.
    rules
        What individuals are made of.
    unique
        Places of unique bodyparts on the keypoint axis: they belong to no animal and are NaN.
    number
        Shape (frame, keypoint, peak), DeepLabCut's number of each peak in its frame: of equal
        peaks and links those of lower numbers mostly come first. None: the order of the arrays.

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
        grown = _grow_all(links, bodypart, len(bodyparts), rules.individuals)
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


def _link(frame: _Frame, edges: Sequence[Ends], rules: DeepLabCutRules) -> list[_Link]:
    """Link peaks along each edge, one to one, so that their affinities have the greatest sum."""
    links = []
    for (first, second), all_pairs in zip(edges, frame.affinity, strict=True):
        rows, columns = (_keep_peaks(frame, part, rules) for part in (first, second))
        pairs = all_pairs[np.ix_(rows, columns)]
        if not np.isfinite(pairs).any():
            continue
        pairs = np.nan_to_num(pairs, nan=0.0)
        # Too weak ones count in the sum, but make no link.
        for row, column in zip(*linear_sum_assignment(pairs, maximize=True), strict=True):
            if pairs[row, column] >= rules.min_affinity:
                ends = frame.number[first, rows[row]], frame.number[second, columns[column]]
                links.append(_Link((int(ends[0]), int(ends[1])), pairs[row, column]))
    return links


class _Growth:
    """Individuals of one frame as they grow along links.

    Attributes
    ----------
    offers
        For each peak the links to others that have not been used.
    taken
        Peaks of individuals that have grown.
    """

    def __init__(self, links: list[_Link], bodypart: dict[int, int], size: int) -> None:
        self.bodypart, self.size = bodypart, size
        self.offers: dict[int, dict[int, _Link]] = defaultdict(dict)
        self.taken: set[int] = set()
        for link in links:
            first, second = link.ends
            self.offers[first][second] = self.offers[second][first] = link

    def start(self, links: Iterable[_Link]) -> _Individual:
        """Return an individual of links; those that made it grow are used."""
        individual = _Individual(self.bodypart)
        for link in links:
            if individual.add(link):
                self._use(link)
        return individual

    def grow(self, individual: _Individual) -> None:
        """Take in the peak at the end of the strongest link that leads to a free one."""
        reached: list[tuple[np.float32, int, _Link]] = []
        seen: set[Ends] = set()
        count = itertools.count()

        def reach(peak: int) -> None:
            for other, link in self.offers[peak].items():
                if other not in individual.peaks and link.ends not in seen:
                    seen.add(link.ends)
                    heapq.heappush(reached, (-link.affinity, next(count), link))

        for peak in individual.peaks:
            reach(peak)
        while reached and len(individual) < self.size:
            link = heapq.heappop(reached)[2]
            first, second = link.ends
            if first in individual.peaks:
                new = second
            elif second in individual.peaks:
                new = first
            else:  # reached from a peak whose bodypart was there already
                continue
            if new not in self.taken:
                individual.add(link)
                reach(new)

    def finish(self, individual: _Individual) -> None:
        """Let nobody else have the peaks of an individual."""
        self.taken |= individual.peaks

    def use_all(self, individual: _Individual) -> None:
        """Offer the links of an individual no more."""
        for link in individual.links:
            self._use(link)

    def _use(self, link: _Link) -> None:
        first, second = link.ends
        self.offers[first].pop(second, None)
        self.offers[second].pop(first, None)


def _grow_all(
    links: list[_Link], bodypart: dict[int, int], size: int, wanted: int
) -> list[_Individual]:
    """Return individuals of as many as ``size`` bodyparts, in the order in which they arise."""
    growth = _Growth(links, bodypart, size)
    individuals = []
    for group in _find_complete(links, size):
        individuals.append(growth.start(group))
        growth.finish(individuals[-1])
    if len(individuals) == wanted:
        return individuals
    for link in sorted(links, key=lambda link: link.affinity, reverse=True):
        if growth.taken.isdisjoint(link.ends):
            individual = _Individual(bodypart)
            individual.add(link)
            growth.grow(individual)
            growth.use_all(individual)
            growth.finish(individual)
            individuals.append(individual)
    if len(individuals) > wanted:
        individuals = _unite(individuals, links, size)
    for individual in individuals:
        if len(individual) < size:
            growth.grow(individual)
            growth.finish(individual)
    return individuals


def _find_complete(links: list[_Link], size: int) -> list[list[_Link]]:
    """Return the links of those groups of linked peaks that are as many as ``size``.

    As in DeepLabCut, edges that run from a later to an earlier bodypart do not count in such
    groups, though they do when it is told which peaks belong to them.
    """
    group: dict[int, set[int]] = {}
    for link in links:
        first, second = (group.setdefault(end, {end}) for end in link.ends)
        if first is not second:
            first |= second
            for peak in second:
                group[peak] = first
    complete = {id(peaks): peaks for peaks in group.values() if len(peaks) == size}
    return [
        [link for link in links if link.ends[0] in peaks and link.ends[0] < link.ends[1]]
        for peaks in complete.values()
    ]


def _unite(individuals: list[_Individual], links: list[_Link], size: int) -> list[_Individual]:
    """Make one of each two incomplete individuals that a link joins and no bodypart opposes."""
    owner = {
        peak: individual
        for individual in individuals
        if len(individual) < size
        for peak in individual.peaks
    }
    used = {link.ends for individual in individuals for link in individual.links}
    left = list(individuals)
    for link in links:
        first, second = (owner.get(end) for end in link.ends)
        if link.ends in used or first is None or second is None:
            continue
        if first.shown.isdisjoint(second.shown):
            left.remove(second)
            _join(first, second)
            owner |= dict.fromkeys(second.peaks, first)
    return left


def _join(individual: _Individual, other: _Individual) -> None:
    """Add the links of another one."""
    links = [*individual.links, *other.links]
    individual.peaks, individual.shown, individual.links = set(), set(), []
    individual.total = np.float32(0)
    for link in links:
        individual.add(link)


def _select(
    individuals: list[_Individual],
    known: dict[int, Ends],
    position: NDArray[np.floating],
    rules: DeepLabCutRules,
) -> list[_Individual]:
    """Return those of enough links that do not overlap, the best ones if there are too many."""
    kept = [one for one in individuals if len(one.links) >= rules.min_links and len(one)]
    if 0 < rules.max_overlap < 1:
        kept = _drop_overlapping(kept, known, position, rules.max_overlap)
    if len(kept) > rules.individuals:
        kept = sorted(kept, key=len, reverse=True)[: rules.individuals]
    return kept


def _drop_overlapping(
    individuals: list[_Individual],
    known: dict[int, Ends],
    position: NDArray[np.floating],
    most: float,
) -> list[_Individual]:
    """Drop those that overlap too much with one of a greater sum of affinities."""
    kept: list[_Individual] = []
    points: list[NDArray[np.floating]] = []
    for one in sorted(individuals, key=lambda one: one.total, reverse=True):
        point = np.array([position[known[peak]] for peak in one.peaks])
        if all(_measure_overlap(point, other) < most for other in points):
            kept.append(one)
            points.append(point)
    return kept


def _measure_overlap(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return the share of keypoints in the rectangle common to both, of who has the lower one."""
    low = np.maximum(one.min(axis=0), other.min(axis=0))
    high = np.minimum(one.max(axis=0), other.max(axis=0))
    if (high < low).any():
        return 0.0
    return min(
        float(((point >= low) & (point <= high)).all(axis=1).mean()) for point in (one, other)
    )
