"""One pass over the packets of a video: timestamps, keyframes, and whether all are there."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import av.error
import numpy as np

from pipeline_lib.io.video.container import (
    check_system,
    find_duration_mismatch,
    find_size_mismatch,
    open_video,
)

NO_PTS = int(np.iinfo(np.int64).min)
_H264_SLICES = range(1, 6)
_H264_IDR_SLICE = 5
_H264_SEI = 6
_SEI_RECOVERY_POINT = 6


@dataclass
class Packets:
    """Packets of one stream in the order of the file, in compact arrays.

    Attributes
    ----------
    codec, container
        FFmpeg's names.
    time_base
        Seconds per unit of `pts`.
    rate
        Frames per second that the header announces; NaN if it does not.
    reorders
        Whether frames may be shown in another order than they are decoded.
    pts, offsets
        Timestamp (`NO_PTS` if none) and byte offset (-1 if unknown) of each packet.
    hidden
        1 for a packet that is decoded but not shown.
    keyframes, clean
        Position of each keyframe, and 1 if nothing shown after it refers to what was before.
    last_duration
        Duration of the last packet in units of `pts`; 0 if unknown.
    damage
        Why the container is not whole; empty if it is.
    """

    codec: str
    container: str
    time_base: float
    rate: float
    reorders: bool
    pts: "array[int]" = field(default_factory=lambda: array("q"))
    offsets: "array[int]" = field(default_factory=lambda: array("q"))
    hidden: "array[int]" = field(default_factory=lambda: array("b"))
    keyframes: "array[int]" = field(default_factory=lambda: array("i"))
    clean: "array[int]" = field(default_factory=lambda: array("b"))
    last_duration: int = 0
    last_corrupt: bool = False
    damage: str = ""


def read_packets(path: Path) -> Packets:
    """Demux the video stream of a file from end to end, decoding nothing.

    Raises
    ------
    VideoError
        If the file cannot be opened or holds no video stream.
    OSError
        If the file system fails while it is read.
    """
    with open_video(path) as (container, stream):
        context = stream.codec_context
        packets = Packets(
            codec=context.name,
            container=container.format.name,
            time_base=float(stream.time_base),
            rate=float(stream.average_rate or stream.guessed_rate or "nan"),
            reorders=bool(context.has_b_frames),
        )
        announced = _Announced.read(container, stream)
        length_size = _find_length_size(context.extradata)
        stopped, ends = "", dict.fromkeys(range(len(container.streams)), 0)
        # A Matroska header gives the length of the longest stream.
        streams = () if "matroska" in packets.container else (stream,)
        try:
            for packet in container.demux(*streams):
                if packet.size and packet.stream_index == stream.index:
                    _add(packets, packet, length_size)
                if packet.pts is not None:
                    end = packet.pts + (packet.duration or 0)
                    ends[packet.stream_index] = max(end, ends[packet.stream_index])
        except av.error.FFmpegError as error:
            check_system(path, error)
            stopped = f"damaged: reading stops after {len(packets.pts)} frames ({error.strerror})"
        except IndexError:
            # PyAV's, of a packet in a stream that the container did not announce.
            stopped = f"damaged: reading stops after {len(packets.pts)} frames (an unknown stream)"
        seconds = max(float(ends[each.index] * (each.time_base or 0)) for each in container.streams)
    packets.damage = stopped or _find_damage(path, packets, announced, seconds)
    return packets


class _Announced(NamedTuple):
    """What a container says of itself before its packets are read."""

    frames: int
    listed: int
    listed_end: int
    seconds: float

    @classmethod
    def read(cls, container: Any, stream: Any) -> Self:  # noqa: ANN401 - PyAV's
        # FFmpeg extends this index while it reads; what counts is what the file lists.
        listed, listed_end = 0, 0
        for entry in stream.index_entries:
            if entry.size:
                listed += 1
                listed_end = max(listed_end, entry.pos + entry.size)
        seconds = (container.duration or 0) / av.time_base
        return cls(max(stream.frames, listed), listed, listed_end, seconds)


def _add(packets: Packets, packet: Any, length_size: int) -> None:  # noqa: ANN401 - PyAV's
    if packet.is_keyframe:
        packets.keyframes.append(len(packets.pts))
        packets.clean.append(packets.codec != "h264" or _is_entry(bytes(packet), length_size))
    packets.pts.append(NO_PTS if packet.pts is None else packet.pts)
    packets.offsets.append(-1 if packet.pos is None else packet.pos)
    # VP8 keeps pictures that are only referred to in packets of their own.
    unseen = packets.codec == "vp8" and not bytes(packet)[0] & 0x10
    packets.hidden.append(packet.is_discard or unseen)
    packets.last_duration = packet.duration or 0
    packets.last_corrupt = packet.is_corrupt


def _find_damage(path: Path, packets: Packets, announced: _Announced, seconds: float) -> str:
    """Compare what was announced with the packets, which end at `seconds`; empty if all agrees."""
    there = len(packets.pts) - packets.last_corrupt
    short = find_size_mismatch(path, packets.container)
    if packets.last_corrupt or short or announced.listed_end > path.stat().st_size:
        if announced.frames > there:
            return (
                f"truncated: the container announces {announced.frames} frames, {there} are there"
            )
        return short or "truncated: the last frame is cut off"
    # Other containers list keyframes only, or nothing.
    complete = packets.container == "avi" or "mp4" in packets.container
    if complete and there < announced.listed:
        return f"damaged: its index lists {announced.listed} frames, {there} can be read"
    if "matroska" in packets.container:
        return find_duration_mismatch(announced.seconds, seconds)
    return ""


def _find_length_size(extradata: bytes | None) -> int:
    """Return the bytes of a NAL unit's length in MP4 and Matroska; 0: start codes."""
    if extradata and len(extradata) > 4 and extradata[0] == 1:
        return (extradata[4] & 3) + 1
    return 0


def _is_entry(data: bytes, length_size: int) -> bool:
    """Tell whether an H.264 picture is complete without what was decoded before.

    True for an IDR picture and for a recovery point that needs no more pictures to recover
    (ITU-T H.264, 7.4.1.2.4 and D.2.8); false where the picture builds up by intra refresh.
    """
    for head in _find_units(data, length_size):
        kind = data[head] & 0x1F
        if kind == _H264_SEI and _recovers_at_once(data[head + 1 : head + 1024]):
            return True
        if kind in _H264_SLICES:
            return kind == _H264_IDR_SLICE
    return False


def _find_units(data: bytes, length_size: int) -> Iterator[int]:
    """Yield where the header of each NAL unit lies."""
    head = 0
    while True:
        if length_size:
            start = head
            head = start + length_size
            following = head + int.from_bytes(data[start:head], "big")
        else:
            head = following = data.find(b"\x00\x00\x01", head) + 3
            if head < len(b"\x00\x00\x01"):
                return
        if head >= len(data):
            return
        yield head
        head = following


def _recovers_at_once(messages: bytes) -> bool:
    """Look for a recovery point with ``recovery_frame_cnt`` 0 among SEI messages."""
    at = 0
    while at + 2 < len(messages):
        kind, at = _read_sum(messages, at)
        size, at = _read_sum(messages, at)
        if kind == _SEI_RECOVERY_POINT:
            # An Exp-Golomb code that begins with a set bit is 0.
            return bool(messages[at : at + 1] >= b"\x80")
        at += size
    return False


def _read_sum(data: bytes, at: int) -> tuple[int, int]:
    """Read bytes that are added up to and with the first one below 255."""
    total = 0
    while at < len(data):
        total += data[at]
        at += 1
        if data[at - 1] != 255:
            break
    return total, at
