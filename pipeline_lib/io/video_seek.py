"""Beginning to read packets in the middle of a video, knowing which packet is the first."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av.error
import numpy as np

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video_container import open_video
from pipeline_lib.io.video_decode import number_packets
from pipeline_lib.io.video_index import VideoIndex
from pipeline_lib.io.video_packets import NO_PTS

# Keyframes tried, each one earlier, before reading from the first packet.
_SEEKS = 3


@contextmanager
def open_at(
    path: Path, index: VideoIndex, entry: int
) -> Iterator[tuple[Any, int, Iterator[tuple[int, Any]]]]:
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
    tuple
        PyAV's stream; the position of the first packet; packets with their positions.

    Raises
    ------
    VideoError
        While packets are read, if they are not those of the index.
    """
    if entry > 0:
        with open_video(path) as (container, stream):
            found = _seek(container, stream, index, entry)
            if found is not None:
                first, packets = found
                yield stream, first, _check(number_packets(packets, first), index)
                return
    with open_video(path) as (container, stream):
        yield stream, 0, _check(number_packets(container.demux(stream)), index)


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
        if len(positions) == 1 and positions[0] <= entry and positions[0] in index.keyframes:
            return int(positions[0]), itertools.chain((packet,), packets)
    return None


def _check(packets: Iterator[tuple[int, Any]], index: VideoIndex) -> Iterator[tuple[int, Any]]:
    for position, packet in packets:
        offset = -1 if packet.pos is None else packet.pos
        if position >= len(index.offsets) or index.offsets[position] != offset:
            raise VideoError(f"packet {position} is not the one indexed: the file has changed")
        yield position, packet
