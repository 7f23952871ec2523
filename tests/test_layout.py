"""Test that folders are small, and that small modules are subjects of their own."""

import ast
import re
from collections import Counter
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


# Small modules that one other module imports, or none: each is a subject of its own.
SUBJECTS = {
    "kernels.kinematics.depth": "the distance of points from the outline of a region",
    "live.newest": "the mailbox of live cameras, with its own tests",
    "core.settings.outputs.rendering": "the settings of labelled videos",
    "start": "the command's entry, which answers before anything is imported",
    "io.exports.registry": "the registry of export formats",
    "models.training.precision": "the precision that a device trains in",
    "steps.calibrate.squares": "a measure that calibration did not fit, with its own tests",
    "steps.infer.timings": "the file of timings of a shard",
    "steps.refine.choice": "how frames are chosen, apart from how they are scored",
    "steps.report.labelling.label_errors": "a panel of the report",
}
SMALL = 60
# Named in records of `core/formats`, which import them when a format or criterion is used.
NAMED = ("io.labels.formats", "io.exports", "io.foreign_poses", "kernels.refinement")


def list_imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{one.name}" for one in node.names)
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names)


def is_named(name, formats):
    """Tell whether a record has the module, with or without a function after a colon."""
    return re.search(rf'\.{name.rpartition(".")[2]}[:"]', formats) is not None


def test_a_small_module_is_shared_or_a_subject_of_its_own():
    package = REPOSITORY / "pipeline_lib"
    modules = {
        ".".join(path.relative_to(package).with_suffix("").parts): path
        for path in package.rglob("*.py")
        if path.name != "__init__.py"
    }
    importers = Counter(name for path in modules.values() for name in {*list_imports(path)} if name)
    formats = "".join(
        path.read_text(encoding="utf-8") for path in (package / "core" / "formats").glob("*.py")
    )
    lonely = {
        name
        for name, path in modules.items()
        if importers[f"pipeline_lib.{name}"] < 2
        and len(path.read_text(encoding="utf-8").splitlines()) < SMALL
        and not (name.startswith(NAMED) and is_named(name, formats))
    }
    assert lonely == set(SUBJECTS)
