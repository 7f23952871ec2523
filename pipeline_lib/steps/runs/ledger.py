"""Derive the ledger: the status of every video of the sheet from the tables of its stages."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.errors import CohortposeError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES, list_video_stages
from pipeline_lib.core.tables import (
    LEDGER_COLUMNS,
    QUALITY_COLUMNS,
    QUALITY_LEDGER_COLUMNS,
    SURPLUS_FRAMES,
    VideoStatus,
)
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.runs.freshness import Freshness
from pipeline_lib.steps.runs.plan import read_plan
from pipeline_lib.steps.runs.shard_tables import list_columns, read_shard_table

logger = logging.getLogger(__name__)

BAD_STATUSES = (VideoStatus.FAILED, VideoStatus.QUARANTINED)

LedgerRow = dict[str, Any]


@dataclass(frozen=True)
class LedgerSummary:
    """Sum up the ledger of a cohort.

    Attributes
    ----------
    path
        Place of the ledger.
    counts
        Videos per status, every status present, zero where there are none.
    """

    path: Path
    counts: Mapping[VideoStatus, int]

    @property
    def videos(self) -> int:
        """Return the number of videos of the sheet."""
        return sum(self.counts.values())

    @property
    def failed_fraction(self) -> float:
        """Return the share of the videos that failed or are quarantined, 0..1."""
        return sum(self.counts[status] for status in BAD_STATUSES) / self.videos


def derive_ledger(config: Config, results: Results) -> list[LedgerRow]:
    """Derive the status of every video of the sheet from the plan and the stage tables.

    A video goes through the wanted stages in order and stops at the first one that has no
    record of it or whose result is not what the present settings and files give (`pending`), or
    where it ended badly (`failed`, `quarantined`); it is `done` once the last wanted stage is.
    Files that are not there yet are work to do, not errors.

    Parameters
    ----------
    config
        Settings of the run; they say where the sheet is and which stages are wanted.
    results
        The results folder.

    Returns
    -------
    list of dict
        One row per video in the sheet's order, with the keys of `ledger_columns`; those of
        `QUALITY_LEDGER_COLUMNS` only where videos are judged: text,
        `VideoStatus` for ``status``; int for ``frames``, ``undecodable``, ``still``,
        ``surplus_frames`` (that show more animals than `individuals.max`), ``width`` and
        ``height``; float for ``fps`` and ``seconds``; None where unknown.

    Raises
    ------
    SheetError
        If the cohort sheet cannot be read.
    StoreError
        If the plan lacks a column.
    """
    videos = read_cohort(Path(config.cohort))
    shards = read_plan(results).shard_of if results.plan.exists() else {}
    wanted = wanted_stages(config)
    records = {shard: _read_shard(config, results, shard, wanted) for shard in set(shards.values())}
    judged = _read_decisions(results) if STAGES["judge"].wanted(config) else None
    names = _metadata_names(videos, judged=judged is not None)
    freshness = Freshness(config, results)
    rows = []
    for video in videos:
        shard = shards.get(video.video, "")
        tables = records.get(shard, {})
        own = {stage: table[video.video] for stage, table in tables.items() if video.video in table}
        explain = partial(freshness.explain, video, shard, records=own)
        derived = _derive_row(video, own, wanted, explain)
        if judged is not None:
            derived |= judged.get(video.video, dict.fromkeys(QUALITY_LEDGER_COLUMNS, ""))
        rows.append(derived | _metadata_cells(video, names))
    return rows


def write_ledger(config: Config, results: Results) -> LedgerSummary:
    """Publish the ledger, whatever it says."""
    rows = derive_ledger(config, results)
    write_table(results.ledger, ledger_columns(rows), rows)
    return LedgerSummary(path=results.ledger, counts=count_statuses(rows))


def check_ledger(config: Config, results: Results) -> LedgerSummary:
    """Judge the outcome of the cohort.

    Apart from `write_ledger`, because Snakemake removes what a failing job wrote.

    Raises
    ------
    CohortposeError
        If a larger share of the videos than ``inference.max_failed_fraction`` failed or is
        quarantined; which ones, and why, is for `status` to list.
    """
    rows = derive_ledger(config, results)
    summary = LedgerSummary(path=results.ledger, counts=count_statuses(rows))
    allowed = config.inference.max_failed_fraction
    if summary.failed_fraction > allowed:
        raise CohortposeError(_describe_failure(summary, allowed))
    return summary


def wanted_stages(config: Config) -> tuple[str, ...]:
    """Return the names of the stages that a video must pass, in order."""
    return tuple(stage.name for stage in list_video_stages(config))


def ledger_columns(rows: Sequence[LedgerRow]) -> tuple[str, ...]:
    """Return the fixed columns followed by those of the user's metadata."""
    return tuple(rows[0]) if rows else LEDGER_COLUMNS


def metadata_columns(rows: Sequence[LedgerRow]) -> tuple[str, ...]:
    """Return the columns that come from the user's sheet."""
    own = {*LEDGER_COLUMNS, *QUALITY_LEDGER_COLUMNS}
    return tuple(name for name in ledger_columns(rows) if name not in own)


def count_statuses(rows: Iterable[LedgerRow]) -> dict[VideoStatus, int]:
    """Return the number of videos per status, zeros included."""
    counts = Counter(row["status"] for row in rows)
    return {status: counts[status] for status in VideoStatus}


def _read_shard(
    config: Config, results: Results, shard: str, wanted: Iterable[str]
) -> dict[str, dict[str, dict[str, str]]]:
    """Return the record of each video in each stage that has run: stage, video, cells.

    A damaged table counts as missing.
    """
    paths = {stage: STAGES[stage].find_table(config, results, shard) for stage in wanted}
    tables = {
        stage: read_shard_table(path, list_columns(STAGES[stage])) for stage, path in paths.items()
    }
    return {
        stage: {row["video"]: row for row in rows}
        for stage, rows in tables.items()
        if rows is not None
    }


def _derive_row(
    video: Video,
    records: Mapping[str, Mapping[str, str]],
    wanted: Sequence[str],
    explain: Callable[[str], str],
) -> LedgerRow:
    status, reached, reason, seconds = VideoStatus.PENDING, "", "", None
    # A failure remains until the video is tried again.
    bad = any(records[stage]["status"] in BAD_STATUSES for stage in wanted if stage in records)
    for stage in wanted:
        record = records.get(stage)
        if record is None or record["status"] == VideoStatus.PENDING:
            status, reason = VideoStatus.PENDING, f"waiting for {stage}"
            break
        if why := "" if bad else explain(stage):
            status, reason = VideoStatus.PENDING, f"waiting for {stage}: {why}"
            break
        reached, status, reason = stage, VideoStatus(record["status"]), record["reason"]
        if record["seconds"]:
            seconds = (seconds or 0.0) + float(record["seconds"])
        if status in BAD_STATUSES:
            reason = reason or "no reason recorded"
            break
    facts, inferred = records.get("probe", {}), records.get("infer", {})
    if status == VideoStatus.DONE:
        # Frames that the file lacks are reported up to the end.
        reason = reason or facts.get("reason", "")
    return {
        "video": video.video,
        "status": status,
        "stage": reached,
        "reason": reason,
        "frames": _to_int(facts.get("frames")),
        "undecodable": _to_int(inferred.get("undecodable")),
        SURPLUS_FRAMES: _to_int(records.get("track", {}).get(SURPLUS_FRAMES)),
        "still": _to_int(inferred.get("still")),
        "fps": float(facts["fps"]) if facts.get("fps") else None,
        "width": _to_int(facts.get("width")),
        "height": _to_int(facts.get("height")),
        "seconds": seconds,
        "key": inferred.get("key", ""),
    }


def _to_int(cell: str | None) -> int | None:
    return int(float(cell)) if cell else None


def _read_decisions(results: Results) -> dict[str, LedgerRow]:
    """Return the decision in force about each video: its first row in the table of decisions."""
    found: dict[str, LedgerRow] = {}
    for row in _read_findings(results):
        cells = (row["decision"], row["decided_by"], row["reason"])
        found.setdefault(row["video"], dict(zip(QUALITY_LEDGER_COLUMNS, cells, strict=True)))
    return found


def _metadata_names(videos: Sequence[Video], *, judged: bool) -> dict[str, str]:
    """Return the sheet's column by ledger column; a name that clashes with ours is prefixed."""
    names = [name for name in ("session", "camera") if any(getattr(v, name) for v in videos)]
    names += [name for name in videos[0].metadata if name.strip()]
    own = {*LEDGER_COLUMNS, *(QUALITY_LEDGER_COLUMNS if judged else ())}
    return {f"sheet_{name}" if name in own else name: name for name in names}


def _metadata_cells(video: Video, names: Mapping[str, str]) -> LedgerRow:
    given = {"session": video.session, "camera": video.camera, **video.metadata}
    return {column: given[name] for column, name in names.items()}


def _describe_failure(summary: LedgerSummary, allowed: float) -> str:
    counts = ", ".join(f"{summary.counts[status]} {status}" for status in BAD_STATUSES)
    bad = sum(summary.counts[status] for status in BAD_STATUSES)
    return (
        f"{bad} of {summary.videos} videos ended badly ({counts}): a share of "
        f"{summary.failed_fraction:.3g}, and inference.max_failed_fraction allows {allowed:.3g}"
    )


def _read_findings(results: Results) -> list[dict[str, str]]:
    """Return the rows of ``qc.tsv``: of each video the decision in force first.

    Empty if there is no such table, or it is damaged, which is logged.
    """
    if not results.quality.exists():
        return []
    try:
        return read_table(results.quality, QUALITY_COLUMNS)
    except StoreError as error:
        logger.warning("%s", error)
        return []
