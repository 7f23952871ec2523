"""Read the worst frames of a video as small pictures."""

import base64
import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.io.video.reader import VideoReader

_log = logging.getLogger(__name__)

NO_FILE = "the file of the video is not there"
_UNREADABLE = "the video cannot be read"
_NO_FRAME = "the frame cannot be decoded"
_QUALITIES = (70, 55, 40, 28, 18, 10)
_SHRINK = 0.75


def draw_frames(
    video: Path | None, frames: Sequence[int], width: int, most_bytes: int
) -> tuple[dict[int, str], str]:
    """Return frames of a video as pictures.

    Parameters
    ----------
    video
        The video; None: there is none.
    frames
        Numbers of the frames.
    width
        Most pixels in a row of a picture.
    most_bytes
        Most bytes of a picture.

    Returns
    -------
    pictures
        Data URL (WebP) of each frame that could be read.
    reason
        Why pictures are missing, without a path; empty if none are.
    """
    if not frames:
        return {}, ""
    if video is None or not video.is_file():
        return {}, NO_FILE
    try:
        reader = VideoReader(video)
        read = {
            frame: image
            for number in frames
            for frame, image in reader.read(number, number + 1, width=width)
        }
    except (CohortposeError, OSError) as error:
        _log.warning("the report shows no frames of %s: %s", video.name, error)
        return {}, _UNREADABLE
    pictures = {
        frame: _encode(image, width, most_bytes)
        for frame, image in read.items()
        if image is not None
    }
    return pictures, "" if len(pictures) == len(frames) else _NO_FRAME


def _encode(image: NDArray[np.uint8], width: int, most_bytes: int) -> str:
    """Return the best picture that is small enough; one of noise is made smaller."""
    while True:
        height = max(1, round(image.shape[0] * width / image.shape[1]))
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)[..., ::-1]
        data = _compress(small, _QUALITIES[-1])
        width = round(width * _SHRINK)
        if len(data) <= most_bytes or min(width, height) < 32:
            best = _find_best(small, most_bytes) or data
            return "data:image/webp;base64," + base64.b64encode(best).decode("ascii")


def _find_best(image: NDArray[np.uint8], most_bytes: int) -> bytes | None:
    """Return the picture of the best quality that is small enough, by bisection; None: none is."""
    best, low, high = None, 0, len(_QUALITIES) - 1
    while low < high:
        middle = (low + high) // 2
        data = _compress(image, _QUALITIES[middle])
        if len(data) <= most_bytes:
            best, high = data, middle
        else:
            low = middle + 1
    return best


def _compress(image: NDArray[np.uint8], quality: int) -> bytes:
    return cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
