"""Read what synchronises cameras: the brightness of a part of each frame, and the sound."""

from pathlib import Path

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.containers.opening import open_video
from pipeline_lib.io.video.reader import VideoReader

Floats = NDArray[np.float64]

_RATE = 8000
# Samples whose mean square is one value: 1 ms.
_HOP = 8
SOUND_RATE = _RATE / _HOP
# Longest sound that is read, and shortest gap in it that is filled with silence, in s.
_LONGEST, _GAP = 48 * 3600, 0.05


def read_brightness(reader: VideoReader, rectangle: tuple[int, int, int, int]) -> Floats:
    """Return the mean grey level of a rectangle in every frame of a video.

    Parameters
    ----------
    reader
        Of the video.
    rectangle
        Left, top, width and height in px.

    Returns
    -------
    NDArray[np.float64]
        Shape (frame,); NaN: the frame could not be decoded.

    Raises
    ------
    VideoError
        If the video cannot be read, or the rectangle is not in its image.
    """
    left, top, width, height = rectangle
    facts = reader.facts
    if left + width > facts.width or top + height > facts.height:
        raise VideoError(
            f"the rectangle {left}, {top}, {width}, {height} (left, top, width, height) is not in "
            f"its image of {facts.width} x {facts.height} px"
        )
    values = np.full(facts.frames, np.nan)
    for frame, image in reader.read():
        if image is not None:
            values[frame] = image[top : top + height, left : left + width].mean()
    return values


def read_energy(path: Path) -> tuple[Floats, float]:
    """Return how loud the sound of a video is; what its times say is missing is silent.

    Returns
    -------
    tuple
        Shape (moment,): mean square of the samples in each of `SOUND_RATE` moments per second; the
        time of the first one in s after the first frame.

    Raises
    ------
    VideoError
        If the video cannot be read, or has no sound.
    """
    blocks: list[Floats] = []
    rest, first, length = np.empty(0, np.float32), None, 0.0
    with open_video(path) as (container, video):
        if not container.streams.audio:
            raise VideoError(
                "it has no sound: choose another `triangulation.synchronisation.method`"
            )
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="flt", layout="mono", rate=_RATE)
        try:
            for frame in container.decode(stream):
                if frame.time is not None:
                    first = float(frame.time) if first is None else first
                    gap = float(frame.time) - first - length
                    if length + gap > _LONGEST:
                        raise VideoError(f"its sound is longer than {_LONGEST // 3600} hours")
                    if gap < -_GAP:
                        # Its time is that of sound that was read.
                        continue
                    if gap > _GAP:
                        blocks.append(np.zeros(round(gap * SOUND_RATE)))
                        length += gap
                length += frame.samples / frame.sample_rate
                for piece in resampler.resample(frame):
                    rest = _reduce(np.concatenate([rest, piece.to_ndarray()[0]]), blocks)
        except av.error.FFmpegError as error:
            raise VideoError(f"its sound cannot be decoded ({error.strerror})") from None
        begin = float((video.start_time or 0) * video.time_base)
    if not blocks:
        raise VideoError(
            "its sound is empty: choose another `triangulation.synchronisation.method`"
        )
    return np.concatenate(blocks), (first or 0.0) - begin


def _reduce(samples: NDArray[np.float32], blocks: list[Floats]) -> NDArray[np.float32]:
    """Add the mean squares of whole moments to blocks; return the samples that are left."""
    whole = len(samples) // _HOP * _HOP
    if whole:
        square = samples[:whole].astype(np.float64).reshape(-1, _HOP) ** 2
        blocks.append(square.mean(axis=1))
    return samples[whole:]
