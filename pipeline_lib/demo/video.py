"""Write the demo's video files: H.264 like that of cameras, and one truncated file."""

import itertools
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from numpy.typing import NDArray

from pipeline_lib.io.publish import publish_file

# One thread, because x264's output depends on their number.
_H264_OPTIONS = {"crf": "20", "preset": "medium", "bf": "2", "g": "30", "threads": "1"}
_MPEG4_OPTIONS = {"bf": "2", "g": "30", "threads": "1"}
_MPEG4_BITS_PER_PIXEL = 1.5


def write_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    fps: int,
    numbers: Sequence[int] | None = None,
) -> None:
    """Publish frames as an MP4 file with B-frames and its index at the start.

    Parameters
    ----------
    path
        File to write; an existing one is replaced.
    frames
        RGB images of shape (height, width, 3), uint8, of one even size; at least one image.
    fps
        Frames per second.
    numbers
        Number of each frame, ascending, which gives its time; None: frames follow each other.

    Notes
    -----
    The codec is H.264 in yuv420p by libx264, or MPEG-4 part 2 if FFmpeg was built without it.
    """
    with publish_file(path) as part:
        options = {"movflags": "+faststart"}
        with av.open(str(part), "w", format="mp4", container_options=options) as container:
            stream = None
            for pixels, number in zip(frames, numbers or itertools.count(), strict=False):
                if stream is None:
                    stream = _add_stream(container, pixels.shape[1], pixels.shape[0], fps)
                picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                if numbers:
                    picture.pts, picture.time_base = number, Fraction(1, fps)
                container.mux(stream.encode(picture))
            if stream is not None:
                container.mux(stream.encode(None))


def cut_video(source: Path, path: Path, share: float = 0.6) -> None:
    """Publish the first part of a file's bytes, like an interrupted copy.

    The index at the start of the file is complete, so that it opens like a good one.

    Parameters
    ----------
    source
        Complete video.
    path
        File to write.
    share
        Share of the bytes to keep, 0..1.
    """
    data = source.read_bytes()
    with publish_file(path) as part:
        part.write_bytes(data[: int(len(data) * share)])


def _add_stream(
    container: av.container.OutputContainer, width: int, height: int, fps: int
) -> av.video.stream.VideoStream:
    rate = Fraction(fps)
    try:
        stream = container.add_stream("libx264", rate=rate, options=_H264_OPTIONS)
    except UnknownCodecError:
        stream = container.add_stream("mpeg4", rate=rate, options=_MPEG4_OPTIONS)
        stream.bit_rate = round(_MPEG4_BITS_PER_PIXEL * width * height * fps)
    stream.width, stream.height = width, height
    stream.pix_fmt = "yuv420p"
    return stream
