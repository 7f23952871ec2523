"""Seek in a video, and identify the packet at which reading begins."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import av.error
import numpy as np

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.containers.opening import open_video
from pipeline_lib.io.video.decode import number_packets
from pipeline_lib.io.video.index import VideoIndex
from pipeline_lib.io.video.packets import NO_PTS

# Keyframes tried, each one earlier, before reading from the first packet.
_SEEKS = 3


class PacketsDifferError(VideoError):
    """Report that packets differ from the index: the file has changed since."""


class Opened(NamedTuple):
    """Hold a video that is about to be decoded.

    Attributes
    ----------
    stream
        PyAV's.
    first
        Position of the first packet.
    packets
        Packets with their positions.
    primer
        A packet that the decoder must be shown before, if packets do not begin with the first
        one: encoders say there alone who they are (x264's version, in a message), and decoders
        need it to undo the errors of some. Without it pictures are wrong, in silence.
    """

    stream: Any
    first: int
    packets: Iterator[tuple[int, Any]]
    primer: Any = None


@contextmanager
def open_at(path: Path, index: VideoIndex, entry: int) -> Iterator[Opened]:
    """Open a video so that its packets come from a keyframe at or before a position.

    Where a seek has ended is told by the packet found there: its byte offset must be that of
    exactly one packet of the index. If no seek ends well, packets come from the first one.

    Parameters
    ----------
    path, index
        The video and its index.
    entry
        Position of a keyframe, or 0.

    Yields
    ------
    Opened
        With packets from `entry` or before.

    Raises
    ------
    PacketsDifferError
        While packets are read, if they are not those of the index, or end before those do.
    OSError
        While packets are read, if the file system fails.
    """
    if entry > 0:
        with open_video(path) as (container, stream):
            primer = next((packet for _, packet in _read_packets(path, container, stream)), None)
            found = _seek(container, stream, index, entry)
            if found is not None:
                first, packets = found
                numbered = number_packets(path, packets, first)
                yield Opened(stream, first, _check(numbered, index), primer)
                return
    with open_video(path) as (container, stream):
        yield Opened(stream, 0, _check(_read_packets(path, container, stream), index))


def _read_packets(
    path: Path,
    container: Any,  # noqa: ANN401 - PyAV's
    stream: Any,  # noqa: ANN401
) -> Iterator[tuple[int, Any]]:
    return number_packets(path, container.demux(stream))


def _seek(
    container: Any,  # noqa: ANN401 - PyAV's
    stream: Any,  # noqa: ANN401
    index: VideoIndex,
    entry: int,
) -> tuple[int, Iterator[Any]] | None:
    place = int(np.searchsorted(index.keyframes, entry))
    for number in range(place, max(place - _SEEKS, 0), -1):
        timestamp = int(index.keyframe_pts[number])
        if timestamp == NO_PTS:
            return None
        try:
            container.seek(timestamp, stream=stream)
            packets = (packet for packet in container.demux(stream) if packet.size)
            packet = next(packets, None)
        except av.error.FFmpegError:
            return None
        if packet is None or packet.pos is None:
            continue
        positions = np.flatnonzero(index.offsets == packet.pos)
        if len(positions) == 1 and positions[0] <= entry and _is_keyframe(index, positions[0]):
            return int(positions[0]), itertools.chain((packet,), packets)
    return None


def _is_keyframe(index: VideoIndex, position: int) -> bool:
    place = int(np.searchsorted(index.keyframes, position))
    return place < len(index.keyframes) and bool(index.keyframes[place] == position)


def _check(packets: Iterator[tuple[int, Any]], index: VideoIndex) -> Iterator[tuple[int, Any]]:
    indexed, read = len(index.offsets), 0
    for position, packet in packets:
        offset = -1 if packet.pos is None else packet.pos
        if position >= indexed or index.offsets[position] != offset:
            raise PacketsDifferError(
                f"packet {position} is not the one indexed: the file has changed"
            )
        read = position + 1
        yield position, packet
    if read < indexed:
        raise PacketsDifferError(
            f"the file ends after {read} packets, {indexed} were indexed: it has changed"
        )
