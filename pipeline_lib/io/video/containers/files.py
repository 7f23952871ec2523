"""Open files that should be videos, and explain paths that cannot be opened."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from pipeline_lib.core.errors import VideoError

# What a path is at fault for; other errors are those of a file system.
_PATH_ERRORS = {
    errno.ELOOP: "its links lead in a circle",
    errno.ENAMETOOLONG: "a path that is too long",
    errno.ENXIO: "not a regular file, but a socket or a device",
    errno.EINVAL: "not a path that the system takes",
}
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_MOST_PATH = 200


def check_readable(path: Path) -> None:
    """Check what Python can tell of a file before FFmpeg sees it.

    Raises
    ------
    VideoError
        If it is missing, empty, not permitted, or not a regular file.
    """
    with open_bytes(path) as file:
        size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise VideoError("empty: the file has 0 bytes")


@contextmanager
def open_bytes(path: Path) -> Iterator[BufferedReader]:
    """Open the bytes of a video, which may disappear or be replaced at any moment.

    Links are followed; what they lead to must be a regular file. Nothing else is opened, since
    a pipe waits for a writer and a device never ends.

    Raises
    ------
    VideoError
        If it is missing, not permitted, or not a regular file.
    OSError
        If the file system fails.
    """
    with explain_path(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _check_regular(path, os.fstat(descriptor).st_mode)
        except BaseException:
            os.close(descriptor)
            raise
        file = os.fdopen(descriptor, "rb")
    with file:
        yield file


@contextmanager
def explain_path(path: Path) -> Iterator[None]:
    """Turn the errors of opening a path into what they say of a video.

    Raises
    ------
    VideoError
        If the path is at fault.
    OSError
        If the file system fails.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise VideoError(f"no such file: {_shorten(path)}") from None
    except IsADirectoryError:
        raise VideoError(f"a folder, not a file: {_shorten(path)}") from None
    except PermissionError:
        raise VideoError(f"no permission to read it: {_shorten(path)}") from None
    except OSError as error:
        if error.errno not in _PATH_ERRORS:
            raise
        raise VideoError(f"{_PATH_ERRORS[error.errno]}: {_shorten(path)}") from None
    except ValueError:
        # A path with a character that no path can have.
        raise VideoError(f"not a path that the system takes: {_shorten(path)}") from None


def _check_regular(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise VideoError(f"not a regular file, but {kind}: {_shorten(path)}")


def _shorten(path: Path) -> str:
    text = str(path)
    if not text.isprintable():
        text = ascii(text)
    return text if len(text) <= _MOST_PATH else f"{text[:_MOST_PATH]}..."
