"""Parse headers of H.264 pictures, and find where decoding may begin.

Sections are those of ITU-T H.264 (08/2021).
"""

from collections.abc import Iterator
from typing import NamedTuple, Self

_SLICES = (1, 5)  # partitioned slices (2 to 4) are of no use to anybody
_IDR_SLICE = 5
_SEI = 6
_SEQUENCE = 7
_RECOVERY_POINT = 6
# Enough for the fields of a slice header that are read here.
_SLICE_BYTES = 24
_HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
_MOST_BEFORE_SLICE = 4096


class SequenceHeader(NamedTuple):
    """Hold the fields of a sequence parameter set that concern picture numbers (7.3.2.1.1)."""

    frame_num_bits: int
    order_type: int
    order_bits: int
    separate_planes: bool
    gaps_allowed: bool
    frames_only: bool

    @classmethod
    def parse(cls, unit: bytes) -> Self:
        """Parse a NAL unit, header byte included.

        Raises
        ------
        ValueError
            If it ends too early.
        """
        bits = _Bits(unit[1:])
        profile = bits.take(8)
        bits.take(16)
        bits.take_ue()
        separate = _skip_high_profile(bits) if profile in _HIGH_PROFILES else False
        frame_num_bits = bits.take_ue() + 4
        order_type = bits.take_ue()
        order_bits = 0
        if order_type == 0:
            order_bits = bits.take_ue() + 4
        elif order_type == 1:
            bits.take(1)
            bits.take_ue()
            bits.take_ue()
            for _ in range(bits.take_ue()):
                bits.take_ue()
        bits.take_ue()
        gaps_allowed = bool(bits.take(1))
        bits.take_ue()
        bits.take_ue()
        return cls(
            frame_num_bits, order_type, order_bits, separate, gaps_allowed, bool(bits.take(1))
        )


def find_length_size(extradata: bytes | None) -> int:
    """Return the bytes of a NAL unit's length in MP4 and Matroska; 0: start codes."""
    if extradata and len(extradata) > 4 and extradata[0] == 1:
        return (extradata[4] & 3) + 1
    return 0


def is_entry(data: bytes, length_size: int) -> bool:
    """Tell whether an H.264 picture is complete without what was decoded before.

    True for an IDR picture and for a recovery point that needs no more pictures to recover
    (7.4.1.2.4 and D.2.8); false where the picture builds up by intra refresh.
    """
    for head in _find_units(data, length_size):
        kind = data[head] & 0x1F
        if kind == _SEI and _recovers_at_once(data[head + 1 : head + 1024]):
            return True
        if 1 <= kind <= _IDR_SLICE:
            return kind == _IDR_SLICE
    return False


def find_sequence_header(extradata: bytes | None, length_size: int) -> SequenceHeader | None:
    """Return the first sequence parameter set in a codec's extradata; None if there is none."""
    if not extradata:
        return None
    try:
        if length_size:
            # An AVCDecoderConfigurationRecord (ISO/IEC 14496-15): the first set it lists.
            size = int.from_bytes(extradata[6:8], "big")
            return SequenceHeader.parse(extradata[8 : 8 + size])
        for head in _find_units(extradata, 0):
            if extradata[head] & 0x1F == _SEQUENCE:
                return SequenceHeader.parse(extradata[head : head + 512])
    except ValueError:
        pass
    return None


class Picture(NamedTuple):
    """Hold the numbers in the header of a picture's first slice; -1: unknown."""

    reference: bool
    idr: bool
    number: int
    order: int
    idr_number: int


UNKNOWN_PICTURE = Picture(reference=False, idr=False, number=-1, order=-1, idr_number=-1)


def read_slice(data: "memoryview[int]", length_size: int, header: SequenceHeader) -> Picture:
    """Read the header of a picture's first slice (7.3.3).

    Raises
    ------
    ValueError
        If there is none, or if it is of a field: two packets share a number then.
    """
    # Parameter sets and messages before the first slice are short.
    content = bytes(data[:_MOST_BEFORE_SLICE])
    for head in _find_units(content, length_size):
        unit = content[head] & 0x1F
        if unit not in _SLICES:
            continue
        bits = _Bits(content[head + 1 : head + 1 + _SLICE_BYTES])
        bits.take_ue()
        bits.take_ue()
        bits.take_ue()
        if header.separate_planes:
            bits.take(2)
        number = bits.take(header.frame_num_bits)
        if not header.frames_only and bits.take(1):
            raise ValueError("a field")
        idr = unit == _IDR_SLICE
        idr_number = bits.take_ue() if idr else -1
        order = bits.take(header.order_bits) if header.order_type == 0 else -1
        return Picture(bool(content[head] & 0x60), idr, number, order, idr_number)
    raise ValueError("no slice")


class _Bits:
    """Read the bits of a NAL unit, without the bytes that prevent start codes (7.4.1)."""

    def __init__(self, data: bytes) -> None:
        data = data.replace(b"\0\0\3", b"\0\0")
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, bits: int) -> int:
        """Return the next bits as an unsigned number."""
        self._left -= bits
        if self._left < 0:
            raise ValueError("the unit ends too early")
        return (self._value >> self._left) & ((1 << bits) - 1)

    def take_ue(self) -> int:
        """Return the next Exp-Golomb code (9.1)."""
        rest = self._value & ((1 << self._left) - 1)
        zeros = self._left - rest.bit_length()
        if zeros > 31:
            raise ValueError("not an Exp-Golomb code")
        self.take(zeros)
        return self.take(zeros + 1) - 1


def _skip_high_profile(bits: _Bits) -> bool:
    """Pass what only high profiles have; return whether colour planes are coded separately."""
    chroma = bits.take_ue()
    separate = bool(bits.take(1)) if chroma == 3 else False
    bits.take_ue()
    bits.take_ue()
    bits.take(1)
    if bits.take(1):
        for number in range(8 if chroma != 3 else 12):
            if bits.take(1):
                _skip_scaling_list(bits, 16 if number < 6 else 64)
    return separate


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            code = bits.take_ue()
            delta = (code + 1) // 2 if code % 2 else -(code // 2)
            following = (last + delta) % 256
        last = following or last


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
        if kind == _RECOVERY_POINT:
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
