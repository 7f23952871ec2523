"""Compare the planes of two pictures block by block, and tell motion from the camera's noise.

A block has changed if the mean square of its difference exceeds that of noise. Small blocks show
an animal of few pixels that moves by a pixel; blocks of 4 x 4 of them show a faint one, since the
mean of more pixels varies less.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]
Blocks = NDArray[np.float32]
Values = TypeVar("Values", Plane, Blocks)

# Side of a block in px, and of a coarse block in blocks.
BLOCK = 8
_COARSE = 4
# Noise of a block among the pairs of pictures: low, because an animal may move in most of them.
_SHARE = 0.25
# Two pictures that nowhere differ by more than this, in grey levels, are equal.
_ROUNDING = 1
# The noise of a block, in squared grey levels, is at least that of rounding. What exceeds so many
# times the noise of most blocks is motion.
_LEAST, _MOST = 0.5, 10.0
_MOST_BLOCKS = 0.75
# Changes beyond the noise. In millions of blocks white noise of 64 pixels stays below 2.4 times
# its mean (chi-square) and that of 1,024 pixels below 1.3 times; the low noise is 0.86 of the mean.
_CHANGED, _COARSE_CHANGED = 2.8, 1.55
# Encoders renew blocks now and then, at random places: share of the blocks of a pair that are less
# noisy than those.
_NOISIEST = 0.999
# Noise from frame to frame is renewed even more unevenly: a block may change by so many times the
# noisiest ones of a pair. Its least is higher, since encoders round.
_RENEWED, _STEP_LEAST = 2.0, 0.8
# Stronger noise hides the motion of faint animals (a standard deviation of 4 grey levels).
_STRONGEST = 32.0


@dataclass(frozen=True, eq=False)
class ChangeLimits:
    """Hold the largest change of each block that noise explains.

    Attributes
    ----------
    fine
        Shape (rows, columns) of blocks, float32, squared grey levels.
    coarse
        The same for coarse blocks.
    noise
        Mean noise of most blocks, squared grey levels; NaN if it could not be measured.
    """

    fine: Blocks
    coarse: Blocks
    noise: float

    def tighten(self, steps: "ChangeLimits", times: float) -> "ChangeLimits":
        """Return these limits, or where they are lower so many times those of steps."""
        return ChangeLimits(
            np.minimum(self.fine, times * steps.fine),
            np.minimum(self.coarse, times * steps.coarse),
            self.noise,
        )

    @property
    def too_noisy(self) -> bool:
        """Tell whether noise would hide the motion of faint animals."""
        return self.noise > _STRONGEST


def measure_change(plane: Plane, reference: Plane) -> Blocks:
    """Return the mean square difference of two planes in each block.

    All are 0 if no pixel differs by more than one grey level, which is rounding; a difference of
    more than 127 counts as one of 127.5. A block at the edge that has fewer pixels counts the
    others as equal.

    Parameters
    ----------
    plane, reference
        Shape (height, width), uint8.

    Returns
    -------
    ndarray
        Shape (ceil(height / 8), ceil(width / 8)), float32, squared grey levels.
    """
    difference = cv2.absdiff(plane, reference)
    if difference.max(initial=0) <= _ROUNDING:
        return np.zeros(count_blocks(plane), np.float32)
    # Squares of doubled differences are multiples of four, so that means of four of them need no
    # rounding: all of it in integers of 16 bits, which take less than half the time of floats.
    doubled = _fill_up(cv2.add(difference, difference, dst=difference), BLOCK)
    squares = np.multiply(doubled, doubled, dtype=np.uint16)
    height, width = squares.shape
    fours = cv2.resize(squares, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    halves = fours.reshape(height // 2, width // 2).astype(np.float32)
    return _average(halves, BLOCK // 2) * np.float32(0.25)


def measure_noise(plane: Plane, reference: Plane) -> Blocks:
    """Return the variance of the difference of two planes in each block.

    A change of the light, which is the same in all pixels of a block, is no noise.

    Parameters
    ----------
    plane, reference
        Shape (height, width), uint8.

    Returns
    -------
    ndarray
        Shape as from `measure_change`, float32, squared grey levels.
    """
    signed = np.subtract(plane, reference, dtype=np.float32)
    mean, covered = _average(signed, BLOCK), _average(np.ones_like(signed), BLOCK)
    return np.maximum(_average(signed * signed, BLOCK) - mean * mean / covered, 0.0)


def estimate_limits(groups: Sequence[Sequence[Blocks]], shape: tuple[int, ...]) -> ChangeLimits:
    """Estimate the largest change that noise explains, from pairs of pictures.

    Parameters
    ----------
    groups
        Noise of each pair, from `measure_noise`, by kind of pair; the kind with the most noise
        counts. Without any pair the limits are those of pictures without noise: noise may then be
        taken for motion, but motion not for noise.
    shape
        Rows and columns of blocks.
    """
    given = [group for group in groups if group]
    if not given:
        noise = np.full(shape, _LEAST, np.float32)
        coarse_noise = _average(noise, _COARSE)
        return ChangeLimits(_CHANGED * noise, np.full_like(coarse_noise, _ROUNDING), np.nan)
    return _estimate(given, _LEAST, 1.0)


def estimate_step_limits(groups: Sequence[Sequence[Blocks]]) -> ChangeLimits | None:
    """Estimate the largest change from a frame to the next one that noise explains.

    Encoders leave most blocks as they were in the frame before, so that these limits may be a
    tenth of those between any two frames.

    Parameters
    ----------
    groups
        Noise of each step, by kind.

    Returns
    -------
    ChangeLimits or None
        None without any step.
    """
    given = [group for group in groups if group]
    return _estimate(given, _STEP_LEAST, _RENEWED) if given else None


def _estimate(
    groups: Sequence[Sequence[Blocks]], least: float, noisiest_times: float
) -> ChangeLimits:
    noise = np.max([_find_low(group) for group in groups], axis=0)
    typical = float(noise[noise <= np.quantile(noise, _MOST_BLOCKS)].mean())
    most = _MOST * max(typical, _LEAST)
    coarse = [[_average(one, _COARSE) for one in group] for group in groups]
    return ChangeLimits(
        np.clip(_CHANGED * np.maximum(noise, least), noisiest_times * _find_noisiest(groups), most),
        np.clip(
            np.maximum(_COARSE_CHANGED * _average(noise, _COARSE), _ROUNDING),
            noisiest_times * _find_noisiest(coarse),
            most / _COARSE,
        ),
        typical,
    )


def _find_low(noises: Sequence[Blocks]) -> Blocks:
    """Return a low noise of each block among pairs, averaged with that of the blocks around it."""
    low = np.quantile(np.stack(noises), _SHARE, axis=0).astype(np.float32)
    return np.asarray(cv2.blur(low, (3, 3), borderType=cv2.BORDER_REPLICATE))


def _find_noisiest(groups: Sequence[Sequence[Blocks]]) -> float:
    """Return the noise of the noisiest blocks, low among pairs, of the noisiest kind of pair."""
    each = [np.quantile([np.quantile(one, _NOISIEST) for one in group], _SHARE) for group in groups]
    return float(max(each))


def find_changed(change: Blocks, limits: ChangeLimits) -> NDArray[np.bool_]:
    """Find the blocks that changed by more than noise explains.

    Parameters
    ----------
    change
        From `measure_change`.
    limits
        From `estimate_limits`.

    Returns
    -------
    ndarray
        Shape of `change`, bool; all blocks of a coarse block that has changed.
    """
    changed = change > limits.fine
    coarse = _average(change, _COARSE) > limits.coarse
    if coarse.any():
        rows, columns = change.shape
        changed |= coarse.repeat(_COARSE, 0).repeat(_COARSE, 1)[:rows, :columns]
    return np.asarray(changed)


def count_blocks(plane: Plane) -> tuple[int, int]:
    """Return the rows and columns of blocks of a plane."""
    height, width = plane.shape
    return -(-height // BLOCK), -(-width // BLOCK)


def _average(values: Blocks, side: int) -> Blocks:
    """Return the mean of each block; what one at the edge lacks counts as zero."""
    values = _fill_up(values, side)
    rows, columns = (size // side for size in values.shape)
    mean = cv2.resize(values, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(mean, np.float32).reshape(rows, columns)


def _fill_up(values: Values, side: int) -> Values:
    """Add zeros below and at the right, up to whole blocks."""
    below, right = (-size % side for size in values.shape)
    if not below and not right:
        return values
    filled = cv2.copyMakeBorder(values, 0, below, 0, right, cv2.BORDER_CONSTANT, value=0.0)
    return cast("Values", filled)
