"""Run code as a user whom permissions concern, also where the tests run as root."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

# prctl(2) and capabilities(7): to write and to read whatever permissions say.
_PR_CAPBSET_DROP = 24
_CAPABILITIES = (1, 2)


def _drop_capabilities() -> None:
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in _CAPABILITIES:
            if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
                os._exit(77)


def run_without_root(code: str, *arguments: Path | str) -> str:
    """Run Python code in a process that may read only what permissions allow; return its output."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
        preexec_fn=_drop_capabilities,
    )
    if done.returncode == 77:
        pytest.skip("root may not give up its rights here")
    assert done.returncode == 0, done.stderr
    return done.stdout
