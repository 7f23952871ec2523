"""Filling the gaps of tracks with what is too short to be an animal for itself."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.tracking.identities import Places
from pipeline_lib.kernels.tracking.pairing import measure_rivals, pair_frames
from pipeline_lib.kernels.tracking.stitching import JoinRules, compare_tracklets
from pipeline_lib.kernels.tracking.tracklet_ends import Tracklets


def fill_gaps(
    places: Places,
    tracklets: Tracklets,
    fragments: NDArray[np.int64],
    rules: JoinRules,
    max_rival: float,
) -> None:
    """Give fragments to the animals that are missing where they are.

    Fragments are what is too short to be an animal for itself: it may be a false detection, or
    an animal between others. It becomes the animal that it is most like, if that is not found in
    its frames and is at other times near enough.

    Parameters
    ----------
    places
        Of the other tracklets; receives those of fragments.
    tracklets
        All tracklets of a video.
    fragments
        Shape (fragment,), their numbers, ascending.
    rules
        How alike they must be.
    max_rival
        As in `pipeline_lib.kernels.tracking.identities.DoubtRules`.
    """
    begins, ends = tracklets.head.frame, tracklets.tail.frame
    for group in _group_open(places, tracklets, fragments):
        similarity = np.stack(
            [_fit_lines(places, tracklets, number, rules) for number in group], axis=0
        )[None]
        partner = pair_frames(similarity, rules.min_similarity)
        rivals = measure_rivals(similarity, partner)[0]
        for number, home, rival in zip(group, partner[0].tolist(), rivals.tolist(), strict=True):
            if home < 0:
                continue
            line = places.lines[home]
            line.insert(_find_slot(places, begins, home, number), number)
            places.of[number] = home
            if rival > max_rival:
                places.doubts.append((number, int(begins[number]), int(ends[number])))


def _group_open(
    places: Places, tracklets: Tracklets, fragments: NDArray[np.int64]
) -> Iterator[list[int]]:
    """Yield the fragments that have a free place, those with the same first frame together."""
    begins, ends = tracklets.head.frame, tracklets.tail.frame
    if not len(fragments):
        return
    taken = np.zeros(int(ends.max()) + 2, np.int64)
    housed = np.flatnonzero(places.of >= 0)
    np.add.at(taken, begins[housed], 1)
    np.add.at(taken, ends[housed] + 1, -1)
    taken = np.cumsum(taken)
    free = (taken[begins[fragments]] < len(places.lines)) & (
        taken[ends[fragments]] < len(places.lines)
    )
    group: list[int] = []
    for number in fragments[free].tolist():
        if group and begins[group[0]] != begins[number]:
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def _find_slot(places: Places, begins: NDArray[np.int64], home: int, number: int) -> int:
    """Return where in a place's line a tracklet belongs."""
    line, frame = places.lines[home], int(begins[number])
    low, high = 0, len(line)
    while low < high:
        middle = (low + high) // 2
        if begins[line[middle]] <= frame:
            low = middle + 1
        else:
            high = middle
    return low


def _fit_lines(
    places: Places, tracklets: Tracklets, number: int, rules: JoinRules
) -> NDArray[np.float64]:
    """Return how well a fragment fits the animal of each place; 0 where it is found meanwhile."""
    begins, ends = tracklets.head.frame, tracklets.tail.frame
    total, sides = np.zeros(len(places.lines)), np.zeros(len(places.lines))
    pairs: list[tuple[int, int, int]] = []
    for home, line in enumerate(places.lines):
        slot = _find_slot(places, begins, home, number)
        before, after = line[slot - 1 : slot], line[slot : slot + 1]
        if (before and ends[before[0]] >= begins[number]) or (
            after and begins[after[0]] <= ends[number]
        ):
            continue
        # Before an animal appears and after it is lost, only what is quite near.
        limit = rules.max_gap if before and after else rules.persistence + 1
        if before and begins[number] - ends[before[0]] <= limit:
            pairs.append((home, before[0], number))
        if after and begins[after[0]] - ends[number] <= limit:
            pairs.append((home, number, after[0]))
    if pairs:
        home_of, first, second = np.array(pairs).T
        np.add.at(total, home_of, compare_tracklets(tracklets, first, second, rules))
        np.add.at(sides, home_of, 1.0)
    return total / np.maximum(sides, 1.0)
