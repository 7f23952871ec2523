"""Smooth trajectories by a Kalman smoother whose observation noise is an ensemble's variance.

A coordinate is a random walk, of which the median of the members is an observation; its variance
is that of the members, so that frames in which they agree count more. A gap is a frame without an
observation. Coordinates are independent of each other.

All functions are recursions over the first axis, time, and go on where the last block of frames
ended: a video of any length is smoothed in blocks (`smooth_blocks`), with the result of the whole.

References
----------
Biderman, Whiteway et al. (2024), Nature Methods 21, doi:10.1038/s41592-024-02319-1: the ensemble
Kalman smoother. Rauch, Tung & Striebel (1965), AIAA Journal 3(8): the smoother.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


class Belief(NamedTuple):
    """Hold mean and variance of coordinates, of one frame or of several.

    Attributes
    ----------
    mean, variance
        Of the same shape, float64, px and px^2.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


class Filtered(NamedTuple):
    """Hold the result of a forward pass over a block of frames.

    Attributes
    ----------
    belief
        Shape (time, ...): of each frame, given the frames up to it.
    ahead
        Shape (...): of the frame after the block, given the block and what came before.
    surprise
        Shape (...): negative logarithm of the likelihood of the observations, without the constant.
    """

    belief: Belief
    ahead: Belief
    surprise: NDArray[np.float64]


def filter_forward(observed: Floats, noise: Floats, motion: Floats, prior: Belief) -> Filtered:
    """Run the Kalman filter over a block of frames.

    Parameters
    ----------
    observed
        Shape (time, ...), px; NaN: no observation.
    noise
        Shape of `observed`, px^2, above 0: variance of each observation.
    motion
        Variance of the step from a frame to the next, px^2; broadcast against a frame. It may have
        more axes in front: the filter then runs for each of its values.
    prior
        Of the first frame, before its observation.
    """
    shape = np.broadcast_shapes(np.shape(motion), observed.shape[1:], prior.mean.shape)
    mean, variance = (np.broadcast_to(one, shape).astype(np.float64) for one in prior)
    means, variances = np.empty((len(observed), *shape)), np.empty((len(observed), *shape))
    surprise = np.zeros(shape)
    known: NDArray[np.bool_] = np.isfinite(observed) & np.isfinite(noise)
    # Where nothing is observed, the gain is 0.
    value = np.where(known, observed, 0.0).astype(np.float64)
    error = np.where(known, noise, 1.0).astype(np.float64)
    for row in range(len(observed)):
        total = variance + error[row]
        gain = np.where(known[row], variance / total, 0.0)
        lack = value[row] - mean
        surprise += np.where(known[row], 0.5 * (np.log(total) + lack * lack / total), 0.0)
        mean = mean + gain * lack
        variance = (1.0 - gain) * variance
        means[row], variances[row] = mean, variance
        variance = variance + motion
    return Filtered(Belief(means, variances), Belief(mean, variance), surprise)


def smooth_backward(filtered: Belief, motion: Floats, after: Belief | None) -> Belief:
    """Run the smoother of Rauch, Tung and Striebel over a block of frames, from its end.

    Parameters
    ----------
    filtered
        Shape (time, ...), as from `filter_forward`.
    motion
        As in `filter_forward`.
    after
        Smoothed belief of the frame after the block; None: the block is the last.

    Returns
    -------
    Belief
        Shape (time, ...): of each frame, given all frames.
    """
    means, variances = filtered.mean.copy(), filtered.variance.copy()
    for row in range(len(means) - 1, -1, -1):
        if after is not None:
            ahead = variances[row] + motion
            gain = np.divide(variances[row], ahead, out=np.zeros_like(ahead), where=ahead > 0)
            means[row] += gain * (after.mean - means[row])
            variances[row] += gain * gain * (after.variance - ahead)
        after = Belief(means[row], variances[row])
    return Belief(means, variances)


class Moments(NamedTuple):
    """Hold number, sum, and sum of squares of observations, from which a prior is made."""

    number: NDArray[np.float64]
    total: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, observed: Floats) -> "Moments":
        """Return the moments of a block of frames, shape (time, ...)."""
        known = np.isfinite(observed)
        values = np.where(known, observed, 0.0).astype(np.float64)
        return cls(
            known.sum(axis=0).astype(np.float64), values.sum(axis=0), (values**2).sum(axis=0)
        )

    def __add__(self, other: "Moments") -> "Moments":  # type: ignore[override]
        """Return the moments of two blocks together."""
        return Moments(
            self.number + other.number, self.total + other.total, self.squares + other.squares
        )

    def make_prior(self) -> Belief:
        """Return mean and variance over all frames: the belief before the first observation."""
        count = np.maximum(self.number, 1.0)
        mean = self.total / count
        return Belief(mean, np.maximum(self.squares / count - mean**2, 0.0))


def choose_motion(surprise: Floats, candidates: Floats) -> NDArray[np.float64]:
    """Return the variance of motion with the largest likelihood.

    Parameters
    ----------
    surprise
        Shape (candidate, ...): negative logarithms of likelihoods.
    candidates
        Shape (candidate,): the variances, evenly spaced in their logarithm.

    Returns
    -------
    ndarray
        Shape (...): vertex of the parabola through the best candidate and its neighbours; the first
        or last candidate where it is the best.
    """
    best = surprise.argmin(axis=0)
    inner = np.clip(best, 1, len(candidates) - 2)
    low, middle, high = (
        np.take_along_axis(surprise, (inner + step)[None], axis=0)[0] for step in (-1, 0, 1)
    )
    bend = low - 2.0 * middle + high
    shift = np.divide(low - high, 2.0 * bend, out=np.zeros_like(bend), where=bend > 0)
    logarithm = np.log(candidates)
    step = logarithm[1] - logarithm[0]
    vertex = np.exp(logarithm[inner] + np.clip(shift, -1.0, 1.0) * step)
    edge = (best == 0) | (best == len(candidates) - 1)
    return np.asarray(np.where(edge, candidates[best], vertex))


def smooth_blocks(
    read: Callable[[int], tuple[Floats, Floats]],
    blocks: int,
    motion: Floats,
    prior: Belief,
) -> "BlockSmoother":
    """Prepare the smoothing of a video in blocks; see `BlockSmoother`.

    Parameters
    ----------
    read
        Return ``observed`` and ``noise`` of a block, as `filter_forward` takes them.
    blocks
        Number of blocks.
    motion, prior
        As in `filter_forward`.
    """
    priors = [prior]
    for number in range(blocks):
        priors.append(filter_forward(*read(number), motion, priors[-1]).ahead)
    after: list[Belief | None] = [None] * blocks
    for number in range(blocks - 1, 0, -1):
        filtered = filter_forward(*read(number), motion, priors[number]).belief
        smoothed = smooth_backward(filtered, motion, after[number])
        after[number - 1] = Belief(smoothed.mean[0], smoothed.variance[0])
    return BlockSmoother(read, motion, priors, after)


class BlockSmoother:
    """Smooth the blocks of a video in any order; memory is that of one block.

    Parameters
    ----------
    read, motion
        As in `smooth_blocks`.
    priors
        Belief before each block, given what comes before it.
    after
        Smoothed belief of the frame after each block; None for the last.
    """

    def __init__(
        self,
        read: Callable[[int], tuple[Floats, Floats]],
        motion: Floats,
        priors: Sequence[Belief],
        after: Sequence[Belief | None],
    ) -> None:
        self._read, self._motion = read, motion
        self._priors, self._after = priors, after

    def smooth(self, number: int) -> Belief:
        """Return the smoothed belief of each frame of a block, given all frames of the video."""
        filtered = filter_forward(*self._read(number), self._motion, self._priors[number]).belief
        return smooth_backward(filtered, self._motion, self._after[number])
