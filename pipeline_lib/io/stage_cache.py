"""Cache the outcomes of the stages of shards, with all their dependencies.

Snakemake removes the table of a stage before it runs its job again. Where nothing has changed that
the table depends on, the job writes it again from here and ends, before it has loaded settings,
NumPy or a video reader: of ten thousand videos of which everything is there, it would spend
nearly all of its time on that. The cache is no truth of its own: without it, or with any doubt, the
stage looks at its results one by one.

Little is imported, for the same reason.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib import __version__
from pipeline_lib.core import versions
from pipeline_lib.core.layout import Results
from pipeline_lib.io.checksums import hash_path, measure_path
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.run_lock import is_locked_by_others

_FORMAT_VERSION = 1


@dataclass(frozen=True)
class Basis:
    """Name the dependencies of the outcome of a stage of a shard.

    Attributes
    ----------
    read
        Files whose bytes decided: the settings, tables of the stages before, model cards.
    kept
        Results that were found or made, or videos: compared by size and modification time.
    """

    read: tuple[Path, ...]
    kept: tuple[Path, ...]


def measure_basis(results: Results, shard: str, basis: Basis) -> dict[str, Any]:
    """Return everything that a cached outcome is compared with, as in JSON.

    Raises
    ------
    OSError
        If a file is missing.
    """
    return {
        "format_version": _FORMAT_VERSION,
        "root": str(results.root),
        "software": _name_software(),
        "plan": _hash_plan(results, shard),
        "read": {str(path): hash_path(path) for path in basis.read},
        "kept": {str(path): _measure(path) for path in basis.kept},
    }


def write_outcome(
    results: Results, verb: str, shard: str, basis: dict[str, Any], table: Path
) -> None:
    """Cache the table of a stage that has ended.

    Parameters
    ----------
    results, verb, shard
        Where.
    basis
        Of `measure_basis`.
    table
        The stage's table, which is there.
    """
    end = {**basis, "table": str(table), "text": table.read_text(encoding="utf-8")}
    publish_text(results.shard(shard).cached_outcome(verb), json.dumps(end))


def restore_outcome(config: Path, verb: str, shard: str) -> bool:
    """Write the table of a stage again if its dependencies are unchanged; return whether it was.

    Parameters
    ----------
    config
        The settings of the run; only those that it has written into its results have a cache.
    verb, shard
        The stage.
    """
    results = Results(config.parent.parent)
    if config.parent != results.settings:
        return False
    try:
        if is_locked_by_others(results, config.stem):
            return False
        end = json.loads(results.shard(shard).cached_outcome(verb).read_text(encoding="utf-8"))
        basis = Basis(_paths(end["read"]), _paths(end["kept"]))
        # Cheap ones first: most doubts are about settings.
        if config not in basis.read or hash_path(config) != end["read"][str(config)]:
            return False
        now = measure_basis(results, shard, basis)
        if any(end[name] != value for name, value in now.items()):
            return False
        publish_text(Path(end["table"]), end["text"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Of a file that is missing, damaged or of another version: the stage itself will tell.
        return False
    return True


def _paths(names: Iterable[str]) -> tuple[Path, ...]:
    return tuple(map(Path, names))


def _measure(path: Path) -> list[int]:
    measure = measure_path(path)
    return [measure.bytes, measure.modified_ns]


def _name_software() -> str:
    steps = (f"{name}={value}" for name, value in vars(versions).items() if name.isupper())
    return " ".join([__version__, *steps])


def _hash_plan(results: Results, shard: str) -> str:
    """Return the hash of a shard's part of the plan, such as removed videos."""
    try:
        lines = results.plan.read_bytes().decode(errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    ours = [line for line in lines if f"\t{shard}\t" in line]
    return hashlib.sha256("\n".join(ours).encode()).hexdigest()
