"""Run the verb `export`: write the poses of every video of a shard for other tools."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import STAGE_COLUMNS, VideoStatus
from pipeline_lib.io.checksums import measure_path
from pipeline_lib.io.exports.registry import write_export
from pipeline_lib.io.poses.read import require_pose_key
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.export.sources import ExportSources
from pipeline_lib.steps.provenance.checksums import Published, record_checksums
from pipeline_lib.steps.runs.outcomes import end_videos
from pipeline_lib.steps.runs.plan import keep_planned

_log = logging.getLogger(__name__)

# `files` lists the files of a video as `format:bytes`, separated by blanks.
EXPORT_COLUMNS = (*STAGE_COLUMNS, "files", "source_key")
_RECORD_COLUMNS = ("video", "key", "files")


def run_export(config: Config, results: Results, shard: str) -> None:
    """Export the poses of each video of a shard that has poses.

    The setting `exports.source` chooses the poses: filtered, or raw, which are those of tracking
    for several individuals and those of inference for one. A video that fails is recorded with
    its reason and does not stop the others; a video that failed in an earlier stage keeps its
    status and reason. Files are kept if the shard's export record lists them under the same key
    and their sizes have not changed.

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
        If the table of the previous stage is missing.
    """
    model, files = config.training.name, results.shard(shard)
    sources = ExportSources(config, results, shard)
    rows = keep_planned(read_table(sources.stage_table, STAGE_COLUMNS), results, shard)
    record = _ExportRecord(files.export_record(model))

    def locate(video: str) -> dict[str, Path]:
        return {name: results.exported(model, video, name) for name in config.exports.formats}

    ended = end_videos(
        f"export {shard}", rows, lambda video: _export_video(sources, video, locate(video), record)
    )
    for problem, videos in sources.problems.items():
        _log.warning("export %s: %s: %s", shard, _list_some(videos), problem)
    published = [
        Published(name, path, row["video"], row["key"])
        for row in ended
        if row["status"] == VideoStatus.DONE
        for name, path in locate(row["video"]).items()
    ]
    record_checksums(files.checksums("export", model), results.root, published)
    write_table(files.export(model), EXPORT_COLUMNS, ended)


class _ExportRecord:
    """Record which files of a shard were exported from which poses.

    The shard's table of exports has the same facts, but Snakemake removes it before a job.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._rows = {row["video"]: row for row in read_table(path, _RECORD_COLUMNS)}
        except StoreError:
            self._rows = {}

    def holds(self, video: str, key: str, files: str) -> bool:
        """Return whether the present files are those exported under the key."""
        return self._rows.get(video) == {"video": video, "key": key, "files": files}

    def forget(self, video: str) -> None:
        """Remove a video from the record, before its files are written."""
        if self._rows.pop(video, None) is not None:
            self._write()

    def add(self, video: str, key: str, files: str) -> None:
        """Add a video to the record, after its files were written."""
        self._rows[video] = {"video": video, "key": key, "files": files}
        self._write()

    def _write(self) -> None:
        write_table(self._path, _RECORD_COLUMNS, self._rows.values())


def _export_video(
    sources: ExportSources, video: str, paths: Mapping[str, Path], record: _ExportRecord
) -> dict[str, str]:
    """Write the files of one video unless they exist; return their key, sizes and source key."""
    source_key = require_pose_key(sources.locate(video))
    key = sources.make_key(video, source_key)
    present = _describe_files(paths)
    if record.holds(video, key, present):
        return {"key": key, "files": present, "source_key": source_key}
    record.forget(video)
    source = sources.describe(video)
    for name, path in paths.items():
        write_export(name, path, source)
    written = _describe_files(paths)
    record.add(video, key, written)
    return {"key": key, "files": written, "source_key": source_key}


def _list_some(videos: Sequence[str], most: int = 3) -> str:
    more = f" and {len(videos) - most} more" if len(videos) > most else ""
    return ", ".join(videos[:most]) + more


def _describe_files(paths: Mapping[str, Path]) -> str:
    sizes = [(name, measure_path(path).bytes) for name, path in paths.items() if path.exists()]
    return " ".join(f"{name}:{size}" for name, size in sizes)
