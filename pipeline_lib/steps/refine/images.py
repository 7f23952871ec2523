"""Look at frames of videos, and write the images of those that are chosen."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.io.images import write_png
from pipeline_lib.steps.infer.frames.read_ahead import explain_stall
from pipeline_lib.steps.select_frames import PatientReader

_log = logging.getLogger(__name__)


def read_frames(
    video: Path, frames: Sequence[int], patience: float
) -> Iterator[tuple[int, float, NDArray[np.uint8]]]:
    """Yield frames of a video in ascending order.

    Frames that cannot be decoded are left out, and the log says so; none come of a video that
    cannot be read.

    Parameters
    ----------
    video
        The video.
    frames
        Frames to read.
    patience
        Longest time in seconds in which decoding gives no frame.

    Yields
    ------
    frame, time, image
        Seconds after the first frame; shape (height, width, 3), uint8, RGB.
    """
    try:
        with explain_stall(patience), PatientReader(video, patience) as reader:
            for frame in sorted(frames):
                image = _read_frame(reader, frame)
                if image is None:
                    _log.warning("%s: frame %d cannot be decoded and is left out", video, frame)
                    continue
                yield frame, float(reader.times[frame]), image
    except CohortposeError as error:
        _log.warning("%s: the frames that are left of it are left out: %s", video, error)


def write_frames(
    video: Path, frames: Sequence[int], folder: Path, patience: float
) -> dict[int, Path]:
    """Write frames of a video as ``frame-NNNNNNN.png``, and return the image of each.

    Parameters
    ----------
    video, frames, patience
        As in `read_frames`.
    folder
        Receives the images; it is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for frame, _, image in read_frames(video, frames, patience):
        written[frame] = folder / f"frame-{frame:07d}.png"
        write_png(written[frame], image)
    return written


def _read_frame(reader: PatientReader, frame: int) -> NDArray[np.uint8] | None:
    if frame >= reader.facts.frames:
        return None
    return next((image for _, image in reader.read(frame, frame + 1)), None)
