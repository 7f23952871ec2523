"""Compare groups of videos: means with their intervals, and differences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """Hold a mean or a difference of means with its interval.

    Attributes
    ----------
    videos
        Number of known values; of a difference, the smaller one of both.
    value
        The estimate; NaN without a value.
    low, high
        Ends of the interval; NaN where there is none: a single value tells nothing of the spread.
    """

    videos: int
    value: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        """Tell whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def estimate_mean(
    values: Sequence[float], bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Estimate:
    """Return the mean and its interval of 95 % by Student's t distribution.

    Parameters
    ----------
    values
        A value of each video; those that are not finite do not count.
    bounds
        Least and greatest possible value: the interval does not reach beyond them.
    """
    known = np.array([value for value in values if math.isfinite(value)], np.float64)
    if len(known) < 2:
        return Estimate(len(known), float(known[0]) if len(known) else math.nan, *(math.nan,) * 2)
    mean = float(known.mean())
    error = float(known.std(ddof=1)) / math.sqrt(len(known))
    half = float(stdtrit(len(known) - 1, 0.5 + LEVEL / 2)) * error
    return Estimate(len(known), mean, max(mean - half, bounds[0]), min(mean + half, bounds[1]))


def estimate_difference(values: Sequence[float], others: Sequence[float]) -> Estimate:
    """Return the mean of values minus that of others, and its interval of 95 %.

    The groups need not have one variance: the degrees of freedom are those of Welch (Biometrika
    34, 1947).

    Parameters
    ----------
    values, others
        A value of each video of both groups; those that are not finite do not count.
    """
    groups = [
        np.array([value for value in group if math.isfinite(value)], np.float64)
        for group in (values, others)
    ]
    counts = [len(group) for group in groups]
    if min(counts) == 0:
        return Estimate(0, *(math.nan,) * 3)
    difference = float(groups[0].mean() - groups[1].mean())
    if min(counts) < 2:
        return Estimate(min(counts), difference, *(math.nan,) * 2)
    errors = [float(group.var(ddof=1)) / len(group) for group in groups]
    total = sum(errors)
    if total == 0:
        return Estimate(min(counts), difference, difference, difference)
    freedom = total**2 / sum(
        error**2 / (count - 1) for error, count in zip(errors, counts, strict=True)
    )
    half = float(stdtrit(freedom, 0.5 + LEVEL / 2)) * math.sqrt(total)
    return Estimate(min(counts), difference, difference - half, difference + half)
