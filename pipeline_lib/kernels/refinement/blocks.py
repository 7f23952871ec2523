"""Blocks of poses, as criteria of refinement take them, and the scores that they return.

A block starts at a multiple of `SEGMENT` frames and carries the `CONTEXT` frames before it, so that
scores do not depend on how a video is cut into blocks.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Frames between two starts of the filter of `fitting`, and frames that it needs to settle.
SEGMENT, CONTEXT = 128, 32

_SIGMA_OF_MAD = 1.4826  # of a normal distribution


class PoseBlock(NamedTuple):
    """Hold the poses of consecutive frames, the first `CONTEXT` of which are context.

    Attributes
    ----------
    position
        Shape (frame, individual, keypoint, 2), px; NaN: not found, or not confident enough.
    confidence
        Shape (frame, individual, keypoint), in 0..1; NaN: unknown.
    located
        Shape (frame, individual, keypoint), bool: there is a position, however doubtful.
    usable
        Shape (frame,), bool: the frame was decoded. False before the first frame of a video.
    doubtful
        Shape (frame, individual), bool: the track is in doubt; None where nothing was tracked.
    spread
        Shape (frame, individual, keypoint), px: how much the members of an ensemble disagree; NaN:
        not known. None where there is one network.
    """

    position: NDArray[np.float32]
    confidence: NDArray[np.float32]
    located: NDArray[np.bool_]
    usable: NDArray[np.bool_]
    doubtful: NDArray[np.bool_] | None
    spread: NDArray[np.float32] | None = None


class Scored(NamedTuple):
    """Hold the score of each frame of a block, without its context.

    Attributes
    ----------
    score
        Shape (frame,), float32, at least 0, larger is worse; NaN: cannot be scored.
    culprit
        Shape (frame,), int32: what gave the score. Its meaning belongs to the criterion.
    """

    score: NDArray[np.float32]
    culprit: NDArray[np.int32]


class PoseNames(NamedTuple):
    """Name the axes of poses, and the pairs of keypoints that are bones."""

    bodyparts: tuple[str, ...]
    individuals: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]

    def name_keypoint(self, culprit: int) -> str:
        """Return the name of a keypoint by its index on (individual, keypoint), flattened."""
        individual, keypoint = divmod(culprit, len(self.bodyparts))
        return self.bodyparts[keypoint] + self.name_owner(individual)

    def name_owner(self, individual: int) -> str:
        """Return " of NAME", and nothing where there is one individual only."""
        return f" of {self.individuals[individual]}" if len(self.individuals) > 1 else ""


def make_block(  # noqa: PLR0913 - the arrays of a pose file
    position: NDArray[np.float32],
    confidence: NDArray[np.float32],
    usable: NDArray[np.bool_],
    doubtful: NDArray[np.bool_] | None,
    *,
    pcutoff: float,
    missing: int = 0,
    spread: NDArray[np.float32] | None = None,
) -> PoseBlock:
    """Return poses as a block; positions below `pcutoff` become NaN.

    Parameters
    ----------
    position, confidence, usable, doubtful
        As in `PoseBlock`; positions of any confidence.
    pcutoff
        Smallest confidence of a position.
    missing
        Frames of context that the video lacks, at its start.
    spread
        As in `PoseBlock`.
    """
    there = np.isfinite(position).all(axis=-1) & usable[:, None, None]
    with np.errstate(invalid="ignore"):
        confident = there & (confidence >= pcutoff)
    kept = np.where(confident[..., None], position, np.float32(np.nan))
    return PoseBlock(
        _put_before(kept, missing, np.nan),
        _put_before(confidence, missing, np.nan),
        _put_before(there, missing, fill=False),
        _put_before(usable, missing, fill=False),
        None if doubtful is None else _put_before(doubtful, missing, fill=False),
        None if spread is None else _put_before(spread, missing, np.nan),
    )


def _put_before(values: NDArray[Any], missing: int, fill: float) -> NDArray[Any]:
    if not missing:
        return values
    before = np.full((missing, *values.shape[1:]), fill, values.dtype)
    return np.concatenate([before, values])


def take_worst(values: NDArray[np.float64] | NDArray[np.float32]) -> Scored:
    """Return the largest value of each frame, and its place on the other axes, flattened.

    Parameters
    ----------
    values
        Shape (frame, ...); NaN: no value. Negative ones count as 0.
    """
    flat = values.reshape(len(values), -1)
    if not flat.shape[1]:
        return Scored(np.full(len(flat), np.nan, np.float32), np.zeros(len(flat), np.int32))
    filled = np.where(np.isnan(flat), -np.inf, flat)
    culprit = filled.argmax(axis=1)
    worst = np.take_along_axis(filled, culprit[:, None], axis=1)[:, 0]
    score = np.where(np.isneginf(worst), np.nan, np.maximum(worst, 0.0))
    return Scored(score.astype(np.float32), culprit.astype(np.int32))


def measure_usual(
    values: NDArray[np.float64] | NDArray[np.float32], smallest: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return median and robust standard deviation along the first axis, NaN left out.

    Parameters
    ----------
    values
        Shape (sample, ...).
    smallest
        Lower bound of the standard deviation, which is the median absolute deviation from the
        median times 1.4826.

    Returns
    -------
    median, spread
        Shape (...), float64; NaN where there is no value.
    """
    with warnings.catch_warnings():
        # Of a slice without values, which has no usual one.
        warnings.simplefilter("ignore", RuntimeWarning)
        median = np.nanmedian(values, axis=0).astype(np.float64)
        deviation = np.nanmedian(np.abs(values - median), axis=0)
    return median, np.maximum(_SIGMA_OF_MAD * deviation, smallest)
