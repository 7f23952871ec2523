"""The verb `export`: write the poses of every video of a shard for other tools."""

import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline_lib.core import versions
from pipeline_lib.core.config import hash_settings
from pipeline_lib.core.errors import CohortposeError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings import Config
from pipeline_lib.core.tables import STAGE_COLUMNS, VideoStatus
from pipeline_lib.io.exports_deeplabcut import write_deeplabcut_predictions
from pipeline_lib.io.poses import read_poses, read_times, require_pose_key
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.contents import Published, record_contents
from pipeline_lib.steps.plan import keep_planned

_log = logging.getLogger(__name__)

# The files of a video as `suffix:bytes`, separated by blanks.
EXPORT_COLUMNS = (*STAGE_COLUMNS, "files")
_RECORD_COLUMNS = ("video", "key", "files")

# Frames tabulated at a time, so that memory stays flat however long the video is.
_BLOCK_FRAMES = 2**16


def run_export(config: Config, results: Results, shard: str) -> None:
    """Export the poses of each video of a shard whose poses are there.

    The poses are those of `exports.source`: as filtering or as inference left them. A video
    that fails is recorded with its reason and the others go on; one that ended badly before
    keeps its status and reason. Files are left alone when the shard's record of exports says
    that they hold these poses in this form, and they still have the size that it says.

    Parameters
    ----------
    config
        Settings of the run: `exports`, and the model's name.
    results
        The results folder.
    shard
        Name of the shard.

    Raises
    ------
    StoreError
        If the table of the stage before is missing.
    """
    model, files = config.training.name, results.shard(shard)
    filtered = config.exports.source == "filtered"
    rows = read_table(files.filter(model) if filtered else files.infer(model), STAGE_COLUMNS)
    rows = keep_planned(rows, results, shard)
    record = _ExportRecord(files.export_record(model))
    ended = [_export_row(config, results, row, record) for row in rows]
    published = [
        Published(suffix, results.exported(model, row["video"], suffix), row["video"], row["key"])
        for row in ended
        if row["status"] == VideoStatus.DONE
        for suffix in config.exports.formats
    ]
    record_contents(files.contents("export", model), results.root, published)
    write_table(files.export(model), EXPORT_COLUMNS, ended)
    done = sum(row["status"] == VideoStatus.DONE for row in ended)
    _log.info("export %s: %d of %d videos done", shard, done, len(ended))


class _ExportRecord:
    """Which files of a shard hold which poses.

    The shard's table of exports says so too, but Snakemake removes it before a job.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._rows = {row["video"]: row for row in read_table(path, _RECORD_COLUMNS)}
        except StoreError:
            self._rows = {}

    def holds(self, video: str, key: str, files: str) -> bool:
        """Tell whether the files, as they are now, are those exported under the key."""
        return self._rows.get(video) == {"video": video, "key": key, "files": files}

    def forget(self, video: str) -> None:
        """Trust the files of a video no more: they are about to be written."""
        if self._rows.pop(video, None) is not None:
            self._write()

    def add(self, video: str, key: str, files: str) -> None:
        """Trust the files of a video, which have been written."""
        self._rows[video] = {"video": video, "key": key, "files": files}
        self._write()

    def _write(self) -> None:
        write_table(self._path, _RECORD_COLUMNS, self._rows.values())


def _export_row(
    config: Config, results: Results, row: Mapping[str, str], record: _ExportRecord
) -> dict[str, Any]:
    video = row["video"]
    if row["status"] != VideoStatus.DONE:
        return {"video": video, "status": row["status"], "reason": row["reason"]}
    began = time.perf_counter()
    try:
        key, files = _export_video(config, results, video, record)
    # Other errors (memory, disk, a bug) fail the job, which may succeed elsewhere.
    except CohortposeError as error:
        _log.warning("export %s: %s", video, error)
        return {"video": video, "status": VideoStatus.FAILED, "reason": str(error)}
    seconds = time.perf_counter() - began
    done = {"video": video, "status": VideoStatus.DONE, "seconds": seconds}
    return {**done, "key": key, "files": files}


def _export_video(
    config: Config, results: Results, video: str, record: _ExportRecord
) -> tuple[str, str]:
    """Write the files of one video unless they are there; return their key and record."""
    settings, model = config.exports, config.training.name
    locate = results.filtered if settings.source == "filtered" else results.poses
    source = locate(model, video)
    key = hash_settings(require_pose_key(source), settings, versions.EXPORT)
    paths = [results.exported(model, video, suffix) for suffix in settings.formats]
    there = _describe_files(paths)
    if record.holds(video, key, there):
        return key, there
    record.forget(video)
    for path in paths:
        write_deeplabcut_predictions(path, _read_blocks(source), settings.scorer)
    written = _describe_files(paths)
    record.add(video, key, written)
    return key, written


def _read_blocks(source: Path) -> Iterator[Poses]:
    frames = len(read_times(source))
    # A video without a frame is still a table: one empty block.
    for start in range(0, max(1, frames), _BLOCK_FRAMES):
        yield read_poses(source, start, start + _BLOCK_FRAMES)


def _describe_files(paths: list[Path]) -> str:
    sizes = [(path.suffix[1:], path.stat().st_size) for path in paths if path.is_file()]
    return " ".join(f"{suffix}:{size}" for suffix, size in sizes)
