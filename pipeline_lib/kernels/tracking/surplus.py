"""More animals than may be kept: which ones, over the whole video.

All animals are followed first, as many as the video shows. Then those are kept that are best over
the whole video, by the sum of how well they were found. So who is kept does not change from frame
to frame, and an animal that is hidden for a while is not replaced by a neighbour.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.tracking.identities import Places, Stay
from pipeline_lib.kernels.tracking.tracklet_ends import Tracklets

# A frame in so many may show more by mistake.
_FEW = 20


def count_animals(number: NDArray[np.int32], shortest: int) -> NDArray[np.int64]:
    """Count the animals in each frame, without what may be a false detection.

    Parameters
    ----------
    number
        Shape (frame, individual), int32, numbers of tracklets; -1: no pose.
    shortest
        Poses of tracklets of fewer poses do not count.

    Returns
    -------
    ndarray
        Shape (frame,), int64.
    """
    poses = np.bincount(number[number >= 0])
    is_long = np.append(poses >= shortest, np.False_)  # the number -1 finds the last
    return np.asarray(is_long[number].sum(axis=1), np.int64)


def count_usual(animals: NDArray[np.int64]) -> int:
    """Return how many animals a video shows at a time, but for a few frames.

    Parameters
    ----------
    animals
        Shape (frame,), int64, as `count_animals` returns it.

    Returns
    -------
    int
        As many as more than one in twenty show of those frames that show any; 0 if none does.
    """
    shown = np.sort(animals[animals > 0])
    return int(shown[len(shown) - 1 - len(shown) // _FEW]) if shown.size else 0


def choose_stays(stays: list[Stay], tracklets: Tracklets, most: int, shortest: int) -> list[Stay]:
    """Choose the animals to keep: at most so many at a time, the best over the whole video.

    Stays come in the order of what they are worth. Where those that came before leave no room
    throughout a stay, its longest free part is kept, if it is at least ``shortest`` frames or half
    of the stay: so an animal is not lost because others were there as well for some frames, and
    does not appear for some frames because another one is hidden.

    Parameters
    ----------
    stays
        Of all animals.
    tracklets
        All tracklets of a video.
    most
        How many may be kept at a time.
    shortest
        Frames.

    Returns
    -------
    list of Stay
        Those kept, maybe in part, in the order of their first frames. A stay needs room from its
        first to its last frame, whether the animal is found or not.
    """
    worth = np.array([tracklets.worth[list(stay.tracklets)].sum() for stay in stays])
    taken = np.zeros(max((stay.last for stay in stays), default=-1) + 1, np.int64)
    kept = []
    # Of equal ones those that appear first.
    for index in np.argsort(-worth, kind="stable").tolist():
        stay = stays[index]
        first, last = _find_longest(taken[stay.first : stay.last + 1] < most)
        length = last - first + 1
        if not length or length < min(shortest, (stay.last - stay.first + 1) / 2):
            continue
        part = _cut_stay(stay, stay.first + first, stay.first + last, tracklets)
        if part.tracklets:
            taken[part.first : part.last + 1] += 1
            kept.append(part)
    return sorted(kept, key=lambda stay: (stay.first, stay.tracklets))


def list_strangers(
    fragments: NDArray[np.int64], everyone: Places, kept: list[Stay], tracklets: Tracklets
) -> NDArray[np.int64]:
    """Return the fragments that are of animals that are not kept.

    Parameters
    ----------
    fragments
        Numbers of tracklets that are too short to be an animal for themselves.
    everyone
        Places of all animals, with the fragments that fill their gaps.
    kept
        Those kept.
    tracklets
        All tracklets of a video.
    """
    own = {number: stay for stay in kept for number in stay.tracklets}
    short = set(fragments.tolist())
    begins, ends = tracklets.head.frame, tracklets.tail.frame
    strangers = []
    for line in everyone.lines:
        solid = [number for number in line if number not in short]
        for number in line:
            if number in short:
                nearest = min(
                    solid,
                    key=lambda other: max(
                        begins[other] - ends[number], begins[number] - ends[other]
                    ),
                )
                stay = own.get(nearest)
                if stay is None or begins[number] < stay.first or ends[number] > stay.last:
                    strangers.append(number)
    return np.array(sorted(strangers), np.int64)


def _find_longest(free: NDArray[np.bool_]) -> tuple[int, int]:
    """Return first and last of the longest run of True, the earliest of equal ones; 0, -1: none."""
    turns = np.flatnonzero(np.diff(np.concatenate([[False], free, [False]]).astype(np.int8)))
    if not turns.size:
        return 0, -1
    starts, stops = turns[::2], turns[1::2]
    longest = int((stops - starts).argmax())
    return int(starts[longest]), int(stops[longest]) - 1


def _cut_stay(stay: Stay, first: int, last: int, tracklets: Tracklets) -> Stay:
    inside = tuple(
        number
        for number in stay.tracklets
        if tracklets.head.frame[number] <= last and tracklets.tail.frame[number] >= first
    )
    return replace(stay, tracklets=inside, first=first, last=last)
