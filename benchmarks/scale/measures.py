"""Measure the workflow on fabricated cohorts: seconds, memory, jobs, files."""

import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.inference.figures import Figure
from benchmarks.scale.cohort import (
    Cohort,
    add_videos,
    clear_stage_caches,
    fill_store,
    remove_tables,
    write_cohort,
    write_template,
)
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.steps.runs.plan import read_plan

_KIBIBYTES_PER_MEGABYTE = 1000 / 1.024
_RULE = re.compile(r"^(\w+) +(\d+)$", flags=re.MULTILINE)
_SHARD_RULES = ("probe", "infer", "postprocess")
_AGGREGATES = ("status", "report", "accept")
_LARGE = 100_000
_CHILD = Path(__file__).with_name("child.py")


@dataclass(frozen=True)
class Measure:
    """Hold the cost of a command.

    Attributes
    ----------
    seconds
        Duration from start to end.
    cpu_seconds
        Processor time of the command and its children.
    megabytes
        Largest resident set of any one of these processes.
    output
        Output of the command.
    """

    seconds: float
    cpu_seconds: float
    megabytes: float
    output: str


def measure_command(command: Sequence[str], folder: Path) -> Measure:
    """Run a command to its end and measure it.

    Raises
    ------
    CohortposeError
        If it fails.
    """
    log, taken = folder / "measured.log", folder / "measured.json"
    # The log is a file, since a pipe would have to be read.
    with log.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(_CHILD), str(taken), *command],
            cwd=folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    output = log.read_text(encoding="utf-8")
    if done.returncode:
        raise CohortposeError(f"{' '.join(command)}: failed\n{output[-2000:]}")
    figures = json.loads(taken.read_text(encoding="utf-8"))
    memory = figures["kibibytes"] / _KIBIBYTES_PER_MEGABYTE
    return Measure(figures["seconds"], figures["cpu_seconds"], memory, output)


def measure_cohort(folder: Path, videos: int, *, look: bool = False) -> list[Figure]:
    """Measure planning, a dry run, a run that finds all results, and a run without jobs.

    With `look`, also measure a run that finds all results without the caches of finished stages.
    """
    template = write_template(folder / "template")
    cohort = write_cohort(folder / f"videos-{videos}", template, videos)
    large = videos >= _LARGE
    plan = measure_command(_plan(cohort), cohort.folder)
    dry = measure_command(cohort.snakemake("--dry-run", "--quiet"), cohort.folder)
    figures = [
        _seconds(f"plan of {videos} videos", plan, 20 * videos / 10_000 if large else 20),
        _seconds("dry run before anything is computed", dry, 60 if large else 5),
    ]
    measured = {"plan": plan, "dry run": dry}
    if not large:
        fill_store(cohort, template)
        remove_tables(cohort)
        full = measure_command(cohort.snakemake("--quiet", "all"), cohort.folder)
        idle = measure_command(cohort.snakemake("--quiet", "all"), cohort.folder)
        again = measure_command(cohort.snakemake("--dry-run", "--quiet"), cohort.folder)
        measured |= {"full run": full, "no-op rerun": idle}
        figures += [
            _seconds("full run, everything in the store", full, 60),
            _seconds("rerun, nothing to do", idle, 5),
            _seconds("dry run, nothing to do", again, 5),
            Figure("files per video", count_files(cohort), 12, at_most=True),
        ]
        if look:
            remove_tables(cohort)
            clear_stage_caches(cohort)
            looking = measure_command(cohort.snakemake("--quiet", "all"), cohort.folder)
            # It has no target.
            figures.append(_seconds("full run that looks at every result", looking, math.inf))
    return figures + [
        Figure(f"peak memory of the {name} (MB)", measure.megabytes, 300, at_most=True)
        for name, measure in measured.items()
        # The target is for ten thousand videos.
        if not large
    ]


def measure_growth(folder: Path, videos: int, more: int) -> list[Figure]:
    """Count the jobs per rule that new videos cause in a finished cohort."""
    template = write_template(folder / "template")
    cohort = write_cohort(folder / "growth", template, videos)
    fill_store(cohort, template)
    measure_command(cohort.snakemake("--quiet", "all"), cohort.folder)
    add_videos(cohort, videos + more)
    dry = measure_command(cohort.snakemake("--dry-run"), cohort.folder)
    jobs = count_jobs(dry.output)
    known = {*_SHARD_RULES, *_AGGREGATES}
    others = sum(count for rule, count in jobs.items() if rule not in known)
    return [
        *(Figure(f"{rule} jobs", jobs[rule], 1, at_most=True) for rule in _SHARD_RULES),
        Figure("jobs of aggregates", sum(jobs[rule] for rule in _AGGREGATES), 3, at_most=True),
        Figure("other jobs", others, 0, at_most=True),
    ]


def count_jobs(output: str) -> Counter[str]:
    """Return the jobs per rule that a dry run announces, without target rules."""
    counts = Counter({rule: int(count) for rule, count in _RULE.findall(output)})
    for rule in ("total", "all", "everything"):
        del counts[rule]
    return counts


def count_files(cohort: Cohort) -> float:
    """Return the number of result files per video: its own, and its share of those of shards.

    Snakemake's records and files of the whole cohort count too.
    """
    folders = (cohort.results.root, cohort.folder / ".snakemake")
    files = sum(len(names) for folder in folders for _, _, names in os.walk(folder))
    return files / len(read_plan(cohort.results).shard_of)


def _plan(cohort: Cohort) -> list[str]:
    """Return a command that only checks and plans, as the Snakefile does."""
    script = Path(__file__).with_name("plan.py")
    return [sys.executable, str(script), str(cohort.folder)]


def _seconds(name: str, measure: Measure, target: float) -> Figure:
    label = f"{name} (s; CPU {measure.cpu_seconds:.1f})"
    return Figure(label, measure.seconds, target, at_most=True)
