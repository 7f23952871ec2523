"""List the containers that are read, and detect them by their first bytes.

FFmpeg opens much else as if it were a video: playlists that name other files, patterns of image
names, texts. A file is opened as the format of its bytes, whatever its name is or FFmpeg
guesses.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from pipeline_lib.core.errors import VideoError

# What must be read of a file to tell its container.
HEAD_BYTES = 2**16
MP4_DEMUXER = "mov"

_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp")
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_TS_SYNC = 0x47
_TS_PACKETS = (188, 192, 204)
_TS_PACKETS_SEEN = 5
_START_CODE = re.compile(rb"\x00{2,}\x01")
# Sequence parameter set, delimiter, supplemental information.
_H264_FIRST_UNITS = (7, 9, 6)
_H264_SEQUENCE = re.compile(rb"\x00\x00\x01[\x07\x27\x47\x67]")
_IMAGES = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
_PLAYLISTS = (
    b"#EXTM3U",
    b"ffconcat",
    b"<?xml",
    b"<MPD",
    b"<SmoothStreaming",
    b"v=0",
    b"[playlist]",
)


class Format(NamedTuple):
    """Describe a container that is read.

    Attributes
    ----------
    name
        For people.
    demuxer
        FFmpeg's name.
    suffixes
        Endings that its files have.
    matches
        Tells it by the first bytes of a file.
    """

    name: str
    demuxer: str
    suffixes: tuple[str, ...]
    matches: Callable[[bytes], bool]


def _is_mp4(head: bytes) -> bool:
    return head[4:8] in _MP4_BOXES


def _is_transport_stream(head: bytes) -> bool:
    """Look for the byte that begins every packet; recordings may begin within a packet."""
    for size in _TS_PACKETS:
        for start in range(min(size, len(head))):
            marks = head[start : start + size * _TS_PACKETS_SEEN : size]
            whole = min(_TS_PACKETS_SEEN, (len(head) - start) // size)
            if whole >= 2 and marks[:whole] == bytes([_TS_SYNC]) * whole:
                return True
    return False


def _is_bare_h264(head: bytes) -> bool:
    begun = _START_CODE.match(head)
    if begun is None or begun.end() >= len(head):
        return False
    unit = head[begun.end()]
    plain = not unit & 0x80 and unit & 0x1F in _H264_FIRST_UNITS
    return plain and _H264_SEQUENCE.search(head) is not None


FORMATS = (
    Format("MP4", MP4_DEMUXER, (".mp4", ".m4v", ".mov", ".3gp", ".3g2"), _is_mp4),
    Format("Matroska", "matroska", (".mkv", ".webm"), lambda head: head[:4] == b"\x1aE\xdf\xa3"),
    Format("AVI", "avi", (".avi",), lambda head: head[:4] == b"RIFF" and head[8:11] == b"AVI"),
    Format("FLV", "flv", (".flv",), lambda head: head[:4] == b"FLV\1"),
    Format("ASF", "asf", (".asf", ".wmv"), lambda head: head[:16] == _ASF),
    Format("MPEG", "mpeg", (".mpg", ".mpeg", ".vob"), lambda head: head[:4] == b"\0\0\1\xba"),
    Format("H.264 stream", "h264", (".h264", ".264"), _is_bare_h264),
    Format("MPEG-TS", "mpegts", (".ts", ".mts", ".m2ts"), _is_transport_stream),
)

VIDEO_SUFFIXES = frozenset(suffix for one in FORMATS for suffix in one.suffixes)


def detect_format(head: bytes) -> Format:
    """Return the container of a file by its first bytes.

    Parameters
    ----------
    head
        The first `HEAD_BYTES` bytes, or the whole of a shorter file.

    Raises
    ------
    VideoError
        If it is none of `FORMATS`.
    """
    for one in FORMATS:
        if one.matches(head):
            return one
    raise VideoError(f"not a video: {_describe(head)}")


def _describe(head: bytes) -> str:
    for mark, name in _IMAGES.items():
        if head.startswith(mark):
            return f"it holds a still image ({name})"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_PLAYLISTS):
        return "it holds a playlist or another text; files that it names are never read"
    if _is_text(head):
        return "it holds text"
    known = ", ".join(one.name for one in FORMATS)
    return f"none of the containers that are read ({known}); convert it with FFmpeg"


def _is_text(head: bytes) -> bool:
    try:
        text = head[:1024].decode()
    except UnicodeDecodeError as error:
        # A character may be cut at the end.
        if error.start < 1020:
            return False
        text = head[: error.start].decode()
    return all(one.isprintable() or one.isspace() for one in text)
