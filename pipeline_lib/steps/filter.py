"""The verb `filter`: clean the trajectories of every video of a shard."""

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline_lib.core import versions
from pipeline_lib.core.config import hash_settings
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings import Config, FilteringSettings
from pipeline_lib.core.tables import STAGE_COLUMNS, VideoStatus
from pipeline_lib.io.pose_writing import create_poses
from pipeline_lib.io.poses import read_pose_key, read_poses, read_times, require_pose_key
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.kernels.filters import filter_poses, measure_reach
from pipeline_lib.steps.contents import Published, record_contents
from pipeline_lib.steps.plan import keep_planned

_log = logging.getLogger(__name__)

# Frames cleaned at a time, so that memory stays flat however long the video is.
_BLOCK_FRAMES = 2**16


def run_filter(config: Config, results: Results, shard: str) -> None:
    """Clean the poses of each video of a shard whose inference is done.

    A video that fails is recorded with its reason and the others go on; one that ended badly
    before keeps its status and reason. Poses that were already cleaned in the same way, told
    by their key, are left alone.

    Parameters
    ----------
    config
        Settings of the run: `filtering`, and the model's name.
    results
        The results folder.
    shard
        Name of the shard.

    Raises
    ------
    StoreError
        If the shard's table of inference is missing.
    """
    model = config.training.name
    rows = read_table(results.shard(shard).infer(model), STAGE_COLUMNS)
    rows = keep_planned(rows, results, shard)
    ended = [_filter_row(config, results, row) for row in rows]
    # Before the table: a job killed in between is repeated.
    _record_poses(results, shard, model, ended)
    write_table(results.shard(shard).filter(model), STAGE_COLUMNS, ended)
    done = sum(row["status"] == VideoStatus.DONE for row in ended)
    _log.info("filter %s: %d of %d videos done", shard, done, len(ended))


def filter_file(source: Path, target: Path, settings: FilteringSettings) -> str:
    """Clean one pose file unless that has been done.

    Confidence and frame status stay as they are: a frame that could not be decoded is a gap
    like others, and its status says so when the gap was interpolated.

    Parameters
    ----------
    source
        The poses as the network gave them.
    target
        Receives the cleaned poses, with the settings among their attributes.
    settings
        How to clean.

    Returns
    -------
    str
        Key of the cleaned poses.

    Raises
    ------
    StoreError
        If the source is missing, damaged or has no key.
    """
    source_key = require_pose_key(source)
    key = hash_settings(source_key, settings, versions.FILTER)
    if read_pose_key(target) == key:
        return key
    times = read_times(source)
    head = read_poses(source, 0, 0)
    attributes = _extend_attributes(head.attributes, settings, source_key=source_key, key=key)
    reach = measure_reach(settings.max_gap, settings.window)
    with create_poses(target, times, head.bodyparts, head.individuals, attributes) as writer:
        for start in range(0, len(times), _BLOCK_FRAMES):
            first = max(0, start - reach)
            around = read_poses(source, first, start + _BLOCK_FRAMES + reach)
            cleaned = filter_poses(
                around.position, around.confidence, **settings.model_dump(mode="python")
            )
            block = slice(start - first, start - first + _BLOCK_FRAMES)
            writer.write(
                start, cleaned[block], around.confidence[block], around.frame_status[block]
            )
    return key


def _filter_row(config: Config, results: Results, row: Mapping[str, str]) -> dict[str, Any]:
    video, model = row["video"], config.training.name
    if row["status"] != VideoStatus.DONE:
        return {"video": video, "status": row["status"], "reason": row["reason"]}
    began = time.perf_counter()
    try:
        key = filter_file(
            results.poses(model, video), results.filtered(model, video), config.filtering
        )
    # Other errors (memory, disk, a bug) fail the job, which may succeed elsewhere.
    except CohortposeError as error:
        _log.warning("filter %s: %s", video, error)
        return {"video": video, "status": VideoStatus.FAILED, "reason": str(error)}
    seconds = time.perf_counter() - began
    return {"video": video, "status": VideoStatus.DONE, "seconds": seconds, "key": key}


def _record_poses(
    results: Results, shard: str, model: str, ended: Iterable[Mapping[str, Any]]
) -> None:
    """Record the hashes of the poses that filtering read and wrote."""
    published = []
    for row in ended:
        if row["status"] == VideoStatus.DONE:
            source = results.poses(model, row["video"])
            target = results.filtered(model, row["video"])
            published += [
                Published("poses", source, row["video"], require_pose_key(source)),
                Published("filtered", target, row["video"], row["key"]),
            ]
    record_contents(results.shard(shard).contents("filter", model), results.root, published)


def _extend_attributes(
    attributes: Mapping[str, Any], settings: FilteringSettings, *, source_key: str, key: str
) -> dict[str, Any]:
    return {
        **attributes,
        "key": key,
        "source_key": source_key,
        "filtering": settings.model_dump(mode="json"),
        "versions": {**attributes.get("versions", {}), "filter": versions.FILTER},
    }
