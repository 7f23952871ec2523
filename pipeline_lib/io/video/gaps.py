"""Find the frames that a video lacks by its timestamps.

A video of a constant frame rate has a timestamp for every period. A step of n periods then
means that n - 1 frames are missing: their packets were lost, or the recorder dropped them.
They become rows of their own, so that the rows after them stay at their true place.

The rule
--------
The period is the mean of the steps near the median one. A step is *regular* if it is one
period, within the rounding of the container's time unit or a tenth of the period. The frame
rate is *constant* if at least 80 % of the steps are regular (half of them in AVI, which counts
frames, and in clips of up to 16 frames whose steps are all whole periods). Then a step within
the same tolerance of n >= 2 periods lacks n - 1 frames. Any other step (a recorder that paused,
a late frame) lacks none, and the frame rate counts as variable. Where the frame rate is variable
altogether (screen recordings, phones, webcams whose steps vary), no step says anything: rows are
the frames that are there, with their times. In a container
that counts frames, each count is a frame if at least a quarter of the counts hold data.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# An interval this much longer or shorter than the period is not one period.
_TOLERANCE = 0.1
_REGULAR_SHARE = 0.8
_LENIENT_SHARE = 0.5
_FEW_STEPS = 16
# Of a container that counts frames, at least one in so many is there.
_MOST_EMPTY = 4.0
# Containers round a timestamp, and how it differs from the time of decoding, to their unit.
_ROUNDING = 1.5
# Where a period has few units, one unit more is a frame more.
_FEW_UNITS = 4.0
# No codec shows a frame so many frames before one that was decoded earlier.
_MOST_REORDERED = 16


class Steps(NamedTuple):
    """Describe the steps between the timestamps of successive frames on the screen.

    Attributes
    ----------
    period
        One frame, in units of the timestamps.
    constant
        Whether the frame rate is constant, but for missing frames.
    variable
        Whether any step is neither one period nor, at a constant rate, several.
    missing
        Shape (frames - 1,), int64: frames missing between each frame and the next.
    doubtful
        Whether a frame comes less than half a period after another one, near a gap: one of
        them may belong into the gap.
    lengths
        Shape (frames - 1,), int64: the steps, in units of the timestamps.
    """

    period: float
    constant: bool
    variable: bool
    missing: NDArray[np.int64]
    doubtful: bool
    lengths: NDArray[np.int64]


def judge_steps(
    pts: NDArray[np.int64], *, counted: bool = False, stated: Sequence[float] = ()
) -> Steps:
    """Find the missing frames of a video by the rule of this module.

    Parameters
    ----------
    pts
        Shape (frames,): ascending timestamps of at least two frames, not all alike.
    counted
        Whether the container counts frames, as AVI does, instead of storing times.
    stated
        Periods that headers state, in units of `pts`.
    """
    steps = np.diff(pts)
    frames_counted = counted and _counts_frames(steps, stated)
    period = 1.0 if frames_counted else _find_period(steps)
    rounding = _ROUNDING if period >= _FEW_UNITS else 0.999
    tolerance = max(rounding, _TOLERANCE * period)
    periods = np.maximum(np.rint(steps / period), 1).astype(np.int64)
    fits = np.abs(steps - periods * period) <= tolerance
    share = float(np.mean(fits & (periods == 1)))
    lenient = counted or (len(steps) < _FEW_STEPS and fits.all())
    constant = frames_counted or share >= (_LENIENT_SHARE if lenient else _REGULAR_SHARE)
    missing = np.where(fits, periods - 1, 0) if constant else np.zeros_like(periods)
    variable = not (fits.all() and (constant or (periods == 1).all()))
    doubtful = _is_doubtful(steps, period, missing)
    return Steps(period, constant, variable, missing, doubtful, steps)


def _counts_frames(steps: NDArray[np.int64], stated: Sequence[float]) -> bool:
    """Tell whether the unit of a container that counts is one frame.

    It is not where most of what is counted is empty, nor where the codec states a period of
    several units, as frames in fact come.
    """
    typical = float(np.median(steps))
    if typical == 1:
        return True
    slower = any(abs(period - typical) <= _TOLERANCE for period in stated)
    return not slower and float(np.mean(steps)) <= _MOST_EMPTY


def fit_periods(steps: NDArray[np.int64], period: float) -> NDArray[np.int64] | None:
    """Return how many periods each step is; None if one is no whole number of them."""
    if period < _FEW_UNITS:
        return None
    periods = np.rint(steps / period).astype(np.int64)
    tolerance = max(_ROUNDING, _TOLERANCE * period)
    fits = (periods >= 1) & (np.abs(steps - periods * period) <= tolerance)
    return periods if fits.all() else None


def _is_doubtful(steps: NDArray[np.int64], period: float, missing: NDArray[np.int64]) -> bool:
    short, gaps = np.flatnonzero(steps < period / 2), np.flatnonzero(missing)
    if not len(short) or not len(gaps):
        return False
    following = np.searchsorted(gaps, short)
    after = gaps[np.minimum(following, len(gaps) - 1)]
    before = gaps[np.maximum(following - 1, 0)]
    nearest = np.minimum(np.abs(after - short), np.abs(short - before))
    return bool((nearest <= _MOST_REORDERED).any())


def _find_period(steps: NDArray[np.int64]) -> float:
    """Return the mean length of a period: first of steps near the median, then of small gaps too.

    Where a period has few units, a step of two periods is near the median as well.
    """
    # One of the steps, not the mean of two.
    median = float(np.percentile(steps, 50, method="lower"))
    reach = max(_ROUNDING if median >= _FEW_UNITS else 1.0, _TOLERANCE * median)
    near = steps[np.abs(steps - median) <= reach]
    period = max(float(near.mean()), 0.5)
    for most in (3, _MOST_REORDERED):
        periods = np.rint(steps / period)
        known = (periods >= 1) & (periods <= most) & (np.abs(steps - periods * period) <= reach)
        if known.any():
            period = float(steps[known].sum() / periods[known].sum())
    return period


def find_breaks(
    position: NDArray[np.int32],
    frame: NDArray[np.int64],
    keyframes: NDArray[np.int32],
    *,
    reorders: bool,
) -> NDArray[np.int64]:
    """Find, for each gap, the first packet that may refer to what is missing.

    Where packets are reordered, it is not known where the missing ones were decoded. Frames
    that are shown up to 16 frames before the gap may refer to them, but no packet up to the
    last keyframe that is shown before the gap does.

    Parameters
    ----------
    position
        Shape (frames there,): packet of each frame that is there, in order of display.
    frame
        Shape (frames there,): its index, missing frames counted.
    keyframes
        Ascending positions of keyframes.
    reorders
        Whether packets are shown in another order than they are decoded in.

    Returns
    -------
    Array of shape (gaps,): a position for each gap, in order of the gaps.
    """
    before = np.flatnonzero(np.diff(frame) > 1)
    starts = position[before + 1].astype(np.int64)
    if not reorders:
        return starts
    is_keyframe = np.isin(position, keyframes)
    keyframe_before = np.maximum.accumulate(np.where(is_keyframe, position, -1))
    nearest = np.searchsorted(frame, frame[before] + 1 - _MOST_REORDERED)
    for gap, (first, last) in enumerate(zip(nearest.tolist(), before.tolist(), strict=True)):
        start = min(int(starts[gap]), int(position[first : last + 1].min()))
        starts[gap] = max(start, int(keyframe_before[last]) + 1)
    return starts
