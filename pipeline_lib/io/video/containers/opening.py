"""Open video files with FFmpeg, and explain why one cannot be opened.

Nothing is decoded here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import av.error

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.containers.files import check_readable, open_bytes
from pipeline_lib.io.video.containers.formats import HEAD_BYTES, MP4_DEMUXER, detect_format
from pipeline_lib.io.video.containers.mp4 import check_mp4

_READ_BYTES = 2**20
# FFmpeg reads the one file that it is given, as the one format that its bytes are of. What is
# embedded in it (as subtitles in an AVI are) is not opened as anything else, and no reference in
# it is followed.
_OPTIONS = {"protocol_whitelist": "file"}
_MP4_OPTIONS = {"enable_drefs": "0", "use_absolute_path": "0"}


@contextmanager
def open_video(path: Path, *, hide: bool = True) -> Iterator[tuple[Any, Any]]:
    """Open a file and its first true video stream (covers of songs are none).

    Parameters
    ----------
    path
        The file.
    hide
        Leave out frames that an MP4's edit list hides, as players do.

    Yields
    ------
    tuple
        PyAV's input container and video stream.

    Raises
    ------
    VideoError
        If the file cannot be opened, is of no format that is read (`formats.FORMATS`), or holds
        no video stream.
    MemoryError
        If FFmpeg is not given the memory that it asks for.
    """
    demuxer = _detect_demuxer(path)
    options = {**_OPTIONS, "format_whitelist": demuxer}
    if demuxer == MP4_DEMUXER:
        options |= _MP4_OPTIONS | ({} if hide else {"ignore_editlist": "1"})
    try:
        # "file:" keeps a colon in a name from being read as a protocol.
        container = av.open(
            f"file:{path}",
            format=demuxer,
            options=options,
            metadata_errors="replace",
        )
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        check_system(path, error)
        raise VideoError(_explain_unopened(demuxer, error)) from None
    with container:
        yield container, _find_stream(container)


def _detect_demuxer(path: Path) -> str:
    check_readable(path)
    with open_bytes(path) as file:
        demuxer = detect_format(file.read(HEAD_BYTES)).demuxer
    if demuxer == MP4_DEMUXER:
        check_mp4(path)
    return demuxer


def check_system(path: Path, error: av.error.FFmpegError) -> None:
    """See whether an error of FFmpeg is the machine's, which says nothing about the video.

    FFmpeg calls some damage an input error too, so the file is read once more.

    Raises
    ------
    OSError
        If the file system fails: its disk is broken, or its share is gone.
    MemoryError
        If FFmpeg was not given memory.
    VideoError
        If the file is missing by now, a folder, or not permitted.
    """
    if isinstance(error, MemoryError):
        raise error
    if isinstance(error, OSError):
        with open_bytes(path) as file:
            while file.read(_READ_BYTES):
                pass


def _explain_unopened(demuxer: str, error: av.error.FFmpegError) -> str:
    if demuxer == MP4_DEMUXER:
        return (
            "truncated: an MP4 or MOV file without a whole index (moov), which recorders write "
            "last; the recording or its copy broke off"
        )
    return f"FFmpeg cannot open it: {error.strerror or error}"


def _find_stream(container: Any) -> Any:  # noqa: ANN401 - PyAV is not typed here
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover:
            if stream.codec_context is None:
                raise VideoError("its codec is unknown to FFmpeg")
            return stream
    found = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise VideoError(f"no video stream: the file holds {found} only")
