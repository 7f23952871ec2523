"""Take new videos of an incoming folder once they are whole, and start the workflow for them."""

import hashlib
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.environment import copy_environment
from pipeline_lib.core.errors import CohortposeError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import LEDGER_COLUMNS, VideoStatus
from pipeline_lib.io.checksums import measure_file
from pipeline_lib.io.run_lock import describe_run_at_work
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.probe import limit_reading
from pipeline_lib.steps.sheet.additions import Additions, Naming
from pipeline_lib.steps.sheet.find import search_videos
from pipeline_lib.steps.sheet.run import propose_rows
from pipeline_lib.steps.watch.state import Seen, StateFile
from pipeline_lib.steps.watch.whole import find_damage, find_writers

# Seconds after which a file that was not whole is read again, though it has not changed: a server
# may have been away, or a permission missing.
_READ_AGAIN = 3600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WatchRequest:
    """Describe what to watch and what to start.

    Attributes
    ----------
    folder
        The incoming folder.
    naming
        How cells of new rows are made from file names.
    settle
        Seconds for which size and modification time of a file must not change.
    command
        Command that starts the workflow; empty to extend the sheet only.
    """

    folder: Path
    naming: Naming
    settle: float
    command: tuple[str, ...] = ()


def make_command(config: Path) -> tuple[str, ...]:
    """Return the command that starts the workflow with a config, on all cores.

    The Snakefile is that of the working directory, else that of the checkout of this package.
    """
    start = (sys.executable, "-m", "snakemake", "--cores", "all", "--configfile", str(config))
    if Path("Snakefile").is_file() or Path("workflow/Snakefile").is_file():
        return start
    own = Path(__file__).parents[3] / "Snakefile"
    if not own.is_file():
        raise StoreError(
            f"{Path.cwd()}: no Snakefile here: give the command that starts the workflow (`--run "
            "'snakemake --snakefile CHECKOUT/Snakefile ...'`), or `--run ''` to extend the sheet "
            "only"
        )
    return (*start, "--snakefile", str(own))


def split_command(text: str) -> tuple[str, ...]:
    """Return the words of a command line; no shell runs it.

    Raises
    ------
    StoreError
        If a quotation mark is not closed.
    """
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise StoreError(f"--run {text!r}: {error}") from None


class Watcher:
    """Look at an incoming folder, round by round.

    Parameters
    ----------
    config, results
        The run.
    request
        What to watch.
    """

    def __init__(self, config: Config, results: Results, request: WatchRequest) -> None:
        self._config, self._results, self._request = config, results, request
        self._sheet = Path(config.cohort)
        self._file = StateFile(results)
        self._state = self._file.read()

    def work(self) -> bool:
        """Look once, and start the workflow if there is something new.

        Returns
        -------
        bool
            Whether nothing failed.

        Raises
        ------
        CohortposeError
            If the folder or the sheet cannot be read.
        """
        self._extend(self._find_whole())
        self._file.write(self._state)
        return self._run()

    def _find_whole(self) -> list[Path]:
        """Return the new files that are whole, and remember what is known of the others."""
        state, now = self._state, time.time()
        if not self._request.folder.is_dir():
            raise StoreError(f"{self._request.folder}: no such folder to watch")
        rows = read_cohort(self._sheet) if self._sheet.exists() else ()
        named = {os.path.realpath(video.path) for video in rows}
        found = search_videos([self._request.folder]).videos
        new = [path for path in found if os.path.realpath(path) not in named]
        state.seen = {name: known for name, known in state.seen.items() if Path(name) in set(new)}
        basis = self._hash_basis()
        settled = []
        for path in new:
            known = state.look(path, now)
            if known.basis not in ("", basis):
                known.problem, known.basis = None, ""
            elif known.problem and not known.basis and now - known.checked >= _READ_AGAIN:
                known.problem = None
            if now - known.since >= self._request.settle and not known.problem:
                settled.append(path)
        written = find_writers(settled)
        for path, process in written.items():
            _log.info("%s: process %d writes to it: left for the next round", path, process)
        return self._check([path for path in settled if path not in written])

    def _check(self, paths: Sequence[Path]) -> list[Path]:
        """Return the files that open with a complete index and were not changed meanwhile."""
        state, whole = self._state, []
        unknown = [path for path in paths if state.seen[str(path)].problem is None]
        damaged = find_damage(unknown, limit_reading(self._config.reading))
        for path in paths:
            known = state.seen[str(path)]
            if measure_file(path) != (known.bytes, known.modified_ns):
                continue
            if path in damaged:
                known.problem = damaged[path]
            if known.problem:
                known.checked = time.time()
                _log.warning("%s: not whole yet: %s", path, known.problem)
            else:
                whole.append(path)
        return whole

    def _extend(self, whole: Sequence[Path]) -> None:
        """Add the rows of whole files to the sheet."""
        if not whole:
            return
        state, now = self._state, time.time()
        proposal = propose_rows(
            self._request.folder, self._sheet, self._request.naming, only=set(whole)
        )
        made = proposal.additions
        for row in made.rows:
            path = self._sheet.parent / row["path"]
            known = state.seen.get(str(path)) or self._find_seen(path)
            state.pending[row["video"]] = (row["path"], known.arrived if known else now, now)
        # Before the sheet: what is pending and in no sheet is forgotten, the reverse is lost.
        self._file.write(state)
        proposal.write()
        for row in made.rows:
            _log.info("%s: new in %s as %s", row["path"], self._sheet, row["video"])
        for note in made.notes:
            _log.warning("%s", note)
        self._keep_reasons(made)

    def _find_seen(self, path: Path) -> Seen | None:
        real = os.path.realpath(path)
        return next(
            (one for name, one in self._state.seen.items() if os.path.realpath(name) == real), None
        )

    def _keep_reasons(self, made: Additions) -> None:
        """Remember why files get no row, until sheet or pattern change."""
        basis = self._hash_basis()
        for one in (*made.duplicates, *made.misfits):
            if known := self._state.seen.get(str(one.path)):
                _log.warning("%s: %s: left out", one.path, one.reason)
                known.problem, known.basis = one.reason, basis

    def _hash_basis(self) -> str:
        text = self._sheet.read_bytes() if self._sheet.exists() else b""
        pattern = self._request.naming.pattern
        names = f"{pattern.text if pattern else ''}\0{self._request.naming.session}\0"
        return hashlib.sha256(names.encode() + text).hexdigest()[:16]

    def _run(self) -> bool:
        """Start the workflow for rows that are in no ledger yet; return whether it ended well."""
        self._forget_done(read_cohort(self._sheet) if self._sheet.exists() else ())
        state = self._state
        waiting = sorted(state.pending)
        if not waiting or not self._request.command or waiting == state.failed:
            return True
        if owner := describe_run_at_work(self._results):
            _log.info("%d new videos wait for the run at work (%s)", len(waiting), owner)
            return True
        _log.info("%d new videos: starting %s", len(waiting), shlex.join(self._request.command))
        status = _call(self._request.command)
        self._forget_done(read_cohort(self._sheet), all_done=status == 0)
        busy = bool(status) and bool(describe_run_at_work(self._results))
        state.failed = sorted(state.pending) if status and not busy else []
        self._file.write(state)
        if status and not busy:
            _log.error(
                "the workflow ended with status %d; it is started again for further videos, or "
                "start it by hand",
                status,
            )
        return not status or busy

    def _forget_done(self, rows: Iterable[Video], *, all_done: bool = False) -> None:
        """Record the arrival of pending videos that the ledger has, and forget those of no row."""
        named = {video.video for video in rows}
        state, done = self._state, _list_done(self._results)
        for video in list(state.pending):
            if video not in named:
                del state.pending[video]
            elif all_done or video in done:
                self._file.add_arrival(video, state.pending.pop(video))
        self._file.write(state)


def run_watch(
    config: Config, results: Results, request: WatchRequest, *, every: float | None
) -> bool:
    """Watch a folder; never two at once.

    Parameters
    ----------
    config, results, request
        The run and what to watch.
    every
        Seconds between two rounds; None: one round.

    Returns
    -------
    bool
        Whether the last workflow that was started ended well.

    Raises
    ------
    StoreError
        If another `watch` is at work and this one was to stay, or a folder is missing.
    SheetError
        If the sheet cannot be read, in a single round; who stays tries again.
    """
    request.naming.check()
    file = StateFile(results)
    with file.lock() as alone:
        if not alone and every is None:
            _log.info("another watch is at work on %s: nothing is done", results.root)
            return True
        if not alone:
            raise StoreError(f"{results.root}: another watch is at work on these results")
        watcher = Watcher(config, results, request)
        if every is None:
            return watcher.work()
        signal.signal(signal.SIGTERM, _stop)
        _log.info("watching %s, every %g s; Ctrl+C ends", request.folder, every)
        try:
            while True:
                _try_round(watcher)
                time.sleep(every)
        except KeyboardInterrupt:
            return True


def _try_round(watcher: Watcher) -> None:
    """Look once; a sheet that is being edited, or a server that is away, waits for the next."""
    try:
        watcher.work()
    except (CohortposeError, OSError) as error:
        _log.error("%s: tried again in the next round", error)


def _list_done(results: Results) -> set[str]:
    try:
        rows = read_table(results.ledger, LEDGER_COLUMNS)
    except StoreError:
        return set()
    return {row["video"] for row in rows if row["status"] != VideoStatus.PENDING}


def _call(command: Sequence[str]) -> int:
    """Run a command to its end; an interrupt is passed on and waited for."""
    try:
        process = subprocess.Popen(command, env=copy_environment())  # noqa: S603 - the user's own
    except OSError as error:
        raise StoreError(f"{command[0]}: cannot be started: {error.strerror}") from None
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise KeyboardInterrupt
