"""Read a camera in the network by RTSP."""

from typing import TYPE_CHECKING, Any

import av
import av.error
from av.video.reformatter import VideoReformatter

from pipeline_lib.core.untrusted.credentials import show_address
from pipeline_lib.io.video.codecs.planes import convert_picture
from pipeline_lib.live.sources.frames import (
    Frame,
    FrameError,
    LiveSource,
    SourceError,
    now,
    to_rgb,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS = 5.0
_OPTIONS = {
    "rtsp_transport": "tcp",
    # Nothing is kept to even out delays.
    "fflags": "nobuffer",
    "flags": "low_delay",
    "max_delay": "0",
    # A camera may name further addresses; they are of these kinds only.
    "protocol_whitelist": "rtsp,rtsps,rtp,srtp,tcp,udp,tls,crypto",
}


class StreamSource(LiveSource):
    """Give the frames of an RTSP stream.

    Parameters
    ----------
    address
        ``rtsp://…`` or ``rtsps://…``.
    options
        More options of FFmpeg.
    """

    def __init__(self, address: str, options: dict[str, str] | None = None) -> None:
        self._address, self._more = address, options or {}
        self._container: Any = None
        self._frames: Iterator[Any] = iter(())
        self._number = 0
        self._reformatter = VideoReformatter()

    def open(self) -> None:
        """Connect to the camera."""
        try:
            self._container = av.open(
                self._address,
                format="rtsp",
                options={**_OPTIONS, **self._more},
                timeout=(_SECONDS, _SECONDS),
            )
            stream = self._container.streams.video[0]
        except (av.error.FFmpegError, OSError, IndexError) as error:
            self.close()
            raise SourceError(f"{self._name()}: no video stream ({self._hide(error)})") from None
        stream.thread_type = "SLICE"
        self._frames = self._container.decode(stream)

    def read(self, timeout: float) -> Frame | None:
        """Return the next frame; the stream is gone if there is none for some seconds."""
        del timeout
        try:
            picture = next(self._frames)
        except (av.error.FFmpegError, OSError, StopIteration) as error:
            reason = self._hide(error)
            raise SourceError(f"{self._name()}: the stream broke off ({reason})") from None
        captured, size = now(), (picture.width, picture.height)
        self._number += 1
        stamp = float("nan") if picture.time is None else float(picture.time)
        try:
            image = convert_picture(picture, size, self._reformatter)
        except av.error.FFmpegError as error:
            form = picture.format.name
            raise FrameError(f"{self._name()}: no RGB from {form} ({error.strerror})") from None
        return Frame(to_rgb(image), self._number, captured, stamp)

    def close(self) -> None:
        """Close the connection."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _hide(self, error: Exception) -> str:
        """Return the text of an error without a password."""
        return str(error).replace(self._address, self._name())

    def _name(self) -> str:
        """Return the address without a password."""
        return show_address(self._address)
