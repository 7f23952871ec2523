"""Read the packets of a video once: timestamps, keyframes, and signs of loss."""

import contextlib
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import av.error
import numpy as np

from pipeline_lib.io.video.codecs.h264 import is_entry
from pipeline_lib.io.video.codecs.mpeg4 import PictureTimes
from pipeline_lib.io.video.codecs.picture_numbers import PictureNumbers
from pipeline_lib.io.video.containers.opening import check_system, open_video
from pipeline_lib.io.video.containers.stamps import (
    CONTAINERS,
    Guesses,
    Stamps,
    count_missing,
    mend_times,
)
from pipeline_lib.io.video.containers.structure import (
    begins_within_stream,
    count_avi_frames,
    find_duration_mismatch,
    find_size_mismatch,
)

# What comes before a picture, and its own header.
_HEADER_BYTES = 4096
NO_PTS = int(np.iinfo(np.int64).min)


@dataclass
class Packets:
    """Packets of one stream in the order of the file, in compact arrays.

    Attributes
    ----------
    codec, container
        FFmpeg's names.
    time_base
        Seconds per unit of `pts`.
    frames, rate
        How many frames the header announces (0: it does not), and how many in
        a second; NaN if it does not.
    stated
        Frames per second by the container and by the codec, those that are known.
    reorders
        Whether frames may be shown in another order than they are decoded.
    pts, dts, offsets
        Timestamp, time of decoding (`NO_PTS` if none) and byte offset (-1 if unknown) of each
        packet.
    hidden
        1 for a packet that is decoded but not shown.
    keyframes, clean
        Position of each keyframe, and 1 if nothing shown after it refers to what was before.
    corrupt
        Positions of packets that the container gives as damaged: bytes of them were lost.
    numbers
        Of the pictures, if the codec is H.264.
    stamps
        Of the pictures in an MPEG program stream or transport stream.
    guesses
        Which times are guesses there.
    last_duration
        Duration of the last packet in units of `pts`; 0 if unknown.
    damage
        Why the container is not whole; empty if it is.
    """

    codec: str
    container: str
    time_base: float
    frames: int
    rate: float
    reorders: bool
    stated: tuple[float, ...] = ()
    pts: "array[int]" = field(default_factory=lambda: array("q"))
    dts: "array[int]" = field(default_factory=lambda: array("q"))
    offsets: "array[int]" = field(default_factory=lambda: array("q"))
    hidden: "array[int]" = field(default_factory=lambda: array("b"))
    keyframes: "array[int]" = field(default_factory=lambda: array("i"))
    clean: "array[int]" = field(default_factory=lambda: array("b"))
    corrupt: "array[int]" = field(default_factory=lambda: array("i"))
    numbers: PictureNumbers | None = None
    stamps: Stamps | None = None
    # Of a container that has no times.
    picture_times: PictureTimes | None = None
    guesses: Guesses = field(default_factory=Guesses)
    last_duration: int = 0
    damage: str = ""

    @property
    def shares_times(self) -> bool:
        """Tell whether some packets of a transport stream have no time of their own."""
        return self.stamps is not None and self.stamps.transport and self.stamps.untimed is not None


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
            frames=stream.frames,
            rate=float(stream.average_rate or stream.guessed_rate or "nan"),
            reorders=bool(context.has_b_frames),
            stated=tuple(float(one) for one in (stream.average_rate, context.framerate) if one),
        )
        announced = _Announced.read(container, stream)
        if packets.codec == "h264":
            packets.numbers = PictureNumbers(context.extradata)
        if packets.codec == "mpeg4" and packets.container == "avi":
            packets.picture_times = PictureTimes(context.extradata)
        if packets.container in CONTAINERS:
            packets.stamps = Stamps.begin(packets.container, packets.codec, context.extradata)
        stopped, ends = "", dict.fromkeys(range(len(container.streams)), 0)
        # A Matroska header gives the length of the longest stream.
        streams = () if "matroska" in packets.container else (stream,)
        try:
            for packet in container.demux(*streams):
                if packet.size and packet.stream_index == stream.index:
                    _add(packets, packet)
                if packet.pts is not None:
                    end = packet.pts + (packet.duration or 0)
                    ends[packet.stream_index] = max(end, ends[packet.stream_index])
        except av.error.FFmpegError as error:
            check_system(path, error)
            stopped = f"damaged: reading stops after {len(packets.pts)} frames ({error.strerror})"
        except IndexError:
            # PyAV's, of a packet in a stream that the container did not announce.
            stopped = f"damaged: reading stops after {len(packets.pts)} frames (an unknown stream)"
        first_listed = _find_first_listed(container, stream)
        number = stream.index
        seconds = max(float(ends[each.index] * (each.time_base or 0)) for each in container.streams)
    if packets.stamps is not None:
        packets.guesses = _judge_times(path, packets, packets.stamps)
    packets.damage = (
        stopped
        or _find_damage(path, packets, announced, seconds)
        or _find_loss(path, packets, number, first_listed)
    )
    return packets


def _judge_times(path: Path, packets: Packets, stamps: Stamps) -> Guesses:
    """Find the times that FFmpeg guesses, and put right those that belong to another packet."""
    if stamps.transport and stamps.untimed is None:
        return Guesses()
    if NO_PTS not in packets.pts and NO_PTS not in packets.dts:
        return mend_times(path, stamps, packets.pts, packets.dts, packets.keyframes)
    stated = [1 / (rate * packets.time_base) for rate in packets.stated if rate > 0]
    guesses = count_missing(path, stamps, packets.dts, NO_PTS, stated)
    if guesses.period:
        packets.rate = 1 / (guesses.period * packets.time_base)
    return guesses


class _Announced(NamedTuple):
    """Hold what a container announces before its packets are read."""

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


def _add(packets: Packets, packet: Any) -> None:  # noqa: ANN401 - PyAV's
    position, numbers = len(packets.pts), packets.numbers
    if packet.is_keyframe:
        packets.keyframes.append(position)
        packets.clean.append(numbers is None or is_entry(bytes(packet), numbers.length_size))
    if numbers is not None:
        numbers.add(memoryview(packet))
    if packets.picture_times is not None:
        packets.picture_times.add(bytes(memoryview(packet)[:_HEADER_BYTES]))
    if packets.stamps is not None:
        packets.stamps.add(position, packet.pos, bytes(packet))
    if packet.is_corrupt:
        packets.corrupt.append(position)
    packets.pts.append(NO_PTS if packet.pts is None else packet.pts)
    packets.dts.append(NO_PTS if packet.dts is None else packet.dts)
    packets.offsets.append(-1 if packet.pos is None else packet.pos)
    # VP8 keeps pictures that are only referred to in packets of their own.
    unseen = packets.codec == "vp8" and not bytes(packet)[0] & 0x10
    packets.hidden.append(packet.is_discard or unseen)
    packets.last_duration = packet.duration or 0


def _find_damage(path: Path, packets: Packets, announced: _Announced, seconds: float) -> str:
    """Compare what was announced with the packets, which end at `seconds`; empty if all agrees."""
    last_corrupt = bool(packets.corrupt) and packets.corrupt[-1] == len(packets.pts) - 1
    there = len(packets.pts) - last_corrupt
    short = find_size_mismatch(path, packets.container)
    if last_corrupt or short or announced.listed_end > path.stat().st_size:
        if announced.frames > there:
            return (
                f"truncated: the container announces {announced.frames} frames, {there} are there"
            )
        return short or "truncated: the last frame is cut off"
    # Other containers list keyframes only, or nothing.
    complete = packets.container == "avi" or "mov" in packets.container
    if complete and there < announced.listed:
        return f"damaged: its index lists {announced.listed} frames, {there} can be read"
    if "matroska" in packets.container:
        return find_duration_mismatch(announced.seconds, seconds)
    return ""


def _find_first_listed(container: Any, stream: Any) -> int:  # noqa: ANN401 - PyAV's
    """Return the timestamp of the first keyframe that a Matroska file lists; `NO_PTS` if none."""
    if "matroska" not in container.format.name:
        return NO_PTS
    # FFmpeg reads the list when it is asked to seek.
    with contextlib.suppress(av.error.FFmpegError):
        container.seek(0)
    listed = [entry.timestamp for entry in stream.index_entries if entry.timestamp != NO_PTS]
    return min(listed, default=NO_PTS)


def _find_loss(path: Path, packets: Packets, number: int, first_listed: int) -> str:
    """Say which frames of a stream are there and cannot be read; empty if none are known."""
    read = len(packets.pts)
    if packets.container == "avi":
        held = count_avi_frames(path, number)
        # The count in the header is often wrong, but agrees with other damage.
        if held is None and packets.frames > read:
            return f"damaged: the container announces {packets.frames} frames, {read} can be read"
        if held is not None and held > read:
            return f"damaged: it holds {held} frames, {read} can be read"
    if not read:
        return ""
    if NO_PTS < first_listed < min(packets.pts):
        return "damaged: its first frames cannot be read, though its index lists them"
    if packets.container == "mpegts" and begins_within_stream(path, packets.offsets[0]):
        return (
            "damaged: its first frames cannot be read; keep what follows with "
            "`ffmpeg -i VIDEO -c copy NEW`"
        )
    return ""
