"""Make cohorts of videos with different bytes and the same pixels, without encoding.

Files with equal bytes are inferred once, so each copy gets its own title.
"""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from av.packet import Packet
from numpy.typing import NDArray

from pipeline_lib.core.errors import VideoError
from pipeline_lib.demo.video import write_video
from pipeline_lib.io.publish import publish_file
from pipeline_lib.io.video.reader import VideoReader

Image = NDArray[np.uint8]

_FPS = 30


def copy_video(source: Path, folder: Path, count: int, frames: int | None = None) -> list[Path]:
    """Copy a video N times, each file with its own fingerprint and the same pixels.

    Parameters
    ----------
    source
        The video.
    folder
        Folder for ``copy-NNNN.mp4``; created if missing.
    count
        Number of copies.
    frames
        Fewest frames to keep from the start; frames that they are predicted from are kept too.

    Returns
    -------
    list of Path
        The copies.
    """
    paths = [folder / f"copy-{number:04d}.mp4" for number in range(count)]
    for path in paths:
        remux_video(source, path, title=path.stem, frames=frames)
    return paths


def remux_video(
    source: Path, path: Path, title: str, frames: int | None = None, times: int = 1
) -> None:
    """Publish the packets of a video in a file with another title.

    Parameters
    ----------
    source
        A video that begins with a keyframe.
    path
        The file.
    title
        Written into the container.
    frames
        Fewest frames to keep, as in `copy_video`; None for all.
    times
        Number of repetitions of the video.
    """
    with av.open(str(source)) as reader, publish_file(path) as part:
        template = reader.streams.video[0]
        packets = [packet for packet in reader.demux(template) if packet.dts is not None]
        if frames is not None:
            packets = packets[: count_packets([packet.pts for packet in packets], frames)]
        with av.open(str(part), "w", format="mp4") as writer:
            writer.metadata["title"] = title
            stream = writer.add_stream_from_template(template)
            for packet in _repeat(packets, times):
                packet.stream = stream
                writer.mux(packet)


def count_packets(times: Sequence[int], frames: int) -> int:
    """Return the number of packets to keep so that at least N frames can be decoded.

    Packets are stored in decoding order: a frame may precede one that is shown earlier. The count
    is the lowest at which no frame shown later is kept and no frame shown earlier is left out.

    Parameters
    ----------
    times
        Presentation time of each packet, in decoding order.
    frames
        Number wanted, at least 1.
    """
    latest = np.maximum.accumulate(times)
    earliest_left = np.minimum.accumulate(np.asarray(times)[::-1])[::-1]
    for count in range(max(frames, 1), len(times)):
        if latest[count - 1] < earliest_left[count]:
            return count
    return len(times)


def write_small_video(source: Path, path: Path, frames: int, size: tuple[int, int]) -> None:
    """Publish the first frames of a video, shrunk.

    Parameters
    ----------
    source
        The video.
    path
        The file.
    frames
        Number of frames; a shorter video is repeated.
    size
        Width and height in px, even.
    """
    images = itertools.islice(itertools.cycle(read_images(source, frames)), frames)
    write_video(path, _shrink(images, size), _FPS)


def read_images(source: Path, count: int) -> list[Image]:
    """Read at most the first N frames of a video; each of shape (height, width, 3), uint8, RGB.

    Raises
    ------
    VideoError
        If none can be decoded.
    """
    images = [image for _, image in VideoReader(source).read(0, count) if image is not None]
    if not images:
        raise VideoError(f"{source}: none of the first {count} frames can be decoded")
    return images


def _shrink(images: Iterable[Image], size: tuple[int, int]) -> Iterable[Image]:
    for image in images:
        yield np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _repeat(packets: Sequence[Packet], times: int) -> Iterable[Packet]:
    """Yield packets repeatedly, each time later by the duration of the video."""
    shown = [packet.pts for packet in packets]
    length = max(shown) - min(shown)
    period = length + length // max(len(shown) - 1, 1)
    for number in range(times):
        for packet in packets:
            yield _delay(packet, number * period) if number else packet


def _delay(packet: Packet, ticks: int) -> Packet:
    later = Packet(bytes(packet))
    later.pts, later.dts = packet.pts + ticks, packet.dts + ticks
    later.time_base, later.duration = packet.time_base, packet.duration
    later.is_keyframe = packet.is_keyframe
    return later
