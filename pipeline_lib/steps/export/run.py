"""The verb `export`: write the poses of every video of a shard for other tools."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import STAGE_COLUMNS, VideoStatus
from pipeline_lib.io.exports.registry import write_export
from pipeline_lib.io.poses.read import require_pose_key
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.export.sources import ExportSources
from pipeline_lib.steps.outcomes import end_videos
from pipeline_lib.steps.plan import keep_planned
from pipeline_lib.steps.provenance.checksums import Published, record_contents

_log = logging.getLogger(__name__)

# The files of a video as `format:bytes`, separated by blanks.
EXPORT_COLUMNS = (*STAGE_COLUMNS, "files", "source_key")
_RECORD_COLUMNS = ("video", "key", "files")


def run_export(config: Config, results: Results, shard: str) -> None:
    """Export the poses of each video of a shard whose poses are there.

    The poses are those of `exports.source`: as filtering left them, or as they were before it, as
    tracking left them where there may be several individuals, else as inference did. A video
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
    record_contents(files.contents("export", model), results.root, published)
    write_table(files.export(model), EXPORT_COLUMNS, ended)


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


def _export_video(
    sources: ExportSources, video: str, paths: Mapping[str, Path], record: _ExportRecord
) -> dict[str, str]:
    """Write the files of one video unless they are there; return their key and what they are."""
    source_key = require_pose_key(sources.locate(video))
    key = sources.make_key(video, source_key)
    there = _describe_files(paths)
    if record.holds(video, key, there):
        return {"key": key, "files": there, "source_key": source_key}
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
    sizes = [(name, path.stat().st_size) for name, path in paths.items() if path.is_file()]
    return " ".join(f"{name}:{size}" for name, size in sizes)
