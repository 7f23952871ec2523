import math

import pytest

from pipeline_lib.kernels.summaries.groups import estimate_difference, estimate_mean

NAN = math.nan


def test_the_interval_is_that_of_student():
    # scipy.stats.t.interval(0.95, 3, 2.5, scipy.stats.sem([1, 2, 3, 4]))
    estimate = estimate_mean([1, 2, 3, 4, NAN])
    assert (estimate.videos, estimate.value) == (4, 2.5)
    assert (estimate.low, estimate.high) == pytest.approx((0.4457397, 4.5542603))
    bounded = estimate_mean([1, 2, 3, 4], (1.0, 4.0))
    assert (bounded.low, bounded.high) == (1.0, 4.0)


def test_one_video_has_no_interval():
    one, none = estimate_mean([7.0]), estimate_mean([NAN])
    assert (one.videos, one.value, one.has_interval) == (1, 7.0, False)
    assert (none.videos, none.has_interval) == (0, False)
    assert math.isnan(none.value)
    difference = estimate_difference([7.0], [1.0, 2.0])
    assert (difference.value, difference.has_interval) == (5.5, False)


def test_the_difference_is_that_of_welch():
    # scipy.stats.ttest_ind([1, 2, 3, 4], [2, 4, 9], equal_var=False).confidence_interval()
    estimate = estimate_difference([1, 2, 3, 4], [2, 4, 9, NAN])
    assert (estimate.videos, estimate.value) == (3, -2.5)
    assert (estimate.low, estimate.high) == pytest.approx((-10.5575435, 5.5575435))
    same = estimate_difference([1.0, 1.0], [3.0, 3.0])
    assert (same.low, same.value, same.high) == (-2.0, -2.0, -2.0)
