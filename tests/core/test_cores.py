import os
import subprocess
import sys

from pipeline_lib.core.cores import count_cores, limit_cores


def test_a_limit_is_what_is_counted():
    """Run in a process of its own, which keeps the limit."""
    script = (
        "from pipeline_lib.core.cores import *\n"
        "limit_cores(1); print(count_cores()); limit_cores(9); print(count_cores())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "1"]


def test_all_cores_count_if_the_system_sets_no_limit(monkeypatch):
    """Simulate macOS: no limit is possible, and nothing fails."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    limit_cores(2)
    assert count_cores() == 6
