"""Writing the demo's video files: H.264 as cameras write it, and one that was cut off."""

from collections.abc import Iterable
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


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]], fps: int) -> None:
    """Publish frames as an MP4 file with B-frames, its index first.

    Parameters
    ----------
    path
        The file; replaced if it exists.
    frames
        RGB images of shape (height, width, 3), uint8, of one even size; at least one.
    fps
        Frames per second.

    Notes
    -----
    H.264 in yuv420p by libx264; MPEG-4 part 2 where FFmpeg was built without it.
    """
    with publish_file(path) as part:
        options = {"movflags": "+faststart"}
        with av.open(str(part), "w", format="mp4", container_options=options) as container:
            stream = None
            for pixels in frames:
                if stream is None:
                    stream = _add_stream(container, pixels.shape[1], pixels.shape[0], fps)
                picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                container.mux(stream.encode(picture))
            if stream is not None:
                container.mux(stream.encode(None))


def cut_video(source: Path, path: Path, share: float = 0.6) -> None:
    """Publish the first part of a file's bytes: a copy that was interrupted.

    The index of the file says how much there should be, so that it opens like a good one.
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
