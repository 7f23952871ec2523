"""Test mistakes of the user: one message with all of them, before anything is computed."""

import pytest

from tests.workflow.running import PROJECT, identify

pytestmark = [pytest.mark.workflow]


@pytest.fixture
def new(fresh, tmp_path):
    """Return a run that was not started, to put mistakes into."""
    return fresh.copy(tmp_path / "new")


def test_all_mistakes_in_one_message(new):
    rows = new.read_sheet()
    new.write_sheet([*rows, {**rows[0], "path": "twice.mp4"}])
    new.edit_config(
        trainig={"epochs": 3},
        filtering={"windw": 3},
        skeleton={"bodyparts": ["snout", "elbow"], "edges": [], "symmetries": []},
        labels=[{"path": PROJECT}, {"path": "no-such-project"}],
    )
    before = identify(new.folder)
    ended = new.snakemake()
    assert ended.code != 0
    for part in (
        "unknown key `trainig`; did you mean `training`?",
        "unknown key `filtering.windw`; did you mean `filtering.window`?",
        "line 5: video mouse-01 already on line 2",
        "no label table has 'elbow'",
        "no-such-project: no labels there",
    ):
        assert part in ended.output
    assert "config.yaml: 5 problems" in ended.output
    assert "Traceback" not in ended.output
    assert ended.jobs == set()
    after = identify(new.folder)
    assert {path for path in after if ".snakemake" not in path.parts} == set(before)


def test_a_config_that_would_never_load(new):
    """Snakemake expands what aliases repeat: mappings of mappings, for as long as it takes."""
    lines = ["a0: &a0 {k: x}"]
    for n in range(1, 9):
        inner = ", ".join(f"k{k}: *a{n - 1}" for k in range(10))
        lines.append(f"a{n}: &a{n} {{{inner}}}")
    (new.folder / "config").mkdir()
    (new.folder / "config" / "config.yaml").write_text("\n".join(lines))
    ended = new.snakemake()
    assert ended.code != 0
    assert "config/config.yaml: 1 problem\n  - has more than 1,000,000 values" in ended.output
    assert ended.jobs == set()


def test_a_sheet_without_a_column(new):
    new.write_sheet([{"video": row["video"], "file": row["path"]} for row in new.read_sheet()])
    ended = new.snakemake()
    assert ended.code != 0
    assert "missing column `path` (tab-separated; found: video, file)" in ended.output
    assert "Traceback" not in ended.output
    assert ended.jobs == set()


def test_a_results_folder_that_cannot_be_written(new):
    """Put a file in its place, since permissions would not stop root."""
    new.results.root.write_text("mine")
    ended = new.snakemake()
    assert ended.code != 0
    assert "`results`: cannot write results (not a folder)" in ended.output
    assert "set `results` to a folder you may write" in ended.output
    assert "Traceback" not in ended.output
    assert ended.jobs == set()
    assert new.results.root.read_text() == "mine"
