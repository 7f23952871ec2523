"""Start a training over several nodes: one task for each device, by ``srun``."""

import shlex
from collections.abc import Mapping
from typing import Any

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.settings.base import refuse_unprintable
from pipeline_lib.core.settings.network import StatedTraining

# A process that dies ends the others, which would wait for it forever.
_OPTIONS = "--kill-on-bad-exit=1"


def ask_for_tasks(training: StatedTraining) -> dict[str, int | str]:
    """Return the resources of a training's job besides memory, time and devices.

    On one node that is nothing: a single task holds all devices of the job, and Lightning starts
    the processes. The names are those of Snakemake's executor for SLURM, which wants
    ``tasks_per_node`` to be above 1 and ``tasks`` otherwise.

    Raises
    ------
    ConfigError
        If it is not known how many devices each node has.
    """
    nodes, devices = training.num_nodes, training.devices
    if nodes == 1:
        return {}
    if devices == "auto":
        problem = (
            f"`training.devices`: a training on {nodes} nodes (`training.num_nodes`) is started as "
            "one task for each device: give the number of devices per node, found 'auto'"
        )
        raise ConfigError("config", [problem])
    if devices == 1:
        return {"mpi": "srun", "nodes": nodes, "tasks": nodes, "tasks_per_gpu": 1}
    return {"mpi": "srun", "nodes": nodes, "tasks_per_node": devices}


def write_launcher(resources: Mapping[str, Any], threads: int) -> str:
    """Return the prefix of the command of a training; empty for a single task.

    The number of tasks is said again, because the job's own variables do not reach the command.

    Parameters
    ----------
    resources
        Of the job: those of `ask_for_tasks`, or of a user who sets them.
    threads
        Cores of each task.

    Raises
    ------
    ConfigError
        If the program is not one line.
    """
    program = resources.get("mpi")
    if not program:
        return ""
    nodes = int(resources.get("nodes") or 1)
    tasks = int(resources.get("tasks_per_node") or -(-int(resources["tasks"]) // nodes))
    per_task = f"--ntasks-per-node={tasks} --cpus-per-task={threads}"
    return f"{_quote_words(str(program))} {_OPTIONS} --nodes={nodes} {per_task} "


def _quote_words(program: str) -> str:
    """Return a program with its options, quoted as plain words of the shell."""
    try:
        words = shlex.split(refuse_unprintable(program))
    except ValueError as error:
        raise ConfigError("resources", [f"`mpi`: {error}; expected e.g. srun"]) from None
    return shlex.join(words)
