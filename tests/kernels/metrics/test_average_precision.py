"""Average precision by hand; agreement with pycocotools is tested among the peers."""

import math

import numpy as np
import pytest

from pipeline_lib.kernels.metrics.average_precision import (
    COCO_THRESHOLDS,
    measure_average_precision,
)

NAN = np.nan
SIGMA = 0.1
AREA = 100.0
# OKS is exp(-d^2 / (2 * 100 * 0.2^2)) = exp(-d^2 / 8): 0.607 at 2 px, 0.135 at 4 px.


def pose(x, y=0.0):
    return [[x, y], [x + 10.0, y + 10.0]]


def measure(predicted, score, truth, **settings):
    """Return frames from lists of poses; None is an absent pose."""
    nobody = [[NAN, NAN], [NAN, NAN]]
    predicted, truth = (
        np.array([[nobody if one is None else one for one in frame] for frame in frames], float)
        for frames in (predicted, truth)
    )
    area = np.full(truth.shape[:2], AREA)
    return measure_average_precision(predicted, np.array(score), truth, area, SIGMA, **settings)


def test_thresholds_are_those_of_coco():
    assert pytest.approx(COCO_THRESHOLDS) == [0.5 + 0.05 * step for step in range(10)]


def test_perfect_predictions():
    found = measure([[pose(0), pose(50)]], [[0.9, 0.8]], [[pose(50), pose(0)]])
    assert found.mean_precision == pytest.approx(1.0)
    assert found.mean_recall == 1.0


def test_a_displaced_prediction_is_right_at_the_low_thresholds_only():
    found = measure([[pose(2.0)]], [[0.9]], [[pose(0.0)]])
    # exp(-4 / 8) = 0.607: right at 0.50, 0.55 and 0.60.
    assert found.recall.tolist() == [1.0] * 3 + [0.0] * 7
    assert found.mean_precision == pytest.approx(0.3)


def test_false_predictions_count_by_their_score():
    truth = [[pose(0), None], [pose(0), None]]
    predicted = [[pose(0), pose(70)], [pose(0), None]]
    # False one last: full precision at every recall.
    last = measure(predicted, [[0.9, 0.1], [0.8, NAN]], truth)
    assert last.mean_precision == pytest.approx(1.0)
    # False one first: precision 1/2 with one found, 2/3 with both, which is then taken throughout.
    first = measure(predicted, [[0.8, 0.9], [0.7, NAN]], truth)
    assert first.mean_precision == pytest.approx(2 / 3)
    # Between them: precision 1 up to a recall of 0.5 (51 of 101), 2/3 beyond.
    between = measure(predicted, [[0.9, 0.8], [0.7, NAN]], truth)
    assert between.mean_precision == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_missed_individual_bounds_recall():
    found = measure([[pose(0), None]], [[0.9, NAN]], [[pose(0), pose(50)]])
    assert found.mean_recall == 0.5
    assert found.mean_precision == pytest.approx(51 / 101)


def test_the_best_score_chooses_first():
    # The uncertain one is nearer, but the certain one takes the only individual.
    found = measure([[pose(0.0), pose(1.0)]], [[0.1, 0.9]], [[pose(0.0)]], thresholds=[0.5])
    assert found.recall.tolist() == [1.0]
    # exp(-1 / 8) = 0.88: at 0.95 the nearer one comes second, after a false one.
    found = measure([[pose(0.0), pose(1.0)]], [[0.1, 0.9]], [[pose(0.0)]], thresholds=[0.95])
    assert found.mean_precision == pytest.approx(0.5)


def test_missing_keypoints_are_wrong():
    half = [[0.0, 0.0], [NAN, NAN]]
    found = measure([[half]], [[0.9]], [[pose(0)]], thresholds=[0.5, 0.55])
    assert found.recall.tolist() == [1.0, 0.0]
    # What is not labelled does not count.
    assert measure([[pose(0)]], [[0.9]], [[half]]).mean_recall == 1.0


@pytest.mark.parametrize(
    "truth", [np.zeros((0, 1, 2, 2)), np.zeros((2, 0, 2, 2)), np.full((2, 1, 2, 2), NAN)]
)
def test_nothing_to_find(truth):
    frames = len(truth)
    area = np.full(truth.shape[:2], AREA)
    predicted, score = np.zeros((frames, 2, 2, 2)), np.ones((frames, 2))
    found = measure_average_precision(predicted, score, truth, area, SIGMA)
    assert math.isnan(found.mean_precision)
    assert math.isnan(found.mean_recall)


def test_nothing_found():
    for predicted in (np.zeros((1, 0, 2, 2)), np.full((1, 3, 2, 2), NAN)):
        truth, score = np.array([[pose(0)]]), np.ones(predicted.shape[:2])
        found = measure_average_precision(predicted, score, truth, np.full((1, 1), AREA), SIGMA)
        assert (found.mean_precision, found.mean_recall) == (0.0, 0.0)


def test_an_individual_without_an_area_is_not_looked_for():
    truth = np.array([[pose(0), pose(50)]])
    area = np.array([[AREA, NAN]])
    found = measure_average_precision(truth[:, :1], np.ones((1, 1)), truth, area, SIGMA)
    assert found.mean_recall == 1.0
