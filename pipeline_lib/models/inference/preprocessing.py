"""Shrink and pad video frames for the network, and convert coordinates both ways."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

PADDING_MULTIPLE = 32  # Stride of the deepest feature map of every backbone used here.


@dataclass(frozen=True)
class FrameFit:
    """Describe how frames of one size fit into the network's input.

    Attributes
    ----------
    height, width
        Size of the frame in px.
    inner_height, inner_width
        Size of the shrunk frame in network px; it lies in the top-left corner of the input.
    multiple
        Number that the sides of the input are multiples of.
    """

    height: int
    width: int
    inner_height: int
    inner_width: int
    multiple: int = PADDING_MULTIPLE

    @classmethod
    def of(
        cls, height: int, width: int, scale: float, multiple: int = PADDING_MULTIPLE
    ) -> "FrameFit":
        """Return the fit of a frame of this size shrunk by `scale`."""
        inner = max(1, round(height * scale)), max(1, round(width * scale))
        return cls(height, width, *inner, multiple)

    @property
    def padded_size(self) -> tuple[int, int]:
        """Return height and width of the network's input in px."""
        return (
            _round_up(self.inner_height, self.multiple),
            _round_up(self.inner_width, self.multiple),
        )

    @property
    def factor(self) -> NDArray[np.float64]:
        """Return the network px per px of the frame in x and y; they differ by rounding."""
        return np.array([self.inner_width / self.width, self.inner_height / self.height])

    def to_network(self, position: NDArray[np.floating]) -> NDArray[np.float32]:
        """Convert x, y (shape (..., 2)) from frame px to network px; NaN stays NaN."""
        # Pixel centres are at integers, so the top-left corner of the frame is (-0.5, -0.5).
        return ((position + 0.5) * self.factor - 0.5).astype(np.float32)

    def to_frame(self, position: NDArray[np.floating]) -> NDArray[np.float32]:
        """Convert x, y (shape (..., 2)) from network px to frame px; NaN stays NaN."""
        return ((position + 0.5) / self.factor - 0.5).astype(np.float32)


def fit_frame(
    frame: NDArray[np.uint8], fit: FrameFit, size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Shrink a frame, and pad it with black on the right and at the bottom.

    Parameters
    ----------
    frame
        Shape (height, width, 3), uint8.
    fit
        Fit for frames of this size.
    size
        Height and width after padding, at least those of the shrunk frame; None for the smallest
        size that the network takes.

    Returns
    -------
    ndarray
        Shape (*size, 3), uint8.
    """
    height, width = size or fit.padded_size
    if (fit.inner_height, fit.inner_width) != frame.shape[:2]:
        inner = cv2.resize(frame, (fit.inner_width, fit.inner_height), interpolation=cv2.INTER_AREA)
    else:
        inner = frame
    if (height, width) == inner.shape[:2]:
        return np.asarray(inner)
    padded = np.zeros((height, width, 3), np.uint8)
    padded[: fit.inner_height, : fit.inner_width] = inner
    return padded


def fit_frames(frames: Sequence[NDArray[np.uint8]], fit: FrameFit, count: int) -> NDArray[np.uint8]:
    """Shrink and pad frames of one size into a batch that ends with black frames.

    Parameters
    ----------
    frames
        At most `count` frames, each of shape (height, width, 3), uint8.
    fit
        Fit for frames of this size.
    count
        Number of frames in the batch.

    Returns
    -------
    ndarray
        Shape (count, padded height, padded width, 3), uint8, contiguous. A view of the frame if
        `count` is 1 and it needs neither shrinking nor padding.
    """
    if count == 1:
        return np.ascontiguousarray(fit_frame(frames[0], fit))[np.newaxis]
    batch = np.zeros((count, *fit.padded_size, 3), np.uint8)
    for row, frame in zip(batch, frames, strict=False):
        row[:] = fit_frame(frame, fit)
    return batch


def _round_up(size: int, multiple: int) -> int:
    return math.ceil(size / multiple) * multiple
