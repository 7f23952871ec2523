"""Compare the sizes and counts that a container announces with what is read.

FFmpeg skips what it does not understand and reports nothing.
"""

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline_lib.io.video.containers.files import open_bytes

_MATROSKA_SEGMENT = 0x18538067
_EBML_HEADER = 0x1A45DFA3
# A header may round its duration, or count a subtitle; a broken recording lacks more.
_DURATION_TOLERANCE = 0.5
# A chunk of AVI data: two digits of the stream, then what it is (uncompressed or not).
_AVI_VIDEO = (b"dc", b"db")
_AVI_DATA = re.compile(rb"\d\d[A-Za-z_]{2}|ix\d\d|JUNK|junk|idx1")
_AVI_LISTS = (b"RIFF", b"LIST")
_TS_PACKETS = (188, 192, 204)
_M2TS_PACKET = 192
_TS_SYNC = 0x47


def find_size_mismatch(path: Path, format_name: str) -> str:
    """Compare the sizes written in an AVI or Matroska file with the size it has.

    Recorders that were killed leave these sizes blank; such files announce nothing and pass.

    Parameters
    ----------
    path
        The file.
    format_name
        FFmpeg's name of the container format.

    Returns
    -------
    str
        What is wrong; empty if nothing is.
    """
    with open_bytes(path) as file:
        if format_name == "avi":
            end = _announced_riff_end(file)
        elif "matroska" in format_name:
            end = _announced_matroska_end(file)
        else:
            return ""
        size = os.fstat(file.fileno()).st_size
    if end <= size:
        return ""
    return f"truncated: the container announces {end} bytes, {size} are there"


def find_duration_mismatch(announced: float, there: float) -> str:
    """Compare the duration in a header with the end of the last packet, both in seconds.

    Returns
    -------
    str
        What is wrong; empty if nothing is, or if the header announces nothing (0).
    """
    if announced <= there + _DURATION_TOLERANCE:
        return ""
    return f"truncated: the container announces {announced:.2f} s, {there:.2f} s are there"


def count_avi_frames(path: Path, stream: int) -> int | None:
    """Count the frames of a stream of an AVI, walking from chunk to chunk.

    Parameters
    ----------
    path
        The file.
    stream
        Number of the stream in the file.

    Returns
    -------
    int or None
        Chunks that hold data; None if a chunk is damaged, so that there is no way on.
    """
    wanted = {b"%02d" % stream + kind for kind in _AVI_VIDEO}
    frames = 0
    with open_bytes(path) as file:
        for name, size in _walk_avi(file):
            if not name:
                return None
            frames += name in wanted and size > 0
    return frames


def _walk_avi(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield name and size of each chunk, those in lists included; no name for one that is none."""
    at, end, data = 0, os.fstat(file.fileno()).st_size, False
    while at + 8 <= end:
        head = os.pread(file.fileno(), 12, at)
        name, size = head[:4], int.from_bytes(head[4:8], "little")
        if name in _AVI_LISTS:
            # Nothing depends on its size: what follows a list is a chunk, as what is in it.
            data |= head[8:] == b"movi"
            at += 12
            continue
        at += 8 + size + size % 2
        if at > end + 1 or (data and not _AVI_DATA.fullmatch(name)):
            yield b"", 0
            return
        # Its index follows the data.
        data &= name != b"idx1"
        yield name, size


def begins_within_stream(path: Path, offset: int) -> bool:
    """Tell whether a transport stream holds data of a stream before its first frame.

    Parameters
    ----------
    path
        The file.
    offset
        Where the first packet of the stream begins, as FFmpeg says.
    """
    with open_bytes(path) as file:
        head = file.read(offset + max(_TS_PACKETS))
    for size in _TS_PACKETS:
        # In 192 bytes a time stands before each packet, and FFmpeg counts from there.
        for shift in (0, size - _TS_PACKETS[0]) if size == _M2TS_PACKET else (0,):
            starts = range(offset % size + shift, offset + shift + 1, size)
            pids = [_read_pid(head[start : start + 3]) for start in starts]
            if None not in pids:
                return pids[-1] in pids[:-1]
    return False


def _read_pid(packet: bytes) -> int | None:
    if len(packet) < 3 or packet[0] != _TS_SYNC:
        return None
    return int.from_bytes(packet[1:], "big") & 0x1FFF


def _announced_riff_end(file: BinaryIO) -> int:
    """Return the end of the last RIFF chunk; OpenDML files have several in a row."""
    end = 0
    while True:
        file.seek(end)
        head = file.read(8)
        if len(head) < 8 or head[:4] != b"RIFF":
            return end
        (size,) = struct.unpack("<I", head[4:])
        if size in (0, 0xFFFFFFFF):
            return end
        end += 8 + size


def _announced_matroska_end(file: BinaryIO) -> int:
    """Return the end of the first Segment; 0 where its size is unknown (a live recording)."""
    for _ in range(8):
        element, _ = _read_vint(file, keep_marker=True)
        size, known = _read_vint(file, keep_marker=False)
        if element == _MATROSKA_SEGMENT:
            return file.tell() + size if known else 0
        if not known or (element != _EBML_HEADER and size == 0):
            break
        file.seek(size, os.SEEK_CUR)
    return 0


def _read_vint(file: BinaryIO, *, keep_marker: bool) -> tuple[int, bool]:
    """Read an EBML variable-length integer (RFC 8794, section 4) and whether it is known."""
    first = file.read(1)
    if not first or not first[0]:
        return 0, False
    length = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(length - 1), "big")
    bits = (1 << 7 * length) - 1
    return (value if keep_marker else value & bits), value & bits != bits
