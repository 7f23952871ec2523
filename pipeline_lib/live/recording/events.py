"""Write what happened during a live run as tables, line by line, and tell people."""

import logging
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass
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
        if path is not None:
            self._begin(path, columns)

    def _begin(self, path: Path, columns: tuple[str, ...]) -> None:
        """Write the names of columns, unless a run before did; it may have been killed at it."""
        if not path.is_file() or not path.stat().st_size:
            self._append("\t".join(columns))
            return
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                # A full disk took a part of the last line.
                self._rest = b"\n"

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


# Lines of one kind and camera in a while; what repeats itself with each frame is counted beyond.
_MOST_LINES = 20


@dataclass
class _While:
    """Count the lines of one kind and camera since a moment."""

    began: float
    lines: int = 0
    left_out: int = 0


class Events:
    """Record events, count them by kind, and tell people about each kind now and then.

    Of one kind and camera at most 20 lines are written in 10 s; a further line says how many more
    there were.

    Parameters
    ----------
    path
        Table to append to; None: none.
    clock
        Monotonic time that counts as 0 in the table, s.
    """

    # Seconds between two messages of one kind and camera, and in which lines are counted.
    quiet = 10.0

    def __init__(self, path: Path | None, clock: float = 0.0) -> None:
        self._lines, self._clock = LineLog(path, EVENT_COLUMNS), clock
        self._told: dict[tuple[str, str], float] = {}
        self._whiles: dict[tuple[str, str], _While] = {}
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
            written, more = self._count(camera, kind, now)
        if more:
            self._append_more(now, camera, kind, more)
        if written:
            self._lines.append(f"{now - self._clock:.6f}", camera, kind, text)
        if told:
            logger.log(level, "%s: %s", camera, text)

    def _count(self, camera: str, kind: str, now: float) -> tuple[bool, int]:
        """Return whether an event has a line, and how many before had none and were not told."""
        own = self._whiles.setdefault((camera, kind), _While(now))
        more = 0
        if now - own.began >= self.quiet:
            more = own.left_out
            own.began, own.lines, own.left_out = now, 0, 0
        own.lines += 1
        own.left_out += own.lines > _MOST_LINES
        return own.lines <= _MOST_LINES, more

    def _append_more(self, now: float, camera: str, kind: str, more: int) -> None:
        self._lines.append(f"{now - self._clock:.6f}", camera, kind, f"{more} more like these")

    def flush(self) -> None:
        """Write how many lines were left out, and what the disk has not taken yet."""
        with self._lock:
            left = {key: one.left_out for key, one in self._whiles.items() if one.left_out}
            for key in left:
                self._whiles[key].left_out = 0
        for (camera, kind), more in left.items():
            self._append_more(time.monotonic(), camera, kind, more)
        self._lines.flush()
