"""Thin what happens in the frames of a video out to a few stretches of equal length."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]


def cut_stretches(frames: int, stretches: int) -> NDArray[np.int64]:
    """Return the first frame of each stretch, and the end of the last.

    Parameters
    ----------
    frames
        Frames of the video.
    stretches
        Most stretches; a shorter video has one for every frame.
    """
    return np.linspace(0, frames, min(stretches, frames) + 1).astype(np.int64)


def sum_stretches(
    values: Floats, edges: NDArray[np.int64], first: int = 0
) -> tuple[Doubles, NDArray[np.int64]]:
    """Sum values in stretches; sums of consecutive blocks of a video can be added.

    Parameters
    ----------
    values
        Shape (time, ...), of consecutive frames; NaN does not count.
    edges
        As `cut_stretches` of the whole video.
    first
        Number of the first of the frames.

    Returns
    -------
    sums, counts
        Shape (stretch, ...).
    """
    place = np.searchsorted(edges, np.arange(first, first + len(values)), side="right") - 1
    known = ~np.isnan(values)
    shape = (max(len(edges) - 1, 0), *values.shape[1:])
    sums, counts = np.zeros(shape), np.zeros(shape, np.int64)
    np.add.at(sums, place, np.where(known, values, 0.0))
    np.add.at(counts, place, known)
    return sums, counts


def find_lowest(values: Floats, edges: NDArray[np.int64]) -> Doubles:
    """Return the lowest value of each stretch.

    Parameters
    ----------
    values
        Shape (time,); NaN does not count.
    edges
        As `cut_stretches`.

    Returns
    -------
    Array of shape (stretch,), NaN where no value is known
    """
    if not len(values):
        return np.zeros(0)
    lowest = np.minimum.reduceat(np.where(np.isnan(values), np.inf, values), edges[:-1])
    return np.where(np.isfinite(lowest), lowest, np.nan)


def pick_first(points: Floats, edges: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the first known point of each stretch.

    Parameters
    ----------
    points
        Shape (time, individual, 2), px; NaN: not known.
    edges
        As `cut_stretches`.

    Returns
    -------
    Array of shape (stretch, individual, 2), NaN where none is known
    """
    picked = np.full((max(len(edges) - 1, 0), *points.shape[1:]), np.nan, np.float32)
    known = np.asarray(~np.isnan(points).any(axis=-1))
    for number, (start, stop) in enumerate(itertools.pairwise(edges)):
        at = known[start:stop].argmax(axis=0)
        picked[number] = points[start:stop][at, np.arange(points.shape[1])]
    return picked


def measure_speed(position: Floats, time: Doubles, lag: int) -> Doubles:
    """Return how fast individuals move: the mean displacement of bodyparts over some frames.

    Only bodyparts that are known in both frames count, so that a bodypart that is found or lost
    does not count as movement.

    Parameters
    ----------
    position
        Shape (time, individual, keypoint, 2), px; NaN: not found.
    time
        Shape (time,), seconds.
    lag
        Frames from the first to the second place.

    Returns
    -------
    Array of shape (time - lag, individual), px/s; NaN where no bodypart is known in both frames,
    or no time passes
    """
    if len(position) <= lag:
        return np.zeros((0, position.shape[1]))
    moved = position[lag:].astype(np.float64) - position[:-lag]
    known = np.asarray(~np.isnan(moved).any(axis=-1))
    counts = known.sum(axis=2)
    total = np.where(known[..., None], moved, 0.0).sum(axis=2)
    seconds = (time[lag:] - time[:-lag])[:, None]
    speed = np.full(counts.shape, np.nan)
    divisor = counts * seconds
    np.divide(np.hypot(total[..., 0], total[..., 1]), divisor, out=speed, where=divisor > 0)
    return speed


def count_places(points: Floats, size: tuple[float, float], grid: tuple[int, int]) -> Doubles:
    """Return the share of the known points in each field of a grid over the frame.

    Parameters
    ----------
    points
        Shape (..., 2), px; NaN: not known. Points beside the frame count in the nearest field.
    size
        Width and height of the frame in px.
    grid
        Columns and rows.

    Returns
    -------
    Array of shape (row, column), adding up to 1; all zero if no point is known
    """
    columns, rows = grid
    known = points[np.asarray(~np.isnan(points).any(axis=-1))]
    if not len(known):
        return np.zeros((rows, columns))
    column = np.clip((known[:, 0] + 0.5) * columns / size[0], 0, columns - 1).astype(int)
    row = np.clip((known[:, 1] + 0.5) * rows / size[1], 0, rows - 1).astype(int)
    counts = np.bincount(row * columns + column, minlength=rows * columns)
    return np.asarray(counts.reshape(rows, columns) / len(known), np.float64)


def choose_lowest(values: Floats, number: int, apart: int) -> list[int]:
    """Choose the frames with the lowest values that are far enough from each other.

    Parameters
    ----------
    values
        Shape (time,); frames of NaN are never chosen.
    number
        Most frames.
    apart
        Fewest frames from one to another.

    Returns
    -------
    list of int
        Frames, the lowest value first; of equal values the earlier.
    """
    left = np.where(np.isnan(values), np.inf, values).astype(np.float64)
    chosen: list[int] = []
    while len(chosen) < number and len(left):
        frame = int(left.argmin())
        if not np.isfinite(left[frame]):
            break
        chosen.append(frame)
        left[max(0, frame - apart + 1) : frame + apart] = np.inf
    return chosen
