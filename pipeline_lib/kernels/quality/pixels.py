"""Measure the quality of frames: brightness, sharpness, and a small picture of the view."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

# Width and height in px of the small pictures by which views are compared.
THUMBNAIL = (64, 48)
# Standard deviation in px of the smoothing before fine structure is measured: less is noise.
_NOISE = 1.0


class FrameLook(NamedTuple):
    """Describe a frame.

    Attributes
    ----------
    brightness
        Mean grey value, 0..1.
    focus
        Mean square of the Laplacian over the variance of the grey values, both after smoothing. A
        blurred frame keeps its contrast and loses fine structure. NaN: the frame has one colour.
    thumbnail
        Shape (48, 64), float32, grey values 0..255.
    """

    brightness: float
    focus: float
    thumbnail: NDArray[np.float32]


def look_at_frame(image: NDArray[np.uint8]) -> FrameLook:
    """Measure a frame of shape (height, width, 3), uint8, RGB."""
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), _NOISE)
    variance = float(smooth.var())
    structure = float(np.square(cv2.Laplacian(smooth, cv2.CV_32F)).mean())
    thumbnail = cv2.resize(grey.astype(np.float32), THUMBNAIL, interpolation=cv2.INTER_AREA)
    return FrameLook(
        float(grey.mean()) / 255.0,
        structure / variance if variance > 1e-3 else np.nan,
        np.asarray(thumbnail, np.float32),
    )


def choose_samples(
    frames: int, keyframes: NDArray[np.integer], number: int, most_decoded: int = 600
) -> NDArray[np.int64]:
    """Choose frames that are spread over a video and cheap to decode.

    Parameters
    ----------
    frames
        Frames of the video.
    keyframes
        Ascending frames at which decoding can begin; frame 0 counts as one.
    number
        Frames to choose.
    most_decoded
        Most frames that are decoded for all of them together.

    Returns
    -------
    ndarray
        Ascending frames, each once; fewer than asked for where a video is short, or where
        decoding can hardly begin anywhere.
    """
    if frames < 1 or number < 1:
        return np.empty(0, np.int64)
    wanted = np.round((np.arange(number) + 0.5) / number * frames - 0.5).astype(np.int64)
    starts = np.unique(np.concatenate([[0], keyframes]))
    before = starts[np.searchsorted(starts, wanted, side="right") - 1]
    if int((wanted - before + 1).sum()) > most_decoded:
        wanted = before + np.minimum(wanted - before, most_decoded // number)
    return np.unique(wanted.clip(0, frames - 1))
