"""Processor cores that a process may use; systems other than Linux do not tell or limit them."""

import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)


def count_cores() -> int:
    """Return the number of cores this process may run on."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def limit_cores(number: int) -> None:
    """Run on at most so many cores; Dask, OpenMP and the rest then count these."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    keep: Callable[[int, list[int]], None] | None = getattr(os, "sched_setaffinity", None)
    if affinity is None or keep is None:
        _log.debug("this system cannot limit a process to %d cores", number)
        return
    keep(0, sorted(affinity(0))[:number])
