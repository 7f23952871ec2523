"""Regular files: what a path must lead to before it is opened.

Opening a FIFO waits for somebody to write; a device may never end.
"""

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
