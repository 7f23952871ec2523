"""Find the Python of another tool, which has an environment of its own.

`make peers NAME=movement` makes one in ``build/peers``. A variable such as COHORTPOSE_MOVEMENT
names one elsewhere.
"""

import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "build" / "peers"


def require_peer(name: str) -> str:
    """Return the Python that has a tool; skip the test where there is none.

    Parameters
    ----------
    name
        Name of the environment, as in ``environments.sh``.
    """
    python = os.environ.get(f"COHORTPOSE_{name.upper()}") or str(FOLDER / name / "bin" / "python")
    if not Path(python).exists():
        pytest.skip(f"there is no environment with {name}: make peers NAME={name}")
    return python
