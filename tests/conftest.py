"""Provide fixtures to all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No test is timed: this may be a loaded machine.
settings.register_profile("cohortpose", deadline=None)
settings.load_profile("cohortpose")
# Files that take long come first, so that the processes of pytest-xdist end together.
_LONG = (
    "tests/slurm/",
    "tests/workflow/",
    "tests/steps/infer/test_faults.py",
    "tests/steps/test_train_distributed.py",
    "tests/faults/test_shared_folder.py",
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))


def pytest_addoption(parser):
    parser.addoption(
        "--require-data",
        action="store_true",
        help="A test that is skipped for want of real recordings counts as failed (for CI).",
    )
    parser.addoption(
        "--require-slurm",
        action="store_true",
        help="A test marked `slurm` that is skipped counts as failed (for CI).",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    del call
    report = yield
    # pytest-xdist passes reports on as UTF-8, which a log with a name that is not would break.
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    required = [
        item.config.getoption("--require-data")
        and (item.get_closest_marker("real") or "COHORTPOSE_DATA" in str(report.longrepr)),
        item.config.getoption("--require-slurm") and item.get_closest_marker("slurm"),
    ]
    if any(required) and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped though it must not be: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def data_folder():
    """Return the folder of real recordings; tests that ask for it carry the mark `real`."""
    folder = os.environ.get("COHORTPOSE_DATA")
    if not folder:
        pytest.skip("COHORTPOSE_DATA does not name the folder of real recordings")
    return Path(folder)
