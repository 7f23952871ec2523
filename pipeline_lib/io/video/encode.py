"""Write H.264 videos frame by frame, join parts of them, and read the key in a video."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.codec.codec import UnknownCodecError
from numpy.typing import NDArray

# Times as exact as the clock of MPEG transport streams.
CLOCK = 90_000
_KEY = "comment"


def encode_frames(
    path: Path,
    frames: Iterable[tuple[int, NDArray[np.uint8]]],
    size: tuple[int, int],
    quality: int,
    rate: float,
) -> None:
    """Write frames with their times.

    Parameters
    ----------
    path
        An MP4 file to write.
    frames
        Time in ticks of `CLOCK`, rising, and RGB image of shape (height, width, 3).
    size
        Width and height, both even.
    quality
        Constant rate factor.
    rate
        Mean frames per second, by which the last frame lasts; 0: not known.
    """
    with av.open(str(path), "w", format="mp4") as container:
        stream = _add_stream(container, size, quality)
        if rate > 0:
            stream.codec_context.framerate = Fraction(rate).limit_denominator(1001)
        for ticks, image in frames:
            # OpenCV converts in a fifth of the time that FFmpeg takes; both by BT.601.
            planes = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420), np.uint8)
            picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            picture.pts, picture.time_base = ticks, Fraction(1, CLOCK)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def join_parts(path: Path, parts: Sequence[tuple[Path, int]], key: str) -> None:
    """Join videos, without decoding them, and give them a key.

    Parameters
    ----------
    path
        An MP4 file to write; it begins at 0.
    parts
        Videos that begin at 0, and when each of them begins, in ticks of `CLOCK`, rising.
    key
        The key.
    """
    options = {"movflags": "+faststart"}
    with av.open(str(path), "w", format="mp4", container_options=options) as container:
        container.metadata[_KEY] = key
        target = None
        for part, begin in parts:
            shift = Fraction(begin - parts[0][1], CLOCK)
            with av.open(str(part)) as source:
                stream = source.streams.video[0]
                if target is None:
                    target = container.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.pts is not None and packet.dts is not None:
                        ticks = round(shift / packet.time_base)
                        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                        packet.stream = target
                        container.mux(packet)


def read_video_key(path: Path) -> str | None:
    """Return the key that a video was given; None if there is no whole one."""
    try:
        with av.open(str(path)) as container:
            key: str | None = container.metadata.get(_KEY)
            return key
    except (OSError, av.error.FFmpegError):
        return None


def _add_stream(
    container: av.container.OutputContainer, size: tuple[int, int], quality: int
) -> av.video.stream.VideoStream:
    # No B-frames, so that parts can be joined; a keyframe each 60 frames, to skip through. Slower
    # presets take more than half of the time for files that are somewhat smaller.
    options = {"crf": str(quality), "preset": "superfast", "bf": "0", "g": "60", "threads": "1"}
    try:
        stream = container.add_stream("libx264", options=options)
    except UnknownCodecError:
        stream = container.add_stream("mpeg4", options={"bf": "0", "g": "60", "threads": "1"})
        stream.bit_rate = 4_000_000
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, CLOCK)
    return stream
