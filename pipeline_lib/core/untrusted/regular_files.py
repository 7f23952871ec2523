"""Refuse special files before they are opened, and name the encoding of a text.

Opening a FIFO waits for somebody to write; a device may never end.
"""

import codecs
import errno
import stat
from pathlib import Path


def require_regular_file(path: Path) -> None:
    """Raise `OSError` unless a path leads to a regular file, through links or not.

    Raises
    ------
    OSError
        If there is nothing, or a folder, a FIFO, a socket or a device.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is no regular file", str(path))


def describe_encoding(
    data: bytes, error: UnicodeDecodeError, *, how: str = "save it as UTF-8"
) -> str:
    """Explain why bytes are not text in UTF-8, and what to do.

    Parameters
    ----------
    data
        The file's bytes.
    error
        Of decoding them.
    how
        What to do.
    """
    for marks, name in (
        ((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "UTF-32"),
        ((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "UTF-16"),
    ):
        if data.startswith(marks):
            return f"is saved as {name}: {how}"
    if guess_utf16(data):
        return f"is saved as UTF-16: {how}"
    line = data.count(b"\n", 0, error.start) + 1
    return f"is not UTF-8 text (byte {data[error.start]:#04x} in line {line}): {how}"


def guess_utf16(data: bytes) -> bool:
    """Tell whether bytes without a byte-order mark look like UTF-16, with many zeros."""
    head = data[:4096]
    half = len(head) // 2
    zeros = max(head[::2].count(0), head[1::2].count(0))
    return half > 0 and zeros > half / 2
