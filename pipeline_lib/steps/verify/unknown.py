"""List the files in the results folder that no record of the run explains."""

import os
from collections.abc import Iterator
from pathlib import Path

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES, list_cohort_files
from pipeline_lib.steps.provenance.checksums import read_checksums
from pipeline_lib.steps.runs.plan import read_plan
from pipeline_lib.steps.verify.sessions import list_session_files

# Logs, keys and working state, by the first part of the path below the results.
_WORKING = frozenset(
    {"logs", "benchmarks", "keys", "settings", "environments", ".runs", ".watch", "jobs.jsonl"}
)
_LOCKS = frozenset({".lock", ".checksums.lock"})
# In the folder of a shard, what is no table: its manifest, records, key files and the cache.
_OF_SHARD = (".", "contents-", "manifest.tsv", "sessions.tsv", "jobs.jsonl")


def list_unknown_files(config: Config, results: Results) -> list[str]:
    """Return the files, links and special files that this version's runs did not write.

    Results of any network count as written, as do those of videos that have left the cohort.

    Returns
    -------
    list of str
        Paths below the results folder, sorted; a folder of which nothing is known, once, with a
        slash at its end.
    """
    known = set(_list_known(config, results))
    # Folders that hold something known are looked into, others are unknown as a whole.
    above = {parent for name in known for parent in _list_parents(name)}
    return sorted(_walk(results.root, "", known, above))


def _list_known(config: Config, results: Results) -> Iterator[str]:
    yield from _WORKING
    records = [results.checksums]
    if results.shards.is_dir():
        for folder in results.shards.iterdir():
            records += [*folder.glob("contents-*.tsv"), *folder.glob(".checksums-*.tsv")]
    for record in records:
        yield from read_checksums(record)
    files = [file.path for _, file in list_cohort_files(config, results)]
    files += [path for _, path in results.list_descriptions()]
    files += [results.checksums, results.plan, results.accepted, results.ledger]
    for video in read_plan(results).shard_of:
        for stage in STAGES.values():
            files += stage.list_results(config, results, video)
    files += list_session_files(config, results)
    for path in files:
        yield path.relative_to(results.root).as_posix()


def _list_parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def _walk(folder: Path, prefix: str, known: set[str], above: set[str]) -> Iterator[str]:
    for entry in os.scandir(folder):
        name = prefix + entry.name
        if name in known or _is_working_state(name):
            continue
        if not entry.is_dir(follow_symlinks=False):
            yield name
        elif name in above:
            yield from _walk(folder / entry.name, f"{name}/", known, above)
        else:
            yield f"{name}/"


def _is_working_state(name: str) -> bool:
    """Tell whether a file is a lock, a record of a shard, a checkpoint or a part of a result."""
    first, *rest = name.split("/")
    last = rest[-1] if rest else first
    if last in _LOCKS or (not rest and first.startswith(".dask-")):
        return True
    if first == "shards" and len(rest) == 2:
        return last.startswith(_OF_SHARD)
    if first == "models":
        return last == "checkpoints"
    if first == "calibrations" and last == ".calibrated.tsv":
        return True
    # What a kill left there, and the next run removes.
    return (first == "poses" and last == ".segments") or last.startswith((".part-", ".old-"))
