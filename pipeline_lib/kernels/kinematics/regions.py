"""Find points in polygons, and the moments at which they enter."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

FEWEST_CORNERS = 3

UNKNOWN, OUTSIDE, INSIDE = -1, 0, 1


def find_polygon_problem(corners: Doubles) -> str:
    """Explain why corners enclose no region; empty if they do.

    Parameters
    ----------
    corners
        Shape (corner, 2), without a repetition of the first at the end.
    """
    if not np.isfinite(corners).all():
        return "has a corner that is no number"
    if len(np.unique(corners, axis=0)) < FEWEST_CORNERS:
        return f"has {len(corners)} corners, expected at least {FEWEST_CORNERS} different ones"
    crossing = _find_crossing(corners)
    if crossing:
        first, second = crossing
        return f"crosses itself: sides {first + 1} and {second + 1} meet"
    if measure_area(corners) == 0:
        return "has no area: its corners lie on a line"
    return ""


def measure_area(corners: Doubles) -> float:
    """Return the area of a polygon, by the shoelace formula."""
    x, y = (corners - corners[0]).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def overlaps(corners: Doubles, width: float, height: float) -> bool:
    """Tell whether the bounding box of a polygon meets a frame with its corner at (0, 0)."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    return bool((high >= 0).all() and low[0] <= width and low[1] <= height)


def find_inside(points: Floats, rings: Sequence[Doubles]) -> NDArray[np.int8]:
    """Tell which points lie in a region, by the even-odd rule.

    A point on a side or corner counts to one side only, so that regions that share a side never
    both have it.

    Parameters
    ----------
    points
        Shape (..., 2); NaN: unknown.
    rings
        Polygons of shape (corner, 2); those within others are holes.

    Returns
    -------
    Array of shape (...), int8
        `INSIDE`, `OUTSIDE` or `UNKNOWN`.
    """
    x, y = np.moveaxis(np.asarray(points, np.float64), -1, 0)
    inside = np.zeros(x.shape, bool)
    for ring in rings:
        for (x1, y1), (x2, y2) in pairwise(np.concatenate([ring, ring[:1]])):
            if y1 == y2:
                continue
            # Half-open in y: a corner belongs to one of its two sides.
            beside = (y1 > y) != (y2 > y)
            inside ^= beside & (x < x1 + (y - y1) * ((x2 - x1) / (y2 - y1)))
    return np.where(np.isnan(x) | np.isnan(y), UNKNOWN, inside).astype(np.int8)


def find_entries(
    state: NDArray[np.int8], time: Doubles, stop: float, shortest: float
) -> NDArray[np.intp]:
    """Find the frames at which visits of a region begin.

    Frames in which the point is unknown neither begin nor end a visit. Stays, inside or outside,
    that are shorter than the shortest are passed over. A visit that was under way when the point
    was first seen is no entry.

    Parameters
    ----------
    state
        Shape (time,): `INSIDE`, `OUTSIDE`, `UNKNOWN`.
    time
        Shape (time,), seconds.
    stop
        End of the last frame in seconds.
    shortest
        Shortest stay that counts, in seconds.

    Returns
    -------
    Array of frame numbers
        Of the first frame of each visit.
    """
    known = np.flatnonzero(state != UNKNOWN)
    if not len(known):
        return known
    values = state[known]
    begins = np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1))
    first = known[begins]
    lasting = np.append(time[first[1:]], stop) - time[first]
    # Sums of frame durations are a little more or less than what they are meant to be.
    long = lasting >= shortest - 1e-6
    first, what = first[long], values[begins][long]
    entered = (what[1:] == INSIDE) & (what[:-1] == OUTSIDE)
    found: NDArray[np.intp] = first[1:][entered]
    return found


def _find_crossing(corners: Doubles) -> tuple[int, int] | None:
    """Return the first two sides that meet, other than neighbours at their corner."""
    count = len(corners)
    ends = np.roll(corners, -1, axis=0)
    for first in range(count - 1):
        others = np.arange(first + 1, count)
        meet = _meet(corners[first], ends[first], corners[others], ends[others])
        # Neighbours meet at their corner; they may also run back over each other.
        meet[0] = _folds_back(corners[first], ends[first], ends[others[0]])
        if first == 0:
            meet[-1] = _folds_back(corners[-1], corners[0], corners[1])
        if meet.any():
            return first, int(others[meet.argmax()])
    return None


def _meet(a: Doubles, b: Doubles, c: Doubles, d: Doubles) -> NDArray[np.bool_]:
    """Tell which of the sides from c to d have a point in common with the one from a to b."""
    turns = _turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)
    crossing = (turns[0] * turns[1] < 0) & (turns[2] * turns[3] < 0)
    for turn, (p, q, r) in zip(turns, ((a, b, c), (a, b, d), (c, d, a), (c, d, b)), strict=True):
        between = ((np.minimum(p, q) <= r) & (r <= np.maximum(p, q))).all(axis=-1)
        crossing |= (turn == 0) & between
    return crossing


def _turn(a: Doubles, b: Doubles, c: Doubles) -> Doubles:
    """Return twice the signed area of triangles."""
    return np.asarray(
        (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1])
        - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
    )


def _folds_back(before: Doubles, shared: Doubles, after: Doubles) -> bool:
    """Tell whether a side runs back over its neighbour."""
    backwards = float((before - shared) @ (after - shared)) > 0
    return backwards and float(_turn(before, shared, after)) == 0
