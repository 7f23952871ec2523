"""What every test may use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No test is timed: this may be a loaded machine.
settings.register_profile("cohortpose", deadline=None)
settings.load_profile("cohortpose")


@pytest.fixture(scope="session")
def data_folder():
    """Return the folder of real recordings; tests that ask for it carry the mark `real`."""
    folder = os.environ.get("COHORTPOSE_DATA")
    if not folder:
        pytest.skip("COHORTPOSE_DATA does not name the folder of real recordings")
    return Path(folder)
