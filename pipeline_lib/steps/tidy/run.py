"""List files that no result in use needs, and remove them (``tidy``)."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.untrusted.unseen import escape_unseen
from pipeline_lib.io.run_lock import RunLock
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.provenance.checksums import CHECKSUM_COLUMNS, read_checksums
from pipeline_lib.steps.tidy.find import Found, Stale, find_stale

_MEGABYTE = 1e6


def remove_stale(config: Config, results: Results) -> Found:
    """Remove files that no result in use needs, while no run is at work; return those found.

    Raises
    ------
    StoreError
        If a run, or a verb that someone called, is at work on the results folder.
    """
    if not results.plan.exists():
        raise StoreError(f"{results.plan}: nothing was planned; there is nothing to tidy")
    lock = RunLock(results, hash_settings(config))
    try:
        lock.claim_run()
        with lock.work_alone() as alone:
            if not alone:
                raise StoreError(
                    f"{results.root}: a verb is at work on this results folder: wait until it has "
                    "ended"
                )
            found = find_stale(config, results)
            try:
                _remove_all(results, found)
            finally:
                _forget(results, found)
            return found
    finally:
        lock.release()


def _remove_all(results: Results, found: Found) -> None:
    """Remove what can be; what cannot, as others own it, is among the kept."""
    for name, stale in list(found.stale.items()):
        try:
            _remove(results, stale)
        except OSError as error:
            del found.stale[name]
            found.kept[name] = f"cannot be removed: {error.strerror}"


def _remove(results: Results, stale: Stale) -> None:
    path = results.root / stale.path
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    # Folders that it was the last in, but neither the results folder nor those just below it.
    for parent in path.parents:
        if len(parent.relative_to(results.root).parts) < 2:
            return
        with suppress(OSError):
            parent.rmdir()
            continue
        return


def _forget(results: Results, found: Found) -> None:
    """Drop what was removed from the checksums of the cohort."""
    rows = read_checksums(results.checksums)
    kept = [
        row
        for name, row in rows.items()
        if name not in found.stale or os.path.lexists(results.root / name)
    ]
    if len(kept) < len(rows):
        write_table(results.checksums, CHECKSUM_COLUMNS, kept)


def describe_stale(found: Found, results: Path, *, removed: bool) -> Iterator[str]:
    """Yield a line for each file or folder, and the sum."""
    for stale in found.stale.values():
        yield escape_unseen(f"{stale.what:13}  {stale.bytes / _MEGABYTE:10.3f} MB  {stale.path}")
    for name, reason in found.kept.items():
        yield escape_unseen(f"kept           {name}: {reason}")
    total = sum(stale.bytes for stale in found.stale.values()) / _MEGABYTE
    verb = "removed" if removed else "to remove"
    yield f"{results}: {len(found.stale)} files and folders {verb}, {total:.3f} MB"
    if found.stale and not removed:
        yield "nothing was removed: add --delete"
