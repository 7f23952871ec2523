"""Run the verb ``probe``: check and describe each video of a shard."""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline_lib.core.errors import StoreError, VideoError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.settings.videos import ReadingSettings
from pipeline_lib.core.tables import (
    EXISTING_COLUMNS,
    EXISTING_PROBE_COLUMNS,
    MANIFEST_COLUMNS,
    PROBE_COLUMNS,
    VideoStatus,
)
from pipeline_lib.io.checksums import describe_state, measure_file
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.apart import Limits, Lost, examine_apart
from pipeline_lib.steps.existing import examine_existing, request_examination
from pipeline_lib.steps.runs.plan import keep_planned
from pipeline_lib.steps.runs.result_keys import probing_key

_LOG = logging.getLogger(__name__)

# Probing reads files from end to end: more processes than this only fight for the disk.
_MOST_PROCESSES = 4

Record = dict[str, Any]


def run_probe(config: Config, results: Results, shard: str) -> None:
    """Probe and fingerprint the videos of a shard and publish one row for each.

    A video that cannot be used is a row ``quarantined`` with the reason. One that is used, but
    lacks frames or whose times are doubtful, has a reason too. A row with poses that another
    tool found needs no video: their file is read instead, or besides. ``seconds`` stays
    empty, so that the table is the same to the byte when no video has changed. A good video
    whose file has not changed since an earlier job probed it is not read again.

    Parameters
    ----------
    config
        The run; ``config.reading`` limits what one video may take.
    results
        Where the shard's manifest lies and the table goes.
    shard
        Name of the shard.

    Raises
    ------
    StoreError
        If the manifest is missing.
    OSError
        If a file system fails: no verdict on a video, the job should be tried again.
    """
    files = results.shard(shard)
    manifest = keep_planned(read_table(files.manifest, MANIFEST_COLUMNS), results, shard)
    record = ProbeRecord(files.probe_record)
    found: dict[str, Record] = {row["video"]: record.find(row) or {} for row in manifest}
    unknown = [row for row in manifest if not found[row["video"]]]
    filmed = [row for row in unknown if row["path"] != row.get("poses")]
    examined = examine_apart(
        [row["path"] for row in filmed],
        _examine,
        processes=min(_MOST_PROCESSES, count_cores()),
        limits=limit_reading(config.reading),
        prepare=_prepare,
    )
    for row, known in zip(filmed, examined, strict=True):
        facts = _quarantine(known.reason) if isinstance(known, Lost) else known
        found[row["video"]] = {"video": row["video"], "path": row["path"], **facts}
        if not row.get("poses"):
            _keep(record, row, found[row["video"]])
    existing = [row for row in unknown if row.get("poses")]
    for row, facts in zip(existing, _examine_poses(config, existing, found), strict=True):
        found[row["video"]] = facts
        _keep(record, row, facts)
    record.write()
    columns = (*PROBE_COLUMNS, *(EXISTING_PROBE_COLUMNS if _have_poses(manifest) else ()))
    write_table(files.probe, columns, [found[row["video"]] for row in manifest])


def _have_poses(rows: Iterable[Mapping[str, Any]]) -> bool:
    return any(row.get("poses") for row in rows)


def _keep(record: "ProbeRecord", planned: Mapping[str, str], found: Record) -> None:
    """Keep the row of a good video, and log what is wrong with another one."""
    if found["status"] == VideoStatus.DONE:
        record.add(planned, found)
    else:
        _LOG.warning("%s: %s: %s", found["video"], found["status"], found["reason"])


def _examine_poses(
    config: Config, rows: list[dict[str, str]], filmed: Mapping[str, Record]
) -> list[Record]:
    """Return the rows of videos with poses that another tool found.

    A video that cannot be used is no loss: its poses tell what else is needed.
    """
    videos: list[Record | None] = [filmed[row["video"]] or None for row in rows]
    good = [video if video and video["status"] == VideoStatus.DONE else None for video in videos]
    examined = examine_apart(
        list(map(request_examination, rows, good)),
        examine_existing,
        processes=min(_MOST_PROCESSES, count_cores()),
        limits=limit_reading(config.reading),
    )
    ended = []
    for row, video, usable, cells in zip(rows, videos, good, examined, strict=True):
        named = {"video": row["video"], "path": row["path"]}
        if isinstance(cells, Lost):
            ended.append(named | _quarantine(f"{row['poses']}: {cells.reason}"))
        elif "status" in cells:
            ended.append(named | cells)
        else:
            lost = f"the video cannot be used: {video['reason']}" if video and not usable else ""
            facts = usable or {**named, "status": VideoStatus.DONE, "reason": lost}
            known = (facts.get("fingerprint", ""), cells["poses_fingerprint"])
            ended.append({**facts, **cells, "key": probing_key(*known)})
    return ended


def limit_reading(settings: ReadingSettings) -> Limits:
    """Return the limits of time and memory of examining one video."""
    return Limits(settings.seconds, settings.seconds_per_gigabyte, settings.gigabytes)


def _prepare() -> None:
    import pipeline_lib.io.video.reader  # noqa: F401, PLC0415 - as in `_examine`


def _examine(path: str) -> Record:
    """Fingerprint and probe one file.

    Python reads it first, so that a failing disk is an `OSError` and not a verdict on the video.
    """
    # Imported here, in the processes that need it: OpenCV and FFmpeg take long to load.
    from pipeline_lib.io.video.reader import (  # noqa: PLC0415
        check_video,
        describe_oddities,
        fingerprint_file,
    )

    try:
        fingerprint = fingerprint_file(Path(path))
        index = check_video(Path(path))
        reason = describe_oddities(Path(path), index)
    except VideoError as error:
        return _quarantine(str(error))
    except MemoryError:
        return _quarantine("reading it takes more memory than `reading.gigabytes` allows")
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - one odd file must not end the others
        _LOG.exception("%s: probing failed", path)
        return _quarantine(f"unexpected {type(error).__name__}: {error}")
    return {
        "status": VideoStatus.DONE,
        "reason": reason,
        "key": probing_key(fingerprint),
        "fingerprint": fingerprint,
        **asdict(index.facts),
    }


def _quarantine(reason: str) -> Record:
    return {"status": VideoStatus.QUARANTINED, "reason": reason}


_FILE_COLUMNS = tuple(name for name in MANIFEST_COLUMNS if name not in PROBE_COLUMNS)
_COLUMNS = (*PROBE_COLUMNS, *_FILE_COLUMNS)
# What the sheet says of poses is kept beside what was found of them.
_POSES_COLUMNS = tuple(f"planned_{name}" for name in EXISTING_COLUMNS)

# What a kill repeats, and how often a shard's table is written anew.
_SECONDS_BETWEEN_WRITES = 10.0


class ProbeRecord:
    """Keep the good rows of a shard's probe, with size and modification time of each file.

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
        """Return the row of a video whose file has not changed since the probe, else None.

        Parameters
        ----------
        planned
            Its row of the manifest.
        """
        row = self._rows.get(planned["video"])
        if row is None or any(row[name] != planned[name] for name in _FILE_COLUMNS):
            return None
        # Another file of the same name, size and modification time.
        if Path(row["path"]).absolute() != Path(planned["path"]).absolute():
            return None
        # The manifest says how the file was when the run was planned.
        now = measure_file(Path(planned["path"]))
        unchanged = now == (int(planned["bytes"]), int(planned["modified_ns"]))
        if not (unchanged and _has_same_poses(row, planned)):
            return None
        own = row.get("poses_fingerprint") or ""
        known = row["key"] == probing_key(row["fingerprint"], own)
        if not known or row["status"] != VideoStatus.DONE:
            return None
        existing = {name: row[name] for name in EXISTING_PROBE_COLUMNS if own}
        return {name: row[name] for name in PROBE_COLUMNS} | existing | {"path": planned["path"]}

    def add(self, planned: Mapping[str, str], found: Mapping[str, Any]) -> None:
        """Keep the row of a good video; write the record from time to time."""
        files = {name: planned[name] for name in _FILE_COLUMNS}
        given = _list_given(planned) if planned.get("poses") else {}
        self._rows[planned["video"]] = {**found, **files, **given}
        if time.monotonic() - self._written > _SECONDS_BETWEEN_WRITES:
            self.write()

    def write(self) -> None:
        """Publish the record."""
        columns = _COLUMNS
        if _have_poses(self._rows.values()):
            columns = (*columns, *EXISTING_PROBE_COLUMNS, *_POSES_COLUMNS)
        write_table(self._path, columns, self._rows.values())
        self._written = time.monotonic()


def _list_given(planned: Mapping[str, str]) -> dict[str, str]:
    """Return what the sheet says of the poses of a row."""
    return {f"planned_{name}": planned.get(name, "") for name in EXISTING_COLUMNS}


def _has_same_poses(row: Mapping[str, str], planned: Mapping[str, str]) -> bool:
    """Tell whether a row was made from the poses that are planned, which have not changed since."""
    if any((row.get(name) or "") != value for name, value in _list_given(planned).items()):
        return False
    poses = planned.get("poses")
    return not poses or describe_state(Path(poses)) == planned["poses_state"]
