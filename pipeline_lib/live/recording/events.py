"""Write what happened during a live run as tables, line by line, and tell people."""

import logging
import os
import threading
import time
from collections import Counter
from pathlib import Path

from pipeline_lib.core.untrusted.unseen import escape_unseen

logger = logging.getLogger("pipeline_lib.live")

EVENT_COLUMNS = ("time", "camera", "kind", "text")
TRIGGER_COLUMNS = (
    *("camera", "row", "rule", "individual", "change", "value"),
    *("captured", "sent", "latency_ms", "problems"),
)


_MOST_WAITING = 2**20


class LineLog:
    """Append rows to a table; each is one call, so that a kill leaves whole lines.

    Lines that the disk does not take wait for room, up to some memory; the run goes on.

    Parameters
    ----------
    path
        The table; None: nothing is written.
    columns
        Names of its columns.
    """

    def __init__(self, path: Path | None, columns: tuple[str, ...]) -> None:
        self._path, self._columns = path, columns
        self.lost = 0
        self._rest = b""
        self._lock = threading.Lock()
        if path is not None and not path.exists():
            self._append("\t".join(columns))

    def append(self, *values: object) -> None:
        """Append a row."""
        if self._path is not None:
            cells = (escape_unseen(str(value)).replace("\t", " ") for value in values)
            self._append("\t".join(cells))

    def flush(self) -> None:
        """Write what the disk has not taken yet, if it does now."""
        if self._path is None or not self._rest:
            return
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                self._rest = self._rest[os.write(file, self._rest) :]
            finally:
                os.close(file)
        except OSError:
            # It is tried again with the next line.
            return

    def _append(self, line: str) -> None:
        content = f"{line}\n".encode()
        with self._lock:
            if len(self._rest) + len(content) > _MOST_WAITING:
                self.lost += 1
            else:
                self._rest += content
            self.flush()


class Events:
    """Record events, count them by kind, and tell people about each kind now and then.

    Parameters
    ----------
    path
        Table to append to; None: none.
    clock
        Monotonic time that counts as 0 in the table, s.
    """

    # Seconds between two messages of one kind and camera.
    quiet = 10.0

    def __init__(self, path: Path | None, clock: float = 0.0) -> None:
        self._lines, self._clock = LineLog(path, EVENT_COLUMNS), clock
        self._told: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()

    def tell(self, camera: str, kind: str, text: str, *, level: int = logging.WARNING) -> None:
        """Record an event of a camera."""
        with self._lock:
            self.counts[kind] += 1
            now = time.monotonic()
            last = self._told.get((camera, kind), -self.quiet)
            told = now - last >= self.quiet
            if told:
                self._told[camera, kind] = now
        self._lines.append(f"{now - self._clock:.6f}", camera, kind, text)
        if told:
            logger.log(level, "%s: %s", camera, text)

    def flush(self) -> None:
        """Write what the disk has not taken yet, if it does now."""
        self._lines.flush()
