"""Reading ahead: a thread that prepares the next items while the last ones are worked on."""

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from pipeline_lib.core.errors import VideoError

Item = TypeVar("Item")


class _End:
    """After the last item; carries what ended the iterator, if anything did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class StalledError(Exception):
    """No item came for too long, and nothing shows that one will."""


@contextlib.contextmanager
def explain_stall(patience: float) -> Iterator[None]:
    """Make a video's fate of the stall of its decoder.

    Raises
    ------
    VideoError
        In place of a `StalledError`.
    """
    try:
        yield
    except StalledError:
        raise VideoError(
            f"decoding gave no frame in {patience:.0f} s (`reading.seconds_per_frame`): given up"
        ) from None


class ReadAhead(Generic[Item]):
    """An iterator whose items are made in a thread of their own, a few in advance.

    Parameters
    ----------
    items
        What is iterated over; an exception it raises reaches the reader in its place.
    depth
        Items that may wait: memory stays bounded.
    patience
        Longest time in s to wait for an item while there is no progress. Then `StalledError` is
        raised, and the thread, which nobody can end, is left behind.
    progress
        Counts something that goes on before an item is made, such as packets.
    """

    def __init__(
        self,
        items: Iterator[Item],
        depth: int,
        *,
        patience: float = math.inf,
        progress: Callable[[], int] = int,
    ) -> None:
        self._items = items
        self._patience = min(patience, threading.TIMEOUT_MAX)
        self._progress = progress
        self._stalled = False
        self._queue: queue.Queue[Item | _End] = queue.Queue(maxsize=depth)
        self._stopped = threading.Event()
        # Each sum is written by one thread only.
        self._made = self._waited = 0.0
        self._taken = (0.0, 0.0)
        self._thread = threading.Thread(target=self._make, name="read-ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        """Yield the items in order."""
        while True:
            began = time.perf_counter()
            item = self._take()
            self._waited += time.perf_counter() - began
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def take_times(self) -> tuple[float, float]:
        """Return seconds spent making items, and waiting for them, since the last call."""
        now = (self._made, self._waited)
        made, waited = (total - taken for total, taken in zip(now, self._taken, strict=True))
        self._taken = now
        return made, waited

    def close(self) -> None:
        """Stop making items and wait for the thread; call it in any case."""
        self._stopped.set()
        while self._thread.is_alive() and not self._stalled:
            # Makes room for a thread that waits to put an item down.
            with contextlib.suppress(queue.Empty):
                self._queue.get_nowait()
            self._thread.join(timeout=0.05)

    def _take(self) -> "Item | _End":
        while True:
            before = self._progress()
            try:
                return self._queue.get(timeout=self._patience)
            except queue.Empty:
                if self._progress() == before:
                    self._stalled = True
                    raise StalledError from None

    def _make(self) -> None:
        error: BaseException | None = None
        try:
            while not self._stopped.is_set():
                began = time.perf_counter()
                item = next(self._items, None)
                self._made += time.perf_counter() - began
                if item is None:
                    break
                self._queue.put(item)
        except BaseException as caught:  # noqa: BLE001 - it is the reader's to handle
            error = caught
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                # A generator ends in the thread that ran it: a decoder is its own thread's.
                close()
            self._queue.put(_End(error))
