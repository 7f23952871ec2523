"""Record each verb that did work: one line with user, time, host, duration and energy.

Pose files hold none of it, so that the same run gives the same bytes. A result's line is found
by its shard; the line names the environment whose packages are in a file of their own.
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline_lib.core.layout import Results
from pipeline_lib.core.process import is_first_rank
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.steps.provenance.machine import (
    count_visible_devices,
    describe_machine,
    measure_energy,
    read_energy,
)
from pipeline_lib.steps.provenance.software import write_environment

_log = logging.getLogger(__name__)

JobRecord = dict[str, Any]

# Variables with the number of a job, by scheduler.
_JOB_NUMBERS = ("SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID")


@dataclass
class CurrentJob:
    """Tell of a job that runs whether it found nothing to do."""

    idle: bool = False


@contextmanager
def record_job(
    config: Config, results: Results, verb: str, shard: str | None
) -> Iterator[CurrentJob]:
    """Append a line with the cost of the ``with`` block, also if it ends with an exception.

    In a distributed training, only the first process writes. The block may say that there was
    nothing to do; no line is written then.

    Parameters
    ----------
    config, results
        The run.
        verb
        Verb that works.
    shard
        Shard that it works on; None: the whole cohort.
    """
    meter, job = _Meter(), CurrentJob()
    ended = "done"
    try:
        yield job
    except BaseException as error:
        ended = type(error).__name__
        raise
    finally:
        if is_first_rank() and not job.idle:
            facts = {"verb": verb, "shard": shard, "model": config.training.name, "ended": ended}
            try:
                _write_record(config, results, shard, {**facts, **meter.read()})
            except OSError as error:
                # The work itself has ended; the caller must learn about that, not about this.
                _log.warning("%s is not recorded: %s", verb, error)


def read_jobs(path: Path) -> list[JobRecord]:
    """Return the lines of one file, oldest first; damaged lines are left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def read_all_jobs(results: Results) -> list[JobRecord]:
    """Return the lines of the cohort and of every shard."""
    paths = [results.jobs, *sorted(results.shards.glob("*/jobs.jsonl"))]
    return [record for path in paths for record in read_jobs(path)]


def summarise_jobs(records: Iterable[JobRecord]) -> dict[str, dict[str, Any]]:
    """Sum up time and energy of each verb.

    Returns
    -------
    dict
        By verb, in the order of their first job: ``jobs``, ``failed``, ``seconds`` and
        ``cpu_seconds`` (sums), ``joules`` (sum over machines with counters; None if there are
        none, and ``energy_reason`` then says why), ``hosts``, ``environments``, and ``started``
        (first) and ``ended`` (last) in UTC.
    """
    stages: dict[str, dict[str, Any]] = {}
    for record in sorted(records, key=lambda record: str(record["started"])):
        stage = stages.setdefault(record["verb"], _start_stage(record))
        stage["jobs"] += 1
        stage["failed"] += record["ended"] != "done"
        stage["seconds"] = round(stage["seconds"] + record["seconds"], 3)
        stage["cpu_seconds"] = round(stage["cpu_seconds"] + record["cpu_seconds"], 3)
        joules = record["energy"]["joules"]
        if joules is not None:
            stage["joules"] = round((stage["joules"] or 0.0) + joules, 3)
            stage["energy_reason"] = ""
        stage["hosts"] = sorted({*stage["hosts"], record["machine"]["host"]})
        stage["environments"] = sorted({*stage["environments"], record["environment"]})
        stage["ended"] = max(stage["ended"], find_end(record))
    return stages


def find_end(record: JobRecord) -> str:
    """Return the end of a job: UTC, ISO 8601, whole seconds."""
    started = datetime.fromisoformat(record["started"]).timestamp()
    ended = datetime.fromtimestamp(started + record["seconds"], UTC)
    return ended.isoformat(timespec="seconds")


def _start_stage(record: JobRecord) -> dict[str, Any]:
    return {
        "jobs": 0,
        "failed": 0,
        "seconds": 0.0,
        "cpu_seconds": 0.0,
        "joules": None,
        "energy_reason": record["energy"].get("reason", ""),
        "hosts": [],
        "environments": [],
        "started": record["started"],
        "ended": record["started"],
    }


class _Meter:
    """Measure time and energy from its creation on."""

    def __init__(self) -> None:
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._clock = time.perf_counter()
        self._cpu = _read_cpu_seconds()
        self._energy = read_energy()

    def read(self) -> dict[str, Any]:
        return {
            "started": self._started,
            "seconds": round(time.perf_counter() - self._clock, 3),
            "cpu_seconds": round(_read_cpu_seconds() - self._cpu, 3),
            "energy": measure_energy(self._energy, read_energy()),
        }


def _read_cpu_seconds() -> float:
    """Return the processor time of this process and of its finished child processes."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _write_record(
    config: Config, results: Results, shard: str | None, facts: Mapping[str, Any]
) -> None:
    record = {
        **facts,
        "job": next((os.environ[name] for name in _JOB_NUMBERS if name in os.environ), None),
        "machine": describe_machine(),
        "gpus": count_visible_devices(os.environ),
        "settings": hash_settings(config),
        "environment": write_environment(results),
    }
    _append(results.jobs if shard is None else results.shard(shard).jobs, record)


def _append(path: Path, record: JobRecord) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        # Jobs of other stages of the shard may end at the same time; a line is short enough that
        # a file system without locks keeps it whole nearly always.
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())
