"""Derive what each video, each group and the run used and cost."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.outputs.costs import CostSettings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import COST_COLUMNS, STAGE_COLUMNS
from pipeline_lib.io.checksums import measure_path
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.costs.jobs import Job, measure_wall, parse_jobs, share_energy
from pipeline_lib.steps.provenance.jobs import read_all_jobs
from pipeline_lib.steps.runs.plan import read_plan

_HOUR, _KWH, _GIGABYTE = 3600.0, 3.6e6, 1e9
NO_GROUP = "(none)"

Row = dict[str, Any]


@dataclass(frozen=True)
class Used:
    """Hold what something used: hours, kilowatt hours and gigabytes; NaN is never among them.

    `kwh` is None where no counter measured anything.
    """

    video_hours: float = 0.0
    cpu_hours: float = 0.0
    gpu_hours: float = 0.0
    job_hours: float = 0.0
    kwh: float | None = None
    stored_gb: float = 0.0

    def __add__(self, other: "Used") -> "Used":
        def join(name: str) -> float | None:
            mine: float | None = getattr(self, name)
            theirs: float | None = getattr(other, name)
            return theirs if mine is None else mine if theirs is None else mine + theirs

        values: dict[str, Any] = {one.name: join(one.name) for one in fields(self)}
        return Used(**values)


def write_costs(config: Config, results: Results) -> None:
    """Publish ``costs.tsv``.

    Raises
    ------
    SheetError
        If the sheet cannot be read.
    """
    rows = derive_costs(config, results)
    if rows:
        write_table(results.costs, COST_COLUMNS, rows)


def derive_costs(config: Config, results: Results) -> list[Row]:
    """Return the rows of ``costs.tsv``; none before anything was planned.

    The cost of a shard's job is shared among its videos by the seconds that each took, where the
    stage's table tells, else by their frames. Work for the whole cohort is a row of its own: the
    rows of videos, removed videos and shared work add up to that of the run.
    """
    if not results.plan.exists():
        return []
    videos = {video.video: video for video in read_cohort(Path(config.cohort))}
    jobs = list(parse_jobs(read_all_jobs(results)))
    used, shared = _share_jobs(results, jobs)
    durations = _read_durations(results)
    for name in videos:
        stored = _measure(_list_results(config, results, name))
        own = Used(video_hours=durations.get(name, 0.0) / _HOUR, stored_gb=stored)
        used[name] = used.get(name, Used()) + own
    shared += Used(stored_gb=_measure_shared(config, results))
    removed = sum((one for name, one in used.items() if name not in videos), Used())
    prices = config.costs
    rows = [
        _make_row("video", name, used[name], prices, _find_group(video, prices))
        for name, video in videos.items()
    ]
    if removed != Used():
        rows.append(_make_row("removed", "", removed, prices))
    rows.append(_make_row("shared", "", shared, prices))
    if prices.group:
        groups: dict[str, Used] = {}
        for name, video in videos.items():
            group = _find_group(video, prices)
            groups[group] = groups.get(group, Used()) + used[name]
        rows += [_make_row("group", "", one, prices, group) for group, one in groups.items()]
    total = sum(used.values(), shared)
    wall = measure_wall(jobs) / _HOUR
    rows.append(_make_row("run", "", total, prices) | {"wall_hours": _spell(wall)})
    return rows


def describe_run(rows: Iterable[Row]) -> dict[str, str]:
    """Return the cells of the row of the run that are not empty."""
    row = next((row for row in rows if row["kind"] == "run"), {})
    return {name: str(cell) for name, cell in row.items() if cell != "" and name != "kind"}


def _share_jobs(results: Results, jobs: Sequence[Job]) -> tuple[dict[str, Used], Used]:
    """Return what the jobs of each video used, and those of the whole cohort."""
    members: dict[str, list[str]] = {}
    for row in read_plan(results).rows:
        members.setdefault(row["shard"], []).append(row["video"])
    weights: dict[tuple[str, str, str], dict[str, float]] = {}
    used: dict[str, Used] = {}
    shared = Used()
    for job, joules in zip(jobs, share_energy(jobs), strict=True):
        cost = Used(
            cpu_hours=job.cpu_seconds / _HOUR,
            gpu_hours=job.gpu_seconds / _HOUR,
            job_hours=job.seconds / _HOUR,
            kwh=None if joules is None else joules / _KWH,
        )
        place = (job.verb, job.shard, job.model)
        if place not in weights:
            weights[place] = _weigh(results, job, members.get(job.shard, []))
        total = sum(weights[place].values())
        if not total:
            shared += cost
        for video, weight in weights[place].items() if total else ():
            used[video] = used.get(video, Used()) + _scale(cost, weight / total)
    return used, shared


def _weigh(results: Results, job: Job, members: Sequence[str]) -> dict[str, float]:
    """Return the part of each video of a shard in a job, not normalised."""
    if not job.shard or not members:
        return {}
    frames = _read_column(results.shard(job.shard).probe, "frames")
    even = {video: 1.0 + frames.get(video, 0.0) for video in members}
    stage = STAGES.get("infer" if job.verb == "retry-failed" else job.verb)
    if stage is None or not stage.table:
        return even
    model = job.model if stage.per_model else ""
    took = _read_column(results.shard(job.shard).table(stage.table, model), "seconds")
    known = {video: took.get(video, 0.0) for video in members}
    return known if sum(known.values()) > 0 else even


def _read_column(path: Path, column: str) -> dict[str, float]:
    try:
        rows = read_table(path, STAGE_COLUMNS)
    except StoreError:
        return {}
    found = {}
    for row in rows:
        with suppress(ValueError, TypeError):
            found[row["video"]] = max(0.0, float(row.get(column) or ""))
    return found


def _scale(cost: Used, share: float) -> Used:
    def scale(name: str) -> float | None:
        value: float | None = getattr(cost, name)
        return None if value is None else value * share

    values: dict[str, Any] = {one.name: scale(one.name) for one in fields(cost)}
    return Used(**values)


def _read_durations(results: Results) -> dict[str, float]:
    """Return the seconds of each video that the probe has read."""
    durations: dict[str, float] = {}
    for shard in read_plan(results).shards:
        durations |= _read_column(results.shard(shard).probe, "duration")
    return durations


def _list_results(config: Config, results: Results, video: str) -> list[Path]:
    return [
        path for stage in STAGES.values() for path in stage.list_results(config, results, video)
    ]


def _measure_shared(config: Config, results: Results) -> float:
    """Return the size of what the whole cohort has: labels, targets, networks, metrics, report."""
    model = config.training.name
    paths = (
        results.labels.parent,
        results.targets.parent,
        results.model(model).folder,
        results.metrics(model).parent,
        results.refined(model),
        results.report.parent,
    )
    return _measure(paths)


def _measure(paths: Iterable[Path]) -> float:
    """Return the size of files and folders that are there, in GB."""
    total = 0
    for path in dict.fromkeys(paths):
        with suppress(OSError):
            total += measure_path(path).bytes
    return total / _GIGABYTE


def _find_group(video: Video, prices: CostSettings) -> str:
    if not prices.group:
        return ""
    own = {"session": video.session, "camera": video.camera}
    return {**own, **video.metadata}.get(prices.group, "").strip() or NO_GROUP


def _make_row(kind: str, name: str, used: Used, prices: CostSettings, group: str = "") -> Row:
    hours, cost = used.video_hours, price(used, prices)
    stored = used.stored_gb
    return {
        "kind": kind,
        "name": name,
        "group": group,
        "video_hours": _spell(hours) if kind != "shared" else "",
        "cpu_hours": _spell(used.cpu_hours),
        "gpu_hours": _spell(used.gpu_hours),
        "job_hours": _spell(used.job_hours),
        "wall_hours": "",
        "kwh": _spell(used.kwh),
        "stored_gb": _spell(stored),
        "stored_gb_per_video_hour": _spell(stored / hours if hours else None),
        "cost": _spell(cost),
        "cost_per_video_hour": _spell(cost / hours if hours and cost is not None else None),
        "storage_per_month": _spell(None if prices.gb_month is None else stored * prices.gb_month),
        "currency": prices.currency,
    }


def price(used: Used, prices: CostSettings) -> float | None:
    """Return what was used times its prices; None if nothing of it is priced.

    Storage is no part of it: it costs every month.
    """
    pairs = (
        (used.cpu_hours, prices.cpu_hour),
        (used.gpu_hours, prices.gpu_hour),
        (used.kwh, prices.kwh),
    )
    known = [amount * each for amount, each in pairs if amount is not None and each is not None]
    return sum(known) if known else None


def _spell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
