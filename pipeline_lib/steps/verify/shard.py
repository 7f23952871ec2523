"""Verify the videos of a shard and their results."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from pathlib import Path

from pipeline_lib.core.errors import CohortposeError, VideoError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES, Stage
from pipeline_lib.core.tables import (
    PROBE_COLUMNS,
    STAGE_COLUMNS,
    VideoStatus,
)
from pipeline_lib.io.checksums import describe_state, hash_path
from pipeline_lib.io.poses.read import read_pose_key
from pipeline_lib.io.video.reader import fingerprint_file
from pipeline_lib.steps.correct.decisions import VideoDecisions
from pipeline_lib.steps.export.sources import ExportSources
from pipeline_lib.steps.infer.plan import list_tasks
from pipeline_lib.steps.kinematics.sources import KinematicsSources
from pipeline_lib.steps.provenance.checksums import compare_checksums, read_checksums
from pipeline_lib.steps.runs.plan import read_manifest, read_plan
from pipeline_lib.steps.runs.result_keys import existing_key
from pipeline_lib.steps.runs.shard_tables import is_damaged, list_columns, read_shard_table

Row = dict[str, str]
Difference = tuple["Problem", str]

_DECIDED_SINCE = "people have decided about its tracks since; run snakemake"
_MADE_OTHERWISE = "made with other settings, another network or another version of the step"


class Problem(StrEnum):
    """Name the kind of a difference."""

    CHANGED = "changed"
    MISSING = "missing"
    UNEXPLAINED = "unexplained"
    UNRECORDED = "unrecorded"


@dataclass(frozen=True)
class Finding:
    """Describe one difference.

    Attributes
    ----------
    kind
        What it is: ``sheet``, ``video``, ``poses`` …
    name
        Which one: a video, or a path.
    problem
        How it differs.
    detail
        What was found and expected.
    """

    kind: str
    name: str
    problem: Problem
    detail: str


@dataclass(frozen=True)
class PlannedShard:
    """Hold a shard and the videos that were removed from it.

    Attributes
    ----------
    name
        Of the shard.
    removed
        Removed videos, whose results are kept but not checked.
    """

    name: str
    removed: frozenset[str]

    def keep(self, rows: Iterable[Row]) -> list[Row]:
        """Drop the rows of removed videos."""
        return [row for row in rows if row["video"] not in self.removed]


def list_planned_shards(results: Results) -> list[PlannedShard]:
    """Return the shards in the order of the plan.

    Raises
    ------
    StoreError
        If nothing was planned.
    """
    plan = read_plan(results)
    return [PlannedShard(name, plan.list_removed(name)) for name in plan.all_shards]


def verify_shard(
    config: Config, results: Results, shard: PlannedShard, checked: Counter[str], *, quick: bool
) -> list[Finding]:
    """Compare the videos of a shard with its manifest and probe, and results with their records.

    Parameters
    ----------
    config, results, shard
        The run.
    checked
        Receives the number of checked files of each kind.
    quick
        Compare size and modification time only.

    """
    return [
        *_verify_videos(results, shard, checked, quick=quick),
        *_ShardResults(config, results, shard).verify(checked, quick=quick),
        *_verify_tables(config, results, shard, checked),
    ]


def _verify_tables(
    config: Config, results: Results, shard: PlannedShard, checked: Counter[str]
) -> Iterator[Finding]:
    """Compare the tables of the stages with their checksums, which older versions did not write."""
    for stage in STAGES.values():
        if not stage.table or not stage.wanted(config):
            continue
        table = stage.find_table(config, results, shard.name)
        name = table.relative_to(results.root).as_posix()
        if not table.exists():
            continue
        if is_damaged(table, list_columns(stage)):
            checked["table"] += 1
            yield Finding("table", name, Problem.CHANGED, "damaged; run snakemake")
            continue
        row = _read_table_checksums(config, results, shard, stage).get(name)
        if row is None:
            continue
        checked["table"] += 1
        # A cached table is written again, the same, at another time.
        if difference := compare_checksums(row, results.root, quick=False):
            detail = f"{difference}; delete it and run snakemake"
            yield Finding("table", name, Problem.CHANGED, detail)


def _read_table_checksums(
    config: Config, results: Results, shard: PlannedShard, stage: Stage
) -> dict[str, Row]:
    """Return the checksums of a stage's table and of files that it made beside poses."""
    model = config.training.name if stage.per_model else ""
    return read_checksums(results.shard(shard.name).table_checksums(stage.name, model))


def _verify_videos(
    results: Results, shard: PlannedShard, checked: Counter[str], *, quick: bool
) -> Iterator[Finding]:
    files = results.shard(shard.name)
    planned = read_manifest(files)
    if planned is None:
        name = files.manifest.relative_to(results.root).as_posix()
        yield Finding("table", name, Problem.CHANGED, "missing or damaged; run snakemake")
    manifest = shard.keep(planned or ())
    probed = {row["video"]: row for row in _read_stage(files.probe, PROBE_COLUMNS)}
    for row in manifest:
        if row["video"] not in probed:
            yield Finding("video", row["video"], Problem.MISSING, "not probed yet; run snakemake")
    compare = _compare_file if quick else _compare_fingerprint
    both = [(row, probed[row["video"]]) for row in manifest if row["video"] in probed]
    pairs = [pair for pair in both if pair[0]["path"] != pair[0].get("poses")]
    existing = [pair for pair in both if pair[0].get("poses")]
    checked["video"] += len(pairs)
    if existing:
        checked["existing poses"] += len(existing)
    # Hashing runs without Python's lock.
    with ThreadPoolExecutor(count_cores()) as pool:
        for (row, _), found in zip(pairs, pool.map(lambda p: compare(*p), pairs), strict=True):
            if found is not None:
                yield Finding("video", row["video"], *found)
    for row, probe in existing:
        if difference := _compare_existing(row, probe, quick=quick):
            yield Finding("existing poses", row["video"], *difference)


def _compare_existing(manifest: Row, probe: Row, *, quick: bool) -> Difference | None:
    """Compare poses that another tool found with what the probe read."""
    path, known = Path(manifest["poses"]), probe.get("poses_fingerprint")
    if quick or not known:
        state = describe_state(path) or "missing"
        if state == manifest["poses_state"]:
            return None
        problem = Problem.MISSING if state == "missing" else Problem.CHANGED
        return problem, f"{path}: size or modification time are not those of the plan"
    try:
        found = hash_path(path)
    except OSError as error:
        return Problem.MISSING, f"{path}: {error.strerror or error}"
    if found == known:
        return None
    return Problem.CHANGED, f"{path}: SHA-256 {found[:12]}…, probed {known[:12]}…"


def _compare_file(manifest: Row, probe: Row) -> Difference | None:
    path = Path(manifest["path"])
    try:
        facts = path.stat()
    except OSError as error:
        return _tell_unreadable(probe, f"{path}: {error.strerror}")
    found = (str(facts.st_size), str(facts.st_mtime_ns))
    if found != (manifest["bytes"], manifest["modified_ns"]):
        return Problem.CHANGED, f"{path}: size or modification time are not those of the plan"
    return None


def _compare_fingerprint(manifest: Row, probe: Row) -> Difference | None:
    # One that could not be read has no fingerprint.
    if not probe["fingerprint"]:
        return _compare_file(manifest, probe)
    path = Path(manifest["path"])
    try:
        found = fingerprint_file(path)
    except (VideoError, OSError) as error:
        return _tell_unreadable(probe, f"{path}: {error}")
    if found == probe["fingerprint"]:
        return None
    return Problem.CHANGED, f"{path}: SHA-256 {found[:12]}…, probed {probe['fingerprint'][:12]}…"


def _tell_unreadable(probe: Row, reason: str) -> Difference | None:
    """Return a finding, unless the file could not be read when it was probed either."""
    return (Problem.MISSING, reason) if probe["fingerprint"] else None


class _ShardResults:
    """Compare the results of one shard with the expected ones."""

    def __init__(self, config: Config, results: Results, shard: PlannedShard) -> None:
        self._config, self._results, self._shard = config, results, shard
        self._exports = ExportSources(config, results, shard.name)
        self._kinematics = KinematicsSources(config, results, shard.name)
        self._decisions = VideoDecisions(config)
        files, model = results.shard(shard.name), config.training.name
        self._stages = [
            (stage, stage.videos)
            for stage in STAGES.values()
            if stage.videos and stage.wanted(config)
        ]
        self._checksums: dict[str, Row] = {}
        for stage, _ in self._stages:
            self._checksums |= read_checksums(files.checksums(stage.name, model))
            self._checksums |= _read_table_checksums(config, results, shard, stage)
        self._keys = self._expect_keys()

    def verify(self, checked: Counter[str], *, quick: bool) -> Iterator[Finding]:
        """Yield the differences, stage by stage."""
        for stage, videos in self._stages:
            table = stage.find_table(self._config, self._results, self._shard.name)
            ended = {row["video"]: row for row in _read_stage(table, STAGE_COLUMNS)}
            paths = {
                video: videos.locate(self._config, self._results, video) for video in self._keys
            }
            kinds = dict.fromkeys(kind for found in paths.values() for kind in found)
            for kind, video in product(kinds, self._keys):
                path = paths[video][kind]
                name = path.relative_to(self._results.root).as_posix()
                if video not in ended:
                    yield Finding(kind, name, Problem.MISSING, "not made yet; run snakemake")
                elif ended[video]["status"] == VideoStatus.DONE and not stage.makes(ended[video]):
                    if self._expect(stage, video) not in (None, ended[video]["key"]):
                        yield Finding(kind, name, Problem.UNEXPLAINED, _DECIDED_SINCE)
                elif ended[video]["status"] == VideoStatus.DONE:
                    checked[kind] += 1
                    if found := self._compare(name, self._expect(stage, video), quick=quick):
                        yield Finding(kind, name, *found)

    def _expect(self, stage: Stage, video: str) -> str | None:
        """Return the expected key of a result; None if it cannot be computed."""
        videos = stage.videos
        if stage.name == "infer":
            return self._keys[video]
        if videos is None or videos.rule == "select_frames":
            return None
        path = STAGES[videos.source(self._config)].find_poses(self._config, self._results, video)
        source = read_pose_key(path)
        if source is None:
            return None
        try:
            return self._make_key(stage, video, path, source)
        except CohortposeError:
            # No network card, no table of probing or damaged tracks: findings of their own.
            return None

    def _make_key(self, stage: Stage, video: str, path: Path, source: str) -> str:
        """Return the key of a result that is made from poses with a key."""
        if stage.videos is not None and stage.videos.key is not None:
            return stage.videos.key(self._config.for_video(video), source)
        if stage.name == "correct":
            return self._decisions.make_key(video, path)
        if stage.name == "kinematics":
            return self._kinematics.make_key(video, source)
        return self._exports.make_key(video, source)

    def _compare(self, name: str, expected: str | None, *, quick: bool) -> Difference | None:
        path, row = self._results.root / name, self._checksums.get(name)
        if not path.exists():
            return (
                Problem.MISSING,
                "it was made, and is gone; run snakemake, which makes it again",
            )
        if row is None:
            if name.startswith(f"{self._results.frames('x').parent.name}/"):
                # Earlier versions did not record the checksums of selected frames.
                return None
            return Problem.UNRECORDED, "no hash was recorded; delete its stage's table and run"
        try:
            difference = compare_checksums(row, self._results.root, quick=quick)
        except OSError as error:
            difference = str(error)
        if difference:
            return Problem.CHANGED, difference
        if expected is not None and row["key"] != expected:
            return Problem.UNEXPLAINED, _MADE_OTHERWISE
        return None

    def _expect_keys(self) -> dict[str, str | None]:
        """Return the expected key of each good video's poses; None if it cannot be computed."""
        probe = self._results.shard(self._shard.name).probe
        rows = self._shard.keep(_read_stage(probe, PROBE_COLUMNS))
        good: dict[str, str | None] = dict.fromkeys(
            row["video"] for row in rows if row["status"] == VideoStatus.DONE
        )
        good |= {
            row["video"]: existing_key(self._config, row)
            for row in rows
            if row["status"] == VideoStatus.DONE and row.get("poses_fingerprint")
        }
        if not self._config.has_network:
            return good
        try:
            tasks = list_tasks(self._config, self._results, self._shard.name, rows)
        except CohortposeError:
            # No network, which is a finding of its own.
            return good
        return good | {task.video: task.key for task in tasks}


def _read_stage(table: Path, columns: Sequence[str]) -> list[Row]:
    """Return the rows of a stage's table; none if the stage has not run."""
    return read_shard_table(table, columns) or []
