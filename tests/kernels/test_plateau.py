"""Plateaus of learning curves: values by hand."""

import numpy as np
import pytest

from pipeline_lib.kernels.plateau import has_flattened, plan_end, scale_learning_rate

EPOCHS = np.arange(1, 101, dtype=float)


@pytest.mark.parametrize(
    ("loss", "flat"),
    [
        (1.0 / EPOCHS, False),  # means of epochs 81 to 100 and 61 to 80: 22 % less
        (EPOCHS**-0.2, True),  # 5 % less, at any time
        (EPOCHS**-0.3, False),  # 7 % less
        (np.where(EPOCHS <= 60, 9.0, 1.0), True),  # fell, but long ago
        (np.where(EPOCHS <= 80, 1.0, 0.95), True),
        (np.where(EPOCHS <= 80, 1.0, 0.93), False),
        (EPOCHS, True),  # rises
        (np.zeros(100), True),
        (-EPOCHS, True),  # below what can be: nothing to gain
        (np.full(100, np.nan), True),
        (np.where(EPOCHS % 2 == 0, np.nan, 1.0 / EPOCHS), False),
        (np.ones(9), True),
        (np.ones(7), False),  # a fifth of them is one epoch
        (np.array([]), False),
    ],
)
def test_a_plateau_is_a_small_gain_over_a_share_of_the_epochs(loss, flat):
    assert has_flattened(loss, span=0.2, gain=0.06) is flat


def test_the_rule_is_that_of_any_length_of_training():
    """A power of the epochs flattens never or always, and so for long and short trainings."""
    for power, flat in ((-0.2, True), (-0.3, False)):
        found = {
            has_flattened(np.arange(1.0, n + 1) ** power, span=0.2, gain=0.06)
            for n in (50, 200, 1000)
        }
        assert found == {flat}, power


@pytest.mark.parametrize(
    ("epochs", "most", "multiple", "end"),
    [
        (50, 190, 1, 65),
        (51, 190, 1, 67),  # 15.3 epochs, rounded up
        (1, 190, 1, 2),
        (160, 190, 1, 190),
        (190, 190, 1, 190),
        (50, 190, 10, 70),  # validated every ten epochs
        (8, 15, 10, 15),
    ],
)
def test_the_cool_down_is_a_share_of_the_epochs(epochs, most, multiple, end):
    assert plan_end(epochs, most, 0.3, multiple) == end


def test_the_learning_rate_rises_stays_and_falls_to_zero():
    rates = [scale_learning_rate(step, 2, None, 0) for step in range(5)]
    assert rates == [0.5, 1.0, 1.0, 1.0, 1.0]
    rates = [scale_learning_rate(step, 2, 4, 8) for step in range(10)]
    assert rates == [0.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
