"""Grow individuals along links between peaks, the strongest link first, as DeepLabCut does.

Steps 2 to 5 of `pipeline_lib.kernels.assembly.deeplabcut`, for the links of one frame.
"""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

Ends = tuple[int, int]


class Link(NamedTuple):
    """Link between two peaks, which are given by their numbers."""

    ends: Ends
    affinity: np.float32


@dataclass(eq=False)
class Individual:
    """Peaks of one individual, at most one per bodypart, and the links between them.

    Attributes
    ----------
    bodypart
        Bodypart of each peak of the frame, by the number of the peak.
    peaks, shown
        Numbers of the individual's peaks, and their bodyparts.
    links
        Links of the individual, in the order in which they were added.
    total
        Sum of the affinities of the links.
    """

    bodypart: dict[int, int]
    peaks: set[int] = field(default_factory=set)
    shown: set[int] = field(default_factory=set)
    links: list[Link] = field(default_factory=list)
    total: np.float32 = field(default_factory=lambda: np.float32(0))

    def __len__(self) -> int:
        return len(self.shown)

    def add(self, link: Link) -> bool:
        """Add a link and the peaks that it joins; return whether a peak was added."""
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


class _Growth:
    """Individuals of one frame as they grow along links.

    Attributes
    ----------
    offers
        Unused links of each peak, by the peak at the other end.
    taken
        Peaks of finished individuals.
    """

    def __init__(self, links: list[Link], bodypart: dict[int, int], size: int) -> None:
        self.bodypart, self.size = bodypart, size
        self.offers: dict[int, dict[int, Link]] = defaultdict(dict)
        self.taken: set[int] = set()
        for link in links:
            first, second = link.ends
            self.offers[first][second] = self.offers[second][first] = link

    def start(self, links: Iterable[Link]) -> Individual:
        """Return an individual made of links; those by which it grew are used up."""
        individual = Individual(self.bodypart)
        for link in links:
            if individual.add(link):
                self._use(link)
        return individual

    def grow(self, individual: Individual) -> None:
        """Add the peaks at the ends of the strongest links to free peaks, one by one."""
        reached: list[tuple[np.float32, int, Link]] = []
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
            else:  # the individual already has the bodypart of the peak in between
                continue
            if new not in self.taken:
                individual.add(link)
                reach(new)

    def finish(self, individual: Individual) -> None:
        """Reserve the peaks of an individual."""
        self.taken |= individual.peaks

    def use_all(self, individual: Individual) -> None:
        """Use up the links of an individual."""
        for link in individual.links:
            self._use(link)

    def _use(self, link: Link) -> None:
        first, second = link.ends
        self.offers[first].pop(second, None)
        self.offers[second].pop(first, None)


def grow_individuals(
    links: list[Link], bodypart: dict[int, int], size: int, wanted: int
) -> list[Individual]:
    """Grow individuals along the links of a frame.

    Parameters
    ----------
    links
        Links of the frame, edge by edge.
    bodypart
        Bodypart of each peak, by the number of the peak.
    size
        Number of bodyparts of a complete individual.
    wanted
        Number of individuals that are wanted; more may be returned.

    Returns
    -------
    list of Individual
        In the order in which they were begun.
    """
    growth = _Growth(links, bodypart, size)
    individuals = []
    for group in _find_complete(links, size):
        individuals.append(growth.start(group))
        growth.finish(individuals[-1])
    if len(individuals) == wanted:
        return individuals
    for link in sorted(links, key=lambda link: link.affinity, reverse=True):
        if growth.taken.isdisjoint(link.ends):
            individual = Individual(bodypart)
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


def _find_complete(links: list[Link], size: int) -> list[list[Link]]:
    """Return the links of each group of exactly ``size`` linked peaks.

    As in DeepLabCut, links from a later to an earlier bodypart are left out of the result, although
    they count when peaks are grouped.
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


def _unite(individuals: list[Individual], links: list[Link], size: int) -> list[Individual]:
    """Unite incomplete individuals that are joined by a link and share no bodypart."""
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


def _join(individual: Individual, other: Individual) -> None:
    """Add the links of another individual."""
    links = [*individual.links, *other.links]
    individual.peaks, individual.shown, individual.links = set(), set(), []
    individual.total = np.float32(0)
    for link in links:
        individual.add(link)
