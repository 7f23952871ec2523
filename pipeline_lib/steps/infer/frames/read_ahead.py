"""Read ahead: prepare the next items in a thread while the current one is processed."""

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
    """Mark the end of the items; carry the error that ended them, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class StalledError(Exception):
    """Report that no item came for too long, without any progress."""


@contextlib.contextmanager
def explain_stall(patience: float) -> Iterator[None]:
    """Turn the stall of a decoder into an error of its video.

    Parameters
    ----------
    patience
        Longest wait for a frame in s, for the message.

    Raises
    ------
    VideoError
        Instead of a `StalledError`.
    """
    try:
        yield
    except StalledError:
        raise VideoError(
            f"decoding gave no frame in {patience:.0f} s (`reading.seconds_per_frame`): given up"
        ) from None


class ReadAhead(Generic[Item]):
    """Iterate over items that a thread of its own prepares in advance.

    Parameters
    ----------
    items
        Iterator to read; an exception that it raises reaches the reader at its position.
    depth
        Most items that wait, which bounds the memory.
    patience
        Longest time in s to wait for an item without progress. After it, `StalledError` is
        raised and the thread, which cannot be stopped, is abandoned.
    progress
        Returns a count that grows while an item is prepared, such as packets read.
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
        # Only one thread writes each of these sums.
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
        """Return the seconds spent preparing items and waiting for them since the last call."""
        now = (self._made, self._waited)
        made, waited = (total - taken for total, taken in zip(now, self._taken, strict=True))
        self._taken = now
        return made, waited

    def close(self) -> None:
        """Stop preparing items and wait for the thread; always call this at the end."""
        self._stopped.set()
        while self._thread.is_alive() and not self._stalled:
            # Make room for a thread that waits to add an item.
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
                # A generator, and the decoder in it, must end in the thread that ran it.
                close()
            self._queue.put(_End(error))
