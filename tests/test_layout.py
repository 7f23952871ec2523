"""Test that no folder holds more files than one reads at a glance."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ROOTS = ("benchmarks", "config", "docs", "locks", "pipeline_lib", "profiles", "tests", "workflow")
MOST = 15
# Tools for decisions (adr-tools, Log4brains, GitHub) look for numbered pages in one folder, and
# other pages name a decision by its number.
FLAT = {"docs/adr"}


@pytest.mark.parametrize("root", ROOTS)
def test_no_folder_holds_more_than_fifteen_files(root):
    counts = {}
    for folder in [REPOSITORY / root, *(REPOSITORY / root).rglob("*/")]:
        name = folder.relative_to(REPOSITORY).as_posix()
        if "__pycache__" not in folder.parts and name not in FLAT:
            counts[name] = sum(path.is_file() for path in folder.iterdir())
    assert sum(counts.values()) > 0
    assert {name: number for name, number in counts.items() if number > MOST} == {}
