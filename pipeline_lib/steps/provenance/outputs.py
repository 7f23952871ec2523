"""Record the checksums of files of the whole cohort, and of the tables of each shard.

The verb that made a file records its checksum, so that nobody takes a file that was changed later
for the truth. A row also names what the file was made from: the settings of its stage and the
files and tables that the stage read. `verify` compares both.
"""

from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import (
    STAGES,
    CohortFile,
    Stage,
    list_cohort_files,
    list_session_stages,
    list_video_stages,
)
from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.io.checksums import hash_path
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.provenance.checksums import (
    Published,
    forget_checksums,
    read_checksums,
    record_checksums,
)
from pipeline_lib.steps.runs.plan import read_plan

# Made anew by each run.
_VERDICT = "verdict"
_SETTINGS = "settings"


def record_outputs(config: Config, results: Results, name: str) -> None:
    """Record the files of the whole cohort that a stage has just made.

    One that it makes only sometimes, and has not made now, is forgotten: it would be missed, and
    made again in vain by each run.

    Parameters
    ----------
    config, results
        The run.
    name
        Name of the stage; one that makes no such files is left alone.
    """
    stage = STAGES[name]
    listed = stage.files(config, results)
    files = [file for file in listed if file.path.exists()]
    if files:
        _record(results, files, key=identify_sources(config, results, stage))
    gone = [file.path for file in listed if file.optional and not file.path.exists()]
    forget_checksums(results.checksums, results.root, gone)


def record_tables(config: Config, results: Results, names: Iterable[str], shard: str) -> None:
    """Record the tables that stages have just written for a shard, and selected frames.

    Parameters
    ----------
    config, results, shard
        The run.
    names
        Names of the stages.
    """
    for stage in (STAGES[name] for name in names):
        table = stage.find_table(config, results, shard)
        if not table.exists():
            continue
        published = [Published("table", table)]
        if stage.videos and stage.videos.rule == "select_frames":
            published += [
                Published("frames", path, row["video"])
                for row in read_table(table, ("video", "status"))
                if row["status"] == VideoStatus.DONE
                for path in stage.list_results(config, results, row["video"])
            ]
        model = config.training.name if stage.per_model else ""
        record = results.shard(shard).table_checksums(stage.name, model)
        record_checksums(record, results.root, published)


def record_descriptions(results: Results, *kinds: str) -> None:
    """Record the files that describe a run, which this process has just written.

    Parameters
    ----------
    results
        The results folder.
    kinds
        Kinds of the files; all if none is named.
    """
    _record(
        results,
        [
            CohortFile(kind, path)
            for kind, path in results.list_descriptions()
            if path.exists() and (not kinds or kind in kinds)
        ],
    )


def complete_outputs(config: Config, results: Results) -> None:
    """Record the files of the whole cohort that older versions left unrecorded."""
    _record(
        results,
        [
            *list_unrecorded(config, results),
            *(
                file
                for _, file in list_cohort_files(config, results)
                if file.kind == _VERDICT and file.path.exists()
            ),
        ],
    )


def list_unrecorded(config: Config, results: Results) -> list[CohortFile]:
    """Return the existing files of the whole cohort that have no checksum."""
    recorded = read_checksums(results.checksums)
    return [
        file
        for _, file in list_cohort_files(config, results)
        if file.path.relative_to(results.root).as_posix() not in recorded and file.path.exists()
    ]


def knows_all(recorded: Mapping[str, Mapping[str, str]]) -> bool:
    """Tell whether checksums were recorded by a version that records every file of the cohort.

    Earlier ones left out targets, the files that describe a run, and some more: those are not
    missed until a run ends with this version.

    Parameters
    ----------
    recorded
        Rows by path, of `read_checksums`; without any, all is missed.
    """
    return not recorded or any(row["kind"] == _SETTINGS for row in recorded.values())


def identify_sources(config: Config, results: Results, stage: Stage) -> str:
    """Return the hash of the present source files of a stage.

    Parameters
    ----------
    config, results
        The run.
    stage
        One whose files are of the whole cohort.

    Returns
    -------
    str
        Hash of the settings of the stage, of the recorded checksums of the files that it reads
        and of the tables of all shards that it reads: those of every stage of videos for a
        stage that sums up the cohort.
    """
    recorded = read_checksums(results.checksums)
    before = [
        file.path
        for name in stage.after
        if STAGES[name].wanted(config)
        for file in STAGES[name].files(config, results)
        if file.declared
    ]
    checksums = [_find_checksum(results, recorded, path) for path in before]
    read = _list_summarised(config) if stage.summarises else _list_read(config, stage)
    if stage.summarises and STAGES["calibrate"].wanted(config):
        checksums.append(_find_checksum(results, recorded, results.calibrations))
    if read and results.plan.exists():
        for shard, one in product(read_plan(results).shards, read):
            if one.wanted(config):
                model = config.training.name if one.per_model else ""
                tables = read_checksums(results.shard(shard).table_checksums(one.name, model))
                table = one.find_table(config, results, shard)
                checksums.append(_find_checksum(results, tables, table))
    return hash_settings(stage.hash_settings(config), *checksums)


def _list_summarised(config: Config) -> tuple[Stage, ...]:
    return (*list_video_stages(config), *list_session_stages(config))


def _list_read(config: Config, stage: Stage) -> tuple[Stage, ...]:
    return tuple(STAGES[name] for name in stage.reads(config))


def _find_checksum(results: Results, recorded: Mapping[str, Mapping[str, str]], path: Path) -> str:
    """Return the recorded checksum of a file; the present one if none is recorded.

    A file that was lost or changed since counts as unchanged here: it is reported itself.
    """
    row = recorded.get(path.relative_to(results.root).as_posix())
    if row is not None:
        return row["sha256"]
    return hash_path(path) if path.exists() else ""


def _record(results: Results, files: Iterable[CohortFile], key: str = "") -> None:
    published = [Published(file.kind, file.path, key=key) for file in files]
    if published:
        record_checksums(results.checksums, results.root, published)
