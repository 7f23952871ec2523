"""Remembering how a stage of a shard ended, so that it need not find out again."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.io.poses.read import read_pose_key
from pipeline_lib.io.stage_cache import Basis, measure_basis, write_end
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.result_keys import filtering_key, probing_key, tracking_key

# Steps are imported where their stage is described: the probe does without most of them.

_log = logging.getLogger(__name__)

Row = dict[str, str]


@dataclass(frozen=True)
class _Stage:
    """A stage of one shard.

    Attributes
    ----------
    before, table
        The table that it reads, and the one that it publishes.
    read
        What else it reads.
    kept
        Of a row that is done: files that it found or made.
    key
        Of a row that is done: the key that these files have now.
    records
        What it writes besides, which must still be there.
    """

    before: Path
    table: Path
    read: tuple[Path, ...]
    kept: Callable[[Row], list[Path]]
    key: Callable[[Row], str | None]
    records: tuple[Path, ...] = ()


def remember_end(verb: str, path: Path, config: Config, results: Results, shard: str) -> None:
    """Remember how a verb ended on a shard, for `pipeline_lib.io.stage_cache.recall_end`.

    Not if a video ended badly there: it is tried again. Not with settings other than those that
    a run wrote into its results either, since only there `recall_end` finds what is remembered
    without reading them.

    Parameters
    ----------
    verb
        One that is not remembered is left alone.
    path
        Where the settings were read.
    config, results, shard
        The run.
    """
    describe = _STAGES.get(verb)
    if describe is None or path.parent != results.settings:
        return
    try:
        stage = describe(config, results, shard)
        rows = read_table(stage.table, ("video", "status"))
        if not _would_end_so_again(stage, rows):
            return
        done = [row for row in rows if row["status"] == VideoStatus.DONE]
        kept = (*(file for row in done for file in stage.kept(row)), *stage.records)
        basis = measure_basis(results, shard, Basis((path, stage.before, *stage.read), kept))
        # Asked after measuring: whoever replaced a file since is found out by its measure.
        if all(stage.key(row) == row["key"] for row in done):
            write_end(results, verb, shard, basis, stage.table)
    except (OSError, CohortposeError) as error:
        # The work itself has ended; only the next time takes longer.
        _log.warning("%s %s: its end is not remembered: %s", verb, shard, error)


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
        kept=lambda row: [Path(row["path"])],
        key=lambda row: probing_key(row["fingerprint"]),
        records=(files.probe_record,),
    )


def _describe_infer(config: Config, results: Results, shard: str) -> _Stage:
    files, model = results.shard(shard), config.training.name
    networks = (results.model(model), results.model(model).locator)
    return _Stage(
        before=files.probe,
        table=files.infer(model),
        read=(files.manifest, *(each.card for each in networks if each.card.exists())),
        kept=lambda row: [results.poses(model, row["video"])],
        key=lambda row: read_pose_key(results.poses(model, row["video"])),
    )


def _describe_track(config: Config, results: Results, shard: str) -> _Stage:
    files, model = results.shard(shard), config.training.name

    def find_key(row: Row) -> str:
        source = read_pose_key(results.poses(model, row["video"]))
        return tracking_key(source or "", config.individuals, config.tracking)

    return _Stage(
        before=files.infer(model),
        table=files.track(model),
        read=(),
        kept=lambda row: [
            locate(model, row["video"]) for locate in (results.poses, results.tracked)
        ],
        key=find_key,
        records=(files.contents("track", model),),
    )


def _describe_filter(config: Config, results: Results, shard: str) -> _Stage:
    from pipeline_lib.steps.filter import locate_unfiltered  # noqa: PLC0415

    files, model = results.shard(shard), config.training.name
    locate = partial(locate_unfiltered, config, results)

    def find_key(row: Row) -> str:
        source = read_pose_key(locate(row["video"]))
        return filtering_key(source or "", config.filtering)

    return _Stage(
        before=files.track(model) if config.individuals.max > 1 else files.infer(model),
        table=files.filter(model),
        read=(),
        kept=lambda row: [locate(row["video"]), results.filtered(model, row["video"])],
        key=find_key,
        records=(files.contents("filter", model),),
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
        # Some formats tell sizes of frames and the skeleton.
        read=tuple(path for path in (files.probe, card) if path.exists()),
        kept=list_kept,
        key=lambda row: sources.make_key(
            row["video"], read_pose_key(sources.locate(row["video"])) or ""
        ),
        records=(files.contents("export", model), files.export_record(model)),
    )


_STAGES: dict[str, Callable[[Config, Results, str], _Stage]] = {
    "probe": _describe_probe,
    "infer": _describe_infer,
    "track": _describe_track,
    "filter": _describe_filter,
    "export": _describe_export,
}
