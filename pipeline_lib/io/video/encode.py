"""Write H.264 videos frame by frame, join parts of them, and read the key in a video."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from numpy.typing import NDArray

from pipeline_lib.io.video.codecs.canvas import PIXEL_FORMAT, Canvas
from pipeline_lib.io.video.codecs.colours import ColourTags

# Times as exact as the clock of MPEG transport streams.
CLOCK = 90_000
_KEY = "comment"


def encode_frames(
    path: Path,
    frames: Iterable[tuple[int, Canvas | NDArray[np.uint8]]],
    quality: int,
    rate: float,
    tags: ColourTags | None = None,
) -> None:
    """Write frames with their times.

    Parameters
    ----------
    path
        An MP4 file to write.
    frames
        Time in ticks of `CLOCK`, rising, and picture, or RGB image of shape (height, width, 3).
        Both sides are even, and those of all frames the same.
    quality
        Quantiser: 0 loses nothing, 51 is worst.
    rate
        Mean frames per second, by which the last frame lasts; 0: not known.
    tags
        How the planes of the pictures are meant; None: as those of RGB images that are converted.
    """
    # With one quantiser for all frames x264 measures no movement beforehand, which takes a quarter
    # of its time; so does the search for blocks that are as good without their rest. The filter
    # that hides the edges of blocks takes little more time.
    options = {"qp": str(quality), "x264-params": "deblock=0:dct-decimate=0"}
    stream = None
    with av.open(str(path), "w", format="mp4") as container:
        for ticks, picture in frames:
            canvas = picture if isinstance(picture, Canvas) else Canvas.convert(picture)
            if stream is None:
                stream = _add_stream(container, canvas.size, options)
                (tags or ColourTags()).label(stream.codec_context)
                if rate > 0:
                    stream.codec_context.framerate = Fraction(rate).limit_denominator(1001)
            container.mux(canvas.encode(ticks, CLOCK, stream))
        if stream is not None:
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
    container: av.container.OutputContainer,
    size: tuple[int, int],
    more: Mapping[str, str],
) -> av.video.stream.VideoStream:
    # No B-frames, so that parts can be joined; a keyframe each 60 frames, to skip through. The next
    # slower preset takes 1.6 times as long, for files of the same size within a fifth.
    options = {"preset": "ultrafast", "bf": "0", "g": "60", "threads": "1", **more}
    try:
        stream = container.add_stream("libx264", options=options)
    except UnknownCodecError:
        stream = container.add_stream("mpeg4", options={"bf": "0", "g": "60", "threads": "1"})
        stream.bit_rate = 4_000_000
    stream.pix_fmt = PIXEL_FORMAT
    stream.width, stream.height = size
    stream.codec_context.time_base = Fraction(1, CLOCK)
    return stream


class LiveVideoWriter:
    """Write a video of which every frame but the last two is on the disk at any moment.

    It is a fragmented MP4 with a fragment for each frame: whoever kills the writer leaves a video
    that players and `VideoReader` open. `join_parts` makes an ordinary MP4 of it.

    Parameters
    ----------
    path
        The file.
    size
        Height and width of the frames, px; odd ones are padded with the last row or column.
    quality
        Constant rate factor.
    """

    def __init__(self, path: Path, size: tuple[int, int], quality: int) -> None:
        self._padding = tuple(side % 2 for side in size)
        height, width = (side + more for side, more in zip(size, self._padding, strict=True))
        options = {
            "movflags": "frag_every_frame+empty_moov+default_base_moof",
            "flush_packets": "1",
        }
        self._container = av.open(str(path), "w", format="mp4", options=options)
        more = {"crf": str(quality), "tune": "zerolatency"}
        self._stream = _add_stream(self._container, (width, height), more)
        self._canvas: Canvas | None = None

    def write(self, ticks: int, image: NDArray[np.uint8] | None) -> None:
        """Write a frame.

        Parameters
        ----------
        ticks
            Time in ticks of `CLOCK`, rising.
        image
            Shape (height, width, 3), uint8, RGB; None: as the last one.

        Raises
        ------
        OSError
            If the disk takes no more.
        """
        if image is not None:
            if any(self._padding):
                edges = ((0, self._padding[0]), (0, self._padding[1]), (0, 0))
                image = np.pad(image, edges, mode="edge")
            # Once, however often it is repeated.
            self._canvas = Canvas.convert(image)
        if self._canvas is None:
            raise ValueError("there is no last frame")
        self._container.mux(self._canvas.encode(ticks, CLOCK, self._stream))

    def close(self) -> None:
        """Write what the encoder holds, and close the file."""
        try:
            self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()
