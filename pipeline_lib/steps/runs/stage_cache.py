"""Cache the outcome of a stage of a shard, so that it need not be computed again."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.io.poses.read import read_pose_key
from pipeline_lib.io.stage_cache import Basis, measure_basis, write_outcome
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.runs.result_keys import probing_key
from pipeline_lib.steps.runs.stage_keys import (
    find_claimed_decisions,
    find_claimed_sessions,
    find_stage_key,
)

# Steps are imported where their stage is described: the probe does without most of them.

_log = logging.getLogger(__name__)

Row = dict[str, str]


@dataclass(frozen=True)
class _Stage:
    """Describe a stage of one shard.

    Attributes
    ----------
    before, table
        The table that it reads, and the one that it publishes.
    read
        Other files that it reads.
    kept
        Of a row that is done: files that it found or made.
    key
        Of a row that is done: the key that these files have now.
    records
        Other files that it writes, which must still be there.
    """

    before: Path
    table: Path
    read: tuple[Path, ...]
    kept: Callable[[Row], list[Path]]
    key: Callable[[Row], str | None]
    records: tuple[Path, ...] = ()


def store_outcome(verb: str, path: Path, config: Config, results: Results, shard: str) -> None:
    """Cache the outcome of a verb on a shard, for `pipeline_lib.io.stage_cache.restore_outcome`.

    Nothing is cached if a video ended badly there: it is tried again. Nor is anything with
    settings other than those that a run wrote into its results, since only there
    `restore_outcome` finds the cache without reading them.

    Parameters
    ----------
    verb
        Name of the verb; one without a cache is left alone.
    path
        File from which the settings were read.
    config, results, shard
        The run.
    """
    if path.parent != results.settings:
        return
    try:
        stage = _describe(verb, config, results, shard)
        if stage is None:
            return
        rows = read_table(stage.table, ("video", "status"))
        if not _would_end_so_again(stage, rows):
            return
        done = [row for row in rows if row["status"] == VideoStatus.DONE]
        kept = (*(file for row in done for file in stage.kept(row)), *stage.records)
        # Its name is the hash of the stage's settings and version.
        keys = tuple(key for key in [find_stage_key(config, results, verb)] if key.exists())
        read = (path, *keys, stage.before, *stage.read)
        basis = measure_basis(results, shard, Basis(read, kept))
        # After measuring: a file that is replaced meanwhile no longer has its measures.
        if all(stage.key(row) == row["key"] for row in done):
            write_outcome(results, verb, shard, basis, stage.table)
    except (OSError, CohortposeError) as error:
        # The work itself has ended; only the next time takes longer.
        _log.warning("%s %s: its outcome is not cached: %s", verb, shard, error)


def _would_end_so_again(stage: _Stage, rows: list[Row]) -> bool:
    """Tell whether every video is done, or had ended badly before this stage."""
    before = {row["video"]: row for row in read_table(stage.before, ("video",))}
    return all(
        row["status"] in (VideoStatus.DONE, before.get(row["video"], {}).get("status"))
        for row in rows
    )


def _describe_probe(config: Config, results: Results, shard: str) -> _Stage:
    del config
    files = results.shard(shard)
    return _Stage(
        before=files.manifest,
        table=files.probe,
        read=(),
        kept=lambda row: [
            *([Path(row["poses"])] if row.get("poses") else []),
            *([Path(row["path"])] if row["fingerprint"] else []),
        ],
        key=lambda row: probing_key(row["fingerprint"], row.get("poses_fingerprint") or ""),
        records=(files.probe_record,),
    )


def _describe_infer(config: Config, results: Results, shard: str) -> _Stage:
    files, model = results.shard(shard), config.training.name
    # The first of a bundle changes with the others.
    members = results.model(model).list_members(config.training.ensemble)
    networks = (*members, results.model(model).locator)
    return _Stage(
        before=files.probe,
        table=files.infer(model),
        read=(files.manifest, *(each.card for each in networks if each.card.exists())),
        kept=lambda row: [results.poses(model, row["video"])],
        key=lambda row: read_pose_key(results.poses(model, row["video"])),
    )


def _describe_chained(name: str, config: Config, results: Results, shard: str) -> _Stage | None:
    """Describe a stage whose keys derive from those of the stage before; None for another."""
    stage = STAGES[name]
    if stage.videos is None or stage.videos.key is None:
        return None
    source, make_key = STAGES[stage.videos.source(config)], stage.videos.key

    def find_key(row: Row) -> str:
        path = source.find_poses(config, results, row["video"])
        return make_key(config.for_video(row["video"]), read_pose_key(path) or "")

    return _Stage(
        before=source.find_table(config, results, shard),
        table=stage.find_table(config, results, shard),
        read=(),
        kept=lambda row: [
            source.find_poses(config, results, row["video"]),
            *stage.list_results(config, results, row["video"]),
        ],
        key=find_key,
        records=(results.shard(shard).checksums(name, config.training.name),),
    )


def _describe_correct(config: Config, results: Results, shard: str) -> _Stage:
    from pipeline_lib.steps.correct.decisions import VideoDecisions  # noqa: PLC0415

    files, model = results.shard(shard), config.training.name
    stage, decisions = STAGES["correct"], VideoDecisions(config)
    rows = read_table(files.track(model), ("video",))

    def list_kept(row: Row) -> list[Path]:
        own = stage.list_results(config, results, row["video"]) if stage.makes(row) else []
        return [results.tracked(model, row["video"]), *own]

    return _Stage(
        before=files.track(model),
        table=files.correct(model),
        read=(
            # Its name tells of tables that come or go.
            find_claimed_decisions(results, shard),
            *(table for row in rows for table in decisions.list_tables(row["video"])),
        ),
        kept=list_kept,
        key=lambda row: decisions.make_key(row["video"], results.tracked(model, row["video"])),
        records=(files.checksums("correct", model), files.decisions(model)),
    )


def _describe_export(config: Config, results: Results, shard: str) -> _Stage:
    from pipeline_lib.steps.export.sources import ExportSources  # noqa: PLC0415

    files, model = results.shard(shard), config.training.name
    sources, card = ExportSources(config, results, shard), results.model(model).card

    def list_kept(row: Row) -> list[Path]:
        video = row["video"]
        exported = (results.exported(model, video, name) for name in config.exports.formats)
        return [sources.locate(video), *exported]

    return _Stage(
        before=sources.stage_table,
        table=files.export(model),
        # Some formats contain frame sizes and the skeleton.
        read=tuple(path for path in (files.probe, card) if path.exists()),
        kept=list_kept,
        key=lambda row: sources.make_key(
            row["video"], read_pose_key(sources.locate(row["video"])) or ""
        ),
        records=(files.checksums("export", model), files.export_record(model)),
    )


def _describe_kinematics(config: Config, results: Results, shard: str) -> _Stage:
    from pipeline_lib.steps.kinematics.sources import KinematicsSources  # noqa: PLC0415

    files, model = results.shard(shard), config.training.name
    stage, before = STAGES["kinematics"], STAGES["filter"]
    sources, regions = KinematicsSources(config, results, shard), config.kinematics.regions_file

    def find_poses(row: Row) -> Path:
        return before.find_poses(config, results, row["video"])

    return _Stage(
        before=before.find_table(config, results, shard),
        table=stage.find_table(config, results, shard),
        # The key file's name tells of the sheet's cells.
        read=(
            files.probe,
            find_claimed_sessions(results, shard),
            *([Path(regions)] if regions is not None else []),
        ),
        kept=lambda row: [find_poses(row), *stage.list_results(config, results, row["video"])],
        key=lambda row: sources.make_key(row["video"], read_pose_key(find_poses(row)) or ""),
        records=(
            files.checksums("kinematics", model),
            results.kinematics_dictionary(model),
        ),
    )


_OTHERS: dict[str, Callable[[Config, Results, str], _Stage]] = {
    "probe": _describe_probe,
    "infer": _describe_infer,
    "correct": _describe_correct,
    "export": _describe_export,
    "kinematics": _describe_kinematics,
}


def _describe(verb: str, config: Config, results: Results, shard: str) -> _Stage | None:
    """Return the dependencies of a verb's outcome; None for a verb that is not cached."""
    if verb in _OTHERS:
        return _OTHERS[verb](config, results, shard)
    return _describe_chained(verb, config, results, shard) if verb in STAGES else None
