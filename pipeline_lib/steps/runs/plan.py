"""Assign videos to shards: the plan is decided once and only appended to.

A shard is a group of videos that one job of each stage works on. A new video opens a new
shard and a removed one leaves a tombstone, in the plan and by its row in the manifest, so that
neither growing nor shrinking a cohort touches the shards that are done; the next job of the
shard, whatever it runs for, leaves the removed videos out. A video that comes back is taken
as new where such a job ran without it. Planning is idempotent. It writes nothing until a run
starts: a dry run only computes the plan.

A damaged plan or manifest costs no more than its shard: what it said is taken from the other
records of the shards, a warning says so, and the start of the next run writes it again.
"""

import fcntl
import functools
import hashlib
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline_lib.core import versions
from pipeline_lib.core.cohort import Video
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results, ShardFiles
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.core.tables import (
    EXISTING_COLUMNS,
    MANIFEST_COLUMNS,
    PLAN_COLUMNS,
    SHEET_FACTS,
)
from pipeline_lib.io.checksums import describe_state, measure_file
from pipeline_lib.io.run_lock import explain_write_error
from pipeline_lib.io.stage_tables import format_table, read_table, write_table

logger = logging.getLogger(__name__)

ACTIVE = "active"
REMOVED = "removed"

_BYTES_PER_GIGABYTE = 10**9

Row = dict[str, str]


@dataclass(frozen=True)
class Plan:
    """Hold the assignment of videos to shards.

    Attributes
    ----------
    rows
        Rows of ``plan.tsv``: video, shard, state; of several rows of a video the last one holds.
    manifests
        Rows of the manifest of each shard with at least one video of the cohort, in order; empty
        for a plan that was read.
    new_videos
        Number of videos that no plan had.
    """

    rows: tuple[Row, ...]
    manifests: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    new_videos: int = 0

    @property
    def shards(self) -> tuple[str, ...]:
        """Shards with at least one video of the cohort, in order."""
        return tuple(dict.fromkeys(row["shard"] for row in self.rows if row["state"] == ACTIVE))

    @property
    def all_shards(self) -> tuple[str, ...]:
        """All shards ever planned, in order."""
        return tuple(dict.fromkeys(row["shard"] for row in self.rows))

    @property
    def shard_of(self) -> dict[str, str]:
        """Shard of each video ever planned."""
        return {row["video"]: row["shard"] for row in self.rows}

    def list_removed(self, shard: str) -> frozenset[str]:
        """Return the videos that have left a shard, whose results are not checked."""
        states = {row["video"]: row["state"] for row in self.rows if row["shard"] == shard}
        return frozenset(video for video, state in states.items() if state == REMOVED)

    def hash_manifest(self, shard: str) -> str:
        """Return the hash of a manifest: it changes when one of the shard's files does."""
        rows = self.manifests[shard]
        columns = list_manifest_columns(rows)
        text = format_table(columns, rows)
        if len(columns) > len(MANIFEST_COLUMNS):
            # Another version reads existing poses again, in shards that have some.
            text += f"existing poses {versions.EXISTING_POSES}\n"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def is_written(self, results: Results) -> bool:
        """Tell whether the plan and its manifests are on the disk."""
        if self.rows != _read_plan_rows(results.plan):
            return False
        return all(
            rows == read_manifest(results.shard(shard)) for shard, rows in self.manifests.items()
        )


def make_plan(videos: tuple[Video, ...], results: Results, settings: InferenceSettings) -> Plan:
    """Assign new videos to new shards; write nothing.

    Parameters
    ----------
    videos
        The cohort.
    results
        The plan, manifests and tables of earlier runs are read.
    settings
        Limits of a shard.
    """
    present = {video.video: video for video in videos}
    earlier = _read_earlier(results)
    assigned = [(row["video"], row["shard"]) for row in earlier]
    # A video that was assigned more than once belongs to its last shard.
    shard_of = dict(assigned)
    absent = {row["video"] for row in earlier if row["state"] == REMOVED}
    absent -= {row["video"] for row in earlier if row["state"] == ACTIVE}
    new = [
        video
        for name, video in present.items()
        if name not in shard_of
        or (name in absent and _was_left_out(name, results.shard(shard_of[name])))
    ]
    # Also folders that no record is left of: a new shard never finds tables of another one.
    names = [*_list_folders(results), *(shard for _, shard in assigned)]
    last = max((int(name) for name in names if name.isdecimal()), default=0)
    for number, group in enumerate(_group(new, settings), start=last + 1):
        opened = {video.video: f"{number:05d}" for video in group}
        assigned += opened.items()
        shard_of |= opened
    manifests = {}
    for shard in sorted({shard_of[name] for name in present}):
        members = dict.fromkeys(name for name, other in assigned if other == shard)
        here = {name: video for name, video in present.items() if shard_of[name] == shard}
        manifests[shard] = _make_manifest(results.shard(shard), members, here)
    active = {(name, shard_of[name]) for name in present}
    rows = tuple(
        {"video": name, "shard": shard, "state": ACTIVE if (name, shard) in active else REMOVED}
        for name, shard in assigned
    )
    return Plan(rows, manifests, len(new))


def plan_shards(videos: tuple[Video, ...], results: Results, settings: InferenceSettings) -> Plan:
    """Assign new videos to new shards and write the plan and the manifests that changed.

    Raises
    ------
    StoreError
        If the results folder cannot be written.
    """
    try:
        results.shards.mkdir(parents=True, exist_ok=True)
        with _lock(results.shards):
            plan = make_plan(videos, results, settings)
            # The manifests first: a plan never names a shard whose manifest is missing.
            for shard, manifest in plan.manifests.items():
                columns = list_manifest_columns(manifest)
                write_table(results.shard(shard).manifest, columns, manifest)
            write_table(results.plan, PLAN_COLUMNS, plan.rows)
    except OSError as error:
        raise StoreError(explain_write_error(results, error)) from None
    if plan.new_videos:
        logger.info(
            "%d new videos in the plan, %d shards in all", plan.new_videos, len(plan.shards)
        )
    return plan


def read_plan(results: Results) -> Plan:
    """Return the plan that the last run wrote; a damaged one is recovered from its shards.

    Raises
    ------
    StoreError
        If nothing was planned.
    """
    rows = _read_plan_rows(results.plan)
    if rows is None and results.plan.exists():
        rows = _read_earlier(results)
    return Plan(_read_rows(results.plan, PLAN_COLUMNS) if rows is None else rows)


def keep_planned(rows: list[Row], results: Results, shard: str) -> list[Row]:
    """Drop the videos that have left the shard.

    Parameters
    ----------
    rows
        Of a manifest or of a table of a stage; they have a ``video``.
    results
        Its plan says which videos were removed; without a plan none were.
    shard
        The shard of the rows.
    """
    if not results.plan.exists():
        return rows
    removed = read_plan(results).list_removed(shard)
    return [row for row in rows if row["video"] not in removed]


def _read_earlier(results: Results) -> tuple[Row, ...]:
    """Return the rows of the plan, and those that it lacks.

    Videos keep their shards, so that nothing is computed again.
    """
    rows = _read_plan_rows(results.plan)
    if rows is None and results.plan.exists():
        _warn(results.plan, f"damaged: recovered from the tables in {results.shards}")
    known = {row["video"] for row in rows or ()}
    lost = (row for row in _recover_rows(results) if row["video"] not in known)
    return (*(rows or ()), *lost)


def _recover_rows(results: Results) -> Iterator[Row]:
    """Yield the rows of a lost plan, from the records of its shards."""
    for shard in _list_folders(results):
        for video in _list_members(results.shard(shard)):
            yield {"video": video, "shard": shard, "state": ACTIVE}


def _list_folders(results: Results) -> list[str]:
    """Return the names of the folders of shards, in order."""
    if not results.shards.is_dir():
        return []
    return sorted(path.name for path in results.shards.iterdir() if _is_word(path.name))


def _is_word(name: str) -> bool:
    return re.fullmatch(r"\w+", name, re.ASCII) is not None


def _list_members(shard: ShardFiles) -> list[str]:
    """Return the videos of a shard by its manifest, or where that is lost, by its probe."""
    members = read_manifest(shard)
    if members is None:
        if shard.manifest.exists():
            _warn(shard.manifest, "damaged: the videos are described anew from the sheet")
        members = _read_if_whole(shard.probe, ("video", "status"))
    return [row["video"] for row in members or ()]


def _read_plan_rows(path: Path) -> tuple[Row, ...] | None:
    """Return the rows of the plan; None if there is none, or it is damaged."""
    rows = _read_if_whole(path, PLAN_COLUMNS)
    whole = rows and all(_is_word(row["shard"]) and _is_word(row["state"]) for row in rows)
    return rows if whole else None


def list_manifest_columns(rows: Collection[Row]) -> tuple[str, ...]:
    """Return the columns of a manifest; those of existing poses only where a row has some."""
    return (*MANIFEST_COLUMNS, *(EXISTING_COLUMNS if any("poses" in row for row in rows) else ()))


def read_manifest(shard: ShardFiles) -> tuple[Row, ...] | None:
    """Return the rows of a manifest; None if there is none, or it is damaged."""
    rows = _read_if_whole(shard.manifest, MANIFEST_COLUMNS)
    whole = rows and all(
        row["path"] and row["bytes"].isdecimal() and row["modified_ns"].lstrip("-").isdecimal()
        for row in rows
    )
    return rows if whole else None


def _read_if_whole(path: Path, columns: tuple[str, ...]) -> tuple[Row, ...] | None:
    """Return the rows of a table; None if it cannot be read, or a row is cut or has too much."""
    try:
        return _read_rows(path, columns)
    except StoreError:
        return None


def _read_rows(path: Path, columns: tuple[str, ...]) -> tuple[Row, ...]:
    rows = read_table(path, columns)
    # The reader fills up short rows with None, and puts what is too much under None.
    if any(None in row or None in row.values() or not row["video"] for row in rows):
        raise StoreError(f"{path}: has a row that is cut; delete it and run again")
    return tuple(
        {name: row[name] for name in columns}
        | {name: row[name] for name in EXISTING_COLUMNS if row.get(name)}
        for row in rows
    )


@functools.cache
def _warn(path: Path, what: str) -> None:
    """Log a warning once: a run plans several times."""
    logger.warning("%s: %s", path, what)


def _was_left_out(video: str, shard: ShardFiles) -> bool:
    """Tell whether a job of the shard ran while the video was out of the cohort.

    Its tables lack the video then, and would not be made again for it.
    """
    tables = [
        path
        for path in shard.folder.glob("[!.]*.tsv")
        if path != shard.manifest and not shard.is_of_sessions(path)
    ]
    return any(
        video not in {row["video"] for row in _read_if_whole(path, ("video",)) or ()}
        for path in tables
    )


def _make_manifest(
    shard: ShardFiles, members: Iterable[str], present: Mapping[str, Video]
) -> tuple[Row, ...]:
    """Describe the videos of a shard; a video that left the cohort keeps its row."""
    kept = {row["video"]: row for row in read_manifest(shard) or ()}
    return tuple(
        _describe_video(present[name]) if name in present else kept[name]
        for name in members
        if name in present or name in kept
    )


def _group(videos: Iterable[Video], settings: InferenceSettings) -> Iterator[list[Video]]:
    """Cut videos, in the sheet's order, into groups within the limits of a shard."""
    group: list[Video] = []
    size = 0.0
    limit = settings.shard_gigabytes * _BYTES_PER_GIGABYTE
    for video in videos:
        bytes_ = measure_file(video.path)[0] if video.has_video else 0
        if group and (len(group) >= settings.shard_videos or size + bytes_ > limit):
            yield group
            group, size = [], 0.0
        group.append(video)
        size += bytes_
    if group:
        yield group


def _describe_video(video: Video) -> Row:
    size, modified = measure_file(video.path)
    row = {
        "video": video.video,
        "path": str(video.path),
        "bytes": str(size),
        "modified_ns": str(modified),
    }
    if not video.poses:
        return row
    facts = {name: video.metadata.get(name, "").strip() for name in SHEET_FACTS}
    state = describe_state(Path(video.poses)) or "missing"
    own = {"poses": video.poses, "poses_state": state, **facts}
    return row | {name: value for name, value in own.items() if value}


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Let one process plan at a time, on one machine and on file systems that support it."""
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
