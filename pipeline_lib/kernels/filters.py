"""Clean trajectories over time: gate, interpolate, smooth.

Every function takes time as the first axis and any trailing shape, cleans each trajectory (each
element of the trailing shape) separately, and returns a new array of the input's dtype. NaN is a
gap: a keypoint that was not found, or a frame that could not be decoded.
"""

from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

# Frames at a time in the median, whose windows are copied: memory stays flat.
_MEDIAN_BLOCK = 4096


def gate_by_confidence(position: Floats, confidence: Floats, pcutoff: float) -> Floats:
    """Turn points of low confidence into gaps.

    Parameters
    ----------
    position
        Shape (time, ..., 2), x and y in px.
    confidence
        Shape (time, ...), 0..1; NaN counts as low.
    pcutoff
        Points with a confidence of at least this much stay.

    Returns
    -------
    Array of the shape of `position`
        Both coordinates NaN where the confidence is below `pcutoff` or NaN.
    """
    keep = confidence >= pcutoff
    return np.where(keep[..., np.newaxis], position, np.asarray(np.nan, position.dtype))


def interpolate_gaps(position: Floats, max_gap: int) -> Floats:
    """Bridge short gaps by straight lines.

    A gap before the first or after the last point has one neighbour only and stays.

    Parameters
    ----------
    position
        Shape (time, ...); NaN is a gap.
    max_gap
        Gaps of at most this many frames are filled; longer ones stay whole. 0 fills none.

    Returns
    -------
    Array of the shape of `position`
        Points that were there are unchanged.
    """
    result = position.copy()
    if max_gap == 0:
        return result
    for trajectory in _trajectories(result):
        known = ~np.isnan(trajectory)
        runs = _find_runs(~known)
        start, stop = runs[:, 0], runs[:, 1]
        inside = (start > 0) & (stop < len(trajectory)) & (stop - start <= max_gap)
        if not inside.any():
            continue
        steps = np.zeros(len(trajectory), np.int8)
        steps[start[inside]], steps[stop[inside]] = 1, -1
        fill = np.cumsum(steps, dtype=np.int8).astype(bool)
        trajectory[fill] = np.interp(np.flatnonzero(fill), np.flatnonzero(known), trajectory[known])
    return result


def smooth_median(position: Floats, window: int) -> Floats:
    """Replace each point by the median of the points around it in time.

    Gaps within the window are left out of the median, and so are frames before the first and
    after the last: at the edges the window is shorter, never padded.

    Parameters
    ----------
    position
        Shape (time, ...); NaN is a gap.
    window
        Frames in the window, odd; the point is in its centre.

    Returns
    -------
    Array of the shape of `position`
        NaN exactly where `position` is.
    """
    _check_window(window)
    frames, half = len(position), window // 2
    result = position.copy()
    if frames == 0 or half == 0:
        return result
    # Gaps sort to the end, and each median is read off its own number of points.
    margin = [(half, half), *[(0, 0)] * (position.ndim - 1)]
    padded = np.pad(position, margin, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, window, axis=0)
    for start in range(0, frames, _MEDIAN_BLOCK):
        block = slice(start, start + _MEDIAN_BLOCK)
        ordered = np.sort(windows[block], axis=-1)
        count = np.count_nonzero(~np.isnan(ordered), axis=-1, keepdims=True)
        low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=-1)[..., 0]
        high = np.take_along_axis(ordered, np.minimum(count // 2, window - 1), axis=-1)[..., 0]
        there = ~np.isnan(position[block])
        np.copyto(result[block], low + (high - low) / 2, where=there)
    return result


def smooth_savitzky_golay(position: Floats, window: int, order: int) -> Floats:
    """Replace each point by the value there of a polynomial fitted to the points around it.

    Works within stretches without a gap; at the ends of one, the polynomial of the outermost
    window is used, so that polynomials of at most the given order pass unchanged. Stretches
    shorter than the window are left as they are.

    Parameters
    ----------
    position
        Shape (time, ...); NaN is a gap.
    window
        Frames in the window, odd; the point is in its centre.
    order
        Degree of the polynomial, below `window`.

    Returns
    -------
    Array of the shape of `position`
        NaN exactly where `position` is.

    References
    ----------
    Savitzky & Golay (1964), Analytical Chemistry 36(8), doi:10.1021/ac60214a047.
    """
    _check_window(window)
    if order >= window:
        raise ValueError(f"order ({order}) must be below window ({window})")
    # It takes longer to load than all that a job without work does.
    from scipy.signal import savgol_filter  # noqa: PLC0415

    result = position.copy()
    for trajectory in _trajectories(result):
        for start, stop in _find_runs(~np.isnan(trajectory)):
            if stop - start >= window:
                stretch = trajectory[start:stop].astype(np.float64)
                trajectory[start:stop] = savgol_filter(stretch, window, order, mode="interp")
    return result


def filter_poses(  # noqa: PLR0913 - one argument per setting
    position: Floats,
    confidence: Floats,
    *,
    pcutoff: float,
    max_gap: int,
    method: Literal["median", "savitzky-golay", "none"],
    window: int,
    order: int,
) -> Floats:
    """Clean trajectories: gate by confidence, interpolate short gaps, smooth.

    Parameters
    ----------
    position
        Shape (time, ..., 2), x and y in px; NaN is a gap.
    confidence
        Shape (time, ...), 0..1; NaN counts as low.
    pcutoff, max_gap
        See `gate_by_confidence` and `interpolate_gaps`.
    method, window, order
        See `smooth_median` and `smooth_savitzky_golay`.

    Returns
    -------
    Array of the shape of `position`
        NaN where no point is known or could be interpolated.
    """
    gated = gate_by_confidence(position, confidence, pcutoff)
    filled = interpolate_gaps(gated, max_gap)
    if method == "median":
        return smooth_median(filled, window)
    if method == "savitzky-golay":
        return smooth_savitzky_golay(filled, window, order)
    if method == "none":
        return filled
    assert_never(method)


def measure_reach(max_gap: int, window: int) -> int:
    """Return how far in time a cleaned point depends on others.

    A block of frames, cleaned together with this many frames on either side, comes out as it
    does from the whole video: the window looks at up to ``window - 1`` frames (at the end of a
    stretch, Savitzky-Golay's lies all on one side) and must see that a stretch ends there, and
    the outermost of these may lie in a gap that ends `max_gap` frames later.

    Returns
    -------
    int
        Frames on either side.
    """
    return window - 1 + max_gap


def _trajectories(values: Floats) -> list[Floats]:
    """Return a writable view of each trajectory."""
    return [values[(slice(None), *place)] for place in np.ndindex(values.shape[1:])]


def _find_runs(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return start and stop of each run of True, shape (run, 2)."""
    padded = np.concatenate(([False], mask, [False]))
    return np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2)


def _check_window(window: int) -> None:
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window ({window}) must be odd and at least 1")
