"""Clean the poses of an ensemble with the ensemble Kalman smoother, block by block.

The video is read several times, so that memory stays flat: for the mean of each keypoint, for its
motion, forwards, backwards, and once more for the result.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.videos import FilteringSettings
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.kernels.ensembles.kalman import (
    Moments,
    choose_motion,
    filter_forward,
    smooth_blocks,
)
from pipeline_lib.kernels.filters import gate_by_confidence, interpolate_gaps

Floats = NDArray[np.floating]

# px^2 of an observation on which all members agree: about a tenth of a pixel.
_LEAST_NOISE = 0.01
# Confidences below make the noise of an observation no larger.
_LEAST_CONFIDENCE = 0.01
# px^2 from a frame to the next: from keypoints that rest to those that jump.
_CANDIDATES = np.logspace(-4, 4, 33)
# Frames at the start of a video from which the motion is estimated.
_CHOICE_FRAMES = 2**14
# Values of a forward pass that are held at a time.
_MOST_VALUES = 2**21


class EnsembleSmoother:
    """Smooth the poses of one video of an ensemble.

    Parameters
    ----------
    source
        Pose file with a ``spread``.
    frames
        Number of its frames.
    settings
        ``pcutoff``, ``max_gap`` and ``motion`` are used.
    block
        Frames read at a time.

    Raises
    ------
    StoreError
        If the poses are not those of an ensemble.
    """

    def __init__(self, source: Path, frames: int, settings: FilteringSettings, block: int) -> None:
        head = read_poses(source, 0, 0)
        if head.spread is None:
            raise StoreError(
                f"{source}: has no `spread`, which `filtering.method: ensemble-kalman` needs: set "
                "`training.ensemble` to 2 or more and run again, or choose another method"
            )
        self._source, self._frames, self._settings = source, frames, settings
        self._block = block
        count = max(1, -(-frames // block))
        values = 2 * len(head.individuals) * len(head.bodyparts)
        self._rows = max(1, _MOST_VALUES // (len(_CANDIDATES) * max(1, values)))
        total = Moments.of(self._observe(0)[0])
        for number in range(1, count):
            total += Moments.of(self._observe(number)[0])
        self._prior = total.make_prior()
        self._smoother = smooth_blocks(self._observe, count, self._choose_motion(), self._prior)

    def smooth(self, number: int) -> NDArray[np.float32]:
        """Return the positions of a block, shape (frame, individual, keypoint, 2), float32, px.

        NaN in gaps that are longer than ``max_gap``, or at an end of the video. Keypoints without
        a spread are gaps, too.
        """
        start, reach = number * self._block, self._settings.max_gap
        first = max(0, start - reach)
        around = read_poses(self._source, first, start + self._block + reach)
        filled = interpolate_gaps(self._gate(around), reach)
        there = np.isfinite(filled)[start - first :][: self._block]
        smoothed = self._smoother.smooth(number).mean
        return np.where(there, smoothed, np.nan).astype(np.float32)

    def _gate(self, poses: Poses) -> Floats:
        """Return the positions; NaN where nothing is observed, or nothing known of its error."""
        gated = gate_by_confidence(poses.position, poses.confidence, self._settings.pcutoff)
        assert poses.spread is not None  # noqa: S101 - checked for the whole file
        return np.where(np.isfinite(poses.spread)[..., None], gated, np.float32(np.nan))

    def _observe(self, number: int) -> tuple[Floats, Floats]:
        """Return the positions of a block and the variance of each coordinate."""
        start = number * self._block
        poses = read_poses(self._source, start, start + self._block)
        observed = self._gate(poses)
        assert poses.spread is not None  # noqa: S101 - checked for the whole file
        # The spread is of both coordinates together.
        variance = np.maximum(poses.spread.astype(np.float64) ** 2 / 2.0, _LEAST_NOISE)
        noise = variance / np.maximum(np.nan_to_num(poses.confidence), _LEAST_CONFIDENCE)
        return observed, np.broadcast_to(noise[..., None], observed.shape)

    def _choose_motion(self) -> NDArray[np.float64]:
        """Return the variance of each keypoint's motion, shape (individual, keypoint, 1)."""
        if self._settings.motion is not None:
            return np.array(self._settings.motion)
        candidates = _CANDIDATES.reshape(-1, 1, 1, 1)
        surprise: Floats | float = 0.0
        ahead = self._prior
        for number in range(max(1, -(-min(self._frames, _CHOICE_FRAMES) // self._block))):
            observed, noise = self._observe(number)
            for row in range(0, len(observed), self._rows):
                rows = slice(row, row + self._rows)
                filtered = filter_forward(observed[rows], noise[rows], candidates, ahead)
                ahead, surprise = filtered.ahead, surprise + filtered.surprise
        if isinstance(surprise, float):
            # A video without a frame.
            return np.array(1.0)
        return choose_motion(surprise.sum(axis=-1), _CANDIDATES)[..., None]
