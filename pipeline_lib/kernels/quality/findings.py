"""Judge the measures of a video by limits, and find the seconds that offend."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.quality.cohort import Standard, Worse, measure_z, place_limit

Doubles = NDArray[np.float64]
Span = tuple[float, float]

# Probability above which exchanged tracks fit better than the present ones.
EVEN = 0.5
# Most stretches of a video that are listed of one finding.
_MOST_SPANS = 10


class Verdict(NamedTuple):
    """Tell that a value is beyond a limit.

    Attributes
    ----------
    decision
        ``warn`` or ``fail``.
    limit
        In the unit of the value.
    above
        Whether the value is above the limit, and not below.
    z
        Robust standard deviations from the cohort; NaN: the limit is an absolute one.
    """

    decision: Literal["warn", "fail"]
    limit: float
    above: bool
    z: float


def judge(
    value: float,
    limits: Mapping[str, float | None],
    standard: Standard | None,
    worse: Worse,
    *,
    logarithmic: bool,
) -> Verdict | None:
    """Compare a value with its limits.

    Parameters
    ----------
    value
        NaN: nothing could be measured, which is no finding.
    limits
        By the names of `CheckSettings`: ``warn_below``, ``fail_z`` ...
    standard
        What is usual in the cohort; None: it is too small to tell.
    worse, logarithmic
        Which values are bad, and whether ratios count.

    Returns
    -------
    Verdict or None
        The worst; of an absolute and a relative limit of the same decision, the absolute one.
    """
    if np.isnan(value):
        return None
    decisions: tuple[Literal["fail", "warn"], ...] = ("fail", "warn")
    for decision in decisions:
        below, above = limits.get(f"{decision}_below"), limits.get(f"{decision}_above")
        if below is not None and value < below:
            return Verdict(decision, below, above=False, z=np.nan)
        if above is not None and value > above:
            return Verdict(decision, above, above=True, z=np.nan)
        most = limits.get(f"{decision}_z")
        if most is None or standard is None:
            continue
        z = measure_z(value, standard, logarithmic=logarithmic)
        if (z > most and worse != "low") or (z < -most and worse != "high"):
            limit = place_limit(standard, float(np.copysign(most, z)), logarithmic=logarithmic)
            return Verdict(decision, limit, above=bool(z > 0), z=z)
    return None


def find_windows(values: Doubles, seconds: float, duration: float, verdict: Verdict) -> list[Span]:
    """Return the stretches of a video whose windows are beyond a limit.

    Parameters
    ----------
    values
        Shape (window,); NaN: nothing was measured in a window.
    seconds
        Duration of a window.
    duration
        Of the video, seconds.
    verdict
        Has the limit.

    Returns
    -------
    list of (start, end)
        The longest ones in the order of time; the whole video if no window is beyond the limit.
    """
    with np.errstate(invalid="ignore"):
        bad = values > verdict.limit if verdict.above else values < verdict.limit
    edges = np.flatnonzero(np.diff(np.concatenate([[False], bad, [False]]).astype(np.int8)))
    spans = [
        (float(start * seconds), float(min(stop * seconds, max(duration, seconds))))
        for start, stop in edges.reshape(-1, 2)
    ]
    return _keep_longest(spans) or [(0.0, duration)]


def find_samples(values: Doubles, times: Doubles, duration: float, verdict: Verdict) -> list[Span]:
    """Return the stretches around sampled frames that are beyond a limit.

    Parameters
    ----------
    values, times
        Shape (sample,); ascending times in seconds.
    duration, verdict
        As in `find_windows`.
    """
    middles = (times[:-1] + times[1:]) / 2.0
    edges = np.concatenate([[0.0], middles, [duration]])
    with np.errstate(invalid="ignore"):
        bad = values > verdict.limit if verdict.above else values < verdict.limit
    places = np.flatnonzero(np.diff(np.concatenate([[False], bad, [False]]).astype(np.int8)))
    spans = [(float(edges[start]), float(edges[stop])) for start, stop in places.reshape(-1, 2)]
    return _keep_longest(spans) or [(0.0, duration)]


def surround(times: Any, reach: float, duration: float) -> list[Span]:  # noqa: ANN401
    """Return the seconds around moments, joined where they overlap.

    Parameters
    ----------
    times
        Moments in seconds.
    reach
        Seconds before and after each.
    duration
        Of the video, seconds.
    """
    spans: list[Span] = []
    for time in sorted(float(one) for one in times):
        start, end = max(0.0, time - reach), min(duration, time + reach)
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return _keep_longest(spans)


def format_spans(spans: list[Span]) -> str:
    """Return stretches as text, such as ``12.0-13.5, 40.2-41.0``."""
    return ", ".join(f"{start:.1f}-{end:.1f}" for start, end in spans)


def split_quarters(values: Doubles) -> Doubles:
    """Return the medians of the quarters of samples, shape (4,); NaN where there is none."""
    quarters = np.full(4, np.nan)
    for place, part in enumerate(np.array_split(np.asarray(values, np.float64), 4)):
        known = part[np.isfinite(part)]
        if len(known):
            quarters[place] = np.median(known)
    return quarters


def _keep_longest(spans: list[Span]) -> list[Span]:
    kept = sorted(spans, key=lambda span: span[0] - span[1])[:_MOST_SPANS]
    return sorted(kept)
