"""Run the verb `kinematics`: measure the movement in every video of a shard."""

import logging
from collections.abc import Mapping
from pathlib import Path

from pipeline_lib.core.formats.kinematics import Column, TableName
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import DICTIONARY_COLUMNS, STAGE_COLUMNS, VideoStatus
from pipeline_lib.io.poses.read import require_pose_key
from pipeline_lib.io.stage_tables import format_table, read_table, write_table
from pipeline_lib.io.tidy_tables import read_table_key, write_tidy_table
from pipeline_lib.steps.kinematics.measure import measure_movement
from pipeline_lib.steps.kinematics.sources import KinematicsSources
from pipeline_lib.steps.kinematics.tables import VideoTables
from pipeline_lib.steps.provenance.checksums import Published, record_checksums
from pipeline_lib.steps.runs.outcomes import end_videos
from pipeline_lib.steps.runs.plan import keep_planned

_log = logging.getLogger(__name__)

KINEMATICS_COLUMNS = (*STAGE_COLUMNS, "source_key")


def run_kinematics(config: Config, results: Results, shard: str) -> None:
    """Write the tables of each video of a shard whose poses have been filtered.

    A video that fails is recorded with its reason, and the others are processed; one that failed
    in an earlier stage keeps its status and reason. Tables whose key is unchanged stay.

    Parameters
    ----------
    config
        Settings of the run: `kinematics`, and the model's name.
    results
        The results folder.
    shard
        Name of the shard.

    Raises
    ------
    ConfigError
        If a region is none, or two columns would have one name.
    StoreError
        If the table of `filter` is missing.
    """
    stage, before = STAGES["kinematics"], STAGES["filter"]
    sources = KinematicsSources(config, results, shard)
    rows = read_table(before.find_table(config, results, shard), STAGE_COLUMNS)
    rows = keep_planned(rows, results, shard)
    # A config that cannot be used is one error, not one for each video.
    columns = sources.tables

    def locate(video: str) -> dict[TableName, Path]:
        model = config.training.name
        return {name: results.kinematics(model, name, video) for name in columns}

    def work(video: str) -> Mapping[str, str]:
        poses = before.find_poses(config, results, video)
        return _write_tables(sources, video, poses, locate(video))

    ended = end_videos(f"kinematics {shard}", rows, work)
    dictionary = results.kinematics_dictionary(config.training.name)
    _write_dictionary(dictionary, columns)
    published = [
        Published(f"kinematics {name}", path, row["video"], row["key"])
        for row in ended
        if row["status"] == VideoStatus.DONE
        for name, path in locate(row["video"]).items()
    ]
    record = results.shard(shard).checksums("kinematics", config.training.name)
    record_checksums(record, results.root, [*published, Published("dictionary", dictionary)])
    write_table(stage.find_table(config, results, shard), KINEMATICS_COLUMNS, ended)


def _write_tables(
    sources: KinematicsSources, video: str, poses: Path, paths: Mapping[TableName, Path]
) -> dict[str, str]:
    """Write the tables of a video unless they are those of its key; return their keys."""
    source_key = require_pose_key(poses)
    key = sources.make_key(video, source_key)
    made = {"key": key, "source_key": source_key}
    if all(read_table_key(path) == key for path in paths.values()):
        return made
    facts, settings = sources.describe(video), sources.settings
    scale = facts.scale if settings.unit == "mm" and facts.scale else 1.0
    movement = measure_movement(poses, settings, scale)
    tables = VideoTables(
        movement, settings, facts, [name for (name,) in sources.subjects["regions"]]
    )
    for name, path in paths.items():
        columns = sources.tables[name]
        # Those of the sheet stand last, in the sheet's order.
        joined = columns[len(columns) - len(facts.cells) :]
        cells = {one.name: cell for one, cell in zip(joined, facts.cells.values(), strict=True)}
        parts = (({**values, **cells}, rows) for values, rows in tables.make(name))
        write_tidy_table(path, columns, parts, key)
    return made


def _write_dictionary(path: Path, tables: Mapping[TableName, tuple[Column, ...]]) -> None:
    """Write the data dictionary, unless it is there as it is to be."""
    rows = [
        {
            "table": name,
            "column": one.name,
            "type": one.type,
            "unit": one.unit,
            "about": one.about,
            "empty": one.empty,
        }
        for name, columns in tables.items()
        for one in columns
    ]
    text = format_table(DICTIONARY_COLUMNS, rows)
    if not path.is_file() or path.read_bytes() != text.encode():
        write_table(path, DICTIONARY_COLUMNS, rows)
