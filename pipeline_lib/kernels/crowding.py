"""Gaps of tracklets in a crowd: where there are more tracklets at a time than animals.

A tracklet that was linked across a gap holds a place meanwhile. Where all places are held and
another tracklet of some length is there as well, it may be that very animal: then what lies before
the gap and what lies behind it are tracklets of their own, and joined again, or not, by those who
see the whole video.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.links import Links


def cut_crowded(links: Links, number: NDArray[np.int32], individuals: int, shortest: int) -> Links:
    """Cut links across gaps in which there are more tracklets than animals.

    Parameters
    ----------
    links
        Of a whole video.
    number
        Shape (frame, individual), int32, numbers of the tracklets that they make; -1: no pose.
    individuals
        Most animals at a time.
    shortest
        Tracklets of fewer poses do not count: they may be false detections.

    Returns
    -------
    Links
        Without those in whose gap, in any frame of it, more than so many tracklets have begun
        and not yet ended.
    """
    crowded = count_tracklets(number, shortest) > individuals
    frame, place = np.nonzero(links.step > 1)
    before = np.concatenate([[0], np.cumsum(crowded)])
    # The frames of the gap alone: neither of the two that are linked.
    inside = before[frame + links.step[frame, place]] - before[frame + 1]
    cut = frame[inside > 0], place[inside > 0]
    kept = Links(links.step.copy(), links.place.copy())
    kept.step[cut] = 0
    kept.place[cut] = -1
    return kept


def count_tracklets(number: NDArray[np.int32], shortest: int) -> NDArray[np.int64]:
    """Return how many tracklets, of so many poses at least, are on their way in each frame.

    Parameters
    ----------
    number
        Shape (frame, individual), int32; -1: no pose.
    shortest
        Fewest poses.

    Returns
    -------
    ndarray
        Shape (frame,), int64, those that have begun and not yet ended, whether found or not.
    """
    frame, individual = np.nonzero(number >= 0)
    tracklet = number[frame, individual]
    count = np.bincount(tracklet)
    first, last = np.full(len(count), len(number)), np.full(len(count), -1)
    np.minimum.at(first, tracklet, frame)
    np.maximum.at(last, tracklet, frame)
    long = count >= max(1, shortest)
    change = np.zeros(len(number) + 1, np.int64)
    np.add.at(change, first[long], 1)
    np.add.at(change, last[long] + 1, -1)
    return np.cumsum(change)[:-1]
