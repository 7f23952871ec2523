"""plan: which video is in which shard, decided once and only ever appended to.

A shard is a group of videos that one job of each stage works on. A new video opens a new
shard and a removed one leaves a tombstone, so that growing a cohort never touches the shards
that are done. Planning is idempotent and done by the main process; jobs read what it wrote.
"""

import fcntl
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline_lib.core.cohort import Video
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings import InferenceSettings
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
    except PermissionError as error:
        raise StoreError(
            f"results: no permission to write {error.filename}; set `results` in the config to "
            "a folder you may write, or ask its owner"
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


def _plan(
    videos: tuple[Video, ...], results: Results, settings: InferenceSettings
) -> tuple[str, ...]:
    known: dict[str, str] = {}
    if results.plan.exists():
        known = {row["video"]: row["shard"] for row in read_table(results.plan, PLAN_COLUMNS)}
    new = [video for video in videos if video.video not in known]
    last = max((int(shard) for shard in known.values()), default=0)
    for number, group in enumerate(_group(new, settings), start=last + 1):
        known |= {video.video: f"{number:05d}" for video in group}
    present = {video.video: video for video in videos}
    # The manifests first: a plan never names a shard whose manifest is missing.
    members: dict[str, list[Video]] = {}
    for name, shard in known.items():
        if name in present:
            members.setdefault(shard, []).append(present[name])
    for shard, group in members.items():
        rows = [_describe_video(video) for video in group]
        write_table(results.shard(shard).manifest, MANIFEST_COLUMNS, rows)
    write_table(
        results.plan,
        PLAN_COLUMNS,
        [
            {"video": name, "shard": shard, "state": ACTIVE if name in present else REMOVED}
            for name, shard in known.items()
        ],
    )
    if new:
        logger.info("%d new videos in the plan, %d shards in all", len(new), len(members))
    return tuple(sorted(members))


def _group(videos: Iterable[Video], settings: InferenceSettings) -> Iterator[list[Video]]:
    """Cut videos, in the sheet's order, into groups within the limits of a shard."""
    group: list[Video] = []
    size = 0.0
    limit = settings.shard_gigabytes * _BYTES_PER_GIGABYTE
    for video in videos:
        bytes_ = _measure_file(video.path)[0]
        if group and (len(group) >= settings.shard_videos or size + bytes_ > limit):
            yield group
            group, size = [], 0.0
        group.append(video)
        size += bytes_
    if group:
        yield group


def _describe_video(video: Video) -> dict[str, object]:
    size, modified = _measure_file(video.path)
    return {
        "video": video.video,
        "path": video.path,
        "bytes": size,
        "modified_ns": modified,
    }


def _measure_file(path: Path) -> tuple[int, int]:
    """Return size in bytes and time of change; zeros for a missing file, which probe reports."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Let one process plan at a time, on one machine and on file systems that support it."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
