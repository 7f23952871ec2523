"""Read what each job used: time of processors and GPUs, and energy without counting it twice."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from pipeline_lib.steps.provenance.jobs import JobRecord

# Verbs that run networks, and use a GPU where there is one.
_NETWORK_VERBS = ("train", "evaluate", "choose-precision", "infer", "predict", "retry-failed")


@dataclass(frozen=True)
class Job:
    """Hold what one job used.

    Attributes
    ----------
    verb, shard, model, host
        What worked where; no shard: on the whole cohort.
    start, seconds
        Seconds since 1970, and how long it took.
    cpu_seconds
        Processor time, over all cores.
    gpu_seconds
        Time of the GPUs that it could use, over all of them.
    joules
        What the counters of the whole machine said meanwhile; None without counters.
    """

    verb: str
    shard: str
    model: str
    host: str
    start: float
    seconds: float
    cpu_seconds: float
    gpu_seconds: float
    joules: float | None


def parse_jobs(records: Iterable[JobRecord]) -> Iterator[Job]:
    """Yield the jobs of records; a damaged one is left out."""
    for record in records:
        try:
            yield _parse(record)
        except (KeyError, TypeError, ValueError, OverflowError):
            continue


def _parse(record: dict[str, Any]) -> Job:
    seconds, machine = float(record["seconds"]), record["machine"]
    # Records of earlier versions tell the devices of the machine only.
    gpus = int(record.get("gpus", len(machine["devices"])))
    joules = record["energy"]["joules"]
    # JSON of Python may hold NaN, which would make every sum one.
    numbers = (seconds, record["cpu_seconds"], gpus, 0.0 if joules is None else joules)
    if not all(math.isfinite(float(number)) and float(number) >= 0 for number in numbers):
        raise ValueError("no number of seconds or joules")
    verb = str(record["verb"])
    return Job(
        verb=verb,
        shard=str(record["shard"] or ""),
        model=str(record["model"]),
        host=str(machine["host"]),
        start=datetime.fromisoformat(record["started"]).timestamp(),
        seconds=seconds,
        cpu_seconds=float(record["cpu_seconds"]),
        gpu_seconds=seconds * gpus if verb in _NETWORK_VERBS else 0.0,
        joules=None if joules is None else float(joules),
    )


def share_energy(jobs: Sequence[Job]) -> list[float | None]:
    """Return the energy of each job, in joules; None for one without counters.

    Counters are of the whole machine, so jobs that ran side by side all counted the same energy.
    At each moment, the power of a machine is taken as the mean of what its jobs measured, and
    each of them bears an equal part of it.
    """
    shared: list[float | None] = [None if job.joules is None else 0.0 for job in jobs]
    hosts: dict[str, list[int]] = {}
    for number, job in enumerate(jobs):
        if job.joules is not None and job.seconds > 0:
            hosts.setdefault(job.host, []).append(number)
    for numbers in hosts.values():
        for number, joules in _share_on_host(jobs, numbers):
            shared[number] = (shared[number] or 0.0) + joules
    return shared


def _share_on_host(jobs: Sequence[Job], numbers: Sequence[int]) -> Iterator[tuple[int, float]]:
    events = sorted(
        (time, number, begins)
        for number in numbers
        for time, begins in (
            (jobs[number].start, True),
            (jobs[number].start + jobs[number].seconds, False),
        )
    )
    active: set[int] = set()
    for (time, number, begins), (following, _, _) in pairwise(events):
        (active.add if begins else active.discard)(number)
        span = following - time
        if not active or span <= 0:
            continue
        power = sum((jobs[one].joules or 0.0) / jobs[one].seconds for one in active) / len(active)
        for one in active:
            yield one, power * span / len(active)


def measure_wall(jobs: Iterable[Job]) -> float:
    """Return the seconds in which at least one job worked."""
    total, reached = 0.0, float("-inf")
    for job in sorted(jobs, key=lambda job: job.start):
        end = job.start + job.seconds
        total += max(0.0, end - max(reached, job.start))
        reached = max(reached, end)
    return total
