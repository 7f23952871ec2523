"""Write MPEG transport streams by hand, of several frames in each packet of the container (PES)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

TICKS = 90_000
_VIDEO, _PROGRAM_MAP = 0x100, 0x1000
_STREAM_TYPES = {"mpeg1video": 1, "mpeg2video": 2, "mpeg4": 0x10, "libx264": 0x1B, "libx265": 0x24}
_DELAY = TICKS


class Unit(NamedTuple):
    """Hold an encoded frame, and its times in units of 1/90000 s."""

    data: bytes
    pts: int
    dts: int


def bundle(units: Sequence[Unit], per_packet: int) -> list[bytes]:
    """Return packets of the container that hold `per_packet` whole frames each."""
    groups = [units[at : at + per_packet] for at in range(0, len(units), per_packet)]
    return [_make_pes(b"".join(one.data for one in group), group[0]) for group in groups]


def cut(units: Sequence[Unit], size: int) -> list[bytes]:
    """Return packets of a fixed size, with the time of the first frame that begins in each."""
    starts, data = [], b""
    for unit in units:
        starts.append(len(data))
        data += unit.data
    packets = []
    for at in range(0, len(data), size):
        first = [i for i, start in enumerate(starts) if at <= start < at + size]
        packets.append(_make_pes(data[at : at + size], units[first[0]] if first else None))
    return packets


def write_transport_stream(
    path: Path, codec: str, packets: Sequence[bytes], lost: Sequence[int] = ()
) -> Path:
    """Write packets of the container without some packets of the stream (188 bytes each)."""
    written = [*_make_tables(codec)]
    counter, number = 0, 0
    for packet in packets:
        for at in range(0, len(packet), 184):
            if number not in lost:
                written.append(_make_packet(_VIDEO, packet[at : at + 184], counter, first=at == 0))
            counter, number = (counter + 1) % 16, number + 1
    path.write_bytes(b"".join(written))
    return path


def _make_pes(data: bytes, unit: Unit | None) -> bytes:
    times = b""
    if unit is not None:
        times = _code_time(3, unit.pts + _DELAY) + _code_time(1, unit.dts + _DELAY)
    header = bytes([0x80, 0xC0 if times else 0, len(times)]) + times
    size = len(header) + len(data)
    return b"\0\0\1\xe0" + (size if size < 2**16 else 0).to_bytes(2, "big") + header + data


def _code_time(mark: int, time: int) -> bytes:
    """Return a time of 33 bits as 5 bytes (ISO/IEC 13818-1, 2.4.3.7)."""
    high, middle, low = time >> 30, time >> 15 & 0x7FFF, time & 0x7FFF
    first = bytes([mark << 4 | high << 1 | 1])
    return first + (middle << 1 | 1).to_bytes(2, "big") + (low << 1 | 1).to_bytes(2, "big")


def _make_tables(codec: str) -> list[bytes]:
    program = bytes([0, 1, 0xE0 | _PROGRAM_MAP >> 8, _PROGRAM_MAP & 0xFF])
    stream = bytes([_STREAM_TYPES[codec], 0xE0 | _VIDEO >> 8, _VIDEO & 0xFF, 0xF0, 0])
    video = bytes([0xE0 | _VIDEO >> 8, _VIDEO & 0xFF, 0xF0, 0])
    return [
        _make_packet(0, b"\0" + _make_section(0, program), 0, first=True),
        _make_packet(_PROGRAM_MAP, b"\0" + _make_section(2, video + stream), 0, first=True),
    ]


def _make_section(table: int, body: bytes) -> bytes:
    body = b"\0\1\xc1\0\0" + body
    section = bytes([table, 0xB0 | (len(body) + 4) >> 8, (len(body) + 4) & 0xFF]) + body
    return section + _check(section).to_bytes(4, "big")


def _check(data: bytes) -> int:
    """Return the checksum of a section (ISO/IEC 13818-1, annex A)."""
    value = 0xFFFFFFFF
    for byte in data:
        for bit in range(7, -1, -1):
            carry = (value >> 31) ^ (byte >> bit & 1)
            value = (value << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if carry else 0)
    return value


def _make_packet(pid: int, data: bytes, counter: int, *, first: bool) -> bytes:
    """Return a packet of 188 bytes, filled up in its adaptation field."""
    missing = 184 - len(data)
    field = b""
    if missing:
        field = bytes([missing - 1]) + (b"\0" + b"\xff" * (missing - 2) if missing > 1 else b"")
    kinds = 0x30 if missing else 0x10
    return bytes([0x47, first << 6 | pid >> 8, pid & 0xFF, kinds | counter]) + field + data
