"""Hand the newest item to a slower thread; older ones are dropped, never queued."""

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """Hold one item at most.

    Attributes
    ----------
    dropped
        Number of items that were replaced before anybody took them.
    """

    def __init__(self) -> None:
        self._item: T | None = None
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0

    def put(self, item: T) -> None:
        """Replace the item."""
        with self._changed:
            self.dropped += self._item is not None
            self._item = item
            self._changed.notify_all()

    def wait_until_taken(self, timeout: float) -> bool:
        """Wait until there is no item, at most some seconds; return whether there is none."""
        with self._changed:
            return self._changed.wait_for(lambda: self._item is None or self._closed, timeout)

    def take(self, timeout: float) -> T | None:
        """Return the item and leave none; None if there is none in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed, timeout)
            item, self._item = self._item, None
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
