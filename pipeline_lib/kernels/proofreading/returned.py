"""Derive the changes that a person made to tracks, from the tracks before and after.

Proofreading tools return positions with names of tracks, not the edits that were made. A
track that goes on in another slot than it was in is an exchange or a join; a slot in which an
unknown track begins holds a new animal from there on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline_lib.core.track_decisions import DecisionKind

# Centres of one pose differ less than this, in px, if nobody moved it.
_SAME = 0.5

Floats = NDArray[np.floating[Any]]
# A place: frame and slot.
Seen = tuple[int, int]


@dataclass(frozen=True)
class TrackChange:
    """Hold one change of tracks.

    Attributes
    ----------
    what
        ``swap``: two animals were exchanged; ``join``: an animal goes on in another slot; ``new``:
        another animal from here on.
    passages
        Last frame and slot of each animal before the place, and its first frame and slot after it:
        two of a ``swap``, else one.
    """

    what: DecisionKind
    passages: tuple[tuple[Seen, Seen], ...]

    @property
    def first_frame(self) -> int:
        """Return the first frame after the place."""
        return max(after[0] for _, after in self.passages)


def match_slots(
    centres: Floats, returned: Floats, own: Sequence[int], tolerance: float
) -> NDArray[np.int64]:
    """Return the slot that each returned animal is in.

    Parameters
    ----------
    centres
        Shape (frame, slot, 2), px, of the tracks; NaN where there is no animal.
    returned
        Shape (frame, track, 2), px; NaN where there is none.
    own
        Slot that each returned track is named after; -1: none.
    tolerance
        Farthest distance in px at which an animal is the same one.

    Returns
    -------
    ndarray
        Shape (frame, track), int64; -1 where there is no animal, or none of the slots has it.
    """
    frames, tracks = returned.shape[:2]
    matched = np.full((frames, tracks), -1, np.int64)
    there: NDArray[np.bool_] = np.asarray(np.isfinite(returned).all(-1))
    for track, slot in enumerate(own):
        if slot >= 0:
            distance = np.linalg.norm(returned[:, track] - centres[:, slot], axis=-1)
            matched[distance < _SAME, track] = slot
    for frame in np.flatnonzero((there & (matched < 0)).any(axis=1)).tolist():
        animals = np.flatnonzero(there[frame])
        distance = np.linalg.norm(returned[frame, animals, None] - centres[frame, None], axis=-1)
        cost = np.where(distance < tolerance, distance, 2 * tolerance)
        rows, slots = linear_sum_assignment(np.nan_to_num(cost, nan=2 * tolerance))
        near = cost[rows, slots] < tolerance
        matched[frame] = -1
        matched[frame, animals[rows[near]]] = slots[near]
    return matched


def find_changes(matched: NDArray[np.int64]) -> tuple[TrackChange, ...]:
    """Return the changes that were made to tracks.

    Parameters
    ----------
    matched
        Shape (frame, track), the slot that holds each track; -1 where none does.

    Returns
    -------
    tuple of TrackChange
        In the order of frames. Tracks that keep their slots, whatever they are called, are no
        change.
    """
    moves = [
        (before, after)
        for track in range(matched.shape[1])
        for before, after in _list_moves(matched[:, track])
    ]
    moves.sort(key=lambda move: (move[1], move[0]))
    changes = []
    while moves:
        first = moves.pop(0)
        (_, source), (frame, target) = first
        back = next(
            (one for one in moves if one[1] == (frame, source) and one[0][1] == target), None
        )
        if back is not None:
            moves.remove(back)
            changes.append(TrackChange(DecisionKind.SWAP, (first, back)))
        else:
            changes.append(TrackChange(DecisionKind.JOIN, (first,)))
    changes += [TrackChange(DecisionKind.NEW, (one,)) for one in _list_new(matched)]
    return tuple(sorted(changes, key=lambda one: (one.first_frame, one.passages)))


def _list_moves(slots: NDArray[np.int64]) -> Iterator[tuple[Seen, Seen]]:
    """Yield where a track leaves a slot and where it goes on."""
    frames = np.flatnonzero(slots >= 0)
    for place in np.flatnonzero(np.diff(slots[frames])).tolist():
        before, after = frames[place : place + 2].tolist()
        yield (before, int(slots[before])), (after, int(slots[after]))


def _list_new(matched: NDArray[np.int64]) -> Iterator[tuple[Seen, Seen]]:
    """Yield where a track begins in a slot that held another one."""
    for track in range(matched.shape[1]):
        frames = np.flatnonzero(matched[:, track] >= 0)
        if not len(frames):
            continue
        first = int(frames[0])
        slot = int(matched[first, track])
        earlier = np.flatnonzero((matched[:first] == slot).any(axis=1))
        if len(earlier):
            yield (int(earlier[-1]), slot), (first, slot)
