"""Count how often the animals of the demo meet, from the truth alone."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Bodies closer than this share of their length touch: a mouse is about as wide.
_WIDTH = 0.25
# Points along each piece of a midline.
_POINTS = 4


@dataclass(frozen=True)
class Encounters:
    """Count the encounters of two animals, each from the frame in which they meet until they part.

    Attributes
    ----------
    close
        Encounters in which their centres come within a body length of each other.
    crossings
        Encounters in which their midlines come within a quarter of a body length: the bodies
        touch, cross or cover each other.
    crossing_frames
        Number of frames of all crossings.
    """

    close: int
    crossings: int
    crossing_frames: int

    def __add__(self, other: "Encounters") -> "Encounters":
        return Encounters(
            self.close + other.close,
            self.crossings + other.crossings,
            self.crossing_frames + other.crossing_frames,
        )


def count_encounters(midlines: NDArray[np.float64]) -> Encounters:
    """Count how often any two animals meet.

    Parameters
    ----------
    midlines
        Shape (frame, individual, point, 2), px or mm, from the snout to the tail base, no NaN.
        The body length is the median length of the midlines; the centre of a body is the mean of
        its points.
    """
    length = float(np.median(np.linalg.norm(np.diff(midlines, axis=2), axis=-1).sum(axis=2)))
    middles = midlines.mean(axis=2)
    dense = _fill(midlines)
    found = Encounters(0, 0, 0)
    for one, other in itertools.combinations(range(midlines.shape[1]), 2):
        apart = np.linalg.norm(middles[:, one] - middles[:, other], axis=-1)
        between = dense[:, one, :, None] - dense[:, other, None]
        gap = np.linalg.norm(between, axis=-1).min(axis=(1, 2))
        touching = gap < _WIDTH * length
        found += Encounters(_count_runs(apart < length), _count_runs(touching), int(touching.sum()))
    return found


def list_approaches(position: NDArray[np.float64], near: int) -> list[tuple[int, int, int]]:
    """List the closest approaches of any two animals, the closest first.

    Parameters
    ----------
    position
        Shape (frame, individual, point, 2), no NaN.
    near
        Number of frames on both sides within which their centres are never closer.

    Returns
    -------
    list of tuple
        Frame and the two animals; no approach at the first or the last frame.
    """
    middles = position.mean(axis=2)
    found = []
    for one, other in itertools.combinations(range(position.shape[1]), 2):
        apart = np.linalg.norm(middles[:, one] - middles[:, other], axis=-1)
        found += [
            (float(apart[frame]), frame, one, other)
            for frame in range(1, len(apart) - 1)
            if apart[frame] == apart[max(0, frame - near) : frame + near + 1].min()
        ]
    return [(frame, one, other) for _, frame, one, other in sorted(found)]


def _fill(midlines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return midlines with points interpolated between the given ones."""
    start, end = midlines[:, :, :-1, None], midlines[:, :, 1:, None]
    along = np.linspace(0.0, 1.0, _POINTS + 1)[:, None]
    filled = start + along * (end - start)
    return filled.reshape(*midlines.shape[:2], -1, 2)


def _count_runs(chosen: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(np.diff(chosen.astype(np.int8), prepend=0) == 1))
