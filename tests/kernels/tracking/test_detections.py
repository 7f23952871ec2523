"""Test the order of detections, and the number of animals that peaks show."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.tracking.detections import count_individuals, order_poses, take_ordered
from tests.kernels.tracking.tracking_scenes import NAN


@given(st.integers(0, 999))
def test_the_order_is_that_of_the_positions(seed):
    random = np.random.default_rng(seed)
    position = random.integers(0, 3, (4, 3, 2, 2)).astype(float)
    position[random.random((4, 3)) < 0.3] = NAN
    confidence = random.integers(0, 2, (4, 3, 2)).astype(float)
    shuffled = random.permuted(np.tile(np.arange(3), (4, 1)), axis=1)
    other = take_ordered(position, shuffled), take_ordered(confidence, shuffled)
    for first, second in zip((position, confidence), other, strict=True):
        np.testing.assert_array_equal(
            take_ordered(first, order_poses(position, confidence)),
            take_ordered(second, order_poses(*other)),
        )


def test_from_left_to_right_and_the_missing_last():
    position = np.array([[[[5.0, 0.0]], [[NAN, NAN]], [[5.0, -1.0]], [[2.0, 9.0]]]])
    assert order_poses(position, np.ones((1, 4, 1))).tolist() == [[3, 2, 0, 1]]


@pytest.mark.parametrize(
    ("peaks", "animals"),
    [
        # Two bodyparts of three show two animals.
        ([[2, 2, 0]] * 20, 2),
        ([[2, 1, 1]] * 20, 1),
        # One frame in twenty is a mistake, two are not.
        ([[3, 3, 3]] + [[2, 2, 2]] * 19, 2),
        ([[3, 3, 3]] * 2 + [[2, 2, 2]] * 18, 3),
        ([[0, 0, 0]] * 4, 1),
        # However many frames show nothing.
        ([[0, 0, 0]] * 980 + [[3, 3, 3]] * 20, 3),
        # One bodypart of three is no animal, so these frames show nothing either.
        ([[4, 0, 0]] * 980 + [[3, 3, 3]] * 20, 3),
        # Of 40 frames with animals two are a mistake, three are not.
        ([[0, 0, 0]] * 60 + [[2, 2, 2]] * 38 + [[3, 3, 3]] * 2, 2),
        ([[0, 0, 0]] * 60 + [[2, 2, 2]] * 37 + [[3, 3, 3]] * 3, 3),
    ],
)
def test_animals_are_counted_by_their_peaks(peaks, animals):
    confidence = np.where(np.arange(4) < np.array(peaks)[..., None], 0.5, NAN)
    assert count_individuals(confidence, 0.5) == animals
    assert count_individuals(confidence, 0.6) == 1
    assert count_individuals(confidence[:0], 0.5) == 1
