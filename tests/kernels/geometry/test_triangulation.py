"""Test triangulation: exact points, symmetries, wrong views, missing views, uncertainty."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from pipeline_lib.kernels.geometry.projection import measure_errors, project, project_all
from pipeline_lib.kernels.geometry.triangulation import (
    find_gate,
    find_noise,
    triangulate,
    triangulate_linear,
)
from tests.kernels.geometry.rigs import LENSES, draw_points, make_ring

SEEDS = st.integers(0, 10_000)
RIGS = st.lists(st.sampled_from(sorted(LENSES)), min_size=2, max_size=6)


def solve(cameras, pixels, weights=None, gate=None, *, noise=1.0, threads=1):
    if weights is None:
        weights = np.ones(pixels.shape[:-1])
    return triangulate(cameras, pixels, weights, gate=gate, noise=noise, threads=threads)


def see_noisy(cameras, points, noise, seed=0):
    pixels = project_all(cameras, points)
    return pixels + np.random.default_rng(seed).normal(0, noise, pixels.shape)


@settings(max_examples=30)
@given(RIGS, SEEDS)
def test_projected_points_are_found_again(lenses, seed):
    cameras, points = make_ring(len(lenses), lenses, seed=seed), draw_points(20, seed)
    pixels = project_all(cameras, points)
    for gate in (None, 5.0):
        found = solve(cameras, pixels, gate=gate)
        assert np.abs(found.points - points).max() < 1e-6
        assert found.errors.max() < 1e-6
        assert found.used.all()
    assert np.abs(triangulate_linear(cameras, pixels) - points).max() < 1e-6


@settings(max_examples=20)
@given(RIGS, SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_cameras_does_not_matter(lenses, seed, shuffler):
    cameras, points = make_ring(len(lenses), lenses, seed=seed), draw_points(10, seed)
    pixels = see_noisy(cameras, points, 2.0, seed)
    order = list(range(len(cameras)))
    shuffler.shuffle(order)
    for gate in (None, 4.0):
        first = solve(cameras, pixels, gate=gate)
        second = solve([cameras[place] for place in order], pixels[:, order], gate=gate)
        assert np.allclose(first.points, second.points, atol=1e-5, equal_nan=True)
        assert (first.used[:, order] == second.used).all()
        assert np.allclose(first.uncertainty, second.uncertainty, rtol=1e-5, equal_nan=True)


@settings(max_examples=20)
@given(RIGS, SEEDS)
def test_a_turned_world_gives_turned_points(lenses, seed):
    cameras, points = make_ring(len(lenses), lenses, seed=seed), draw_points(10, seed)
    pixels = see_noisy(cameras, points, 2.0, seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    turned = [replace(camera, rotation=camera.rotation @ turn.T) for camera in cameras]
    for gate in (None, 4.0):
        first, second = solve(cameras, pixels, gate=gate), solve(turned, pixels, gate=gate)
        assert np.allclose(first.points @ turn.T, second.points, atol=1e-5, equal_nan=True)
        assert (first.used == second.used).all()


@settings(max_examples=20)
@given(SEEDS, st.integers(0, 3), st.floats(60, 400), st.sampled_from(["brown", "fisheye"]))
def test_one_wrong_view_of_four_does_not_move_the_point(seed, wrong, size, lens):
    cameras, points = make_ring(4, lens, seed=seed), draw_points(20, seed)
    pixels = see_noisy(cameras, points, 0.5, seed)
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, len(points))
    spoilt = pixels.copy()
    spoilt[:, wrong] += size * np.stack([np.cos(angle), np.sin(angle)], -1)
    others = [place for place in range(4) if place != wrong]
    expected = solve([cameras[place] for place in others], pixels[:, others])
    found = solve(cameras, spoilt, gate=8.0)
    # Along an epipolar line, a wrong view may agree with one other: then two good ones outvote it.
    assert not found.used[:, wrong].any()
    assert np.abs(found.points - expected.points).max() < 1e-5
    assert (found.errors[:, wrong] > 30).all()


def test_the_choice_is_the_best_of_all_subsets():
    cameras, points = make_ring(5, seed=3), draw_points(60, 3)
    stream = np.random.default_rng(4)
    pixels = see_noisy(cameras, points, 1.5, 5)
    pixels[stream.random(pixels.shape[:2]) < 0.3] += stream.normal(0, 15, 2)
    weights = stream.uniform(0.2, 1, pixels.shape[:-1])
    found, gate = solve(cameras, pixels, weights, gate=6.0), 6.0
    best, choice = np.full(60, np.inf), [()] * 60
    for size in range(2, 6):
        for subset in map(list, combinations(range(5), size)):
            part = solve([cameras[one] for one in subset], pixels[:, subset], weights[:, subset])
            cost = (weights[:, subset] * part.errors**2).sum(1)
            cost += gate**2 * weights.mean(1) * (5 - size)
            cost[(part.errors > gate).any(1)] = np.inf
            for point in np.flatnonzero(cost < best - 1e-6):
                choice[point] = tuple(subset)
            best = np.fmin(best, cost)
    good = np.isfinite(found.points[:, 0])
    assert good.mean() > 0.8
    chosen = [tuple(np.flatnonzero(row)) for row in found.used]
    assert [chosen[p] for p in np.flatnonzero(good)] == [choice[p] for p in np.flatnonzero(good)]


@pytest.mark.parametrize("lens", ["plain", "brown", "fisheye"])
def test_refined_points_have_the_least_weighted_error(lens):
    cameras, points = make_ring(3, lens, seed=1), draw_points(5, 1)
    pixels = see_noisy(cameras, points, 1.0, 2)
    weights = np.random.default_rng(3).uniform(0.1, 1, pixels.shape[:-1])
    found = solve(cameras, pixels, weights)
    for point in range(5):

        def measure(where, point=point):
            off = [project(camera, where) - pixels[point, n] for n, camera in enumerate(cameras)]
            return (np.sqrt(weights[point])[:, None] * off).ravel()

        expected = least_squares(measure, points[point], xtol=1e-14, ftol=1e-14).x
        # The error of a distorted lens is linearised where it was seen: 1 px of some 900.
        assert np.abs(found.points[point] - expected).max() < (1e-5 if lens == "plain" else 0.02)


def test_a_confident_wrong_view_does_not_outvote_three_doubtful_ones():
    cameras, points = make_ring(4), draw_points(400)
    pixels, weights = see_noisy(cameras, points, 0.5), np.full((400, 4), 0.3)
    stream = np.random.default_rng(1)
    pixels[:, 2] += stream.choice([-1, 1], (400, 2)) * stream.uniform(30, 150, (400, 2))
    weights[:, 2] = 1.0
    found = solve(cameras, pixels, weights, gate=6.0)
    assert not found.used[:, 2].any()
    assert found.used[:, [0, 1, 3]].all()


def test_confident_views_weigh_more():
    cameras, points = make_ring(4, seed=1), draw_points(300, 1)
    stream = np.random.default_rng(2)
    sizes = stream.choice([0.5, 5.0], (300, 4))
    pixels = project_all(cameras, points) + sizes[..., None] * stream.normal(0, 1, (300, 4, 2))
    weighted = solve(cameras, pixels, 0.25 / sizes**2).points
    plain = solve(cameras, pixels).points
    error, plain_error = (np.sqrt(((one - points) ** 2).sum(1)).mean() for one in (weighted, plain))
    assert error < 0.6 * plain_error


def test_views_without_position_or_confidence_do_not_count():
    cameras, points = make_ring(4), draw_points(6)
    pixels = see_noisy(cameras, points, 1.0)
    weights = np.ones((6, 4))
    pixels[0, 1] = np.nan
    weights[1, 2] = 0
    weights[2, 3] = np.nan
    pixels[3, :3] = np.nan
    weights[4] = -1
    pixels[5, 0] = np.inf
    for gate in (None, 10.0):
        found = solve(cameras, pixels, weights, gate=gate)
        assert found.used.sum(1).tolist() == [3, 3, 3, 0, 0, 3]
        assert np.isnan(found.points).any(1).tolist() == [False] * 3 + [True, True, False]
        assert np.isnan(found.uncertainty).tolist() == [False] * 3 + [True, True, False]
        assert (np.isnan(found.errors) == ~found.used).all()
        kept = solve([cameras[n] for n in (0, 2, 3)], pixels[:1, [0, 2, 3]], gate=gate)
        assert np.allclose(found.points[0], kept.points[0], atol=1e-6)


def test_two_views_that_disagree_make_no_point():
    cameras, points = make_ring(2), draw_points(1)
    pixels = project_all(cameras, points)
    pixels[0, 0, 1] += 100
    pixels[0, 0, 0] += 100
    found = solve(cameras, pixels, gate=5.0)
    assert np.isnan(found.points).all()
    assert not found.used.any()
    assert np.isfinite(solve(cameras, pixels).points).all()


def test_points_behind_a_camera_are_none():
    cameras = make_ring(2, "plain")
    behind = np.array([cameras[0].centre - 500 * cameras[0].rotation[2]])
    local = behind @ cameras[0].rotation.T + cameras[0].translation
    pixels = np.stack(
        [local[:, :2] / local[:, 2:] * 900 + [640, 512], project(cameras[1], behind)], axis=1
    )
    assert np.isnan(solve(cameras, pixels).points).all()


def test_axes_between_frame_and_space_are_kept():
    cameras = make_ring(3)
    points = draw_points(24).reshape(4, 2, 3, 3)
    pixels = project_all(cameras, points)
    assert pixels.shape == (4, 3, 2, 3, 2)
    found = solve(cameras, pixels)
    assert np.abs(found.points - points).max() < 1e-6
    assert found.used.shape == found.errors.shape == (4, 3, 2, 3)
    assert np.allclose(measure_errors(cameras, found.points, pixels), found.errors)


def test_no_frame_gives_no_point():
    found = solve(make_ring(2), np.zeros((0, 2, 5, 2)))
    assert found.points.shape == (0, 5, 3)
    assert found.uncertainty.shape == (0, 5)


def test_threads_change_nothing():
    cameras, points = make_ring(3), draw_points(20_000)
    pixels = see_noisy(cameras, points, 1.0)
    one, two = solve(cameras, pixels, gate=3.0), solve(cameras, pixels, gate=3.0, threads=2)
    assert np.array_equal(one.points, two.points, equal_nan=True)
    assert np.array_equal(one.uncertainty, two.uncertainty, equal_nan=True)


@pytest.mark.parametrize("lens", ["brown", "fisheye"])
@pytest.mark.parametrize("count", [2, 4])
def test_uncertainty_is_the_error_to_expect(lens, count):
    cameras, points = make_ring(count, lens, seed=2), draw_points(3000, 2)
    found = solve(cameras, see_noisy(cameras, points, 2.0), noise=2.0)
    error = np.sqrt(((found.points - points) ** 2).sum(1).mean())
    assert np.sqrt((found.uncertainty**2).mean()) == pytest.approx(error, rel=0.1)


def test_uncertainty_knows_geometry_and_noise():
    near = make_ring(2, "plain", radius=1000)
    narrow = [
        near[0],
        replace(near[0], name="c9", translation=near[0].translation + np.array((20, 0, 0))),
    ]
    points = draw_points(50, extent=50)
    wide = solve(near, project_all(near, points)).uncertainty
    assert (solve(narrow, project_all(narrow, points)).uncertainty > 5 * wide).all()
    # Errors are those of the point itself as soon as there are many.
    cameras = make_ring(8, "plain")
    quiet = solve(cameras, see_noisy(cameras, points, 0.1)).uncertainty.mean()
    assert solve(cameras, see_noisy(cameras, points, 4.0)).uncertainty.mean() > 3 * quiet


@pytest.mark.parametrize(
    ("pixels", "weights", "gate", "message"),
    [
        ((5, 3, 2), (5, 3), None, "2 cameras"),
        ((5, 2, 3), (5, 2), None, "expected pixels"),
        ((5, 2, 2), (5, 3), None, "expected weights"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(pixels, weights, gate, message):
    with pytest.raises(ValueError, match=message):
        solve(make_ring(2), np.zeros(pixels), np.zeros(weights), gate)


def test_views_of_more_than_eight_cameras_are_chosen_by_pairs():
    cameras, points = make_ring(11), draw_points(200)
    pixels, stream = see_noisy(cameras, points, 0.5), np.random.default_rng(7)
    wrong = stream.random((200, 11)).argsort(axis=1) < 4
    pixels[wrong] += stream.choice([-1, 1], (wrong.sum(), 2)) * stream.uniform(
        40, 200, (wrong.sum(), 2)
    )
    pixels[:, 10] = np.nan
    found = solve(cameras, pixels, gate=6.0)
    assert not found.used[wrong].any()
    right = ~wrong
    right[:, 10] = False
    assert found.used[right].mean() > 0.99
    assert np.abs(found.points - points).max() < 2
    lonely = np.full((1, 11, 2), np.nan)
    lonely[0, 3] = 500
    assert np.isnan(solve(cameras, lonely, gate=5.0).points).all()


def test_noise_is_that_of_the_pixels():
    cameras, points = make_ring(4), draw_points(3000)
    pixels, weights = see_noisy(cameras, points, 3.0), np.ones((3000, 4))
    assert find_noise(cameras, pixels, weights, gate=None, threads=1) == pytest.approx(3, rel=0.05)
    heavy = find_noise(cameras, pixels, 0.25 * weights, gate=None, threads=1)
    assert heavy == pytest.approx(1.5, rel=0.05)
    pixels[::5, 1] += 300
    assert find_noise(cameras, pixels, weights, gate=20.0, threads=1) == pytest.approx(3, rel=0.08)
    assert find_noise(cameras, pixels, 0 * weights, gate=None, threads=1) == 1


@pytest.mark.parametrize("noise", [0.5, 8.0])
def test_the_gate_follows_the_noise_and_not_the_outliers(noise):
    cameras, points = make_ring(4), draw_points(3000)
    pixels, weights = see_noisy(cameras, points, noise), np.ones((3000, 4))
    clean = find_gate(cameras, pixels, weights, threads=1)
    # Errors are smaller than noise: eight coordinates, of which a point takes three.
    assert clean == pytest.approx(4.5 * 1.177 * noise * np.sqrt(5 / 8), rel=0.1)
    pixels[::4, 1] += 300
    assert find_gate(cameras, pixels, weights, threads=1) == pytest.approx(clean, rel=0.15)


def test_the_gate_of_nothing_is_one_pixel():
    assert (
        find_gate(make_ring(2), np.full((3, 2, 4, 2), np.nan), np.ones((3, 2, 4)), threads=1) == 1
    )
