"""Find the cores that a process may use, and its rank in a distributed training.

Systems other than Linux neither tell the cores of a process nor limit them.

Launchers tell the rank by environment variables, and so do many things that launched nothing here:
a shell inside of a SLURM allocation, a pod, what a notebook has left. The launcher is found by what
only it sets; variables without a launcher are forgotten.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

# Variable of processes whose children Lightning starts for this package.
_OURS = "COHORTPOSE_LAUNCHER"
# Variables with the rank of a process.
_PLACES = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "NODE_RANK"),
    *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"),
    *("SLURM_STEP_ID", "SLURM_STEPID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE"),
    *("JSM_NAMESPACE_RANK", "TORCHELASTIC_RUN_ID", _OURS),
)


def count_cores() -> int:
    """Return the number of cores this process may run on."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def limit_cores(number: int) -> None:
    """Limit this process to N cores; Dask, OpenMP and others then count only these."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    keep: Callable[[int, list[int]], None] | None = getattr(os, "sched_setaffinity", None)
    if affinity is None or keep is None:
        _log.debug("this system cannot limit a process to %d cores", number)
        return
    keep(0, sorted(affinity(0))[:number])


class Launcher(Enum):
    """Name the program that started the processes of a training."""

    NOBODY = "nobody"  # or Lightning will, in a moment
    LIGHTNING = "lightning"
    TORCHRUN = "torchrun"
    SRUN = "srun"
    HAND = "hand"


def find_launcher() -> Launcher:
    """Return the program that started this process as one of several."""
    if os.environ.get(_OURS) == Launcher.LIGHTNING.value:
        return Launcher.LIGHTNING
    if "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ:
        return Launcher.TORCHRUN
    if _count_tasks_of_step() > 1:
        return Launcher.SRUN
    if "NODE_RANK" in os.environ and "MASTER_ADDR" in os.environ:
        return Launcher.HAND
    return Launcher.NOBODY


def is_first_rank() -> bool:
    """Tell whether this process is the first, or only, one of its job."""
    launcher = find_launcher()
    if launcher is Launcher.NOBODY:
        return True
    if launcher is Launcher.TORCHRUN:
        return os.environ["RANK"] == "0"
    if launcher is Launcher.SRUN:
        return os.environ.get("SLURM_PROCID", "0") == "0"
    return os.environ.get("LOCAL_RANK", "0") == "0" == os.environ.get("NODE_RANK", "0")


def forget_launchers() -> None:
    """Remove the rank of a process that belongs to no distributed training.

    Lightning would take the variables for its own, wherever they come from.
    """
    for name in _PLACES:
        os.environ.pop(name, None)


@contextmanager
def mark_children() -> Iterator[None]:
    """Mark the processes that Lightning starts in this block as ours."""
    before = os.environ.get(_OURS)
    if find_launcher() is Launcher.NOBODY:
        os.environ[_OURS] = Launcher.LIGHTNING.value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_OURS, None)


def _count_tasks_of_step() -> int:
    """Return the number of tasks of the ``srun`` step that this process belongs to.

    A job may be of more tasks than a step of it, and a shell inside of a job is no step, or one of
    a single task.
    """
    if "SLURM_STEP_ID" not in os.environ:
        return 0
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS") or os.environ.get("SLURM_NTASKS") or "1"
    return int(tasks) if tasks.isdecimal() else 1
