"""Verify calibrations, and the results of sessions."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

from pipeline_lib.core.cameras.sessions import list_sessions
from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES, Stage, list_session_stages
from pipeline_lib.core.tables import CALIBRATION_COLUMNS, CalibrationStatus, SessionStatus
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.calibrate.cohort import identify_calibration
from pipeline_lib.steps.export.sessions import export_key
from pipeline_lib.steps.provenance.checksums import compare_checksums, read_checksums
from pipeline_lib.steps.render.sessions import session_rendering_key
from pipeline_lib.steps.runs.plan import Plan, read_plan
from pipeline_lib.steps.runs.sessions.shards import plan_sessions
from pipeline_lib.steps.runs.shard_tables import list_columns, read_shard_table
from pipeline_lib.steps.triangulate.corrected_views import correction_key
from pipeline_lib.steps.triangulate.sources import SourceFinder
from pipeline_lib.steps.verify.shard import Finding, Problem

Row = dict[str, str]

_LOST = "it was made, and is gone; run snakemake, which makes it again"
_CHANGED_SOURCE = "not as the last run read it; run snakemake"
_MADE_OTHERWISE = (
    "made with other settings, another calibration or other poses than the present ones"
)


def verify_calibrations(
    config: Config, results: Results, checked: Counter[str], *, quick: bool
) -> Iterator[Finding]:
    """Compare calibrations with their records, and with the files that they were made from.

    Parameters
    ----------
    config, results
        The run.
    checked
        Receives the number of checked calibrations.
    quick
        Compare size and modification time only; folders with images of boards are not read.
    """
    if not STAGES["calibrate"].wanted(config) or not results.calibrations.exists():
        return
    recorded = read_checksums(results.checksums)
    for row in read_table(results.calibrations, CALIBRATION_COLUMNS):
        if row["status"] != CalibrationStatus.DONE:
            continue
        checked["calibration"] += 1
        name = row["calibration"]
        for path in (results.calibration(name), results.calibration_quality(name)):
            yield from _compare(results, "calibration", path, recorded, quick=quick)
        yield from _verify_source(config, row, quick=quick)


def verify_sessions(
    config: Config, results: Results, checked: Counter[str], *, quick: bool
) -> Iterator[Finding]:
    """Compare the results of sessions with their records and their sources.

    Parameters
    ----------
    config, results, checked
        As for `verify_calibrations`.
    quick
        Compare size and modification time only.
    """
    stages = list_session_stages(config)
    if not stages:
        return
    plan = read_plan(results)
    sessions = plan_sessions(config, _list_planned(config, plan), plan)
    finder = SourceFinder(config, results)
    for shard in sessions.shards:
        keys = _expect_keys(config, finder, sessions.group(shard))
        for stage in stages:
            yield from _verify_stage(
                config, results, stage, (shard, keys[stage.name]), checked, quick=quick
            )
    yield from _find_strangers(config, results)


def _list_planned(config: Config, plan: Plan) -> list[Video]:
    """Return the videos of the sheet that have been planned."""
    known = plan.shard_of
    return [video for video in read_cohort(Path(config.cohort)) if video.video in known]


def _verify_source(config: Config, row: Row, *, quick: bool) -> Iterator[Finding]:
    source = Path(row["source"])
    if not source.exists():
        yield Finding("calibration", str(source), Problem.MISSING, "the last run read it")
        return
    if quick and source.is_dir():
        return
    try:
        key = identify_calibration(config.calibration, source)
    except (OSError, CohortposeError) as error:
        yield Finding("calibration", str(source), Problem.CHANGED, str(error))
        return
    if key != row["key"]:
        yield Finding("calibration", str(source), Problem.CHANGED, _CHANGED_SOURCE)


def _expect_keys(
    config: Config, finder: SourceFinder, sessions: Mapping[str, list[Row]]
) -> dict[str, dict[str, str]]:
    """Return the expected key of each session of a shard by stage; empty if it has no poses."""
    poses = {name: finder.find(name, rows).key for name, rows in sessions.items()}
    exports = {
        name: export_key(config, poses[name], finder.edges, rows[0]["described"])
        for name, rows in sessions.items()
    }
    corrected = {name: correction_key(config, key) for name, key in poses.items()}
    drawn = {name: session_rendering_key(config, key) for name, key in poses.items()}
    return {
        "triangulate": poses,
        "correct-views": corrected,
        "export-sessions": exports,
        "render-sessions": drawn,
    }


def _verify_stage(  # noqa: PLR0913 - where, what is expected, and how
    config: Config,
    results: Results,
    stage: Stage,
    expected: tuple[str, Mapping[str, str]],
    checked: Counter[str],
    *,
    quick: bool,
) -> Iterator[Finding]:
    """Compare the results of a stage of a shard, which comes with the expected keys."""
    shard, keys = expected
    table = stage.find_table(config, results, shard)
    rows = read_shard_table(table, list_columns(stage)) or []
    ended = {row["session"]: row for row in rows}
    recorded = read_checksums(results.shard(shard).checksums(stage.name, config.training.name))
    for session, key in keys.items():
        located = stage.sessions.locate(config, results, session) if stage.sessions else {}
        for kind, path in located.items():
            row, name = ended.get(session), path.relative_to(results.root).as_posix()
            if row is None:
                yield Finding(kind, name, Problem.MISSING, "not made yet; run snakemake")
            elif row["status"] == SessionStatus.DONE:
                checked[kind] += 1
                found = list(_compare(results, kind, path, recorded, quick=quick))
                yield from found
                if not found and row["key"] != key:
                    yield Finding(kind, name, Problem.UNEXPLAINED, _MADE_OTHERWISE)


def _compare(
    results: Results, kind: str, path: Path, recorded: dict[str, Row], *, quick: bool
) -> Iterator[Finding]:
    name = path.relative_to(results.root).as_posix()
    if not path.exists():
        yield Finding(kind, name, Problem.MISSING, _LOST)
        return
    if name not in recorded:
        detail = "no hash was recorded; delete it and run snakemake"
        yield Finding(kind, name, Problem.UNRECORDED, detail)
        return
    try:
        difference = compare_checksums(recorded[name], results.root, quick=quick)
    except OSError as error:
        difference = str(error)
    if difference:
        detail = f"{difference}; delete it and run snakemake, which makes it again"
        yield Finding(kind, name, Problem.CHANGED, detail)


def list_session_files(config: Config, results: Results) -> set[Path]:
    """Return the places of the results of all sessions, present or removed."""
    stages = list_session_stages(config)
    if not stages:
        return set()
    plan = read_plan(results)
    names = {one.name for one in list_sessions(config, _list_planned(config, plan))}
    known = {
        path
        for name in names
        for stage in stages
        for path in stage.list_session_results(config, results, name)
    }
    # Results of sessions that were removed are kept, as those of videos are.
    for shard, stage in product(plan.all_shards, stages):
        table = results.shard(shard).checksums(stage.name, config.training.name)
        known |= {results.root / name for name in read_checksums(table)}
    return known


def _find_strangers(config: Config, results: Results) -> Iterator[Finding]:
    """Find poses of sessions that nobody planned."""
    known, model = list_session_files(config, results), config.training.name
    patterns = {
        "triangulated": results.triangulated(model, "[!.]*"),
        "corrected views": results.corrected_views(model, "[!.]*"),
    }
    for kind, pattern in patterns.items():
        for path in sorted(set(pattern.parent.glob(pattern.name)) - known):
            name = path.relative_to(results.root).as_posix()
            detail = "no session of that name was planned"
            yield Finding(kind, name, Problem.UNEXPLAINED, detail)
