"""Keep what the report shows of each video: a script file for each shard, read again as a cache.

A page that is opened from a file may not fetch data, but it may load scripts. So the data of a
shard are a script that calls one function with JSON; the browser loads it when a video of the
shard is opened. The next report reads the JSON back, and measures only videos whose poses changed.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from pipeline_lib.core import versions
from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import PROBE_COLUMNS
from pipeline_lib.io.poses.read import read_pose_key
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.report.details.measure import measure_details
from pipeline_lib.steps.report.details.pictures import NO_FILE, draw_frames
from pipeline_lib.steps.report.rendering import embed_json
from pipeline_lib.steps.report.summaries import find_poses, summarise_video
from pipeline_lib.steps.runs.ledger import LedgerRow
from pipeline_lib.steps.runs.plan import keep_planned, read_plan

_log = logging.getLogger(__name__)

_CALL = "cohortposeData("
_END = ");\n"
# Larger cohorts have one small picture of each video, so that a report can be mailed.
_SMALL_COHORT = 300
# Fewer videos than these are read by this process: starting others takes longer.
_WORTH_PROCESSES = 24

Entry = dict[str, Any]


@dataclass(frozen=True)
class Pictures:
    """Tell how many pictures of a video there are, their width in px, and the bytes of each."""

    number: int
    width: int
    most_bytes: int


@dataclass(frozen=True)
class Task:
    """Describe a video to measure.

    Attributes
    ----------
    video, key
        Its name, and the key of its poses.
    poses, file
        The pose file, and the video; None: there is none.
    size
        Width and height in px; None: not known.
    pcutoff
        Confidence from which a keypoint counts as found.
    pictures
        Of the worst frames.
    """

    video: str
    key: str
    poses: Path
    file: Path | None
    size: tuple[int, int] | None
    pcutoff: float
    pictures: Pictures


class _Updated(NamedTuple):
    """Hold the entries by shard and video, and how many of them were measured."""

    entries: dict[str, dict[str, Entry]]
    measured: int


def choose_pictures(config: Config, videos: int) -> Pictures:
    """Choose how the worst frames are shown in a cohort of so many videos."""
    most = config.report.worst_frames
    if videos <= _SMALL_COHORT:
        return Pictures(most, 480, 24_000)
    return Pictures(min(most, 1), 256, 3_200)


def prepare_details(
    config: Config, results: Results, rows: Sequence[LedgerRow], videos: Mapping[str, Video]
) -> dict[str, tuple[str, Entry]]:
    """Publish the data of the page of each video that has poses, in a file for each shard.

    Parameters
    ----------
    config, results
        The run.
    rows
        The ledger.
    videos
        Rows of the sheet by name.

    Returns
    -------
    dict
        By video: the shard, and what its page shows.
    """
    shards = read_plan(results).shard_of if results.plan.exists() else {}
    pictures = choose_pictures(config, len(rows))
    members: dict[str, list[LedgerRow]] = {}
    for row in rows:
        if row["video"] in shards:
            members.setdefault(shards[row["video"]], []).append(row)
    found: dict[str, tuple[str, Entry]] = {}
    updated = _update_shards(config, results, members, videos, pictures)
    for shard, entries in updated.entries.items():
        found |= {video: (shard, entry) for video, entry in entries.items()}
    _remove_others(results, set(members))
    return found


def prepare_shard(config: Config, results: Results, shard: str) -> bool:
    """Publish the data of the pages of the videos of a shard, once their poses are finished.

    A report then has nothing to measure. Where this was not called, or for other settings, it
    measures them itself.

    Parameters
    ----------
    config, results
        The run.
    shard
        Name of the shard.

    Returns
    -------
    bool
        Whether a video was measured.

    Raises
    ------
    SheetError
        If the sheet cannot be read.
    StoreError
        If the plan, or the table of the probe, is missing.
    """
    videos = {video.video: video for video in read_cohort(Path(config.cohort))}
    probed = keep_planned(read_table(results.shard(shard).probe, PROBE_COLUMNS), results, shard)
    rows = [
        {"video": row["video"], "width": _to_size(row["width"]), "height": _to_size(row["height"])}
        for row in probed
        if row["video"] in videos
    ]
    pictures = choose_pictures(config, len(videos))
    return _update_shards(config, results, {shard: rows}, videos, pictures).measured > 0


def _to_size(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _update_shards(
    config: Config,
    results: Results,
    members: Mapping[str, Sequence[Mapping[str, Any]]],
    videos: Mapping[str, Video],
    pictures: Pictures,
) -> _Updated:
    """Publish the file of each shard.

    Parameters
    ----------
    config, results
        The run.
    members
        Of each shard its videos, with their `width` and `height`; None: unknown.
    videos
        Rows of the sheet by name.
    pictures
        How the worst frames are shown.

    Returns
    -------
    _Updated
        The entries by shard and video, and the number of videos that were measured.
    """
    basis = json.dumps([config.evaluation.pcutoff, versions.REPORT, *asdict(pictures).values()])
    kept = {shard: _read_entries(results.report_details(shard), basis) for shard in members}
    tasks = {
        row["video"]: task
        for listed in members.values()
        for row in listed
        if (task := _find_task(config, results, row, videos[row["video"]], pictures))
    }
    old = {video: entry for entries in kept.values() for video, entry in entries.items()}
    changed = [task for video, task in tasks.items() if not _is_current(old.get(video), task)]
    entries: dict[str, Entry | None] = {
        video: entry for video, entry in old.items() if video in tasks
    }
    entries |= dict(measure_all(changed))
    found = {}
    for shard, listed in members.items():
        here = {row["video"]: entries.get(row["video"]) for row in listed}
        found[shard] = {video: entry for video, entry in here.items() if entry is not None}
        _write_entries(results.report_details(shard), shard, basis, found[shard])
    return _Updated(found, len(changed))


def _find_task(
    config: Config, results: Results, row: Mapping[str, Any], video: Video, pictures: Pictures
) -> Task | None:
    path = find_poses(
        results, config.training.name, row["video"], several=config.individuals.max > 1
    )
    key = read_pose_key(path)
    if key is None:
        return None
    return Task(
        video=row["video"],
        key=key,
        poses=path,
        file=video.path if video.has_video else None,
        size=(row["width"], row["height"]) if row["width"] and row["height"] else None,
        pcutoff=config.evaluation.pcutoff,
        pictures=pictures,
    )


def _is_current(entry: Entry | None, task: Task) -> bool:
    """Tell whether an entry is of these poses; a video that was not there may be there now."""
    if entry is None or entry["key"] != task.key:
        return False
    return entry["missing"] != NO_FILE or task.file is None or not task.file.is_file()


def measure_all(tasks: Sequence[Task]) -> list[tuple[str, Entry | None]]:
    """Measure videos, by a process for each core where they are many."""
    workers = min(count_cores(), len(tasks) // (_WORTH_PROCESSES // 2))
    if workers < 2:
        return [measure_video(task) for task in tasks]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        return list(pool.map(measure_video, tasks, chunksize=4))


def measure_video(task: Task) -> tuple[str, Entry | None]:
    """Measure a video; None, with a log entry, if its pose file cannot be read."""
    try:
        summary = summarise_video(task.poses, task.pcutoff)
        details, worst = measure_details(task.poses, task.size, task.pcutoff, task.pictures.number)
    except CohortposeError as error:
        _log.warning("the report has no page of %s: %s", task.video, error)
        return task.video, None
    drawn, missing = draw_frames(
        task.file, [one.frame for one in worst], task.pictures.width, task.pictures.most_bytes
    )
    frames = [asdict(one) | {"picture": drawn.get(one.frame, "")} for one in worst]
    entry = {"key": task.key, "missing": missing, **details, "worst": frames, "summary": summary}
    return task.video, entry


def _read_entries(path: Path, basis: str) -> dict[str, Entry]:
    """Return the entries of a file; none if it is missing, damaged or of another basis."""
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text.removeprefix(_CALL).removesuffix(_END))
        entries = data["videos"] if data["basis"] == basis else []
        return {
            str(video): entry
            for video, entry in entries
            if {"key", "missing", "speed", "worst", "summary"} <= entry.keys()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write_entries(path: Path, shard: str, basis: str, entries: Mapping[str, Entry]) -> None:
    if not entries:
        path.unlink(missing_ok=True)
        return
    # Pairs: in a script, an object's key `__proto__` would be no key.
    data = {"shard": shard, "basis": basis, "videos": list(entries.items())}
    publish_text(path, f"{_CALL}{embed_json(data)}{_END}")


def _remove_others(results: Results, shards: set[str]) -> None:
    """Remove the files of shards that have no video any more."""
    known = {results.report_details(shard) for shard in shards}
    for path in results.report_data.glob(results.report_details("*").name):
        if path not in known:
            path.unlink(missing_ok=True)
