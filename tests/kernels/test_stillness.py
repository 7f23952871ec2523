"""Test the comparison of planes: noise is no motion, and the least motion is no noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.stillness import (
    ChangeLimits,
    estimate_limits,
    estimate_step_limits,
    find_changed,
    measure_change,
    measure_noise,
)

SHAPE = (123, 197)  # no multiple of a block
BLOCKS = (16, 25)


def film(random, spread=2.0, light=0.0, scene=None):
    scene = np.full(SHAPE, 110.0) if scene is None else scene
    return np.clip(scene + light + spread * random.standard_normal(SHAPE) + 0.5, 0, 255).astype(
        np.uint8
    )


def learn(random, spread=2.0, light=0.0, moving=()):
    """Estimate limits from 12 pairs; in those of `moving`, an animal moves at one place."""
    noises = []
    for number in range(12):
        first, second = (film(random, spread, light * random.standard_normal()) for _ in range(2))
        if number in moving:
            second[40:72, 40:88] = random.integers(0, 255, (32, 48))
        noises.append(measure_noise(first, second))
    return estimate_limits([noises], BLOCKS)


def test_change_and_noise_are_means_over_blocks_of_any_size():
    first = np.full(SHAPE, 100, np.uint8)
    second = first.copy()
    second[120:123, 192:197] = 104  # the corner's block has 3 x 5 px
    second[0:8, 0:4] = 90
    change, noise = measure_change(second, first), measure_noise(second, first)
    assert change.shape == noise.shape == BLOCKS
    assert change[15, 24] == pytest.approx(16 * 15 / 64)
    assert change[0, 0] == pytest.approx(50)
    assert np.count_nonzero(change) == 2
    # A step of the light in a whole block is no noise.
    assert noise[15, 24] == pytest.approx(0, abs=1e-3)
    assert noise[0, 0] == pytest.approx(25)
    assert not measure_change(first, first.copy()).any()


def test_white_noise_is_no_change_in_thousands_of_frames():
    random = np.random.default_rng(0)
    limits = learn(random)
    assert limits.noise == pytest.approx(6.5, abs=0.5)
    reference = film(random)
    found = [find_changed(measure_change(film(random), reference), limits) for _ in range(300)]
    assert not np.any(found)


@pytest.mark.parametrize(("moving", "shade"), [((), 70), (range(9), 50)])
def test_an_animal_of_few_pixels_that_moves_by_one_is_seen(moving, shade):
    """Even where, in most pairs that told the noise, another one had moved at the same place."""
    random = np.random.default_rng(1)
    limits = learn(random, moving=moving)
    scene = np.full(SHAPE, 110.0)
    for x, y in ((44, 44), (101, 60), (63, 95)):
        before, after = scene.copy(), scene.copy()
        before[y : y + 3, x : x + 5] = shade
        after[y : y + 3, x + 1 : x + 6] = shade
        change = measure_change(film(random, scene=after), film(random, scene=before))
        found = find_changed(change, limits)
        assert found[y // 8, x // 8]
        # At most the coarse blocks that meet there.
        assert found.sum() <= 64


def test_a_faint_animal_is_seen_by_coarse_blocks():
    random = np.random.default_rng(2)
    limits = learn(random)
    before, after = np.full(SHAPE, 110.0), np.full(SHAPE, 110.0)
    after[32:64, 64:96] += np.where(np.indices((32, 32)).sum(0) % 2, 2.3, -2.3)
    change = measure_change(film(random, scene=after), film(random, scene=before))
    assert not (change > limits.fine).any()
    found = find_changed(change, limits)
    assert found[4:8, 8:12].all()
    assert found.sum() == 16


def test_flicker_and_stronger_noise_are_changes_and_no_noise():
    random = np.random.default_rng(3)
    limits = learn(random, light=6.0)
    assert limits.noise == pytest.approx(6.5, abs=0.5)
    reference = film(random)
    assert find_changed(measure_change(film(random, light=6.0), reference), limits).mean() > 0.9
    assert find_changed(measure_change(film(random, spread=4.0), reference), limits).mean() > 0.9
    assert not limits.too_noisy
    assert learn(random, spread=5.0).too_noisy


def test_without_pairs_noise_counts_as_change():
    random = np.random.default_rng(4)
    limits = estimate_limits([[], []], BLOCKS)
    assert np.isnan(limits.noise)
    assert not limits.too_noisy
    same = film(random, spread=0.0)
    assert not find_changed(measure_change(same, same), limits).any()
    assert find_changed(measure_change(film(random), film(random)), limits).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 255), st.integers(0, 2**32 - 1))
def test_change_is_the_mean_square_in_any_picture(height, width, largest, seed):
    """Up to a difference of 127; beyond, it is at least that of 127 and at most the true one."""
    random = np.random.default_rng(seed)
    reference = random.integers(0, 256 - largest, (height, width), np.uint8)
    plane = reference + random.integers(0, largest, (height, width), np.uint8)
    plane[0, 0] = reference[0, 0] + 2
    expected, least = (np.zeros((8 * -(-height // 8), 8 * -(-width // 8))) for _ in range(2))
    difference = plane.astype(float) - reference
    expected[:height, :width] = difference**2
    least[:height, :width] = np.minimum(difference, 127) ** 2
    blocks = len(expected) // 8, 8, expected.shape[1] // 8, 8
    change = measure_change(plane, reference)
    np.testing.assert_array_equal(change, measure_change(reference, plane))
    expected, least = (each.reshape(blocks).mean(axis=(1, 3)) for each in (expected, least))
    assert (change <= expected + 0.3).all()
    assert (change >= least - 0.3).all()
    if largest <= 127:
        np.testing.assert_allclose(change, expected, rtol=1e-6)


def test_limits_of_steps_are_those_of_the_blocks_that_encoders_renew():
    """In 2,500 blocks, ten have noise in each step, at other places."""
    shape, steps = (50, 50), []
    for number in range(8):
        noise = np.zeros(shape, np.float32)
        noise[number, :10] = 1.75
        steps.append(noise)
    limits = estimate_step_limits([steps, []])
    # Twice the noisiest: 3.5; the least of 2.8 times 0.8 is lower.
    np.testing.assert_allclose(limits.fine, 3.5)
    assert limits.noise == pytest.approx(0, abs=0.01)
    quiet = estimate_step_limits([[noise / 10 for noise in steps]])
    np.testing.assert_allclose(quiet.fine, 2.24, rtol=1e-6)
    np.testing.assert_allclose(quiet.coarse, 1.0)
    # Ten times the noise of most blocks, which is at least 0.5, whatever a few blocks do.
    np.testing.assert_allclose(estimate_step_limits([[10 * noise for noise in steps]]).fine, 5.0)
    assert estimate_step_limits([[], []]) is None


def test_tightened_limits_are_the_lower_ones():
    apart = ChangeLimits(np.array([[40.0, 4.0]], np.float32), np.array([[9.0]], np.float32), 4.0)
    steps = ChangeLimits(np.array([[2.0, 2.0]], np.float32), np.array([[3.0]], np.float32), 0.5)
    tight = apart.tighten(steps, 4.0)
    assert (tight.fine.tolist(), tight.coarse.tolist(), tight.noise) == ([[8.0, 4.0]], [[9.0]], 4.0)
