"""Find what runs have made in the results folder and nothing asks for any more.

A result is ours by name and record: it lies where the layout puts it, its checksum was recorded,
and size and time, or its bytes, are those of the record. Everything else is kept.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.errors import CohortposeError, ModelError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings, read_config
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import PROBE_COLUMNS
from pipeline_lib.core.untrusted.names import fold_name
from pipeline_lib.io.checksums import measure_path
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.infer.plan import list_tasks
from pipeline_lib.steps.provenance.checksums import compare_checksums, read_checksums
from pipeline_lib.steps.provenance.jobs import read_all_jobs
from pipeline_lib.steps.runs.plan import keep_planned, read_plan
from pipeline_lib.steps.verify.sessions import list_session_files
from pipeline_lib.steps.verify.unknown import list_unknown_files

# Folders of a network's results. Its metrics are small, and frames to label hold work of people.
_OF_NETWORKS = frozenset(
    {
        "models",
        "poses",
        "tracked",
        "corrected",
        "filtered",
        "exports",
        "rendered",
        "worst_seconds",
        "rendered_sessions",
        "kinematics",
        "quality",
        "triangulated",
        "corrected_views",
    }
)
# Folders that people keep labels in.
_OF_PEOPLE = frozenset({"frames", "refine", "labels"})
_DIGEST = re.compile(r"[0-9a-f]{16}")
_CHECKPOINT = re.compile(r"[\w.=-]+\.ckpt")
# As `pipeline_lib.io.publish` names what it has not published, or has moved aside.
_LEFTOVER = re.compile(
    r"\.part-[0-9a-f]{8}(\.[\w-]{1,16})?|\.(part|old)-.+\.[0-9a-f]{8}(\.[\w-]{1,16})?"
)
_MOVED_ASIDE = re.compile(r"\.old-(.+)\.[0-9a-f]{8}")
# Where a file system has no locks, or they are those of one node, a run may be at work unseen.
_STILL_WRITTEN_NS = 3600 * 10**9
_SEGMENTS = ".segments"
_STORE, _PACKED = ".zarr", ".zarr.zip"
# Key files of a shard, and what it knows of its results.
_OF_SHARD = re.compile(
    r"\.(manifest|sessions|decisions|views)-[0-9a-f]+|\.remembered-[a-z-]+\.json"
)


@dataclass(frozen=True)
class Stale:
    """Name a file or folder that nothing asks for.

    Attributes
    ----------
    what
        Kind: ``network``, ``removed video``, ``segments``, ``leftover``, ``settings`` ...
    path
        Below the results folder.
    bytes
        Size of all its files.
    """

    what: str
    path: str
    bytes: int


@dataclass
class Found:
    """Hold what can be removed, and what is kept though nothing asks for it.

    Attributes
    ----------
    stale
        What can be removed, each path once.
    kept
        Path and reason of what is not ours by name and record.
    """

    stale: dict[str, Stale] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)

    def add(self, results: Results, what: str, path: Path) -> None:
        """Count a file or folder that can be removed."""
        name = path.relative_to(results.root).as_posix()
        if reason := _explain_way_out(results.root, path):
            self.kept[name] = reason
            return
        self.stale.setdefault(name, Stale(what, name, _measure(path)))


def find_stale(config: Config, results: Results) -> Found:
    """Return the files that no result in use needs; nothing is changed.

    Raises
    ------
    StoreError
        If nothing was planned.
    SheetError
        If the sheet cannot be read: videos of a damaged sheet are not removed ones.
    """
    found = Found()
    sheet = read_cohort(Path(config.cohort))
    present = {video.video for video in sheet}
    plan = read_plan(results)
    # Names that differ in case only mean the same files on some systems.
    folded = {fold_name(name) for name in present}
    removed = {name for name in plan.shard_of if fold_name(name) not in folded}
    records = dict(_list_records(results))
    kept_networks = {config.training.name, config.training.start_from or ""} - {""}
    folded = {fold_name(name) for name in kept_networks}
    old = {name for name in _list_networks(results, records) if fold_name(name) not in folded}
    _find_recorded(results, found, records, old)
    _find_removed(config, results, found, records, (removed, present))
    _find_removed_sessions(config, results, found, sheet)
    _find_network_rest(results, found, old, kept_networks)
    in_use = {shard for video, shard in plan.shard_of.items() if video in present}
    for shard in sorted(set(plan.all_shards) - in_use):
        _find_shard(config, results, found, shard)
    _find_segments(config, results, found, old)
    _find_leftovers(results, found)
    _find_settings(config, results, found)
    for name in list_unknown_files(config, results):
        if not _is_within(name.rstrip("/"), found.stale):
            found.kept.setdefault(name, "no record of a run names it")
    return found


def _list_records(results: Results) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield path and row of each result whose checksum was recorded."""
    tables = [results.checksums]
    for pattern in ("*/contents-*.tsv", "*/.checksums-*.tsv"):
        tables += sorted(results.shards.glob(pattern))
    for table in tables:
        yield from read_checksums(table).items()


def _list_networks(results: Results, records: Mapping[str, Mapping[str, str]]) -> set[str]:
    """Return the names of the networks that this folder has results of."""
    parts = (Path(name).parts for name in records)
    named = {part[1] for part in parts if len(part) > 2 and part[0] in _OF_NETWORKS}
    # Of shards with videos that all failed.
    return named | {
        path.name.removeprefix("infer-").removesuffix(".tsv")
        for path in results.shards.glob("*/infer-*.tsv")
    }


def _find_recorded(
    results: Results,
    found: Found,
    records: Mapping[str, Mapping[str, str]],
    old: set[str],
) -> None:
    """Find the recorded results of old networks."""
    for name, row in records.items():
        parts = Path(name).parts
        if len(parts) > 2 and parts[0] in _OF_NETWORKS and parts[1] in old:
            _add_recorded(results, found, "network", row)


def _find_removed(
    config: Config,
    results: Results,
    found: Found,
    records: Mapping[str, Mapping[str, str]],
    videos: tuple[set[str], set[str]],
) -> None:
    """Find the results of videos that have left the sheet; frames to label stay.

    `videos` are those that left, and those of the sheet.
    """
    removed, present = videos
    stages = [stage for stage in STAGES.values() if stage.name != "select-frames"]
    # An ending may make a name of two: a.b.csv is that of `a` as b.csv, and of `a.b` as csv.
    # Sessions have exports, too.
    asked = list_session_files(config, results) if removed else set()
    for video in present if removed else ():
        asked.update(
            path for stage in stages for path in stage.list_results(config, results, video)
        )
    for video in sorted(removed):
        for stage in stages:
            for path in stage.list_results(config, results, video):
                if path in asked:
                    continue
                name = path.relative_to(results.root).as_posix()
                if name in records:
                    _add_recorded(results, found, "removed video", records[name])
                elif os.path.lexists(path):
                    found.kept[name] = "no record of a run names it"


def _find_removed_sessions(
    config: Config, results: Results, found: Found, sheet: Sequence[Video]
) -> None:
    """Find the results of sessions that no row of the sheet names any more."""
    stages = [stage for stage in STAGES.values() if stage.sessions]
    sessions = {video.session for video in sheet if video.session}
    folded = {fold_name(name) for name in sessions}
    # An ending may make a name of two, of a video and of a session.
    asked = {
        *(
            path
            for stage in stages
            for name in sessions
            for path in stage.list_session_results(config, results, name)
        ),
        *(
            path
            for stage in STAGES.values()
            for video in sheet
            for path in stage.list_results(config, results, video.video)
        ),
    }
    tables = (
        path
        for stage in stages
        for path in results.shards.glob(
            f"*/contents-{stage.name}-{_escape(config.training.name)}.tsv"
        )
    )
    for row in (row for table in tables for row in read_checksums(table).values()):
        # Poses are named by their session; of exports the record names it.
        name = row["video"] or Path(row["path"]).name.removesuffix(_PACKED)
        if fold_name(name) not in folded and results.root / row["path"] not in asked:
            _add_recorded(results, found, "removed session", row)


def _add_recorded(results: Results, found: Found, what: str, row: Mapping[str, str]) -> None:
    """Count a recorded result that is as it was recorded."""
    path = results.root / row["path"]
    if not os.path.lexists(path):
        return
    if reason := _explain_way_out(results.root, path):
        found.kept[row["path"]] = reason
        return
    try:
        # Snakemake gives some files another time.
        changed = compare_checksums(row, results.root, quick=True)
        changed = changed and compare_checksums(row, results.root, quick=False)
    except (OSError, ValueError) as error:
        changed = str(error)
    if changed:
        found.kept[row["path"]] = f"is not as a run wrote it ({changed})"
    else:
        found.add(results, what, path)


def _find_network_rest(results: Results, found: Found, old: set[str], kept: set[str]) -> None:
    """Find what old networks have besides recorded results: checkpoints, tables and keys."""
    # `export-sessions-x.tsv` is a table of network `x`, and of one named `sessions-x`.
    asked = {
        path
        for folder in _list_shards(results)
        for name in kept
        for path in _list_tables(folder, name)
    }
    for model in sorted(old):
        files = results.model(model)
        own = files.card.relative_to(results.root).as_posix() in found.stale
        beside = {files.training_key.name, files.training_seconds.name}
        for path in files.folder.rglob("checkpoints/*") if own else ():
            ours = _CHECKPOINT.fullmatch(path.name) or path.name in beside
            if ours and path.is_file():
                found.add(results, "network", path)
        for folder in _list_shards(results):
            for path in _list_tables(folder, model):
                if path not in asked:
                    found.add(results, "network", path)
        for path in results.root.glob(f"keys/*/{_escape(model)}/*"):
            if path.is_file() and not path.stat().st_size:
                found.add(results, "network", path)


def _list_tables(folder: Path, model: str) -> Iterator[Path]:
    """Yield the tables and records of a network in the folder of a shard."""
    tables = {stage.table for stage in STAGES.values() if stage.table and stage.per_model}
    names = [f"{table}-{model}.tsv" for table in (*tables, "decisions")]
    names += [f"contents-{stage}-{model}.tsv" for stage in STAGES]
    names += [f".checksums-{name}" for name in names]
    names += [f".inferred-{model}.tsv", f".exported-{model}.tsv"]
    yield from (folder / name for name in names if (folder / name).is_file())


def _find_shard(config: Config, results: Results, found: Found, shard: str) -> None:
    """Find tables and keys of a shard without videos; manifest, probe and jobs are its record."""
    folder = results.shard(shard).folder
    if not folder.is_dir():
        return
    for path in _list_tables(folder, config.training.name):
        found.add(results, "stale shard", path)
    for path in folder.iterdir():
        if _OF_SHARD.fullmatch(path.name) and path.is_file():
            found.add(results, "stale shard", path)


def _find_segments(config: Config, results: Results, found: Found, old: set[str]) -> None:
    """Find segments of videos of another key; those that the next run goes on with are kept."""
    asked = _list_asked(config, results)
    for folder in results.root.glob(f"poses/*/{_SEGMENTS}/*"):
        model = folder.parent.parent.name
        key = folder.name.removesuffix(".lock")
        if not _DIGEST.fullmatch(key):
            continue
        # Without a network nobody knows what it will ask for.
        if model in old or (asked is not None and key not in asked):
            found.add(results, "segments", folder)


def _list_asked(config: Config, results: Results) -> set[str] | None:
    """Return the keys of the poses of all good videos; None if they cannot be known yet."""
    keys: set[str] = set()
    try:
        for shard in read_plan(results).shards:
            files = results.shard(shard)
            if not files.probe.exists():
                return None
            rows = keep_planned(read_table(files.probe, PROBE_COLUMNS), results, shard)
            keys |= {task.key for task in list_tasks(config, results, shard, rows)}
    except (ModelError, StoreError):
        return None
    return keys


def _find_leftovers(results: Results, found: Found) -> None:
    """Find what killed writers left; stores, which are replaced whole, are not looked into."""
    for folder, inside, files in os.walk(results.root):
        for name in (*inside, *files):
            if not _LEFTOVER.fullmatch(name):
                continue
            path = Path(folder, name)
            if reason := _explain_only_copy(results.root, path) or _explain_new(path):
                found.kept[path.relative_to(results.root).as_posix()] = reason
            else:
                found.add(results, "leftover", path)
        inside[:] = [
            name for name in inside if not (name.endswith(_STORE) or _LEFTOVER.fullmatch(name))
        ]


def _find_settings(config: Config, results: Results, found: Found) -> None:
    """Find settings of earlier runs by which no recorded job worked."""
    named = {hash_settings(config), *(str(job.get("settings")) for job in read_all_jobs(results))}
    for path in results.settings.glob("*.yaml"):
        if not _DIGEST.fullmatch(path.stem) or path.stem in named:
            continue
        try:
            ours = hash_settings(read_config(path)) == path.stem
        except CohortposeError:
            ours = False
        if ours:
            found.add(results, "settings", path)
        else:
            name = path.relative_to(results.root).as_posix()
            found.kept[name] = "is not as a run of this version wrote it"


def _explain_only_copy(root: Path, path: Path) -> str:
    """Explain why a folder that was moved aside may hold what no other does; empty if not."""
    moved = _MOVED_ASIDE.fullmatch(path.name)
    if not moved:
        return ""
    if path.relative_to(root).parts[0] in _OF_PEOPLE:
        return "was moved aside, and may hold labels of people"
    if not path.with_name(moved[1]).exists():
        return f"was moved aside, and nothing took its place: move {moved[1]} in it back if needed"
    return ""


def _explain_new(path: Path) -> str:
    """Explain that something may still be written; empty if it is too old for that."""
    with suppress(OSError):
        newest = max(path.lstat().st_mtime_ns, measure_path(path).modified_ns)
        if time.time_ns() - newest < _STILL_WRITTEN_NS:
            return "was written within the last hour: a run may be at work on it"
    return ""


def _explain_way_out(root: Path, path: Path) -> str:
    """Explain how a path leads out of the results folder; empty if it does not."""
    below = path.relative_to(root)
    if ".." in below.parts:
        return "is a path to another folder"
    if path.is_symlink():
        return "is a link"
    linked = next((one for one in below.parents if (root / one).is_symlink() and one.parts), None)
    return f"{linked.as_posix()} is a link to another folder" if linked else ""


def _list_shards(results: Results) -> list[Path]:
    if not results.shards.is_dir():
        return []
    return sorted(path for path in results.shards.iterdir() if path.is_dir())


def _is_within(name: str, stale: Mapping[str, Stale]) -> bool:
    parts = name.split("/")
    return any("/".join(parts[:end]) in stale for end in range(1, len(parts) + 1))


def _escape(name: str) -> str:
    """Return a name for `glob`; ids of networks hold nothing that it takes for a pattern."""
    return re.sub(r"([*?\[])", r"[\1]", name)


def _measure(path: Path) -> int:
    try:
        return measure_path(path).bytes
    except OSError:
        return 0
