"""Cores of a process, and the first process of a job, by what each launcher sets."""

import os
import subprocess
import sys

import pytest

from pipeline_lib.core import process
from pipeline_lib.core.process import (
    Launcher,
    count_cores,
    find_launcher,
    forget_launchers,
    is_first_rank,
    limit_cores,
    mark_children,
)

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "a", "WORLD_SIZE": "4"}
SRUN = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}
OURS = {"COHORTPOSE_LAUNCHER": "lightning", "MASTER_ADDR": "a", "WORLD_SIZE": "2"}
HAND = {"MASTER_ADDR": "a", "MASTER_PORT": "1"}
ALLOCATION = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4"}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in list(os.environ):
        if name.startswith("SLURM_") or name in process._PLACES:
            monkeypatch.delenv(name)


def set_all(monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("environment", "launcher", "first"),
    [
        ({}, Launcher.NOBODY, True),
        # torchrun numbers processes over all nodes: the first of the second node is not first.
        ({**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0"}, Launcher.TORCHRUN, True),
        ({**TORCHRUN, "RANK": "2", "LOCAL_RANK": "0"}, Launcher.TORCHRUN, False),
        ({**OURS, "LOCAL_RANK": "0", "NODE_RANK": "0"}, Launcher.LIGHTNING, True),
        ({**OURS, "LOCAL_RANK": "1", "NODE_RANK": "0"}, Launcher.LIGHTNING, False),
        ({**HAND, "NODE_RANK": "0"}, Launcher.HAND, True),
        ({**HAND, "LOCAL_RANK": "0", "NODE_RANK": "1"}, Launcher.HAND, False),
        ({**SRUN, "SLURM_PROCID": "0"}, Launcher.SRUN, True),
        ({**SRUN, "SLURM_PROCID": "3"}, Launcher.SRUN, False),
        # Started by Lightning inside of the only task of a SLURM job.
        ({**OURS, "SLURM_PROCID": "0", "LOCAL_RANK": "1"}, Launcher.LIGHTNING, False),
    ],
)
def test_the_first_process(environment, launcher, first, monkeypatch):
    set_all(monkeypatch, environment)
    assert find_launcher() is launcher
    assert is_first_rank() is first


# What is around in places where nobody has started this as one of several processes.
LEFTOVERS = {
    "an allocation": ALLOCATION,
    "a batch script": {**ALLOCATION, "SLURM_PROCID": "0", "SLURM_NODEID": "0"},
    "an interactive step": {
        **ALLOCATION,
        "SLURM_STEP_ID": "4294967290",
        "SLURM_STEP_NUM_TASKS": "1",
        "SLURM_PROCID": "0",
        "SLURM_JOB_NAME": "interactive",
    },
    "the second step of one task": {
        **ALLOCATION,
        "SLURM_STEP_ID": "1",
        "SLURM_STEP_NUM_TASKS": "1",
        "SLURM_PROCID": "3",
    },
    "a step without a number": {"SLURM_STEP_ID": "1", "SLURM_STEP_NUM_TASKS": "many"},
    "LSF": {"LSB_JOBID": "1", "LSB_DJOB_RANKFILE": "/f", "JSM_NAMESPACE_RANK": "1"},
    "MPI": {"PMI_RANK": "1", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"},
    "a pod": {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "pod", "MASTER_PORT": "1"},
    "a notebook": {"LOCAL_RANK": "1"},
    "torchrun long ago": {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "2"},
}


@pytest.mark.parametrize("place", LEFTOVERS)
def test_variables_without_a_launcher_are_nothing(place, monkeypatch):
    set_all(monkeypatch, LEFTOVERS[place])
    assert find_launcher() is Launcher.NOBODY
    assert is_first_rank()
    forget_launchers()
    left = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "SLURM_PROCID", "JSM_NAMESPACE_RANK"}
    assert left.isdisjoint(os.environ)
    # Of the job itself, all that says which it is stays.
    assert ("SLURM_JOB_ID" in os.environ) == ("SLURM_JOB_ID" in LEFTOVERS[place])


def test_processes_started_within_the_mark_are_ours():
    script = "from pipeline_lib.core.process import *; print(find_launcher().value)"
    command = [sys.executable, "-c", script]
    with mark_children():
        assert subprocess.run(command, capture_output=True, check=True).stdout == b"lightning\n"
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"nobody\n"


def test_tasks_of_srun_are_not_ours(monkeypatch):
    set_all(monkeypatch, SRUN)
    with mark_children():
        assert find_launcher() is Launcher.SRUN


def test_a_limit_is_what_is_counted():
    """In a process of its own, which keeps the limit."""
    script = (
        "from pipeline_lib.core.process import *\n"
        "limit_cores(1); print(count_cores()); limit_cores(9); print(count_cores())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "1"]


def test_where_the_system_does_not_tell_all_cores_count(monkeypatch):
    """As on macOS: no limit is possible, and nothing fails."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    limit_cores(2)
    assert count_cores() == 6
