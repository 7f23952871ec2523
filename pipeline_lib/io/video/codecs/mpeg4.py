"""Read the times that MPEG-4 Part 2 pictures state themselves, for containers that have none.

Sections are those of ISO/IEC 14496-2:2004.
"""

from array import array

import numpy as np
from numpy.typing import NDArray

_PICTURE = b"\0\0\1\xb6"
_LAYER = b"\0\0\1"
_LAYER_CODES = range(0x20, 0x30)
_B_PICTURE = 2
# Enough for the fields that are read here.
_HEADER_BYTES = 40
_RECTANGLE = 0
_EXTENDED_RATIO = 15
# Pictures of which the steps must be alike, so that their times are believed.
_REGULAR_SHARE = 0.8


class PictureTimes:
    """Collect the times of the pictures of one stream, in decoding order.

    Parameters
    ----------
    extradata
        Of the codec, which may hold the header of the stream; None if there is none.
    """

    def __init__(self, extradata: bytes | None) -> None:
        self._resolution = _find_resolution(extradata or b"")
        # Seconds of the last two references, which a B-picture lies between.
        self._seconds = self._last_seconds = 0
        self._times = array("q")

    def add(self, data: bytes) -> None:
        """Take note of the next packet."""
        self._resolution = _find_resolution(data) or self._resolution
        try:
            self._times.append(self._read(data))
        except (ValueError, IndexError):
            self._times.append(-1)

    def count_missing(self) -> NDArray[np.int64]:
        """Count the pictures that are missing before each packet on the screen.

        Returns
        -------
        Array of shape (packets,): zeros where the pictures state no times, or no regular ones.
        """
        times = np.array(self._times, np.int64)
        missing = np.zeros(len(times), np.int64)
        order = np.argsort(times, kind="stable")
        steps = np.diff(times[order])
        if len(times) < 3 or (times < 0).any() or (steps <= 0).any():
            return missing
        period = _find_period(steps)
        if period:
            missing[order[1:]] = np.rint(steps / period) - 1
        return missing

    def list_seconds(self) -> NDArray[np.float64]:
        """Return the time of each picture in s, shape (packets,); none if a picture states none."""
        times = np.array(self._times, np.float64)
        known = self._resolution > 0 and (times >= 0).all()
        return times / self._resolution if known else np.zeros(0)

    def ends_open(self, order: NDArray[np.int32]) -> bool:
        """Tell whether pictures are missing before the one that is shown last.

        A decoder shows the last reference at the end, whether the pictures before it came or not.

        Parameters
        ----------
        order
            Positions of packets in order of display.

        Returns
        -------
        bool
            False where the pictures state no times, or no regular ones.
        """
        times = np.array(self._times, np.int64)[order]
        if len(times) < 3 or (times < 0).any():
            return False
        steps = np.diff(times)
        period = _find_period(steps)
        return bool(period and steps[-1] > 1.5 * period)

    def _read(self, data: bytes) -> int:
        """Return the time of a picture in units of the stream (6.2.5, 6.3.5)."""
        start = data.find(_PICTURE)
        if start < 0 or not self._resolution:
            raise ValueError("no picture")
        bits = _Bits(data[start + 4 : start + 4 + _HEADER_BYTES])
        kind = bits.take(2)
        seconds = 0
        while bits.take(1):
            seconds += 1
        bits.take(1)
        increment = bits.take(max(1, (self._resolution - 1).bit_length()))
        if kind == _B_PICTURE:
            return (self._last_seconds + seconds) * self._resolution + increment
        self._last_seconds, self._seconds = self._seconds, self._seconds + seconds
        return self._seconds * self._resolution + increment


def _find_period(steps: NDArray[np.int64]) -> float:
    """Return the usual step; 0 if there is none."""
    period = float(np.median(steps))
    regular = float(np.mean(np.abs(steps - period) <= 1)) >= _REGULAR_SHARE
    return period if regular and period > 0 else 0.0


def _find_resolution(data: bytes) -> int:
    """Return the units per second of a stream's times (6.2.3); 0 if its header is not there."""
    start = -1
    while (start := data.find(_LAYER, start + 1)) >= 0:
        if start + 3 < len(data) and data[start + 3] in _LAYER_CODES:
            try:
                return _read_resolution(_Bits(data[start + 4 : start + 4 + _HEADER_BYTES]))
            except (ValueError, IndexError):
                return 0
    return 0


def _read_resolution(bits: "_Bits") -> int:
    bits.take(1 + 8)
    if bits.take(1):
        bits.take(4 + 3)
    if bits.take(4) == _EXTENDED_RATIO:
        bits.take(8 + 8)
    if bits.take(1):
        bits.take(2 + 1)
        if bits.take(1):
            # Of the buffer: three pairs, with markers between.
            bits.take(15 + 1 + 15 + 1 + 15 + 1 + 3 + 11 + 1 + 15 + 1)
    if bits.take(2) != _RECTANGLE:
        raise ValueError("a shape that no video has")
    bits.take(1)
    return bits.take(16)


class _Bits:
    """Read numbers of bits, the highest first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("ends too early")
        return self._value >> self._left & (1 << count) - 1
