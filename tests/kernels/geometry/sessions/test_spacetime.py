"""Test optimisation over space and time: less noise, exact points kept, windows without effect."""

import numpy as np
import pytest

from pipeline_lib.kernels.geometry.projection import project_all
from pipeline_lib.kernels.geometry.sessions.spacetime import (
    Motion,
    Weights,
    estimate_motion,
    find_overlap,
    optimise_points,
)
from pipeline_lib.kernels.geometry.triangulation import find_noise, measure_precision, triangulate
from tests.kernels.geometry.rigs import make_ring
from tests.steps.triangulate.scenes import BODYPARTS, EDGES, move_animals

JOINED = [(BODYPARTS.index(one), BODYPARTS.index(other)) for one, other in EDGES]


def triangulate_noisy(noise, moments=400, drop=0.1):
    cameras, points = make_ring(3), move_animals(moments, 1)[:, 0]
    stream = np.random.default_rng(0)
    pixels = project_all(cameras, points)
    pixels += stream.normal(0, noise, pixels.shape)
    pixels[stream.random(pixels.shape[:-1]) < drop] = np.nan
    weights = np.where(np.isfinite(pixels[..., 0]), 0.9, 0)
    size = find_noise(cameras, pixels, weights, gate=None, threads=1)
    found = triangulate(cameras, pixels, weights, gate=None, noise=size, threads=1)
    precision = measure_precision(cameras, pixels, weights, found.points) / size**2
    return points, found, precision


def measure(found, points):
    return np.sqrt(np.nanmean(((found - points) ** 2).sum(-1)))


@pytest.mark.parametrize("noise", [1.0, 8.0])
def test_noise_falls_by_both_assumptions_and_most_by_both(noise):
    points, found, precision = triangulate_noisy(noise)
    motion = estimate_motion(found.points, found.uncertainty, JOINED)
    errors = {}
    for smooth, stiff in ((0, 0), (1, 0), (0, 1), (1, 1)):
        best, _ = optimise_points(found.points, precision, JOINED, motion, Weights(smooth, stiff))
        assert (np.isnan(best) == np.isnan(found.points)).all()
        errors[smooth, stiff] = measure(best, points)
    assert errors[0, 0] == pytest.approx(measure(found.points, points))
    assert errors[1, 1] < 0.5 * errors[0, 0]
    assert errors[1, 1] < errors[1, 0] < errors[0, 0]
    assert errors[0, 1] < 0.95 * errors[0, 0]
    lengths = np.array([np.linalg.norm(points[0, a] - points[0, b]) for a, b in JOINED])
    assert motion.lengths == pytest.approx(lengths, rel=0.05)


def test_uncertainties_are_those_of_smoothed_points():
    for noise, moments in ((1.0, 401), (8.0, 400)):
        points, found, precision = triangulate_noisy(noise, moments=moments)
        motion = estimate_motion(found.points, found.uncertainty, JOINED)
        for weights in (Weights(0, 0), Weights(1, 0), Weights(1, 1)):
            best, spread = optimise_points(found.points, precision, JOINED, motion, weights)
            told = np.sqrt(np.nanmean(spread**2))
            assert 0.75 < measure(best, points) / told < 1.35
            assert (np.isnan(spread) == np.isnan(best[..., 0])).all()
        assert told < 0.6 * np.sqrt(np.nanmean(found.uncertainty**2))
        # A gap is less certain in its middle than a point beside others.
        lonely = found.points.copy()
        lonely[190:194, 0] = lonely[195:199, 0] = np.nan
        _, spread = optimise_points(lonely, precision, JOINED, motion, Weights(1, 0))
        assert spread[194, 0] > 1.1 * np.nanmedian(spread[:, 0])


def test_exact_points_stay():
    points, found, precision = triangulate_noisy(0.0)
    motion = estimate_motion(found.points, found.uncertainty, JOINED)
    best, _ = optimise_points(found.points, precision, JOINED, motion, Weights(1, 1))
    assert measure(best, points) < 1e-3


def test_errors_that_stay_are_no_noise():
    points, found, precision = triangulate_noisy(0.3)
    # Uncertainties and covariances of a calibration that is off, whose points are smooth all the
    # same: a path may not be bent for them.
    motion = estimate_motion(found.points, 30 * found.uncertainty, JOINED)
    shaken = precision / 30**2
    best, spread = optimise_points(found.points, shaken, JOINED, motion, Weights(1, 1))
    assert motion.share.max() < 0.01
    assert measure(best, points) < 1.2 * measure(found.points, points)
    # Smoothing does not remove such errors, and their uncertainty stays.
    assert np.nanmedian(spread / (30 * found.uncertainty)) == pytest.approx(1, abs=0.15)


def test_windows_do_not_change_the_result():
    _, found, precision = triangulate_noisy(3.0, moments=420)
    # A long gap of one keypoint, and of all: no path goes through.
    found.points[100:160, 2] = found.points[280:330] = np.nan
    motion = estimate_motion(found.points, found.uncertainty, JOINED)
    for weights in (Weights(1, 1), Weights(20, 0.5)):
        whole, whole_spread = optimise_points(found.points, precision, JOINED, motion, weights)
        overlap = find_overlap(motion, weights)
        for window in (150,):
            joined = np.full_like(whole, np.nan)
            spreads = np.full_like(whole_spread, np.nan)
            for start in range(0, 420, window):
                wide = slice(max(0, start - overlap), start + window + overlap)
                own, spread = optimise_points(
                    found.points[wide], precision[wide], JOINED, motion, weights
                )
                joined[start : start + window] = own[start - wide.start :][:window]
                spreads[start : start + window] = spread[start - wide.start :][:window]
            assert np.nanmax(np.abs(joined - whole)) < 1e-6 * 70
            assert (np.isnan(joined) == np.isnan(whole)).all()
            assert np.allclose(spreads, whole_spread, rtol=1e-5, equal_nan=True)


def test_the_result_minimises_the_sum_of_squares():
    points, found, precision = triangulate_noisy(2.0, moments=12, drop=0.0)
    del points
    motion, weights = estimate_motion(found.points, found.uncertainty, JOINED), Weights(2.0, 3.0)
    best, _ = optimise_points(found.points, precision, JOINED, motion, weights)

    def cost(where):
        off = where - found.points
        total = np.einsum("tki,tkij,tkj", off, precision / motion.share[:, None, None], off)
        second = where[2:] - 2 * where[1:-1] + where[:-2]
        total += 2.0 * ((second / motion.acceleration[:, None]) ** 2).sum()
        for place, (one, other) in enumerate(JOINED):
            length = np.linalg.norm(where[:, one] - where[:, other], axis=-1)
            square = (length - motion.lengths[place]) ** 2 / motion.deviations[place] ** 2
            total += 3.0 * square.sum()
        return total

    least = cost(best)
    stream = np.random.default_rng(1)
    for _ in range(40):
        step = stream.normal(0, 1, best.shape)
        up, down = cost(best + 1e-4 * step), cost(best - 1e-4 * step)
        assert up > least
        assert abs(up - down) / 2e-4 < 1e-3 * np.sqrt(least * (up + down - 2 * least)) / 1e-4


def test_nothing_known_is_left_as_it_is():
    nothing = np.full((5, 2, 3), np.nan)
    motion = estimate_motion(nothing, nothing[..., 0], [(0, 1)])
    assert np.isnan(motion.lengths).all()
    found, _ = optimise_points(
        nothing, np.full((5, 2, 3, 3), np.nan), [(0, 1)], motion, Weights(1, 1)
    )
    assert np.isnan(found).all()
    one = np.zeros((1, 2, 3))
    motion = estimate_motion(one, np.ones((1, 2)), [(0, 1)])
    precision = np.broadcast_to(np.eye(3), (1, 2, 3, 3))
    assert optimise_points(one, precision, [(0, 1)], motion, Weights(1, 1))[0] == pytest.approx(one)
    assert isinstance(motion, Motion)
