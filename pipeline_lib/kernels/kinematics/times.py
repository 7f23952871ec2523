"""Find bouts and sum up over bins of time."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.kinematics.derivatives import find_runs

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]


def measure_durations(time: Doubles) -> Doubles:
    """Return how long each frame lasts: until the next one; the last as long as the median.

    A single frame lasts 0 s.
    """
    steps = np.diff(time)
    return np.append(steps, np.median(steps) if len(steps) else 0.0)[: len(time)]


def find_bouts(
    speed: Floats, durations: Doubles, limit: float, shortest: float
) -> NDArray[np.intp]:
    """Find the bouts in which a speed stays below a limit.

    Parameters
    ----------
    speed
        Shape (time,); NaN ends a bout.
    durations
        Shape (time,), of the frames in seconds.
    limit
        The speeds of a bout are below it.
    shortest
        Shortest bout in seconds.

    Returns
    -------
    Array of shape (bout, 2)
        First frame, and the one after the last.
    """
    with np.errstate(invalid="ignore"):
        runs = find_runs(speed < limit)
    ends = np.concatenate(([0.0], np.cumsum(durations)))
    return runs[ends[runs[:, 1]] - ends[runs[:, 0]] >= shortest - 1e-6]


def find_bins(time: Doubles, seconds: float | None) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Divide frames into bins of time, the first of which begins with the first frame.

    Parameters
    ----------
    time
        Shape (time,), seconds, not falling.
    seconds
        Duration of a bin; None: one bin.

    Returns
    -------
    number
        Shape (bin,): number of each bin that has a frame.
    first
        Shape (bin,): its first frame.
    """
    if not len(time):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    if seconds is None:
        return np.zeros(1, np.intp), np.zeros(1, np.intp)
    number = np.floor((time - time[0]) / seconds + 1e-9).astype(np.intp)
    # A clock that runs back does not open an old bin again.
    number = np.maximum.accumulate(number)
    first = np.concatenate(([0], np.flatnonzero(np.diff(number)) + 1))
    return number[first], first


def sum_bins(values: Floats, first: NDArray[np.intp]) -> Doubles:
    """Return the sum of the known values of each bin.

    Parameters
    ----------
    values
        Shape (time,); NaN: not known.
    first
        First frame of each bin.
    """
    return np.add.reduceat(np.nan_to_num(np.asarray(values, np.float64)), first)


def average_bins(values: Floats, first: NDArray[np.intp]) -> Doubles:
    """Return the mean of the known values of each bin; NaN for a bin without any."""
    counts = np.add.reduceat((~np.isnan(values)).astype(np.float64), first)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(counts > 0, sum_bins(values, first) / counts, np.nan)


def find_largest(values: Floats, first: NDArray[np.intp]) -> Doubles:
    """Return the largest known value of each bin; NaN for a bin without any."""
    largest = np.maximum.reduceat(np.where(np.isnan(values), -np.inf, values), first)
    return np.where(np.isinf(largest), np.nan, largest).astype(np.float64)


def average_directions(angle: Floats, first: NDArray[np.intp]) -> Doubles:
    """Return the mean direction of each bin in degrees: that of the sum of unit vectors.

    NaN for a bin without a known direction, and where opposite ones cancel.
    """
    known = np.radians(np.asarray(angle, np.float64))
    x, y = sum_bins(np.cos(known), first), sum_bins(np.sin(known), first)
    return np.where(np.hypot(x, y) > 1e-9, np.degrees(np.arctan2(y, x)), np.nan)


def count_bins(frames: NDArray[np.intp], first: NDArray[np.intp], total: int) -> NDArray[np.intp]:
    """Return how many of some frames lie in each bin."""
    edges = np.append(first, total)
    return np.histogram(frames, bins=edges)[0] if len(first) else np.zeros(0, np.intp)
