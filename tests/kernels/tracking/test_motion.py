"""Test the predicted positions of animals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.tracking.motion import (
    MEMORY,
    estimate_motion,
    kalman_weights,
    median_finite,
)

NAN = np.nan


def filter_by_hand(measured):
    """Run a textbook Kalman filter of constant velocity over positions."""
    transition = np.array([[1.0, 1.0], [0.0, 1.0]])
    noise = np.array([[1 / 3, 1 / 2], [1 / 2, 1.0]])
    look = np.array([[1.0, 0.0]])
    # Two exact positions with a variance of 1 each.
    state = np.array([measured[1], measured[1] - measured[0]])
    spread = np.array([[1.0, 1.0], [1.0, 2.0]])
    for value in measured[2:]:
        state, spread = transition @ state, transition @ spread @ transition.T + noise
        gain = spread @ look.T / (look @ spread @ look.T + 1.0)
        state = state + (gain * (value - look @ state)).ravel()
        spread = (np.eye(2) - gain @ look) @ spread
    return state


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=MEMORY))
def test_weights_are_those_of_a_kalman_filter(steps):
    measured = np.concatenate([[0.0], np.cumsum(steps)])
    position, velocity = filter_by_hand(measured)
    weights = kalman_weights(len(steps))
    latest_first = np.array(steps[::-1])
    np.testing.assert_allclose(latest_first @ weights[0], position - measured[-1], atol=1e-9)
    np.testing.assert_allclose(latest_first @ weights[1], velocity, atol=1e-9)


@pytest.mark.parametrize("steps", range(1, MEMORY + 1))
def test_a_constant_velocity_is_found(steps):
    offset, velocity = kalman_weights(steps)
    assert sum(offset) == pytest.approx(0.0)
    assert sum(velocity) == pytest.approx(1.0)


def test_motion_follows_an_animal_through_its_places():
    # Two animals that change places on the axis in every frame; the third frame's link is unknown.
    frames = 5
    x = np.arange(frames)[:, None] * np.array([2.0, -3.0])
    position = np.stack([x, np.zeros_like(x)], axis=-1)[:, :, None] + np.zeros((1, 2))
    swapped = position.copy()
    swapped[1::2] = swapped[1::2, ::-1]
    before = np.full((frames, 2), -1)
    before[1:] = [1, 0]
    offset, velocity = estimate_motion(swapped, before)
    np.testing.assert_allclose(offset, 0.0, atol=1e-12)
    np.testing.assert_array_equal(velocity[0], 0.0)
    np.testing.assert_allclose(velocity[4], [[2, 0], [-3, 0]])
    np.testing.assert_allclose(velocity[3], [[-3, 0], [2, 0]])
    before[4] = -1
    np.testing.assert_array_equal(estimate_motion(swapped, before)[1][4], 0.0)


def test_keypoints_that_come_or_lie_are_no_motion():
    position = np.zeros((2, 1, 5, 2))
    position[1] = 1.0
    position[0, 0, 4] = NAN
    position[1, 0, 0] = 900.0
    _, velocity = estimate_motion(position, np.array([[-1], [0]]))
    np.testing.assert_array_equal(velocity[1, 0], [1.0, 1.0])


@given(st.integers(0, 8), st.integers(0, 999))
def test_motion_depends_on_a_few_frames_only(cut, seed):
    random = np.random.default_rng(seed)
    position = random.normal(size=(14, 3, 2, 2))
    position[random.random((14, 3, 2)) < 0.2] = NAN
    before = np.argsort(random.random((14, 3)), axis=1)
    before[random.random((14, 3)) < 0.1] = -1
    whole = estimate_motion(position, before)
    part = estimate_motion(position[cut:], before[cut:])
    for all_frames, some in zip(whole, part, strict=True):
        np.testing.assert_array_equal(all_frames[cut + MEMORY :], some[MEMORY:])


@given(st.lists(st.one_of(st.just(NAN), st.integers(-9, 9).map(float)), min_size=1, max_size=7))
def test_median_is_numpys(values):
    column = np.array(values)[:, None]
    expected = NAN if np.isnan(values).all() else np.nanmedian(values)
    np.testing.assert_array_equal(median_finite(column), [expected])
