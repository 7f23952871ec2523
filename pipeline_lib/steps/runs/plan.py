"""Assign videos to shards: the plan is decided once and only appended to.

A shard is a group of videos that one job of each stage works on. A new video opens a new
shard and a removed one leaves a tombstone, in the plan and by its row in the manifest, so that
neither growing nor shrinking a cohort touches the shards that are done; the next job of the
shard, whatever it runs for, leaves the removed videos out. A video that comes back is taken
as new where such a job ran without it. Planning is idempotent. It writes nothing until a run
starts: a dry run only computes the plan.
"""

import fcntl
import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline_lib.core.cohort import Video
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results, ShardFiles
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.core.tables import MANIFEST_COLUMNS, PLAN_COLUMNS
from pipeline_lib.io.checksums import measure_file
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
        text = format_table(MANIFEST_COLUMNS, self.manifests[shard])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def is_written(self, results: Results) -> bool:
        """Tell whether the plan and its manifests are on the disk."""
        if not results.plan.exists() or self.rows != _read_rows(results.plan, PLAN_COLUMNS):
            return False
        paths = {shard: results.shard(shard).manifest for shard in self.manifests}
        return all(
            path.exists() and self.manifests[shard] == _read_rows(path, MANIFEST_COLUMNS)
            for shard, path in paths.items()
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

    Raises
    ------
    StoreError
        If an earlier plan or manifest is damaged.
    """
    present = {video.video: video for video in videos}
    earlier = read_plan(results).rows if results.plan.exists() else _recover_rows(results)
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
    last = max((int(shard) for _, shard in assigned), default=0)
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
        If the results folder cannot be written, or an earlier plan is damaged.
    """
    try:
        results.shards.mkdir(parents=True, exist_ok=True)
        with _lock(results.shards):
            plan = make_plan(videos, results, settings)
            # The manifests first: a plan never names a shard whose manifest is missing.
            for shard, manifest in plan.manifests.items():
                write_table(results.shard(shard).manifest, MANIFEST_COLUMNS, manifest)
            write_table(results.plan, PLAN_COLUMNS, plan.rows)
    except OSError as error:
        raise StoreError(explain_write_error(results, error)) from None
    if plan.new_videos:
        logger.info(
            "%d new videos in the plan, %d shards in all", plan.new_videos, len(plan.shards)
        )
    return plan


def read_plan(results: Results) -> Plan:
    """Return the plan that the last run wrote.

    Raises
    ------
    StoreError
        If nothing was planned.
    """
    return Plan(_read_rows(results.plan, PLAN_COLUMNS))


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


def _read_rows(path: Path, columns: tuple[str, ...]) -> tuple[Row, ...]:
    rows = read_table(path, columns)
    return tuple({name: row[name] for name in columns} for row in rows)


def _recover_rows(results: Results) -> tuple[Row, ...]:
    """Return the rows of a lost plan from the manifests of its shards.

    Videos keep their shards, so that nothing is computed again.
    """
    return tuple(
        {"video": row["video"], "shard": path.parent.name, "state": ACTIVE}
        for path in sorted(results.shards.glob(f"*/{results.shard('x').manifest.name}"))
        if path.parent.name.isdecimal()
        for row in _read_rows(path, MANIFEST_COLUMNS)
    )


def _was_left_out(video: str, shard: ShardFiles) -> bool:
    """Tell whether a job of the shard ran while the video was out of the cohort.

    Its tables lack the video then, and would not be made again for it.
    """
    tables = [
        path
        for path in shard.folder.glob("[!.]*.tsv")
        if path != shard.manifest and not shard.is_of_sessions(path)
    ]
    return any(video not in {row["video"] for row in read_table(path, ())} for path in tables)


def _make_manifest(
    shard: ShardFiles, members: Iterable[str], present: Mapping[str, Video]
) -> tuple[Row, ...]:
    """Describe the videos of a shard; a video that left the cohort keeps its row."""
    kept: dict[str, Row] = {}
    if shard.manifest.exists():
        kept = {row["video"]: row for row in _read_rows(shard.manifest, MANIFEST_COLUMNS)}
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
        bytes_ = measure_file(video.path)[0]
        if group and (len(group) >= settings.shard_videos or size + bytes_ > limit):
            yield group
            group, size = [], 0.0
        group.append(video)
        size += bytes_
    if group:
        yield group


def _describe_video(video: Video) -> Row:
    size, modified = measure_file(video.path)
    return {
        "video": video.video,
        "path": str(video.path),
        "bytes": str(size),
        "modified_ns": str(modified),
    }


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Let one process plan at a time, on one machine and on file systems that support it."""
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
