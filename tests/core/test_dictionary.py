"""Test that the data dictionary describes every table that the package writes."""

import ast
import importlib
from pathlib import Path

import pytest

import pipeline_lib
from pipeline_lib.core import tables
from pipeline_lib.core.formats.dictionary import TABLES, find_table, list_dictionary
from pipeline_lib.core.tables import DICTIONARY_COLUMNS, LABEL_COLUMNS, PREDICTION_COLUMNS
from pipeline_lib.io.labels.image_paths import BASE_COLUMN
from pipeline_lib.io.stage_tables import format_table

PACKAGE = Path(pipeline_lib.__file__).parent
# Calls of writers whose columns depend on the cohort; a finished run is compared with the
# dictionary in tests/workflow.
WRITERS = {"write_table", "format_table"}


def find_columns(module, name):
    """Return the columns of a name in a module; some import theirs inside a function."""
    return getattr(importlib.import_module(module), name, None) or getattr(tables, name)


def list_written():
    """Yield place and columns of each call that writes a table with columns of a fixed name."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(("pipeline_lib", *path.relative_to(PACKAGE).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in WRITERS:
                names = [one.id for one in node.args if isinstance(one, ast.Name)]
                # Names with an underscore are records that only their writer reads.
                for name in names:
                    if name.isupper() and not name.startswith("_"):
                        yield f"{module}:{node.lineno}", find_columns(module, name)


WRITTEN = dict(list_written())


def test_the_calls_are_found():
    assert len(WRITTEN) > 25
    assert any(place.startswith("pipeline_lib.steps.costs.run") for place in WRITTEN)


@pytest.mark.parametrize("place", WRITTEN)
def test_columns_that_are_written_are_those_of_a_table(place):
    described = {table.names for table in TABLES} | {
        (*table.names, *(one.name for one in table.optional)) for table in TABLES
    }
    assert tuple(WRITTEN[place]) in described, f"{place}: describe it in core/formats/dictionary.py"


def test_parquet_tables_are_described():
    labels, predictions = (
        find_table(path)
        for path in ("labels/labels.parquet", "evaluation/pose/predictions.parquet")
    )
    assert labels.names == (*LABEL_COLUMNS, BASE_COLUMN)
    assert predictions.names == PREDICTION_COLUMNS


def test_every_column_says_what_it_is_and_what_an_empty_cell_means():
    rows = list(list_dictionary())
    assert len({(row["table"], row["column"]) for row in rows}) == len(rows)
    for row in rows:
        assert row["about"], row
        assert row["empty"], row
        assert (row["type"] == "number") <= bool(row["unit"]), row
    cells = {(row["table"], row["column"]): row for row in rows}
    assert cells["costs.tsv", "kwh"]["unit"] == "kWh"
    assert cells["costs.tsv", "kwh"]["empty"] == "nothing measured it"
    assert format_table(DICTIONARY_COLUMNS, rows).count("\n") == len(rows) + 1


@pytest.mark.parametrize(
    ("path", "table"),
    [
        ("shards/00001/infer-my-net.tsv", "shards/SHARD/infer-MODEL.tsv"),
        ("shards/00001/contents-infer-pose.tsv", "shards/SHARD/contents-STAGE-MODEL.tsv"),
        ("shards/00001/frames.tsv", "shards/SHARD/frames.tsv"),
        ("shards/00001/correct-views-pose.tsv", "shards/SHARD/correct-views-MODEL.tsv"),
        ("shards/00001/correct-pose.tsv", "shards/SHARD/correct-MODEL.tsv"),
        ("frames/a.b/frames.tsv", "frames/VIDEO/frames.tsv"),
        ("calibrations/top.left.quality.tsv", "calibrations/NAME.quality.tsv"),
        ("bodyparts.tsv", None),
        ("frames/a/b/frames.tsv", None),
    ],
)
def test_a_file_is_found_by_its_path(path, table):
    found = find_table(path)
    assert (found and found.path) == table


def test_only_tables_with_columns_of_the_sheet_know_others():
    ledger, costs = find_table("ledger.tsv"), find_table("costs.tsv")
    assert ledger.knows("dose")
    assert not costs.knows("dose")
