"""Opening video files, and telling a file that was cut short from one that is whole.

Only containers are looked at here: nothing is decoded.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import av
import av.error

from pipeline_lib.core.errors import VideoError

# FFmpeg opens these as if they were videos.
_NOT_VIDEO_FORMATS = ("tty", "image2")
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
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
