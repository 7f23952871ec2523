"""Play a video as if it came from a camera."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.live.sources.frames import Frame, Image, LiveError, LiveSource, now

if TYPE_CHECKING:
    from collections.abc import Iterator


class VideoSource(LiveSource):
    """Give the frames of a video at their times.

    A camera does not wait: frames that could not be decoded before the next was due are left out,
    and numbers tell so.

    Parameters
    ----------
    path
        The video.
    fps
        Frames per second; None: the times of the video.
    paced
        Whether frames come at their times; else each comes when it is asked for.
    """

    def __init__(self, path: Path, fps: float | None = None, *, paced: bool = True) -> None:
        self._path, self._fps, self._paced = path, fps, paced
        self._reader: VideoReader | None = None
        self._frames: Iterator[tuple[int, Image | None]] = iter(())
        self._start = 0.0

    def open(self) -> None:
        """Open the video.

        Raises
        ------
        LiveError
            If it cannot be read.
        """
        try:
            self._reader = VideoReader(self._path)
        except (VideoError, OSError) as error:
            raise LiveError(f"{self._path}: {error}") from None
        times = self._reader.times
        self._times = np.arange(len(times)) / self._fps if self._fps else times
        self.rewind()

    def rewind(self) -> None:
        """Begin with the first frame."""
        if self._reader is not None:
            self._frames, self._start = iter(self._reader.read()), now()
            self.ended = False

    def read(self, timeout: float) -> Frame | None:
        """Return the next frame when it is due; `LiveError` if the video breaks off."""
        del timeout
        try:
            return self._read()
        except (VideoError, OSError) as error:
            raise LiveError(f"{self._path}: {error}") from None

    def _read(self) -> Frame | None:
        for number, image in self._frames:
            due = self._start + float(self._times[number])
            if image is None:
                continue
            if self._paced:
                late = number + 1 < len(self._times) and (
                    now() >= self._start + float(self._times[number + 1])
                )
                if late:
                    continue
                time.sleep(max(0.0, due - now()))
            return Frame(image, number, due, float(self._times[number]))
        self.ended = True
        return None

    def close(self) -> None:
        """Close the video."""
        if self._reader is not None:
            self._reader.__exit__(None, None, None)
            self._reader = None
