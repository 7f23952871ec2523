"""Find by how much clocks of cameras differ, from a light that all see or a sound that all hear.

A light that is switched on and off is reduced to its edges. The shift between two cameras is one at
which most edges of the same direction coincide. Each edge lies somewhere between two frames; the
shift is the most likely one, which with N edges is exact to about half a frame divided by the root
of N. Sounds are reduced to how suddenly they become louder, which does not depend on microphones
and distances as much as the sound itself, and are compared at all shifts. In both cases the next
best shift tells how sure the best one is.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Least difference of brightness between on and off: grey levels, and multiples of the noise.
_LEAST_STEP, _LEAST_NOISES = 6.0, 6.0
# Share of the difference between off and on, beyond the middle, that switches the state.
_HYSTERESIS = 0.15
# Frames within which a light is switched; daylight takes longer.
_SUDDEN = 5
_CENTRES, _MAD = 50, 1.4826
# Edges of a camera that are compared.
_MOST_EDGES = 1500
# Shifts that are tried in each of some rounds, each in a narrower range; least overlap of two
# intervals, as a share of their widths.
_TRIED, _ROUNDS, _UNLIKELY = 201, 3, 0.01
# Sounds that begin so near to each other, in s, count as one; least rise of loudness (log).
_NEAR, _FLOOR = 0.1, 1e-4


class Edges(NamedTuple):
    """Hold when a light was switched.

    Attributes
    ----------
    time
        Shape (edge,), s: between the last frame before and the first frame after.
    on
        Shape (edge,): it was switched on, else off.
    half
        Shape (edge,), s: half the time between these two frames.
    """

    time: Floats
    on: Flags
    half: Floats


class Shift(NamedTuple):
    """Hold by how much the clock of a camera differs from that of another.

    Attributes
    ----------
    seconds
        By how much the other camera's times are later; NaN: nothing fits.
    matched, expected
        Edges that coincide, and edges of the reference that the other should have seen; of
        sounds 1 and 1.
    rival
        How well the next best shift fits in comparison, 0..1; 1: as well.
    drift
        By how much the clocks drift apart from the first to the last edge that coincides, in s; of
        sounds 0, as it is not measured.
    """

    seconds: float
    matched: int
    expected: int
    rival: float
    drift: float


def find_edges(brightness: Floats, times: Floats) -> Edges:
    """Find when a light was switched on and off.

    Parameters
    ----------
    brightness
        Shape (frame,), any unit; NaN: unknown.
    times
        Shape (frame,), s, increasing.

    Returns
    -------
    Edges
        None where the brightness has no two levels.
    """
    known = np.flatnonzero(np.isfinite(brightness) & np.isfinite(times))
    values, when = brightness[known], times[known]
    none = Edges(np.empty(0), np.empty(0, bool), np.empty(0))
    if len(values) < 2:
        return none
    low, high = float(values.min()), float(values.max())
    for _ in range(_CENTRES):
        upper = values > (low + high) / 2
        if upper.all() or not upper.any():
            return none
        centres = float(np.median(values[~upper])), float(np.median(values[upper]))
        if centres == (low, high):
            break
        low, high = centres
    # From frame to frame, as daylight changes slowly.
    noise = _MAD * float(np.median(np.abs(np.diff(values)))) / np.sqrt(2)
    if high - low < max(_LEAST_STEP, _LEAST_NOISES * noise):
        return none
    middle, margin = (low + high) / 2, _HYSTERESIS * (high - low)
    state = np.where(values > middle + margin, 1, np.where(values < middle - margin, 0, -1))
    sure = np.flatnonzero(state >= 0)
    change = np.flatnonzero(np.diff(state[sure]))
    before, after = sure[change], sure[change + 1]
    sudden = after - before <= _SUDDEN
    before, after = before[sudden], after[sudden]
    begin, end = when[before], when[after]
    return Edges((begin + end) / 2, state[after] == 1, (end - begin) / 2)


def match_edges(reference: Edges, other: Edges, tolerance: float) -> Shift:
    """Find the shift at which most edges of two cameras coincide.

    Parameters
    ----------
    reference, other
        Edges of two cameras, each on its own clock.
    tolerance
        Largest distance in s between edges that coincide: half the sum of the times between
        frames, because a switch shows in the next frame.
    """
    first, second = (
        Edges(one.time[:_MOST_EDGES], one.on[:_MOST_EDGES], one.half[:_MOST_EDGES])
        for one in (reference, other)
    )
    apart = second.time[None] - first.time[:, None]
    alike = second.on[None] == first.on[:, None]
    shifts = np.sort(apart[alike])
    if not len(shifts):
        return Shift(np.nan, 0, len(first.time), 1.0, 0.0)
    counts = np.searchsorted(shifts, shifts + 2 * tolerance, side="right") - np.arange(len(shifts))
    best = int(counts.argmax())
    near = shifts[best : best + counts[best]]
    seconds = float(np.median(near))
    elsewhere = (shifts > seconds + 2 * tolerance) | (shifts + 2 * tolerance < seconds)
    rival = float(counts[elsewhere].max(initial=0) / counts[best])
    fits = alike & (np.abs(apart - seconds) <= 2 * tolerance)
    moved = first.time + seconds
    inside = (moved >= second.time[0] - tolerance) & (moved <= second.time[-1] + tolerance)
    matched = int(fits.any(axis=1).sum())
    drift = 0.0
    row, column = np.nonzero(fits)
    seconds = _find_likeliest(
        apart[row, column], first.half[row], second.half[column], (seconds, 2 * tolerance)
    )
    if len(row) > 2 and np.ptp(first.time[row]) > 0:
        slope = np.polyfit(first.time[row], second.time[column] - first.time[row], 1)[0]
        drift = float(slope * np.ptp(first.time[row]))
    return Shift(seconds, matched, max(int(inside.sum()), matched), rival, drift)


def _find_likeliest(
    apart: Floats, first: Floats, second: Floats, around: tuple[float, float]
) -> float:
    """Return the shift at which pairs of edges are most likely to be the same switches.

    A switch is equally likely anywhere between its two frames, so how likely a pair is at a shift
    is how long the two intervals overlap.

    Parameters
    ----------
    apart
        Shape (pair,): distances of the middles of the intervals.
    first, second
        Shape (pair,): half widths of the intervals.
    around
        Shift to begin with, and largest distance from it.
    """
    sums, most = first + second, 2 * np.minimum(first, second)
    best, reach = around
    for _ in range(_ROUNDS):
        tried = best + reach * np.linspace(-1, 1, _TRIED)
        overlap = np.minimum(sums - np.abs(tried[:, None] - apart), most)
        # A pair that is not the same switch must not decide.
        likely = np.log(np.maximum(overlap, _UNLIKELY * sums)).sum(axis=1)
        top = tried[likely >= likely.max() - 1e-9]
        best, reach = float((top[0] + top[-1]) / 2), reach * 4 / _TRIED
    return best


def measure_onsets(energy: Floats) -> Floats:
    """Return how much louder a sound becomes from each moment to the next; shape as `energy`.

    Parameters
    ----------
    energy
        Shape (moment,): mean square of the samples.
    """
    peak = float(energy.max(initial=0.0))
    if peak <= 0:
        return np.zeros_like(energy)
    loudness = np.log(energy / peak + _FLOOR)
    rise: Floats = np.maximum(np.diff(loudness, prepend=loudness[:1]), 0.0)
    return rise


def match_sounds(reference: Floats, other: Floats, rate: float) -> Shift:
    """Find the shift at which the onsets of two sounds coincide.

    Parameters
    ----------
    reference, other
        Shape (moment,), of `measure_onsets`.
    rate
        Moments per second.
    """
    none = Shift(np.nan, 0, 1, 1.0, 0.0)
    if not (len(reference) and len(other)):
        return none
    first, second = reference - reference.mean(), other - other.mean()
    size = float(np.linalg.norm(first) * np.linalg.norm(second))
    if size <= 0:
        return none
    scores = fftconvolve(second, first[::-1]) / size
    best = int(scores.argmax())
    window = max(1, round(_NEAR * rate))
    elsewhere = np.concatenate([scores[: max(0, best - window)], scores[best + window + 1 :]])
    rival = float(max(elsewhere.max(initial=0.0), 0.0) / scores[best])
    return Shift((best - (len(first) - 1)) / rate, 1, 1, min(rival, 1.0), 0.0)
