"""Find the plateau of a learning curve, and plan the end of the training."""

import math

import numpy as np
from numpy.typing import NDArray


def has_flattened(loss: NDArray[np.floating], *, span: float, gain: float) -> bool:
    """Tell whether a loss has stopped falling.

    The mean over the last epochs is compared with the mean over as many epochs before them. The
    two are shares of all epochs so far, so that the same rule holds for trainings of any length:
    a loss that falls as a power of the epochs loses the same share at any time.

    Parameters
    ----------
    loss
        Shape (epoch,), by epoch, above zero where something is left to learn; NaN where an epoch
        has no loss.
    span
        Share of the epochs in each of the two means.
    gain
        It has flattened if it fell by a smaller share than this.

    Returns
    -------
    bool
        False while there are fewer than two epochs for each mean. True where the loss is not
        above zero, or NaN throughout: nothing more can be gained.
    """
    length = min(round(span * len(loss)), len(loss) // 2)
    if length < 2:
        return False
    before, last = loss[-2 * length : -length], loss[-length:]
    if not np.isfinite(before).any() or not np.isfinite(last).any():
        return True
    earlier, later = float(np.nanmean(before)), float(np.nanmean(last))
    return earlier - later < gain * earlier or earlier <= 0


def plan_end(epochs: int, most: int, cooldown: float, multiple: int = 1) -> int:
    """Return the number of epochs of a training that begins to cool down now.

    Parameters
    ----------
    epochs
        Epochs so far.
    most
        Largest number of epochs.
    cooldown
        Length of the cool-down as a share of the epochs so far; at least one epoch.
    multiple
        The end is rounded up to a multiple of it, up to the largest number.
    """
    end = epochs + max(1, math.ceil(cooldown * epochs))
    return min(most, multiple * math.ceil(end / multiple))


def scale_learning_rate(step: int, warmup: int, cool_from: int | None, total: int) -> float:
    """Return the factor on the learning rate: up, level, and down to zero, each linearly.

    Parameters
    ----------
    step
        Steps so far.
    warmup
        Steps with a rising rate.
    cool_from, total
        Step with which the cool-down begins, and the step that it ends with; None: not yet.
    """
    if step < warmup:
        return (step + 1) / warmup
    if cool_from is None or step < cool_from:
        return 1.0
    return max(0.0, (total - step) / max(1, total - cool_from))
