"""Tell which times of an MPEG stream are its own, and which FFmpeg guesses.

A packet of the container (PES) has a time for the first picture that begins in it, if any (ISO/IEC
13818-1, 2.4.3.7). Program streams have several pictures in such a packet; most transport streams
have one, some have several. FFmpeg counts on for the others, but not for those of H.264 and HEVC.
After a loss it does so, too, until the next picture that has a time of its own: where between the
two times the loss is, nothing tells. FFmpeg also takes the time of a container's packet for a
picture whose first bytes are in the one before, where the time is that of the *next* picture.
"""

import itertools
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.io.video.codecs.mpeg4 import PictureTimes
from pipeline_lib.io.video.containers.files import open_bytes

TRANSPORT = "mpegts"
CONTAINERS = ("mpeg", TRANSPORT)
# These show a picture at once (B), or when the next one comes that is no B-picture.
_NUMBERED = ("mpeg1video", "mpeg2video")
_TIMED = "mpeg4"
# Bytes by which a picture is known; fewer might be found elsewhere by chance.
_HEAD, _LEAST_HEAD = 64, 3
_PICTURE = b"\0\0\1\0"
# Pictures that repeat fields last longer; at such a rate no step says anything.
_REGULAR_SHARE = 0.8
# Encoders that number pictures in their own way are not believed.
_COMPLETE_SHARE = 0.8
# Of the packets of the container, so many lack no picture; else the frame rate is another one.
_WHOLE_SHARE = 0.2
_TOLERANCE, _ROUNDING = 0.1, 1.5
_LEAST_STAMPS = 3
# Packets of a transport stream: their size on disks, on Blu-ray discs and on air.
_PACKET, _SIZES, _SYNC = 188, (188, 192, 204), 0x47
_MOST_BYTES = 2**23


class Guesses(NamedTuple):
    """Hold what is uncertain about times.

    Attributes
    ----------
    intervals
        Pairs of positions: from the first on and before the second a packet's time is a guess,
        because packets are missing somewhere among them.
    lost
        Pictures known to be missing after the last time, of which no time tells.
    missing
        Pairs of a position and the number of pictures missing between the time before it and its
        own, if the others have no time at all.
    period
        Of one picture, in units of the times, if the others have no time at all; 0 if nothing
        tells it.
    """

    intervals: tuple[tuple[int, int], ...] = ()
    lost: int = 0
    missing: tuple[tuple[int, int], ...] = ()
    period: float = 0.0


@dataclass
class Stamps:
    """Collect what tells the times of pictures apart, in the order of the file.

    Attributes
    ----------
    numbered
        Whether the codec is one whose pictures are numbered as MPEG-2's.
    positions, offsets, heads
        Of packets that may have a time of their own, where in the file the container's packet is,
        and the bytes they begin with.
    references
        1 for a picture that is shown when the next such one comes, 0 for a B-picture.
    numbers
        Place of each picture in its group, in order of display; -1 if unknown.
    times
        That pictures of MPEG-4 state themselves; None of other codecs.
    transport
        Whether the container is a transport stream. What tells a packet's time apart is collected
        from the first packet without one on: in most such files there is none.
    untimed
        Position of the first packet without a time of its own; None if there is none yet.
    """

    numbered: bool
    transport: bool
    positions: "array[int]" = field(default_factory=lambda: array("q"))
    offsets: "array[int]" = field(default_factory=lambda: array("q"))
    heads: list[bytes] = field(default_factory=list)
    references: "array[int]" = field(default_factory=lambda: array("b"))
    numbers: "array[int]" = field(default_factory=lambda: array("h"))
    times: PictureTimes | None = None
    untimed: int | None = None

    @classmethod
    def begin(cls, container: str, codec: str, extradata: bytes | None) -> Self:
        """Begin with no packet, of a container and a codec by FFmpeg's names."""
        times = PictureTimes(extradata) if codec == _TIMED else None
        return cls(codec in _NUMBERED, container == TRANSPORT, times=times)

    def add(self, position: int, offset: int | None, data: bytes) -> None:
        """Take note of the next packet."""
        if offset is None and self.untimed is None:
            self.untimed = position
        if offset is not None and not (self.transport and self.untimed is None):
            self.positions.append(position)
            self.offsets.append(offset)
            self.heads.append(data[:_HEAD])
        if self.times is not None:
            self.times.add(data)
        # Picture header (ISO/IEC 13818-2, 6.2.3): 10 bits of number, 3 of type (3 is B).
        at = data.find(_PICTURE)
        known = self.numbered and 0 <= at < len(data) - 5
        self.numbers.append(data[at + 4] << 2 | data[at + 5] >> 6 if known else -1)
        self.references.append(not (known and data[at + 5] >> 3 & 7 == 3))

    def find_own(self, path: Path) -> NDArray[np.int64]:
        """Return the positions of packets that have a time of their own; the first is one."""
        read = _read_transport_packet if self.transport else _read_program_packet
        first = list(range(self.untimed or 1)) if self.transport else [0]
        with open_bytes(path) as file:
            own = [
                position
                for position, offset, head in zip(
                    self.positions, self.offsets, self.heads, strict=True
                )
                if position and _holds_time(read(file, offset), head)
            ]
        return np.array([*first, *own], np.int64)


def _read_program_packet(file: BinaryIO, offset: int) -> bytes:
    """Return a packet of a program stream; nothing if there is none."""
    file.seek(offset)
    start = file.read(6)
    return start + file.read(int.from_bytes(start[4:6], "big"))


def _read_transport_packet(file: BinaryIO, offset: int) -> bytes:
    """Return a packet of the container from the packets of a transport stream; b"" if none.

    It lasts to the next one of the same stream (ISO/IEC 13818-1, 2.4.3.3).
    """
    file.seek(offset)
    head = file.read(4 + max(_SIZES) + 1)
    # In 192 bytes a time stands before each packet, and FFmpeg counts from there.
    shift = 0 if head[:1] == bytes([_SYNC]) else max(_SIZES[1] - _PACKET, 0)
    starts = [size for size in _SIZES if head[shift + size : shift + size + 1] == bytes([_SYNC])]
    size, stream, taken = starts[0] if starts else _PACKET, -1, bytearray()
    file.seek(offset + shift)
    while len(taken) < _MOST_BYTES:
        packet = file.read(size)[:_PACKET]
        if len(packet) < _PACKET or packet[0] != _SYNC:
            break
        number = int.from_bytes(packet[1:3], "big") & 0x1FFF
        begins = bool(packet[1] & 0x40)
        if stream >= 0 and number == stream and begins:
            break
        if stream < 0:
            stream = number
        if number == stream and packet[3] & 0x10:
            # What stands before the payload states its length.
            taken += packet[5 + packet[4] if packet[3] & 0x20 else 4 :]
    return bytes(taken)


def _holds_time(packet: bytes, head: bytes) -> bool:
    """Tell whether a packet of the container has a time, and a picture begins in it.

    It is MPEG-1's (ISO/IEC 11172-1, 2.4.3.3) or MPEG-2's (ISO/IEC 13818-1, 2.4.3.6).
    """
    body = packet[6:]
    if packet[:3] != b"\0\0\1" or len(body) < 3:
        return False
    if body[0] >> 6 == 2:
        timed, payload = bool(body[1] & 0x80), body[3 + body[2] :]
    else:
        payload = body.lstrip(b"\xff")
        if payload[:1] and payload[0] >> 6 == 1:
            payload = payload[2:]
        timed = bool(payload[:1]) and payload[0] >> 4 in (2, 3)
    if head in payload:
        return timed
    return timed and any(payload.endswith(head[:n]) for n in range(_LEAST_HEAD, len(head)))


def mend_times(
    path: Path,
    stamps: Stamps,
    pts: "array[int]",
    dts: "array[int]",
    keyframes: Sequence[int],
) -> Guesses:
    """Put right, in place, times that belong to another picture; find those that are guesses.

    Parameters
    ----------
    path
        The file.
    stamps
        Of its packets.
    pts, dts
        Times of display and of decoding in the order of the file, all known.
    keyframes
        Ascending positions.
    """
    times = np.array(dts, np.int64)
    if len(times) < 2:
        return Guesses()
    steps = np.diff(times)
    period = float(np.median(steps))
    regular = np.abs(steps - period) <= max(1.0, period / 100)
    if period <= 0 or regular.mean() < _REGULAR_SHARE:
        return Guesses()
    holes = _count_holes(stamps, keyframes)
    between = np.diff(np.sort(np.array(pts, np.float64)))
    alike = np.abs(between - period) <= max(1.0, period / 100)
    if regular.all() and alike.all() and not holes.any():
        return Guesses()
    own = stamps.find_own(path)
    lost = np.rint(np.diff(times[own]) / period) - np.diff(own)
    if (lost < 0).any():
        # No time can be trusted; other checks tell.
        return Guesses()
    before = np.repeat(own, np.diff(np.append(own, len(times))))
    decoded = times[before] + np.rint((np.arange(len(times)) - before) * period).astype(np.int64)
    if stamps.numbered:
        shown = _show(decoded, stamps, np.array(pts, np.int64), period)
        # Among packets whose times are guesses, one that is not might come at the same time.
        sure = own[:-1][(lost == 0) | (np.diff(own) == 1)]
        shown[sure] = np.array(pts, np.int64)[sure]
        _correct(dts, decoded, period / 2)
        _correct(pts, shown, period / 2)
    intervals = _list_intervals(own, lost, np.flatnonzero(np.array(stamps.references)))
    # After the last time nothing counts packets: where some are lost, more may be.
    ends = np.append(keyframes, len(times))[1:] > own[-1]
    after = 0 if lost.any() else int(holes[ends].sum())
    if after or lost.any():
        intervals.append((int(own[-1]), len(times)))
    return Guesses(tuple(intervals), after)


def count_missing(
    path: Path, stamps: Stamps, dts: "array[int]", unknown: int, stated: Sequence[float]
) -> Guesses:
    """Count the pictures that are missing between two times, where the others have no time.

    Of H.264 and HEVC, FFmpeg guesses none.

    Parameters
    ----------
    path
        The file.
    stamps
        Of its packets.
    dts
        Times of decoding in the order of the file.
    unknown
        What stands for no time.
    stated
        Periods that headers state, in units of the times.

    Returns
    -------
    Guesses, without a period if the times are not those of a constant frame rate.
    """
    times, own = np.array(dts, np.int64), stamps.find_own(path)
    own = own[times[own] != unknown]
    # FFmpeg takes a time also for the picture before it, of which a byte is in the same packet.
    own = own[np.append(np.diff(times[own]) != 0, True)]
    if len(own) < _LEAST_STAMPS:
        return Guesses()
    steps, counts = np.diff(times[own]), np.diff(own)
    for period in (*stated, float(np.median(steps / counts))):
        if period <= 0:
            continue
        lost = np.rint(steps / period).astype(np.int64) - counts
        fits = np.abs(steps - (lost + counts) * period) <= max(_ROUNDING, _TOLERANCE * period)
        if fits.all() and (lost >= 0).all() and np.mean(lost == 0) >= _WHOLE_SHARE:
            break
    else:
        return Guesses()
    places = np.flatnonzero(lost).tolist()
    intervals = [(int(own[at]), int(own[at + 1])) for at in places]
    if intervals:
        # After the last time nothing counts packets: where some are lost, more may be.
        intervals.append((int(own[-1]), len(times)))
    missing = tuple((int(own[at + 1]), int(lost[at])) for at in places)
    return Guesses(tuple(intervals), missing=missing, period=period)


def _list_intervals(
    own: NDArray[np.int64], lost: NDArray[np.float64], references: NDArray[np.int64]
) -> list[tuple[int, int]]:
    intervals = []
    for at in np.flatnonzero(lost).tolist():
        first, stop = int(own[at]), int(own[at + 1])
        # This one is shown when the next reference is decoded, which may be lost.
        held = references[: np.searchsorted(references, first, side="right")]
        waiting = int(held[-1]) if len(held) else first
        if stop - first > 1 or waiting not in own:
            intervals.append((waiting, stop))
    return intervals


def _show(
    decoded: NDArray[np.int64], stamps: Stamps, pts: NDArray[np.int64], period: float
) -> NDArray[np.int64]:
    """Return the times of display: of a reference, when the next one is decoded."""
    at = np.flatnonzero(np.array(stamps.references, bool))
    shown = decoded.copy()
    if len(at) and pts[at[0]] > decoded[at[0]]:
        shown[at] = np.append(decoded[at[1:]], decoded[-1] + round(period))
    return shown


def _correct(times: "array[int]", right: NDArray[np.int64], tolerance: float) -> None:
    for position in np.flatnonzero(np.abs(np.array(times, np.int64) - right) > tolerance):
        times[position] = int(right[position])


def _count_holes(stamps: Stamps, keyframes: Sequence[int]) -> NDArray[np.int64]:
    """Count the pictures that each group is seen to lack by the numbers of the others.

    A group numbers its pictures from 0 on in order of display, and ends with a reference. A
    number that comes twice is of a group whose first picture is lost. Pictures of MPEG-4 have no
    numbers, but times.
    """
    if stamps.times is not None:
        return np.add.reduceat(stamps.times.count_missing(), list(keyframes) or [0])
    numbers = np.array(stamps.numbers, np.int64)
    references = np.array(stamps.references, bool)
    bounds = [*keyframes, len(numbers)]
    holes = np.zeros(len(keyframes), np.int64)
    for group, (start, stop) in enumerate(itertools.pairwise(bounds)):
        part = numbers[start:stop]
        if not len(part) or (part < 0).any():
            continue
        unique, last = len(np.unique(part)), int(part.max())
        twice = len(part) - unique
        unended = not references[start + int(part.argmax())]
        holes[group] = last + 1 - unique + twice + unended
    # A video that was cut out of a longer one may lack the first pictures of its first group.
    holes[:1] = 0
    believed = len(holes) > 0 and bool(np.mean(holes == 0) >= _COMPLETE_SHARE)
    return holes if believed else np.zeros_like(holes)
