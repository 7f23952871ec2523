"""Manage the memory of training on a CPU."""

import ctypes
import logging
import platform

logger = logging.getLogger(__name__)

# Of malloc.h in glibc.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> None:
    """Let the C library keep the memory that tensors free, for later tensors.

    Each step of a training on a CPU frees and takes the same gigabyte. By default glibc returns
    it to the system, which then clears every page anew: a quarter to a half of the time of a
    step (`benchmarks/README.md`). Nothing happens where the C library is another one.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL("libc.so.6")
    if not (library.mallopt(_M_MMAP_MAX, 0) and library.mallopt(_M_TRIM_THRESHOLD, -1)):
        logger.warning("glibc refused to keep freed memory; training will be slower")
