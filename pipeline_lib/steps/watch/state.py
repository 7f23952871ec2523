"""Keep what is known of the files of an incoming folder, from one look to the next."""

import fcntl
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.io.checksums import measure_file
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.run_lock import explain_write_error
from pipeline_lib.io.stage_tables import read_table, write_table

ARRIVAL_COLUMNS = ("video", "path", "arrived", "whole", "reported", "seconds")

_log = logging.getLogger(__name__)


@dataclass
class Seen:
    """Hold what is known of one file.

    Attributes
    ----------
    bytes, modified_ns
        As they were at the last look.
    arrived
        First look at it: seconds since 1970.
    since
        First look at which it had this size and time.
    problem
        Why it is not whole, or gets no row; empty if it may be; None if that is not known.
    basis
        Hash of the sheet and the pattern that a problem of its row follows from.
    checked
        When it was read and found not whole; 0: never.
    """

    bytes: int
    modified_ns: int
    arrived: float
    since: float
    problem: str | None = None
    basis: str = ""
    checked: float = 0.0


@dataclass
class State:
    """Hold what `watch` knows.

    Attributes
    ----------
    seen
        Files that are not in the sheet yet.
    pending
        Rows that were added and are not in the ledger yet, by video: path, time of arrival, and
        time at which it was found whole.
    failed
        Videos that were pending when the workflow last failed: it is started again once there are
        others.
    """

    seen: dict[str, Seen] = field(default_factory=dict)
    pending: dict[str, tuple[str, float, float]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def look(self, path: Path, now: float) -> Seen:
        """Return what is known of a file after looking at it."""
        size, modified = measure_file(path)
        known = self.seen.get(str(path))
        same = known is not None and (known.bytes, known.modified_ns) == (size, modified)
        # A clock that was set back says nothing about how long a file has been as it is.
        if known is None or not same or known.since > now:
            arrived = now if known is None else min(known.arrived, now)
            known = Seen(size, modified, arrived, now)
            self.seen[str(path)] = known
        return known


class StateFile:
    """Read and write the state, and keep a second `watch` of the same results out.

    Parameters
    ----------
    results
        The results folder.
    """

    def __init__(self, results: Results) -> None:
        self._folder = results.watch

    @property
    def _path(self) -> Path:
        return self._folder / "state.json"

    @property
    def arrivals(self) -> Path:
        """Return the table of videos that arrived: when, and how long until they were reported."""
        return self._folder / "arrivals.tsv"

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Lock the results against other `watch` processes; yield whether that succeeded.

        Raises
        ------
        StoreError
            If the folder cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = (self._folder / "lock").open("a")
        except OSError as error:
            raise StoreError(explain_write_error(Results(self._folder), error)) from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError as error:
                _log.warning("%s: no locks here (%s): start one watch only", file.name, error)
            yield True

    def read(self) -> State:
        """Return the state; a new one if there is none, or it is damaged."""
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
            return _parse(values)
        except FileNotFoundError:
            return State()
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            _log.warning("%s: damaged: every new file is examined again", self._path)
            return State()

    def write(self, state: State) -> None:
        """Publish the state."""
        publish_text(self._path, json.dumps(asdict(state), indent=1) + "\n")

    def add_arrival(self, video: str, pending: tuple[str, float, float]) -> None:
        """Record that a video has its row in the ledger and the report now."""
        path, arrived, whole = pending
        now = time.time()
        row: dict[str, Any] = {
            "video": video,
            "path": path,
            "arrived": _spell(arrived),
            "whole": _spell(whole),
            "reported": _spell(now),
            "seconds": f"{now - arrived:.1f}",
        }
        try:
            rows: list[dict[str, Any]] = [*read_table(self.arrivals, ARRIVAL_COLUMNS)]
        except StoreError:
            rows = []
        write_table(self.arrivals, ARRIVAL_COLUMNS, [*rows, row])


def _parse(values: Any) -> State:  # noqa: ANN401 - what JSON gives
    seen = {str(path): Seen(**known) for path, known in values["seen"].items()}
    pending = {
        str(video): (str(path), float(arrived), float(whole))
        for video, (path, arrived, whole) in values["pending"].items()
    }
    return State(seen, pending, [str(name) for name in values["failed"]])


def _spell(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
