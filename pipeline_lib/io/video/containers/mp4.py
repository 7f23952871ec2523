"""Check the sample tables of an MP4 before FFmpeg allocates memory for them.

FFmpeg makes a table of all samples when it opens a file, however small the file is. Boxes are
those of ISO/IEC 14496-12.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.containers.files import open_bytes

_CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"moof", b"traf", b"mvex")
_SELF_CONTAINED = 1
# Compressed sound may have more samples than bytes, frames never.
_MOST_SAMPLES_PER_BYTE = 16
# Boxes in boxes in boxes: the deepest of those that are looked at is the sixth.
_DEEPEST = 8


class _Box(NamedTuple):
    kind: bytes
    start: int
    stop: int


def check_mp4(path: Path) -> None:
    """Refuse an MP4 that announces more samples than it has bytes, or frames in other files.

    Raises
    ------
    VideoError
        If it does.
    """
    with open_bytes(path) as file:
        size = os.fstat(file.fileno()).st_size
        for box in _walk(file, 0, size, 0):
            if box.kind == b"stsz":
                _check_sizes(file, box, size)
            elif box.kind == b"trun":
                _check_run(file, box, size)
            elif box.kind == b"dref":
                _check_references(file, box)


def _walk(file: BinaryIO, start: int, stop: int, depth: int) -> Iterator[_Box]:
    at = start
    while at + 8 <= stop:
        head = os.pread(file.fileno(), 16, at)
        length, kind, begun = int.from_bytes(head[:4], "big"), head[4:8], at + 8
        if length == 1:
            length, begun = int.from_bytes(head[8:16], "big"), at + 16
        elif length == 0:
            length = stop - at
        if length < begun - at:
            return
        end = min(at + length, stop)
        if kind in _CONTAINERS and depth < _DEEPEST:
            yield from _walk(file, begun, end, depth + 1)
        else:
            yield _Box(kind, begun, end)
        at += length


def _read_numbers(file: BinaryIO, box: _Box, count: int) -> list[int]:
    """Return the first 32-bit numbers of a box; zeros where it ends before."""
    data = os.pread(file.fileno(), min(4 * count, box.stop - box.start), box.start)
    data = data.ljust(4 * count, b"\0")
    return [int.from_bytes(data[at : at + 4], "big") for at in range(0, 4 * count, 4)]


def _check_sizes(file: BinaryIO, box: _Box, size: int) -> None:
    _, _, samples = _read_numbers(file, box, 3)
    _check_samples(samples, size)


def _check_run(file: BinaryIO, box: _Box, size: int) -> None:
    _, samples = _read_numbers(file, box, 2)
    _check_samples(samples, size)


def _check_samples(samples: int, size: int) -> None:
    if samples > _MOST_SAMPLES_PER_BYTE * size:
        raise VideoError(f"damaged: it announces {samples} samples, and has {size} bytes")


def _check_references(file: BinaryIO, box: _Box) -> None:
    for entry in _walk(file, box.start + 8, box.stop, _DEEPEST):
        (flags,) = _read_numbers(file, entry, 1)
        if not flags & _SELF_CONTAINED:
            raise VideoError(
                "its frames lie in another file, which is never read: write a self-contained "
                "copy with the program that made it"
            )
