"""What the probe found, kept from job to job: a good video is read once, not once per job."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline_lib.core import versions
from pipeline_lib.core.config import hash_settings
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.tables import MANIFEST_COLUMNS, PROBE_COLUMNS, VideoStatus
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.plan import measure_file

_FILE_COLUMNS = tuple(name for name in MANIFEST_COLUMNS if name not in PROBE_COLUMNS)
_COLUMNS = (*PROBE_COLUMNS, *_FILE_COLUMNS)

# What a kill repeats, and how often a shard's table is written anew.
_SECONDS_BETWEEN_WRITES = 10.0


class ProbeRecord:
    """Good rows of the probe of a shard, with the size and time of change of their files.

    The shard's table of the probe has them, too, but Snakemake removes it before a job.

    Parameters
    ----------
    path
        The record; one that is missing or of another version is empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = time.monotonic()
        try:
            rows = read_table(path, _COLUMNS)
        except StoreError:
            rows = []
        self._rows: dict[str, dict[str, Any]] = {row["video"]: dict(row) for row in rows}

    def find(self, planned: Mapping[str, str]) -> dict[str, Any] | None:
        """Return the row of a video whose file is still the one that was probed, else None.

        Parameters
        ----------
        planned
            Its row of the manifest.
        """
        row = self._rows.get(planned["video"])
        if row is None or any(row[name] != planned[name] for name in MANIFEST_COLUMNS):
            return None
        # The manifest says how the file was when the run was planned.
        now = measure_file(Path(planned["path"]))
        if now != (int(planned["bytes"]), int(planned["modified_ns"])):
            return None
        known = row["key"] == hash_settings(row["fingerprint"], versions.PROBE)
        if not known or row["status"] != VideoStatus.DONE:
            return None
        return {name: row[name] for name in PROBE_COLUMNS}

    def add(self, planned: Mapping[str, str], found: Mapping[str, Any]) -> None:
        """Keep the row of a good video; written now and then, so that a kill costs little."""
        self._rows[planned["video"]] = {**found, **{name: planned[name] for name in _FILE_COLUMNS}}
        if time.monotonic() - self._written > _SECONDS_BETWEEN_WRITES:
            self.write()

    def write(self) -> None:
        """Publish the record."""
        write_table(self._path, _COLUMNS, self._rows.values())
        self._written = time.monotonic()
