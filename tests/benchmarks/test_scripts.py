"""Test that the scripts of the benchmarks find what they import: most run by hand alone."""

import ast
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def list_imports(script):
    """Return the modules that a script names, without those of its own package by a dot."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names)


@pytest.mark.parametrize(
    "script",
    [pytest.param(one, id=one.relative_to(FOLDER).as_posix()) for one in FOLDER.rglob("*.py")],
)
def test_scripts_import_no_module_that_was_moved(script):
    for name in list_imports(script):
        if name.split(".")[0] in ("benchmarks", "pipeline_lib"):
            assert find_spec(name), f"{script}: {name}"
            continue
        # A neighbour in the folder of the script, or a module that is installed beside.
        moved = name.split(".")[0]
        neighbours = {path.stem for path in FOLDER.rglob("*") if "__pycache__" not in path.parts}
        if moved in neighbours and moved not in sys.stdlib_module_names:
            assert (script.parent / f"{moved}.py").is_file(), f"{script}: {name}"
