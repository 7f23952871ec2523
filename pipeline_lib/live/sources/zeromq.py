"""Read frames that another program publishes by ZeroMQ.

A message has two parts: JSON with ``number``, ``time_ns`` (of the sender's clock; may be missing),
``shape`` ([height, width] or [height, width, channels], RGB) and ``dtype`` (``uint8`` or
``uint16``); and the pixels.
"""

import json
import math
from typing import Any

import numpy as np

from pipeline_lib.live.sources.frames import (
    MOST_BYTES,
    Frame,
    FrameError,
    LiveError,
    LiveSource,
    now,
    to_rgb,
)

_QUEUE = 4
_MOST_HEAD = 4096


class ZeroMqSource(LiveSource):
    """Give the frames of a publisher (PUB) or of a program that pushes them (PUSH).

    Parameters
    ----------
    address
        Address to connect to, such as ``tcp://127.0.0.1:5555``.
    pull
        Whether the program pushes.
    """

    def __init__(self, address: str, *, pull: bool = False) -> None:
        try:
            import zmq  # noqa: PLC0415 - of the extra `live`
        except ImportError as error:
            raise LiveError(
                f"`zmq:` needs pyzmq ({error}): pip install 'cohortpose[live]'"
            ) from None
        self._zmq, self._address, self._pull = zmq, address, pull
        self._socket: Any = None

    def open(self) -> None:
        """Connect; the sender may come later."""
        zmq = self._zmq
        socket = zmq.Context.instance().socket(zmq.PULL if self._pull else zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, _QUEUE)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MOST_BYTES)
        if not self._pull:
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        try:
            socket.connect(self._address)
        except zmq.ZMQError as error:
            socket.close()
            raise LiveError(f"zmq:{self._address}: {error}") from None
        self._socket = socket

    def read(self, timeout: float) -> Frame | None:
        """Return the next frame, if it comes in time."""
        if not self._socket.poll(max(1, round(timeout * 1000))):
            return None
        parts = self._socket.recv_multipart(copy=True)
        captured = now()
        if len(parts) != 2 or len(parts[0]) > _MOST_HEAD:
            raise FrameError(f"zmq:{self._address}: sent a message that is no frame")
        try:
            head = json.loads(parts[0])
            number, shape = int(head["number"]), tuple(int(side) for side in head["shape"])
            dtype = {"uint8": np.uint8, "uint16": np.uint16}[head.get("dtype", "uint8")]
            stamp = float(head.get("time_ns", math.nan)) / 1e9
            # `reshape` would take a side of -1 for what is left.
            image = np.frombuffer(parts[1], dtype).reshape([max(0, side) for side in shape])
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise FrameError(
                f"zmq:{self._address}: sent a frame that cannot be read ({error!r})"
            ) from None
        return Frame(to_rgb(image), number, captured, stamp)

    def close(self) -> None:
        """Disconnect."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
