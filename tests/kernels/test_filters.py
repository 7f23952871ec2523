"""Test filters: values derived by hand, and properties for any trajectory."""

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline_lib.kernels.filters as subject
from pipeline_lib.kernels.filters import (
    filter_poses,
    gate_by_confidence,
    interpolate_gaps,
    measure_reach,
    smooth_median,
    smooth_savitzky_golay,
)

NAN = np.nan
windows = st.sampled_from([1, 3, 5, 7])
values = st.one_of(st.just(NAN), st.integers(-1000, 1000).map(float))
trajectories = npst.arrays(np.float64, st.integers(0, 30), elements=values)


def assert_equal(found, expected):
    np.testing.assert_array_equal(found, np.asarray(expected))


def test_gate_keeps_points_from_the_cutoff_on():
    position = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    gated = gate_by_confidence(position, np.array([[0.4, 0.39], [NAN, 1.0]]), 0.4)
    assert gated.dtype == np.float32
    assert_equal(gated, [[[0, 1], [NAN, NAN]], [[NAN, NAN], [6, 7]]])
    # A cutoff of 0 keeps every point of a decoded frame.
    assert_equal(gate_by_confidence(position, np.zeros((2, 2)), 0.0), position)


def test_interpolation_is_a_straight_line():
    assert_equal(interpolate_gaps(np.array([1.0, NAN, NAN, 4.0]), 2), [1, 2, 3, 4])


def test_interpolation_leaves_long_gaps_whole_and_never_extrapolates():
    position = np.array([NAN, 1, NAN, 3, NAN, NAN, NAN, 7, NAN])
    assert_equal(interpolate_gaps(position, 2), [NAN, 1, 2, 3, NAN, NAN, NAN, 7, NAN])
    assert_equal(interpolate_gaps(position, 3), [NAN, 1, 2, 3, 4, 5, 6, 7, NAN])
    assert_equal(interpolate_gaps(position, 0), position)
    assert_equal(interpolate_gaps(np.full(4, NAN), 9), [NAN] * 4)


def test_interpolation_does_not_touch_its_input():
    position = np.array([1.0, NAN, 3.0])
    interpolate_gaps(position, 1)
    assert np.isnan(position[1])


@given(trajectories, st.integers(0, 6), st.floats(-5, 5), st.floats(-100, 100))
def test_interpolation_restores_a_line_in_every_short_gap(gaps, max_gap, slope, offset):
    line = slope * np.arange(len(gaps)) + offset
    filled = interpolate_gaps(np.where(np.isnan(gaps), NAN, line), max_gap)
    known = np.flatnonzero(~np.isnan(gaps))
    for frame in range(len(gaps)):
        before, after = known[known <= frame], known[known >= frame]
        bridged = len(before) and len(after) and after[0] - before[-1] - 1 <= max_gap
        expected = line[frame] if bridged else NAN
        np.testing.assert_allclose(filled[frame], expected, atol=1e-9, rtol=1e-9)


def test_median_shortens_the_window_at_the_edges_and_leaves_out_gaps():
    position = np.array([9.0, 1.0, 5.0, NAN, 7.0, 100.0])
    # 9,1 -> 5; 9,1,5 -> 5; 1,5 -> 3; centre is a gap; 7,100 -> 53.5 twice
    assert_equal(smooth_median(position, 3), [5, 5, 3, NAN, 53.5, 53.5])
    assert_equal(smooth_median(position, 1), position)


@given(trajectories, windows)
def test_median_is_numpys_over_each_window(position, window):
    half, smooth = window // 2, smooth_median(position, window)
    for frame, value in enumerate(position):
        around = position[max(0, frame - half) : frame + half + 1]
        assert_equal(smooth[frame], NAN if np.isnan(value) else np.nanmedian(around))


@given(npst.arrays(np.float32, (12, 2, 2), elements=st.integers(-99, 99)), windows)
def test_median_takes_each_trajectory_by_itself(position, window):
    smooth = smooth_median(position, window)
    assert smooth.dtype == np.float32
    for place in np.ndindex(2, 2):
        assert_equal(smooth[(..., *place)], smooth_median(position[(..., *place)], window))


def test_median_in_blocks_is_the_same(monkeypatch):
    position = np.random.default_rng(0).normal(size=(50, 2))
    position[7:9] = NAN
    expected = smooth_median(position, 5)
    monkeypatch.setattr(subject, "_MEDIAN_BLOCK", 7)
    assert_equal(smooth_median(position, 5), expected)


def test_savitzky_golay_has_its_published_weights():
    # Quadratic over five points: (-3, 12, 17, 12, -3) / 35.
    impulse = np.zeros(9)
    impulse[4] = 35.0
    smooth = smooth_savitzky_golay(impulse, 5, 2)
    np.testing.assert_allclose(smooth[2:7], [-3, 12, 17, 12, -3], atol=1e-12)


@given(
    windows,
    st.data(),
    st.lists(st.integers(-3, 3), min_size=1, max_size=4),
    npst.arrays(np.bool_, st.integers(0, 40), elements=st.booleans()),
)
def test_savitzky_golay_passes_polynomials_unchanged(window, data, coefficients, gap):
    order = data.draw(st.integers(0, window - 1))
    exact = np.polyval(coefficients[: order + 1], np.arange(len(gap)) / 10.0)
    position = np.where(gap, NAN, exact)
    smooth = smooth_savitzky_golay(position, window, order)
    np.testing.assert_allclose(smooth, position, atol=1e-6, rtol=1e-6)


def test_savitzky_golay_leaves_short_stretches_alone():
    # Four frames, a gap, five frames: only the second stretch is as long as the window.
    position = np.array([0.0, 9, 0, 9, NAN, 0, 9, 0, 9, 0])
    smooth = smooth_savitzky_golay(position, 5, 0)
    assert_equal(smooth[:5], position[:5])
    np.testing.assert_allclose(smooth[5:], [3.6] * 5)


@pytest.mark.parametrize("window", [0, 2, -1])
def test_windows_are_odd(window):
    with pytest.raises(ValueError, match="must be odd"):
        smooth_median(np.zeros(5), window)
    with pytest.raises(ValueError, match="must be odd"):
        smooth_savitzky_golay(np.zeros(5), window, 0)


def test_the_order_is_below_the_window():
    with pytest.raises(ValueError, match=r"order \(3\) must be below window \(3\)"):
        smooth_savitzky_golay(np.zeros(5), 3, 3)


def test_filtering_gates_then_interpolates_then_smooths():
    x = np.array([0.0, 1, 500, 3, 4])
    position = np.stack([x, -x], axis=-1)[:, None]
    confidence = np.array([1, 1, 0.1, 1, 1.0])[:, None]
    options = {"pcutoff": 0.4, "max_gap": 1, "window": 3, "order": 1}
    for method, expected in (
        ("none", [0, 1, 2, 3, 4]),
        # The ends see two frames: 0, 1 -> 0.5 and 3, 4 -> 3.5.
        ("median", [0.5, 1, 2, 3, 3.5]),
        ("savitzky-golay", [0, 1, 2, 3, 4]),
    ):
        cleaned = filter_poses(position, confidence, method=method, **options)
        np.testing.assert_allclose(cleaned[:, 0, 0], expected, atol=1e-12)
        np.testing.assert_allclose(cleaned[:, 0, 1], np.negative(expected), atol=1e-12)


@settings(max_examples=300)
@given(
    trajectories,
    windows,
    st.integers(0, 4),
    st.sampled_from(["median", "savitzky-golay", "none"]),
    st.data(),
)
def test_a_block_needs_only_its_reach(trajectory, window, max_gap, method, data):
    position = np.stack([trajectory, trajectory], axis=1)
    confidence = np.ones(len(position))
    options = {
        "pcutoff": 0.5,
        "max_gap": max_gap,
        "method": method,
        "window": window,
        "order": min(1, window - 1),
    }
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(position))] * 2)))
    first, last = max(0, start - measure_reach(max_gap, window)), stop
    last += measure_reach(max_gap, window)
    whole = filter_poses(position, confidence, **options)
    part = filter_poses(position[first:last], confidence[first:last], **options)
    np.testing.assert_allclose(
        part[start - first : stop - first], whole[start:stop], atol=1e-9, rtol=1e-9
    )
