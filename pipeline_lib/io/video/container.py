"""Opening video files, and telling a file that was cut short from one that is whole.

Only containers are looked at here: nothing is decoded.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error

from pipeline_lib.core.errors import VideoError

# FFmpeg opens these as if they were videos.
_NOT_VIDEO_FORMATS = ("tty", "image2")
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_MATROSKA_SEGMENT = 0x18538067
_EBML_HEADER = 0x1A45DFA3
# A header may round its duration, or count a subtitle; a broken recording lacks more.
_DURATION_TOLERANCE = 0.5
_READ_BYTES = 2**20


@contextmanager
def open_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a file and its first true video stream (covers of songs are none).

    Yields
    ------
    tuple
        PyAV's input container and video stream.

    Raises
    ------
    VideoError
        If the file cannot be opened or holds no video stream.
    """
    check_readable(path)
    try:
        # "file:" keeps a colon in a name from being read as a protocol.
        container = av.open(
            f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace"
        )
    except av.error.FFmpegError as error:
        check_system(path, error)
        raise VideoError(_explain_unopened(path, error)) from None
    with container:
        name = container.format.name
        if name in _NOT_VIDEO_FORMATS or name.endswith("_pipe"):
            raise VideoError(f"not a video: it holds {_describe_format(name)}")
        yield container, _find_stream(container)


def check_readable(path: Path) -> None:
    """Check what Python can tell of a file before FFmpeg sees it.

    Raises
    ------
    VideoError
        If it is missing, a folder, empty, or not permitted.
    """
    with open_bytes(path) as file:
        size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise VideoError("empty: the file has 0 bytes")


@contextmanager
def open_bytes(path: Path) -> Iterator[BufferedReader]:
    """Open the bytes of a video, which may disappear or be replaced at any moment.

    Raises
    ------
    VideoError
        If it is missing, a folder, or not permitted.
    """
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise VideoError(f"no such file: {path}") from None
    except IsADirectoryError:
        raise VideoError(f"a folder, not a file: {path}") from None
    except PermissionError:
        raise VideoError(f"no permission to read it: {path}") from None
    with file:
        yield file


def check_system(path: Path, error: av.error.FFmpegError) -> None:
    """See whether an error of FFmpeg is the file system's, which says nothing about the video.

    FFmpeg calls some damage an input error too, so the file is read once more.

    Raises
    ------
    OSError
        If the file system fails: its disk is broken, or its share is gone.
    VideoError
        If the file is missing by now, a folder, or not permitted.
    """
    if isinstance(error, OSError):
        with open_bytes(path) as file:
            while file.read(_READ_BYTES):
                pass


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


def _explain_unopened(path: Path, error: av.error.FFmpegError) -> str:
    with open_bytes(path) as file:
        head = file.read(8)
    if head[4:8] in _MP4_BOXES:
        return (
            "truncated: an MP4 or MOV file without a whole index (moov), which recorders write "
            "last; the recording or its copy broke off"
        )
    if isinstance(error, av.error.InvalidDataError):
        return "not a video: FFmpeg finds no format that it knows"
    return f"FFmpeg cannot open it: {error.strerror or error}"


def _describe_format(name: str) -> str:
    return "text" if name == "tty" else f"a still image ({name.removesuffix('_pipe')})"


def _find_stream(container: Any) -> Any:  # noqa: ANN401 - PyAV is not typed here
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover:
            if stream.codec_context is None:
                raise VideoError("its codec is unknown to FFmpeg")
            return stream
    found = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise VideoError(f"no video stream: the file holds {found} only")


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
