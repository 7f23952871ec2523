"""Read frames of the cohort's videos and label images, as JPEG for the browser."""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.images import read_image
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.steps.infer.frames.read_ahead import ReadAhead, explain_stall

_MOST_CACHED = 256 * 2**20  # bytes
_QUALITY = 92
# Frames read together where neighbours are looked at: one seek for all of them.
BLOCK = 16


class FrameReader:
    """Read frames exactly, and keep the last ones in memory.

    Parameters
    ----------
    videos
        Path of each video by its name.
    patience
        Longest time in seconds in which decoding gives no frame.
    """

    def __init__(self, videos: Mapping[str, Path], patience: float) -> None:
        self._videos = videos
        self._patience = patience
        self._readers: dict[str, VideoReader] = {}
        self._locks = {video: threading.Lock() for video in videos}
        self._images: OrderedDict[Hashable, bytes] = OrderedDict()
        self._cached = 0
        self._lock = threading.Lock()

    def measure(self, video: str) -> tuple[int, int, int]:
        """Return the number of frames of a video, and their width and height in px.

        Raises
        ------
        VideoError
            If the video cannot be read.
        """
        with self._locks[video]:
            facts = self._open(video).facts
        return facts.frames, facts.width, facts.height

    def read(
        self, video: str, frame: int, *, block: bool = False, width: int | None = None
    ) -> bytes:
        """Return a frame as JPEG.

        Parameters
        ----------
        video
            A name of the videos.
        frame
            0-based.
        block
            Whether its neighbours will be asked for, too: a block of frames is read at once.
        width
            Shrink the frame to this width in px; None: as it is.

        Raises
        ------
        VideoError
            If the video cannot be read, has no such frame, or this one cannot be decoded.
        """
        found = self._find((video, frame, width))
        if found is not None:
            return found
        with self._locks[video]:
            # Another request may have read the block meanwhile.
            found = self._find((video, frame, width))
            return found if found is not None else self._decode(video, frame, block, width)

    def read_image(self, path: Path) -> bytes:
        """Return a label image as JPEG, upright.

        Raises
        ------
        StoreError
            If it cannot be read.
        """
        found = self._find(path)
        if found is None:
            found = _encode(read_image(path))
            self._keep(path, found)
        return found

    def _open(self, video: str) -> VideoReader:
        if video not in self._readers:
            try:
                self._readers[video] = VideoReader(self._videos[video])
            except VideoError as error:
                raise VideoError(f"{video}: {error}") from None
        return self._readers[video]

    def _decode(self, video: str, frame: int, block: bool, width: int | None) -> bytes:
        reader = self._open(video)
        frames = reader.facts.frames
        if not 0 <= frame < frames:
            raise VideoError(f"{video}: has the frames 0 to {frames - 1}, no frame {frame}")
        start = frame // BLOCK * BLOCK if block else frame
        stop = min(start + BLOCK, frames) if block else frame + 1
        wanted = None
        ahead = ReadAhead(
            reader.read(start, stop, width=width),
            depth=2,
            patience=self._patience,
            progress=lambda: reader.packets_read,
        )
        with explain_stall(self._patience), closing(ahead):
            for index, image in ahead:
                if image is None:
                    continue
                encoded = _encode(image)
                self._keep((video, index, width), encoded)
                if index == frame:
                    wanted = encoded
        if wanted is None:
            raise VideoError(f"{video}: frame {frame} cannot be decoded")
        return wanted

    def _find(self, key: Hashable) -> bytes | None:
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
            return self._images.get(key)

    def _keep(self, key: Hashable, image: bytes) -> None:
        with self._lock:
            self._cached += len(image) - len(self._images.pop(key, b""))
            self._images[key] = image
            while self._cached > _MOST_CACHED and len(self._images) > 1:
                self._cached -= len(self._images.popitem(last=False)[1])


def _encode(image: NDArray[np.uint8]) -> bytes:
    shown = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", shown, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    return data.tobytes()
