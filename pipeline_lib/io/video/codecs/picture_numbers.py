"""Tell from the numbers of H.264 pictures whether pictures are missing.

Sections are those of ITU-T H.264 (08/2021).
"""

import contextlib
import itertools
from array import array
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.io.video.codecs.h264 import (
    UNKNOWN_PICTURE,
    find_length_size,
    find_sequence_header,
    read_slice,
)

# A frame has two fields.
_COUNTS_PER_FRAME = 2
# Encoders that number pictures in their own way jump everywhere; a loss is rare.
_MOST_JUMPS = 0.2
# Groups of pictures that say how long a group is, and how many of them must agree.
_LEAST_GROUPS = 4
_REGULAR = 0.8


class PictureNumbers:
    """Collect the numbers of the pictures of one stream, in decoding order.

    Parameters
    ----------
    extradata
        Of the codec; None if there is none.
    """

    def __init__(self, extradata: bytes | None) -> None:
        self.length_size = find_length_size(extradata)
        self._header = find_sequence_header(extradata, self.length_size)
        self._readable = self._header is not None and not self._header.gaps_allowed
        self._kinds = array("b")
        self._numbers = array("i")
        self._orders = array("i")
        self._idr_numbers = array("i")

    def add(self, data: "memoryview[int]") -> None:
        """Take note of the next packet."""
        picture = UNKNOWN_PICTURE
        if self._readable and self._header is not None:
            with contextlib.suppress(ValueError):
                picture = read_slice(data, self.length_size, self._header)
        self._kinds.append(picture.reference | picture.idr << 1)
        self._numbers.append(picture.number)
        self._orders.append(picture.order)
        if picture.idr:
            self._idr_numbers.append(picture.idr_number)

    def find_jumps(self) -> NDArray[np.int64] | None:
        """Find packets before which a picture is missing that others refer to (7.4.3).

        Returns
        -------
        Array of shape (jumps,): ascending positions; None if the numbers say nothing, as where
        they jump everywhere. A loss of as many pictures as there are between two keyframes, or
        different numbers, is not seen.
        """
        jumps = self.list_jumps()
        if jumps is None or len(jumps) > _MOST_JUMPS * len(self._numbers):
            return None
        return jumps

    def list_jumps(self) -> NDArray[np.int64] | None:
        """Find jumps as `find_jumps` does, however many there are.

        Returns
        -------
        Array of shape (jumps,): ascending positions; None if the numbers cannot be read, or if
        the encoder counts pictures that nothing refers to.
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
        own = (np.diff(numbers) % (1 << self._header.frame_num_bits) == 1) | idr[1:]
        return None if len(jumps) and (own.all() or (numbers == numbers[0]).all()) else jumps

    @property
    def groups(self) -> NDArray[np.int64]:
        """Return the number of IDR pictures up to each packet; shape (packets,)."""
        return np.cumsum((np.frombuffer(self._kinds, np.int8) & 2) > 0)

    def count_orders(self) -> NDArray[np.int64] | None:
        """Count the order on the screen of each packet since its IDR picture (8.2.1).

        Returns
        -------
        Array of shape (packets,): two per frame, or one; None if the pictures do not say it.
        """
        header = self._header
        if header is None or header.order_type not in (0, 2):
            return None
        by_number = header.order_type == 2
        lsb = np.frombuffer(self._numbers if by_number else self._orders, np.int32)
        if (lsb < 0).any():
            return None
        period = 1 << (header.frame_num_bits if by_number else header.order_bits)
        counts = lsb.astype(np.int64)
        starts = np.flatnonzero(np.diff(self.groups, prepend=-1))
        for start, stop in itertools.pairwise([*starts, len(counts)]):
            group = counts[start:stop]
            if by_number:
                # Pictures are shown as they are decoded, so that numbers only rise.
                group[1:] = group[0] + np.cumsum(np.diff(group) % period)
            else:
                group[:] = np.unwrap(group, period=period)
        if by_number:
            reference = np.frombuffer(self._kinds, np.int8) & 1
            counts = 2 * counts - (1 - reference)
        return counts

    def follow_each_other(self, order: NDArray[np.int32], *, mostly: bool = False) -> bool:
        """Tell whether the pictures of a stream were encoded one after the other, none left out.

        Parameters
        ----------
        order
            Positions in order of display.
        mostly
            Whether it is enough that half of them do.
        """
        jumps, counts = self.list_jumps(), self.count_orders()
        if jumps is None or counts is None or (len(jumps) and not mostly):
            return False
        within = np.diff(self.groups[order]) == 0
        follow = np.diff(counts[order])[within] <= _COUNTS_PER_FRAME
        return bool(np.mean(follow) > 0.5) if mostly and len(follow) else bool(follow.all())

    @property
    def numbers_in_use(self) -> int:
        """Return the count of different frame numbers; 0 if the numbers cannot be read."""
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
        # With times, an encoder that numbers in its own way is given the benefit of the doubt.
        jumps = self.find_jumps() if timed else self.list_jumps()
        if jumps is None:
            return ""
        jumps = np.setdiff1d(jumps, list(lost))
        if len(jumps):
            return f"the numbers of its pictures jump at {len(jumps)} places"
        idr = np.flatnonzero(np.frombuffer(self._kinds, np.int8) & 2)
        if timed or not len(idr):
            return ""
        holes = self._count_holes(idr)
        if holes.sum() > _MOST_JUMPS * len(self._kinds):
            # Doubtful: encoders may count in their own way.
            holes[:] = 0
        for position, number in lost.items():
            holes[max(0, int(np.searchsorted(idr, position)) - 1)] -= number
        if (holes > 0).any():
            return f"{holes.clip(min=0).sum()} pictures are missing in the order on the screen"
        ids = np.frombuffer(self._idr_numbers, np.int32)
        same = int(np.count_nonzero(np.diff(ids) == 0))
        if not lost and 0 < same <= _MOST_JUMPS * len(ids):
            return f"whole groups of pictures are missing at {same} places"
        return _find_short_group(np.diff(idr)) if regular else ""

    def describe_holes(self) -> str:
        """Say that the order on the screen has so many holes that an encoder may count so.

        Returns
        -------
        str
            What is doubtful; empty if nothing is.
        """
        idr = np.flatnonzero(np.frombuffer(self._kinds, np.int8) & 2)
        holes = int(self._count_holes(idr).sum()) if len(idr) else 0
        if holes <= _MOST_JUMPS * len(self._kinds):
            return ""
        return (
            f"the order counts of its pictures leave room for {holes} more: its encoder counts in "
            "its own way, or frames are lost; rows count the frames in the file"
        )

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
        return holes


def _find_short_group(lengths: NDArray[np.int64]) -> str:
    if len(lengths) < _LEAST_GROUPS:
        return ""
    usual = int(np.median(lengths))
    different = lengths[lengths != usual]
    regular = len(different) <= (1 - _REGULAR) * len(lengths)
    if not regular or not len(different) or int(different.max()) > usual:
        return ""
    return f"{len(different)} groups of pictures are shorter than the others of {usual} frames"
