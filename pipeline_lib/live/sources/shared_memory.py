"""Read frames that another process on this machine writes into shared memory.

The memory begins with a header of 64 bytes, little-endian, whose numbers have 8 bytes each: the
word ``CPLIVE01``; a counter that is odd while a frame is written; number of the frame; its time in
nanoseconds of the writer's clock; height; width; channels (1 or 3, RGB); and 0. The pixels follow.
The reader takes a frame whose counter is even and the same before and after the copy. There is one
frame: a writer never waits.
"""

import struct
import sys
import time
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.live.sources.frames import (
    MOST_BYTES,
    Frame,
    Image,
    LiveSource,
    SourceError,
    now,
    to_rgb,
)

MAGIC = b"CPLIVE01"
_HEAD = struct.Struct("<8s7q")
_COUNTER = struct.Struct("<q")
_POLL = 0.0005
# Without a new frame for this long the memory is opened again: its writer may have made another.
_STALE = 2.0


class SharedFrameWriter:
    """Write frames for `shm:NAME`, from the program that owns the camera.

    Parameters
    ----------
    name
        Name of the memory. One that a killed writer has left is replaced.
    shape
        Height, width and channels (1 or 3) of the frames.

    Raises
    ------
    SourceError
        If a memory of this name is there that holds no frames.
    """

    def __init__(self, name: str, shape: tuple[int, int, int]) -> None:
        self._shape, self._counter, self._number = shape, 0, 0
        size = _HEAD.size + int(np.prod(shape))
        self._memory = _create(name, size)
        buffer = self._buffer()
        self._pixels = np.ndarray(shape, np.uint8, buffer, _HEAD.size)
        self._describe(0)

    def write(self, image: NDArray[np.uint8], stamp_ns: int | None = None) -> None:
        """Write the next frame, of the shape of the memory."""
        if image.shape != self._shape or image.dtype != np.uint8:
            raise ValueError(f"expected {self._shape}, uint8, found {image.shape}, {image.dtype}")
        self._counter += 1
        _COUNTER.pack_into(self._buffer(), 8, self._counter)
        self._pixels[...] = image
        self._number += 1
        self._counter += 1
        self._describe(time.monotonic_ns() if stamp_ns is None else stamp_ns)

    def close(self) -> None:
        """Remove the memory."""
        del self._pixels
        self._memory.close()
        self._memory.unlink()

    def _describe(self, stamp: int) -> None:
        values = (MAGIC, self._counter, self._number, stamp, *self._shape, 0)
        _HEAD.pack_into(self._buffer(), 0, *values)

    def _buffer(self) -> Any:  # noqa: ANN401 - a memoryview
        buffer = self._memory.buf
        if buffer is None:
            raise ValueError("the memory is closed")
        return buffer


def _create(name: str, size: int) -> SharedMemory:
    """Create a memory; one that a writer of frames has left under this name is replaced."""
    try:
        return SharedMemory(name, create=True, size=size)
    except FileExistsError:
        left = SharedMemory(name)
    # A writer that was killed at once has written nothing.
    ours = left.buf is not None and bytes(left.buf[: len(MAGIC)]) in (MAGIC, bytes(len(MAGIC)))
    if ours:
        left.unlink()
    else:
        # Python would remove it when this process ends.
        resource_tracker.unregister(f"/{left.name}", "shared_memory")
    left.close()
    if not ours:
        raise SourceError(
            f"shm:{name}: another program has a memory of this name, which holds no frames: "
            "choose another name"
        )
    return SharedMemory(name, create=True, size=size)


def _attach(name: str) -> SharedMemory:
    """Attach a memory without Python removing it when this process ends."""
    if sys.version_info >= (3, 13):
        return SharedMemory(name, track=False)
    memory = SharedMemory(name)
    resource_tracker.unregister(f"/{memory.name}", "shared_memory")
    return memory


class SharedMemorySource(LiveSource):
    """Give the frames in a shared memory.

    Parameters
    ----------
    name
        Name of the memory.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._memory: SharedMemory | None = None
        self._last = -1
        self._heard = 0.0

    def open(self) -> None:
        """Attach the memory."""
        try:
            self._memory = _attach(self._name)
        except (OSError, ValueError) as error:
            raise SourceError(
                f"shared memory {self._name}: {error}; does its writer run?"
            ) from None
        self._last = -1
        self._heard = now()

    def read(self, timeout: float) -> Frame | None:
        """Return the frame in the memory, once it is a new one."""
        end = now() + timeout
        while True:
            frame = self._take()
            if frame is not None:
                self._heard = now()
                return frame
            if now() - self._heard > _STALE:
                raise SourceError(f"shared memory {self._name}: no new frame for {_STALE:g} s")
            if now() >= end:
                return None
            time.sleep(_POLL)

    def close(self) -> None:
        """Detach the memory."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def _take(self) -> Frame | None:
        buffer = None if self._memory is None else self._memory.buf
        if buffer is None or len(buffer) < _HEAD.size:
            raise SourceError(f"shared memory {self._name}: is closed or too small")
        magic, counter, number, stamp, height, width, channels, _ = _HEAD.unpack_from(buffer)
        if magic != MAGIC:
            raise SourceError(f"shared memory {self._name}: holds no frames of this kind")
        if counter % 2 or number <= 0 or number == self._last:
            return None
        size = height * width * channels
        room = min(len(buffer) - _HEAD.size, MOST_BYTES)
        if channels not in (1, 3) or min(height, width) < 1 or size > room:
            raise SourceError(
                f"shared memory {self._name}: says {height} x {width} x {channels}, which it "
                "cannot hold"
            )
        image = self._copy(buffer, size).reshape(height, width, channels)
        if _COUNTER.unpack_from(buffer, 8)[0] != counter:
            # The writer was at it: the next frame is on its way.
            return None
        self._last = number
        return Frame(to_rgb(image), number, now(), stamp / 1e9)

    @staticmethod
    def _copy(buffer: Any, size: int) -> Image:  # noqa: ANN401 - a memoryview
        return np.frombuffer(bytes(buffer[_HEAD.size : _HEAD.size + size]), np.uint8)
