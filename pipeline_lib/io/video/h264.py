"""Headers of H.264 pictures: where decoding may begin, and whether pictures are missing.

Sections are those of ITU-T H.264 (08/2021).
"""

import contextlib
import itertools
from array import array
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

_SLICES = (1, 5)  # partitioned slices (2 to 4) are of no use to anybody
_IDR_SLICE = 5
_SEI = 6
_SEQUENCE = 7
_RECOVERY_POINT = 6
# Enough for the fields of a slice header that are read here.
_SLICE_BYTES = 24
_HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
_MOST_BEFORE_SLICE = 4096
# Encoders that number pictures in their own way jump everywhere; a loss is rare.
_MOST_JUMPS = 0.2
# Groups of pictures that say how long a group is, and how many of them must agree.
_LEAST_GROUPS = 4
_REGULAR = 0.8


class SequenceHeader(NamedTuple):
    """What a sequence parameter set says of the numbers of pictures (7.3.2.1.1)."""

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


class PictureNumbers:
    """Numbers of the pictures of one stream, packet by packet, in decoding order.

    Parameters
    ----------
    extradata
        Of the codec; None if there is none.
    """

    def __init__(self, extradata: bytes | None) -> None:
        self.length_size = find_length_size(extradata)
        self._header = _find_sequence_header(extradata, self.length_size)
        self._readable = self._header is not None and not self._header.gaps_allowed
        self._kinds = array("b")
        self._numbers = array("i")
        self._orders = array("i")
        self._idr_numbers = array("i")

    def add(self, data: "memoryview[int]") -> None:
        """Take note of the next packet."""
        picture = _UNKNOWN_PICTURE
        if self._readable and self._header is not None:
            with contextlib.suppress(ValueError):
                picture = _read_slice(data, self.length_size, self._header)
        self._kinds.append(picture.reference | picture.idr << 1)
        self._numbers.append(picture.number)
        self._orders.append(picture.order)
        if picture.idr:
            self._idr_numbers.append(picture.idr_number)

    def find_jumps(self) -> NDArray[np.int64] | None:
        """Find packets before which a picture is missing that others refer to (7.4.3).

        Returns
        -------
        Array of shape (jumps,): ascending positions; None if the numbers say nothing. A loss of
        as many pictures as there are between two keyframes, or different numbers, is not seen.
        """
        kinds = np.frombuffer(self._kinds, np.int8)
        numbers = np.frombuffer(self._numbers, np.int32).astype(np.int64)
        if self._header is None or len(numbers) < 2 or (numbers < 0).any():
            return None
        reference, idr = (kinds & 1).astype(bool), (kinds & 2).astype(bool)
        expected = np.zeros(len(numbers), np.int64)
        expected[1:] = (numbers[:-1] + reference[:-1]) % (1 << self._header.frame_num_bits)
        expected[idr] = 0
        jumps = np.flatnonzero((numbers != expected)[1:]) + 1
        return None if len(jumps) > _MOST_JUMPS * len(numbers) else jumps

    @property
    def numbers_in_use(self) -> int:
        """How many different frame numbers there are; 0 if the numbers cannot be read."""
        return 1 << self._header.frame_num_bits if self._header is not None else 0

    def describe_loss(self, lost: Mapping[int, int], *, timed: bool, regular: bool) -> str:
        """Say what shows that pictures are missing where timestamps do not show it.

        Looks for jumps in the numbers of references; in a stream without timestamps also for
        holes in the order on the screen, and for two IDR pictures of one number after each
        other (7.4.3: they differ).

        Parameters
        ----------
        lost
            How many pictures are known to be missing before which packets.
        timed
            Whether there are timestamps: encoders may count the order on the screen by time.
        regular
            Look also for groups of pictures that are shorter than all the others of a regular
            stream: their ends may be missing.

        Returns
        -------
        str
            What is wrong; empty if nothing is.
        """
        jumps = self.find_jumps()
        if jumps is None:
            return ""
        jumps = np.setdiff1d(jumps, list(lost))
        if len(jumps):
            return f"the numbers of its pictures jump at {len(jumps)} places"
        idr = np.flatnonzero(np.frombuffer(self._kinds, np.int8) & 2)
        if timed or not len(idr):
            return ""
        holes = self._count_holes(idr)
        for position, number in lost.items():
            holes[max(0, int(np.searchsorted(idr, position)) - 1)] -= number
        if (holes > 0).any():
            return f"{holes.clip(min=0).sum()} pictures are missing in the order on the screen"
        ids = np.frombuffer(self._idr_numbers, np.int32)
        same = int(np.count_nonzero(np.diff(ids) == 0))
        if not lost and 0 < same <= _MOST_JUMPS * len(ids):
            return f"whole groups of pictures are missing at {same} places"
        return _find_short_group(np.diff(idr)) if regular else ""

    def _count_holes(self, idr: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count the holes in the order counts after each IDR picture (8.2.1.1)."""
        header, holes = self._header, np.zeros(len(idr), np.int64)
        if header is None or header.order_type != 0:
            return holes
        lsb = np.frombuffer(self._orders, np.int32).astype(np.int64)
        if (lsb < 0).any():
            return holes
        # Pictures that follow each other are near in order, so that their counts unwrap.
        most, bounds = 1 << header.order_bits, [*idr, len(lsb)]
        steps = [
            np.diff(np.sort(np.unwrap(lsb[start:stop], period=most)))
            for start, stop in itertools.pairwise(bounds)
        ]
        # Two per frame, since a frame has two fields; some encoders count one.
        every = np.concatenate(steps)
        step = max(1, int(np.median(every))) if len(every) else 1
        holes[:] = [int((np.rint(one / step) - 1).clip(min=0).sum()) for one in steps]
        return holes if holes.sum() <= _MOST_JUMPS * len(lsb) else np.zeros_like(holes)


def _find_short_group(lengths: NDArray[np.int64]) -> str:
    if len(lengths) < _LEAST_GROUPS:
        return ""
    usual = int(np.median(lengths))
    different = lengths[lengths != usual]
    regular = len(different) <= (1 - _REGULAR) * len(lengths)
    if not regular or not len(different) or int(different.max()) > usual:
        return ""
    return f"{len(different)} groups of pictures are shorter than the others of {usual} frames"


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


def _find_sequence_header(extradata: bytes | None, length_size: int) -> SequenceHeader | None:
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


class _Picture(NamedTuple):
    """Numbers in the header of a picture's first slice; -1: unknown."""

    reference: bool
    idr: bool
    number: int
    order: int
    idr_number: int


_UNKNOWN_PICTURE = _Picture(reference=False, idr=False, number=-1, order=-1, idr_number=-1)


def _read_slice(data: "memoryview[int]", length_size: int, header: SequenceHeader) -> _Picture:
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
        return _Picture(bool(content[head] & 0x60), idr, number, order, idr_number)
    raise ValueError("no slice")


class _Bits:
    """Bits of a NAL unit in order, without the bytes that prevent start codes (7.4.1)."""

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
