"""Test the calibration of confidence on made-up errors of which the distribution is known."""

import numpy as np
import pytest

from pipeline_lib.kernels.ensembles.regions import LEVELS, HeldOut, calibrate, fit_scale, judge

KEYPOINTS = 8
NINETY = LEVELS.index(0.9)


def make_points(images, seed=0, swapped=0.05):
    """Return errors that grow with the spread and by bodypart; some points are exchanged."""
    random = np.random.default_rng(seed)
    image = np.repeat(np.arange(images), KEYPOINTS)
    bodypart = np.tile(np.arange(KEYPOINTS), images)
    width = np.repeat(random.lognormal(0, 0.7, images), KEYPOINTS) * (1 + 0.3 * bodypart)
    error = np.linalg.norm(random.normal(size=(len(image), 2)) * width[:, None], axis=1)
    exchanged = random.random(len(image)) < swapped
    error[exchanged] = random.uniform(30, 100, exchanged.sum())
    spread = width * random.lognormal(0, 0.3, len(image))
    return HeldOut(error, 1 / (1 + width / 5), spread, bodypart, image)


@pytest.mark.parametrize("swapped", [0.0, 0.08])
def test_regions_hold_the_share_that_they_state(swapped):
    points, others = make_points(60, swapped=swapped), make_points(600, 1, swapped)
    inside = (points.error[:, None] <= judge(points, KEYPOINTS)).mean(axis=0)
    np.testing.assert_allclose(inside, LEVELS, atol=0.03)
    # What is fitted to some points holds for others that it has not seen.
    known = calibrate(points, KEYPOINTS)
    scale = known.scale.measure(others.confidence, others.spread, others.bodypart)
    share = (others.error[:, None] <= scale[:, None] * np.array(known.quantiles)).mean(axis=0)
    assert 0.85 <= share[NINETY] <= 0.95
    # They tell hard points from easy ones.
    radius = scale * known.quantiles[NINETY]
    assert np.quantile(radius, 0.9) > 3 * np.quantile(radius, 0.1)


def test_points_that_judge_share_no_image_with_those_that_fit():
    points = make_points(20, swapped=0.0)
    before = judge(points, KEYPOINTS)
    error = points.error.copy()
    error[points.image == 7] = 1e6
    after = judge(points._replace(error=error), KEYPOINTS)
    # The radius of an image does not depend on its own errors, that of others does.
    own = points.image == 7
    np.testing.assert_array_equal(after[own], before[own])
    assert (after[~own] != before[~own]).any()


def test_a_spread_says_more_than_a_confidence_where_it_does():
    points = make_points(100, swapped=0.0)
    scale = fit_scale(points._replace(confidence=np.full(len(points.error), 0.5)), KEYPOINTS)
    assert scale.spread_weight == pytest.approx(1.0, abs=0.25)
    assert scale.confidence_weight == 0.0
    # Of a single network nothing is known of the spread.
    alone = fit_scale(points._replace(spread=np.full(len(points.error), np.nan)), KEYPOINTS)
    assert alone.spread_weight == 0.0 < alone.confidence_weight


def test_few_points_tell_nothing_of_rare_errors():
    known = calibrate(make_points(6), KEYPOINTS)
    assert np.isfinite(known.quantiles[NINETY])
    assert np.isinf(known.quantiles[LEVELS.index(0.99)])
