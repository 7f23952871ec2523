"""Write the images of chosen frames, and the small ones by which they are compared."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.io.images import write_png
from pipeline_lib.steps.infer.read_ahead import explain_stall
from pipeline_lib.steps.select_frames import PatientReader

_log = logging.getLogger(__name__)

# Width and height in px of the grey images by which frames are compared.
_SMALL = (32, 24)


class WrittenFrame(NamedTuple):
    """Describe the image of a frame.

    Attributes
    ----------
    path
        The image.
    time
        Seconds after the first frame.
    small
        Shape (height, width), uint8: the frame, grey and of one size for all videos.
    """

    path: Path
    time: float
    small: NDArray[np.uint8]


def write_frames(
    video: Path, frames: Sequence[int], folder: Path, patience: float
) -> Mapping[int, WrittenFrame]:
    """Write frames of a video as ``frame-NNNNNNN.png``.

    Parameters
    ----------
    video
        The video.
    frames
        Frames to write.
    folder
        Receives the images; it is made.
    patience
        Longest time in seconds in which decoding gives no frame.

    Returns
    -------
    dict
        What was written, by frame. Frames that cannot be decoded are missing, and the log says
        so; none are there of a video that cannot be read.
    """
    written: dict[int, WrittenFrame] = {}
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with explain_stall(patience), PatientReader(video, patience) as reader:
            for frame in sorted(frames):
                image = _read_frame(reader, frame)
                if image is None:
                    _log.warning("%s: frame %d cannot be decoded and is left out", video, frame)
                    continue
                path = folder / f"frame-{frame:07d}.png"
                write_png(path, image)
                written[frame] = WrittenFrame(path, float(reader.times[frame]), _shrink(image))
    except CohortposeError as error:
        _log.warning("%s: the frames that are left of it are left out: %s", video, error)
    return written


def _read_frame(reader: PatientReader, frame: int) -> NDArray[np.uint8] | None:
    if frame >= reader.facts.frames:
        return None
    return next((image for _, image in reader.read(frame, frame + 1)), None)


def _shrink(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    small: NDArray[np.uint8] = cv2.resize(grey, _SMALL, interpolation=cv2.INTER_AREA)
    return small
