"""Test how a video is compared with its cohort, and what follows."""

import cv2
import numpy as np
import pytest

from pipeline_lib.kernels.quality.cohort import (
    choose_worst,
    compare_sizes,
    describe_quarters,
    describe_standard,
    estimate_shift,
    measure_proportions,
    measure_views,
    measure_z,
    place_limit,
)
from pipeline_lib.kernels.quality.findings import (
    Verdict,
    find_samples,
    find_windows,
    format_spans,
    judge,
    split_quarters,
    surround,
)

NAN = np.nan


def widen(number):
    return 1.4826 * (1 + 34.6 / number**1.5)


def test_robust_z_is_that_of_median_and_mad():
    values = np.array([1.0, 2, 3, 4, 100, NAN])
    standard = describe_standard(values, 0.1, logarithmic=False)
    scale = widen(5)
    assert standard == (3, pytest.approx(scale), 5)
    assert measure_z(100, standard, logarithmic=False) == pytest.approx(97 / scale)
    assert place_limit(standard, 2, logarithmic=False) == pytest.approx(3 + 2 * scale)
    same = describe_standard(np.full(9, 5.0), 0.5, logarithmic=False, relative_floor=0.2)
    assert same == (5, 1.0, 9)
    ratios = describe_standard(np.array([10.0, 20, 40, 0]), 0.01, logarithmic=True)
    assert ratios.number == 3
    assert measure_z(40, ratios, logarithmic=True) == pytest.approx(1 / widen(3))
    assert measure_z(0, ratios, logarithmic=True) == -np.inf
    assert place_limit(ratios, 1 / widen(3), logarithmic=True) == pytest.approx(40)
    nobody = describe_standard(np.full(3, NAN), 0.1, logarithmic=False)
    assert nobody.number == 0
    assert np.isnan(measure_z(1.0, nobody, logarithmic=False))


@pytest.mark.parametrize("number", [8, 20, 100])
def test_few_normal_values_are_beyond_a_limit_as_rarely_as_many(number):
    rng = np.random.default_rng(number)
    beyond = 0
    for values in rng.normal(size=(40000 // number, number)):
        standard = describe_standard(values, 0.0, logarithmic=False)
        beyond += int((np.abs(values - standard.centre) > 3.45 * standard.scale).sum())
    # One in a thousand; without widening, 18 of 8 values each.
    assert 15 < beyond < 70


def test_the_worst_quarter_counts():
    quarters = np.tile([0.5, 0.5, 0.5, 0.5], (10, 1))
    quarters[3, 2] = 0.1
    quarters[4] = NAN
    standard = describe_quarters(quarters, 0.04, "both", logarithmic=False)
    assert standard == (0.5, 0.04, 9)
    worst = choose_worst(quarters, standard, "both", logarithmic=False)
    assert worst[3] == 0.1
    assert np.isnan(worst[4])
    np.testing.assert_array_equal(split_quarters(np.array([1.0, NAN, 3])), [1, NAN, 3, NAN])


def test_views_are_compared_with_the_most_similar_quarter():
    rng = np.random.default_rng(1)
    arenas = [cv2.GaussianBlur(rng.normal(0, 1, (48, 64)), (0, 0), 2) for _ in range(3)]
    noise = rng.normal(0, 0.02, (21, 48, 64))
    # Two arenas of ten videos each, and one video of another.
    views = np.stack([arenas[n // 10] for n in range(21)]) + noise
    found = measure_views((100 + 50 * views).astype(np.float32))
    assert found[:20].max() < 0.1
    assert found[20] > 0.5
    assert np.isnan(measure_views(views[:1].astype(np.float32))).all()
    wide = cv2.GaussianBlur(rng.normal(0, 1, (80, 100)), (0, 0), 3)
    usual, moved = wide[10:58, 10:74], wide[16:64, 2:66]
    pictures = moved.astype(np.float32), usual.astype(np.float32)
    shift = estimate_shift(*pictures)
    np.testing.assert_array_equal(pictures[1], usual.astype(np.float32))
    assert shift == (pytest.approx(8 / 64, abs=0.02), pytest.approx(-6 / 48, abs=0.02))
    assert estimate_shift(usual.astype(np.float32), usual.astype(np.float32)) is None
    assert estimate_shift(arenas[0].astype(np.float32), arenas[1].astype(np.float32)) is None


def test_proportions_do_not_depend_on_size():
    usual = np.array([10.0, 20, 30, 40])
    lengths = np.stack([usual, usual * 3, usual, usual * [1, 1, 2, 1], [NAN, NAN, 30, 40]])
    found = measure_proportions(lengths)
    np.testing.assert_allclose(found[:3], 0, atol=1e-12)
    assert found[3] == pytest.approx(np.log(2) / 2)
    assert np.isnan(found[4])
    # Of the other videos alone, the fourth has usual proportions.
    told = measure_proportions(lengths, np.array([False, False, False, True, False]))
    np.testing.assert_allclose(told[:4], [np.log(2) / 2] * 3 + [0], atol=1e-12)
    assert measure_proportions(lengths, np.zeros(5, bool))[3] == found[3]
    assert measure_proportions(np.empty((2, 0))).tolist() == pytest.approx([NAN, NAN], nan_ok=True)


def test_sizes_are_compared_with_the_usual_one():
    sizes = [(640, 480)] * 9 + [(320, 240), None]
    found = compare_sizes(sizes)
    assert found[:9].tolist() == [0] * 9
    assert found[9] == 0.9
    assert np.isnan(found[10])
    assert np.isnan(compare_sizes([None])).all()


@pytest.mark.parametrize(
    ("value", "limits", "worse", "expected"),
    [
        (0.3, {"warn_below": 0.5, "fail_below": 0.1}, "low", ("warn", 0.5, False)),
        (0.05, {"warn_below": 0.5, "fail_below": 0.1}, "low", ("fail", 0.1, False)),
        (0.5, {"warn_below": 0.5}, "low", None),
        (9, {"warn_z": 3}, "high", ("warn", 3, True)),
        (9, {"warn_z": 3}, "low", None),
        (-9, {"warn_z": 3, "fail_z": 5}, "both", ("fail", -5, False)),
        (9, {"warn_z": 9}, "both", None),
        (NAN, {"warn_below": 0.5, "warn_z": 1}, "both", None),
        (9, {}, "both", None),
    ],
)
def test_verdicts(value, limits, worse, expected):
    standard = describe_standard(np.array([-1.0, 0, 1]), 0, logarithmic=False)
    standard = standard._replace(scale=1.0)
    found = judge(value, limits, standard, worse, logarithmic=False)
    if expected is None:
        assert found is None
    else:
        assert found[:3] == expected
    # A cohort that is too small has absolute limits alone.
    alone = judge(value, limits, None, worse, logarithmic=False)
    assert (alone is not None) == (expected is not None and "warn_z" not in limits)


def test_offending_seconds():
    verdict = Verdict("warn", 0.5, above=False, z=NAN)
    windows = np.array([0.1, 0.2, 0.9, NAN, 0.1, 0.9])
    assert find_windows(windows, 2.0, 11.5, verdict) == [(0, 4), (8, 10)]
    assert find_windows(np.ones(5), 2.0, 9.5, verdict) == [(0, 9.5)]
    samples = np.array([0.9, 0.1, 0.9])
    assert find_samples(samples, np.array([1.0, 5, 9]), 10, verdict) == [(3, 7)]
    assert surround([9.8, 1.0, 1.5], 0.5, 10) == [(0.5, 2.0), (pytest.approx(9.3), 10)]
    assert format_spans([(12, 13.52), (40.2, 41)]) == "12.0-13.5, 40.2-41.0"
