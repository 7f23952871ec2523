"""Summarise the tracks of one video: which animals were followed when, and what to check."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.kernels.summaries.timelines import cut_stretches

# An animal is seen in frames of these.
_FOUND = (TrackStatus.FOLLOWED, TrackStatus.UNCERTAIN)


@dataclass(frozen=True)
class Flag:
    """Consecutive frames that a person should check.

    Attributes
    ----------
    status
        ``UNCERTAIN``: animals may have been exchanged; ``GAP``: one was not found.
    first, last
        Frames, both included.
    individuals
        Indices on the individual axis, ascending.
    """

    status: TrackStatus
    first: int
    last: int
    individuals: tuple[int, ...]

    @property
    def frames(self) -> int:
        """Length in frames."""
        return self.last - self.first + 1


def count_track_statuses(status: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the frames of each status.

    Parameters
    ----------
    status
        Shape (time, individual), uint8, values of `TrackStatus`.

    Returns
    -------
    ndarray
        Shape (individual, status), int64: frames; statuses in the order of their values.
    """
    counts = [np.count_nonzero(status == value, axis=0) for value in TrackStatus]
    return np.stack(counts, axis=-1).astype(np.int64)


def count_all_followed(status: NDArray[np.uint8]) -> int:
    """Count the frames in which every animal of the video is followed.

    An animal of the video is one that is seen in any of its frames; so an animal that is not
    there yet, or no more, counts as not followed.

    Parameters
    ----------
    status
        Shape (time, individual), uint8, values of `TrackStatus`.

    Returns
    -------
    int
        Frames; 0 if the video shows no animal.
    """
    seen = np.isin(status, _FOUND).any(axis=0)
    if not seen.any():
        return 0
    return int((status[:, seen] == TrackStatus.FOLLOWED).all(axis=1).sum())


def find_flags(status: NDArray[np.uint8], decoded: NDArray[np.bool_] | None = None) -> list[Flag]:
    """Find frames that a person should check: possible swaps and gaps.

    Frames in which any individual is uncertain are one possible swap as long as they follow
    each other, of all individuals that are uncertain in them. A gap is of one individual, which
    was looked for and not found in at least one of its frames.

    Parameters
    ----------
    status
        Shape (time, individual), uint8, values of `TrackStatus`.
    decoded
        Shape (time,), whether a frame could be decoded; None: all.

    Returns
    -------
    list of Flag
        In the order of their first frames, swaps before gaps.
    """
    uncertain = status == TrackStatus.UNCERTAIN
    flags = [
        Flag(
            TrackStatus.UNCERTAIN,
            start,
            stop - 1,
            tuple(np.flatnonzero(uncertain[start:stop].any(axis=0)).tolist()),
        )
        for start, stop in _find_runs(uncertain.any(axis=1))
    ]
    for individual in range(status.shape[1]):
        flags += [
            Flag(TrackStatus.GAP, start, stop - 1, (individual,))
            for start, stop in _find_runs(status[:, individual] == TrackStatus.GAP)
            if decoded is None or decoded[start:stop].any()
        ]
    return sorted(flags, key=lambda flag: (flag.first, -flag.status, flag.individuals))


def thin_track_statuses(status: NDArray[np.uint8], stretches: int) -> NDArray[np.float64]:
    """Return the share of each status in equal stretches of time.

    Parameters
    ----------
    status
        Shape (time, individual), uint8, values of `TrackStatus`; frames of any other value count
        for none of them.
    stretches
        Most stretches; a shorter video keeps every frame.

    Returns
    -------
    ndarray
        Shape (stretch, individual, status), float64 in 0..1, statuses in the order of their
        values; they add up to 1 where each frame has one.
    """
    edges = cut_stretches(len(status), stretches)
    shares = np.zeros((len(edges) - 1, status.shape[1], len(TrackStatus)))
    for index, (start, stop) in enumerate(itertools.pairwise(edges)):
        shares[index] = count_track_statuses(status[start:stop]) / (stop - start)
    return shares


def thin_animal_counts(
    status: NDArray[np.uint8], stretches: int, decoded: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return how many animals are seen in equal stretches of time.

    Parameters
    ----------
    status
        Shape (time, individual), uint8, values of `TrackStatus`.
    stretches
        Most stretches; a shorter video keeps every frame.
    decoded
        Shape (time,), whether a frame could be decoded; None: all.

    Returns
    -------
    ndarray
        Shape (stretch, 3), float64: fewest, mean and most animals in a frame that could be
        decoded. NaN: there is no such frame.
    """
    animals = np.isin(status, _FOUND).sum(axis=1)
    known = np.ones(len(status), bool) if decoded is None else decoded
    edges = cut_stretches(len(status), stretches)
    counts = np.full((len(edges) - 1, 3), np.nan)
    for index, (start, stop) in enumerate(itertools.pairwise(edges)):
        part = animals[start:stop][known[start:stop]]
        if len(part):
            counts[index] = part.min(), part.mean(), part.max()
    return counts


def _find_runs(chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return start and stop of each run of True."""
    padded = np.concatenate([[False], chosen, [False]]).astype(np.int8)
    turns = np.diff(padded)
    starts, stops = np.flatnonzero(turns == 1), np.flatnonzero(turns == -1)
    return list(zip(starts.tolist(), stops.tolist(), strict=True))
