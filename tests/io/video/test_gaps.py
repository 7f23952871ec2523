"""Test which steps between timestamps mean missing frames."""

import numpy as np
import pytest

from pipeline_lib.io.video.gaps import find_breaks, fit_periods, judge_steps


def missing(pts, **options):
    steps = judge_steps(np.asarray(pts, np.int64), **options)
    return {int(at): int(steps.missing[at]) for at in np.flatnonzero(steps.missing)}


def rounded(rate: float, frames: int, units: float, lost=()) -> np.ndarray:
    """Return timestamps of a constant rate as a container rounds them, without those lost."""
    kept = np.setdiff1d(np.arange(frames), list(lost))
    return np.rint(kept / rate * units).astype(np.int64)


RATES = [10, 23.976, 25, 29.97, 30, 50, 59.94, 60, 100, 119.88, 120, 240, 500, 600, 1000]


@pytest.mark.parametrize("units", [1000, 12800, 90000])
@pytest.mark.parametrize("rate", RATES)
def test_rounded_timestamps_of_a_constant_rate_lack_nothing(rate, units):
    steps = judge_steps(rounded(rate, 2000, units))
    assert steps.constant
    assert not steps.variable
    assert not steps.missing.any()


@pytest.mark.parametrize("units", [1000, 12800, 90000])
@pytest.mark.parametrize("rate", RATES)
def test_each_period_too_many_is_a_missing_frame(rate, units):
    lost = [7, 50, 51, 52, *range(100, 200), 1500, 1502]
    found = missing(rounded(rate, 2000, units, lost))
    # Counted after frames that are there: 6, 49, 99, 1499 and 1501.
    assert found == {6: 1, 48: 3, 95: 100, 1395: 1, 1396: 1}


def test_a_few_frames_with_several_gaps():
    assert missing(rounded(25, 60, 1000, [5, 20, 21, 40])) == {4: 1, 18: 2, 36: 1}


@pytest.mark.parametrize("seed", range(5))
def test_variable_rates_lack_nothing(seed):
    draw = np.random.default_rng(seed)
    screen = np.cumsum(draw.choice([33, 67, 100, 233], 500, p=[0.5, 0.2, 0.2, 0.1]))
    webcam = np.cumsum(draw.normal(33, 8, 500).clip(5))
    phone = np.cumsum(np.r_[np.full(250, 33), np.full(250, 42)])
    late = np.cumsum(np.tile([33, 50, 17], 100))
    for times in (screen, webcam, phone, late):
        steps = judge_steps(times.astype(np.int64))
        assert steps.variable
        assert not steps.missing.any()


def test_jitter_within_a_tenth_of_a_period_is_a_constant_rate():
    times = np.arange(500) * 3000 + np.random.default_rng(0).integers(-100, 100, 500)
    assert not judge_steps(times).variable
    assert missing(np.delete(times, [30, 31])) == {29: 2}


def test_a_pause_is_no_gap_but_a_variable_rate():
    # The recorder went on at some other time, which is no whole number of periods.
    times = np.r_[np.arange(100) * 3000, 100 * 3000 + 100_700 + np.arange(100) * 3000]
    steps = judge_steps(times)
    assert steps.variable
    assert not steps.missing.any()


def test_containers_that_count_frames_may_lack_every_other():
    counts = np.cumsum(np.tile([1, 1, 2], 50))
    assert len(missing(counts, counted=True)) == 50
    assert not missing(counts)


def test_two_frames_at_one_time_next_to_a_gap_are_doubtful():
    times = np.arange(60) * 40
    moved = np.sort(np.where(np.arange(60) == 22, times[17], times))
    assert judge_steps(moved).doubtful
    assert not judge_steps(np.delete(times, 22)).doubtful
    # Far from a gap, it is a frame that came twice.
    assert not judge_steps(np.sort(np.r_[np.delete(times, 50), 40])).doubtful


def test_frames_that_may_refer_to_what_is_missing():
    # Shown:  I0 b1 b2 P3 | gap of 2 | b6 P7 I8, decoded I0 P3 b1 b2 P7 b6 I8.
    position = np.array([0, 2, 3, 1, 5, 4, 6], np.int32)
    frame = np.array([0, 1, 2, 3, 6, 7, 8])
    keyframes = np.array([0, 6], np.int32)
    assert find_breaks(position, frame, keyframes, reorders=True).tolist() == [1]
    in_order = np.arange(7, dtype=np.int32)
    assert find_breaks(in_order, frame, keyframes, reorders=False).tolist() == [4]


def test_what_a_container_counts_is_a_frame_if_a_quarter_is_there():
    every = np.arange(0, 200, 2)
    assert len(missing(every, counted=True)) == 99
    assert not missing(every)
    sparse = np.arange(0, 2000, 40)
    assert not missing(sparse, counted=True)
    # Its codec says that a frame lasts two units.
    assert not missing(every, counted=True, stated=(1.0, 2.0))


def test_whole_periods():
    steps = np.array([512, 1024, 513, 2047])
    assert fit_periods(steps, 512).tolist() == [1, 2, 1, 4]
    assert fit_periods(np.array([512, 800]), 512) is None
    assert fit_periods(np.array([0, 512]), 512) is None
    # Of so few units, anything is a whole number of periods.
    assert fit_periods(np.array([2, 4]), 2) is None
