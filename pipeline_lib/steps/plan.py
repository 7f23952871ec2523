"""plan: which video is in which shard, decided once and only ever appended to.

A shard is a group of videos that one job of each stage works on. A new video opens a new
shard and a removed one leaves a tombstone, in the plan and by its row in the manifest, so that
neither growing nor shrinking a cohort touches the shards that are done; the next job of the
shard, whatever it runs for, leaves the removed videos out. A video that comes back is taken
as new where such a job ran without it. Planning is idempotent and done by the main process;
jobs read what it wrote.
"""

import fcntl
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline_lib.core.cohort import Video
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results, ShardFiles
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.core.tables import MANIFEST_COLUMNS, PLAN_COLUMNS
from pipeline_lib.io.stage_tables import read_table, write_table

logger = logging.getLogger(__name__)

ACTIVE = "active"
REMOVED = "removed"

_BYTES_PER_GIGABYTE = 10**9


def plan_shards(
    videos: tuple[Video, ...], results: Results, settings: InferenceSettings
) -> tuple[str, ...]:
    """Assign new videos to new shards and write the manifests that changed.

    Parameters
    ----------
    videos
        The cohort.
    results
        Receives ``shards/plan.tsv`` and a manifest per shard.
    settings
        Limits of a shard.

    Returns
    -------
    tuple of str
        Shards with at least one video of the cohort, in order.

    Raises
    ------
    StoreError
        If the results folder cannot be written.
    """
    try:
        results.shards.mkdir(parents=True, exist_ok=True)
        with _lock(results.shards):
            return _plan(videos, results, settings)
    except OSError as error:
        raise StoreError(
            f"`results`: cannot write {error.filename or results.root} ({error.strerror}); set "
            "`results` in the config to a folder you may write, or ask its owner"
        ) from None


def read_shards(results: Results) -> tuple[str, ...]:
    """Return the shards with at least one video of the cohort, as they were planned.

    Raises
    ------
    StoreError
        If nothing was planned.
    """
    rows = read_table(results.plan, PLAN_COLUMNS)
    return tuple(dict.fromkeys(row["shard"] for row in rows if row["state"] == ACTIVE))


def keep_planned(rows: list[dict[str, str]], results: Results, shard: str) -> list[dict[str, str]]:
    """Leave out the videos that are in a shard no more.

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
    removed = {
        row["video"]
        for row in read_table(results.plan, PLAN_COLUMNS)
        if row["shard"] == shard and row["state"] == REMOVED
    }
    return [row for row in rows if row["video"] not in removed]


def measure_file(path: Path) -> tuple[int, int]:
    """Return size in bytes and time of change; zeros for a missing file, which probe reports."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _plan(
    videos: tuple[Video, ...], results: Results, settings: InferenceSettings
) -> tuple[str, ...]:
    present = {video.video: video for video in videos}
    earlier = read_table(results.plan, PLAN_COLUMNS) if results.plan.exists() else []
    places = [(row["video"], row["shard"]) for row in earlier]
    # Of several places of a video the last one holds.
    home = dict(places)
    absent = {row["video"] for row in earlier if row["state"] == REMOVED}
    absent -= {row["video"] for row in earlier if row["state"] == ACTIVE}
    new = [
        video
        for name, video in present.items()
        if name not in home or (name in absent and _was_left_out(name, results.shard(home[name])))
    ]
    last = max((int(shard) for _, shard in places), default=0)
    for number, group in enumerate(_group(new, settings), start=last + 1):
        opened = {video.video: f"{number:05d}" for video in group}
        places += opened.items()
        home |= opened
    # The manifests first: a plan never names a shard whose manifest is missing.
    shards = sorted({home[name] for name in present})
    for shard in shards:
        members = dict.fromkeys(name for name, place in places if place == shard)
        here = {name: video for name, video in present.items() if home[name] == shard}
        _write_manifest(results.shard(shard), members, here)
    active = {(name, home[name]) for name in present}
    write_table(
        results.plan,
        PLAN_COLUMNS,
        [
            {"video": name, "shard": shard, "state": ACTIVE if (name, shard) in active else REMOVED}
            for name, shard in places
        ],
    )
    if new:
        logger.info("%d new videos in the plan, %d shards in all", len(new), len(shards))
    return tuple(shards)


def _was_left_out(video: str, shard: ShardFiles) -> bool:
    """Tell whether a job of the shard ran while the video was out of the cohort.

    Its tables lack the video then, and would not be made again for it.
    """
    tables = [path for path in shard.folder.glob("[!.]*.tsv") if path != shard.manifest]
    return any(video not in {row["video"] for row in read_table(path, ())} for path in tables)


def _write_manifest(
    shard: ShardFiles, members: Iterable[str], present: Mapping[str, Video]
) -> None:
    """Describe the videos of a shard; one that is out of the cohort keeps the row it had."""
    kept: dict[str, dict[str, str]] = {}
    if shard.manifest.exists():
        kept = {row["video"]: row for row in read_table(shard.manifest, MANIFEST_COLUMNS)}
    rows = [
        _describe_video(present[name]) if name in present else kept[name]
        for name in members
        if name in present or name in kept
    ]
    write_table(shard.manifest, MANIFEST_COLUMNS, rows)


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


def _describe_video(video: Video) -> dict[str, object]:
    size, modified = measure_file(video.path)
    return {
        "video": video.video,
        "path": video.path,
        "bytes": size,
        "modified_ns": modified,
    }


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Let one process plan at a time, on one machine and on file systems that support it."""
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
