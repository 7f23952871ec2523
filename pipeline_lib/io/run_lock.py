"""Lock a results folder: one run at a time works on it.

Each run holds a shared lock on a file named by the hash of its settings; its jobs, and verbs that
people call, share it. Before that, under the lock of the folder, it tries the files of all other
hashes: one that is locked belongs to a run at work. A second run of the same settings is refused by
the lock of the process that starts the jobs. The kernel releases the locks of a process that
dies. On a file system without locks a warning says that other runs are not kept out.
"""

import fcntl
import json
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results

_log = logging.getLogger(__name__)

_GATE = "gate"
# Held by the one process that starts the jobs of a run.
_RUN = "run"


class RunLock:
    """Hold the lock of a run on its results folder until `release` or the end of the process.

    Parameters
    ----------
    results
        The results folder.
    digest
        Hash of the run's settings.

    Raises
    ------
    StoreError
        If a run of other settings is at work on the folder, or the folder cannot be written.
    """

    def __init__(self, results: Results, digest: str) -> None:
        self._folder = results.run_locks
        self._root = results.root
        self._path = self._folder / f"{digest}.lock"
        self._file: IO[str] | None = None
        self._run: IO[str] | None = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._pass_gate():
                self._refuse_others()
                self._share()
        except OSError as error:
            self.release()
            raise StoreError(explain_write_error(results, error)) from None

    @contextmanager
    def work_alone(self) -> Iterator[bool]:
        """Yield whether no other process holds a lock of the same settings meanwhile."""
        with self._pass_gate():
            alone = self._file is None or _try_lock(self._file, fcntl.LOCK_EX)
            try:
                yield alone
            finally:
                if self._file is not None:
                    _try_lock(self._file, fcntl.LOCK_SH)

    def claim_run(self) -> None:
        """Refuse a second run with the same settings, which would compute everything twice.

        The jobs of a run, and verbs that people call, do not claim it.

        Raises
        ------
        StoreError
            If a run is at work on the folder.
        """
        try:
            file = (self._folder / _RUN).open("a+")
        except OSError as error:
            raise StoreError(explain_write_error(Results(self._root), error)) from None
        if not _try_lock(file, fcntl.LOCK_EX):
            file.seek(0)
            owner = _describe_owner(file)
            file.close()
            raise StoreError(
                f"{self._root}: a run with the same settings is at work on this results folder "
                f"({owner}): wait until it has ended; what it has made is not computed again"
            )
        self._run = file
        _write_owner(file)

    def release(self) -> None:
        """Release the lock."""
        for file in (self._file, self._run):
            if file is not None:
                file.close()
        self._file = self._run = None

    @contextmanager
    def _pass_gate(self) -> Iterator[None]:
        with (self._folder / _GATE).open("a") as gate:
            with suppress(OSError):
                fcntl.flock(gate, fcntl.LOCK_EX)
            yield

    def _refuse_others(self) -> None:
        """Raise if a file with another hash is locked; remove those that no process holds."""
        for path in _list_others(self._path):
            with suppress(FileNotFoundError), path.open("r+") as file:
                if not _try_lock(file, fcntl.LOCK_EX):
                    raise StoreError(
                        f"{self._root}: another run with other settings is at work on this results "
                        f"folder ({_describe_owner(file)}): wait until it has ended, or set "
                        "`results` to another folder"
                    )
                path.unlink()

    def _share(self) -> None:
        file = self._path.open("a+")
        if not _try_lock(file, fcntl.LOCK_SH):
            file.close()
            return
        self._file = file
        _write_owner(file)


def explain_write_error(results: Results, error: OSError) -> str:
    """Explain that the results folder cannot be written, and what to do."""
    path = Path(error.filename or results.root).absolute()
    return (
        f"{path}: {error.strerror}; make room or the folder writable and run again, or set "
        "`results` in the config to a folder you may write"
    )


def is_locked_by_others(results: Results, digest: str) -> bool:
    """Tell whether a run with other settings is at work; write nothing.

    Parameters
    ----------
    results
        The results folder.
    digest
        Hash of our settings.
    """
    for path in _list_others(results.run_locks / f"{digest}.lock"):
        with suppress(FileNotFoundError), path.open() as file:
            if not _try_lock(file, fcntl.LOCK_EX):
                return True
    return False


def describe_run_at_work(results: Results) -> str:
    """Describe the run, or verb that someone called, that is at work; empty if none is.

    Nothing is written.
    """
    for path in (results.run_locks / _RUN, *sorted(results.run_locks.glob("*.lock"))):
        with suppress(FileNotFoundError), path.open() as file:
            if not _try_lock(file, fcntl.LOCK_EX):
                return _describe_owner(file)
    return ""


def _list_others(path: Path) -> list[Path]:
    return [other for other in path.parent.glob("*.lock") if other != path]


def _try_lock(file: IO[str], kind: int) -> bool:
    """Return False if another process has the lock; True, with a warning, without locks."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        _log.warning(
            "%s: this file system has no locks (%s): do not start two runs on it at once",
            file.name,
            error.strerror,
        )
    return True


def _write_owner(file: IO[str]) -> None:
    # On a full disk the lock holds all the same.
    with suppress(OSError):
        file.truncate(0)
        os.write(file.fileno(), json.dumps(_describe_process()).encode())


def _describe_process() -> dict[str, object]:
    return {
        "host": platform.node(),
        "process": os.getpid(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _describe_owner(file: IO[str]) -> str:
    try:
        owner = json.loads(file.read())
        return f"process {owner['process']} on {owner['host']}, since {owner['started']}"
    except (ValueError, KeyError, TypeError):
        return "it does not name its host"
