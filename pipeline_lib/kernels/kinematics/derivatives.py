"""Smooth trajectories and differentiate them with respect to time.

Trajectories are cut into stretches without a gap. Within a stretch, a polynomial is fitted by
least squares to the frames of a window around each frame; its value and derivatives at the frame
are the result (Savitzky-Golay). Near the ends of a stretch the window does not fit around the
frame, and the polynomial of the outermost window is evaluated there. Times need not be equally
spaced: position and time are both fitted as functions of the frame number, and the derivatives
follow by the chain rule, which is exact for movement at constant velocity.

References
----------
Savitzky & Golay (1964), Analytical Chemistry 36(8), doi:10.1021/ac60214a047.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Derivatives:
    """Hold smoothed trajectories and their derivatives.

    Attributes
    ----------
    value
        Smoothed positions, float64; NaN exactly where the input is.
    first, second
        Derivatives with respect to time, in units per second and second squared. NaN in gaps, in
        stretches shorter than the window, and where times do not increase.
    """

    value: Doubles
    first: Doubles
    second: Doubles


def differentiate(position: Floats, time: Doubles, window: int, order: int) -> Derivatives:
    """Smooth trajectories by local polynomials and return their derivatives.

    Parameters
    ----------
    position
        Shape (time, ...); NaN is a gap.
    time
        Shape (time,), seconds.
    window
        Frames in the window, odd.
    order
        Degree of the polynomials, below `window`; with 1, second derivatives are 0.

    Returns
    -------
    Derivatives
        Arrays of the shape of `position`. Stretches shorter than the window keep their values.

    Raises
    ------
    ValueError
        If the window is even, or not above the order.
    """
    if window % 2 == 0 or order >= window:
        raise ValueError(f"window ({window}) must be odd and above order ({order})")
    weights = make_weights(window, order)
    outs = [np.full(position.shape, np.nan) for _ in range(3)]
    if not len(time):
        return Derivatives(*outs)
    clock = np.asarray(time, np.float64) - time[0]
    inner = [np.correlate(clock, weights[window // 2, k], "same") for k in (1, 2)]
    for place in np.ndindex(position.shape[1:]):
        at = (slice(None), *place)
        column = position[at].astype(np.float64)
        value, first, second = _differentiate_one(column, clock, weights, inner)
        outs[0][at], outs[1][at], outs[2][at] = value, first, second
    return Derivatives(*outs)


def make_weights(window: int, order: int) -> Doubles:
    """Return the weights that evaluate the least-squares polynomial of a window.

    Returns
    -------
    Array of shape (window, 3, window)
        Weights of the frames of the window, for the value, the first and the second derivative
        (per frame) at each frame of the window.
    """
    half = window // 2
    frames = np.arange(-half, half + 1, dtype=np.float64)
    powers = np.arange(order + 1)
    fit = np.linalg.pinv(frames[:, None] ** powers)
    at = frames[:, None]
    value = at**powers
    first = powers * at ** np.maximum(powers - 1, 0)
    second = powers * (powers - 1) * at ** np.maximum(powers - 2, 0)
    return np.stack([value @ fit, first @ fit, second @ fit], axis=1)


def difference(position: Floats, time: Doubles) -> Derivatives:
    """Differentiate without smoothing: central differences, one-sided at the ends of stretches.

    Parameters and returns are those of `differentiate`; a stretch of one frame has no derivative,
    nor have two frames between which the time does not increase.
    """
    outs = [position.astype(np.float64), *(np.full(position.shape, np.nan) for _ in range(2))]
    for place in np.ndindex(position.shape[1:]):
        column = position[(slice(None), *place)].astype(np.float64)
        for start, stop in find_runs(~np.isnan(column)):
            if stop - start > 1:
                at, stretch = (slice(start, stop), *place), time[start:stop]
                outs[1][at] = _take_differences(column[start:stop], stretch)
                outs[2][at] = _take_differences(outs[1][at], stretch)
    return Derivatives(*outs)


def measure_window(seconds: float, time: Doubles, order: int) -> int:
    """Return the frames of a window: odd, at least as long as asked, and above the order."""
    steps = np.diff(time)
    step = float(np.median(steps)) if len(steps) else 0.0
    # A little less than a whole frame more is none.
    frames = int(np.ceil(seconds / step - 1e-6)) if step > 0 else 1
    frames = max(frames, order + 1)
    return frames + 1 - frames % 2


def find_runs(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return start and stop of each run of True, shape (run, 2)."""
    padded = np.concatenate(([False], mask, [False]))
    return np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2)


def _take_differences(values: Doubles, time: Doubles) -> Doubles:
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.asarray(np.gradient(values, time), np.float64)
    stands = np.diff(time) <= 0
    slope[np.append(stands, False) | np.append(False, stands)] = np.nan
    return slope


def _differentiate_one(
    column: Doubles, time: Doubles, weights: Doubles, inner: list[Doubles]
) -> tuple[Doubles, Doubles, Doubles]:
    window = len(weights)
    half = window // 2
    runs = find_runs(~np.isnan(column))
    runs = runs[runs[:, 1] - runs[:, 0] >= window]
    value, first, second = column.copy(), np.full_like(column, np.nan), np.full_like(column, np.nan)
    if not len(runs):
        return value, first, second
    lengths = runs[:, 1] - runs[:, 0]
    frames = np.concatenate([np.arange(start, stop) for start, stop in runs])
    centre = np.clip(
        frames, np.repeat(runs[:, 0] + half, lengths), np.repeat(runs[:, 1] - 1 - half, lengths)
    )
    filled = np.nan_to_num(column)
    middle = frames[centre == frames]
    smooth = [np.correlate(filled, weights[half, k], "same")[middle] for k in range(3)]
    value[middle] = smooth[0]
    first[middle], second[middle] = _apply_chain_rule(
        smooth[1], smooth[2], inner[0][middle], inner[1][middle]
    )
    edge, around = frames[centre != frames], centre[centre != frames]
    taken = around[:, None] + np.arange(-half, half + 1)
    chosen = weights[edge - around + half]
    fitted = np.einsum("ekw,ew->ke", chosen, column[taken])
    clock = np.einsum("ekw,ew->ke", chosen, time[taken])
    value[edge] = fitted[0]
    first[edge], second[edge] = _apply_chain_rule(fitted[1], fitted[2], clock[1], clock[2])
    return value, first, second


def _apply_chain_rule(
    first: Doubles, second: Doubles, clock: Doubles, bend: Doubles
) -> tuple[Doubles, Doubles]:
    """Turn derivatives per frame into derivatives per second, given those of the time."""
    with np.errstate(divide="ignore", invalid="ignore"):
        speed = np.where(clock > 0, first / clock, np.nan)
        return speed, np.where(clock > 0, (second - speed * bend) / clock**2, np.nan)
