"""Reading ahead: a thread that prepares the next items while the last ones are worked on."""

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class _End:
    """After the last item; carries what ended the iterator, if anything did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class ReadAhead(Generic[Item]):
    """An iterator whose items are made in a thread of their own, a few in advance.

    Parameters
    ----------
    items
        What is iterated over; an exception it raises reaches the reader in its place.
    depth
        Items that may wait: memory stays bounded.
    """

    def __init__(self, items: Iterator[Item], depth: int) -> None:
        self._items = items
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
            item = self._queue.get()
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
        while self._thread.is_alive():
            # Makes room for a thread that waits to put an item down.
            with contextlib.suppress(queue.Empty):
                self._queue.get_nowait()
            self._thread.join(timeout=0.05)

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
