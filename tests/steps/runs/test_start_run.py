"""Test the start of a run: the files it writes, and the runs it keeps out."""

import os
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings, parse_config, read_config
from pipeline_lib.io.run_lock import RunLock
from pipeline_lib.steps.runs.plan import make_plan, read_plan
from pipeline_lib.steps.runs.start_run import find_run_settings, start_run, write_plan

pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Make a project of two videos in the working directory."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_sheet("a", "b")
    return folder


def write_sheet(*names):
    for name in names:
        Path(f"{name}.mp4").touch()
    rows = "".join(f"{name}\t{name}.mp4\n" for name in names)
    Path("cohort.tsv").write_text(f"video\tpath\n{rows}")


def prepare(**sections):
    config = parse_config({"cohort": "cohort.tsv", **sections})
    results = Results(Path(config.results))
    return config, results, make_plan(read_cohort(Path(config.cohort)), results, config.inference)


def test_preparing_writes_nothing(project):
    prepare()
    assert sorted(path.name for path in project.iterdir()) == ["a.mp4", "b.mp4", "cohort.tsv"]


def test_each_run_has_settings_of_its_own():
    first, results, plan = prepare(filtering={"window": 3})
    start_run(first, results, plan).release()
    second, _, plan = prepare(filtering={"window": 7})
    start_run(second, results, plan).release()
    paths = [find_run_settings(config, results) for config in (first, second)]
    assert [path.stem for path in paths] == [hash_settings(first), hash_settings(second)]
    assert [read_config(path) for path in paths] == [first, second]
    assert yaml.safe_load(results.config.read_text())["filtering"]["window"] == 7


def test_a_run_of_other_settings_is_refused_before_anything_is_written():
    config, results, plan = prepare()
    lock = start_run(config, results, plan)
    before = results.config.read_text()
    other, _, plan = prepare(filtering={"window": 3})
    with pytest.raises(StoreError, match="another run with other settings is at work"):
        start_run(other, results, plan)
    assert results.config.read_text() == before
    assert not find_run_settings(other, results).exists()
    lock.release()
    start_run(other, results, plan).release()


def test_a_sheet_that_changes_concerns_the_next_run():
    config, results, plan = prepare()
    lock = start_run(config, results, plan)
    write_sheet("a")
    second, results, changed = prepare()
    with pytest.raises(StoreError, match="one of its videos has changed since it started"):
        start_run(second, results, changed)
    assert read_plan(results).rows == plan.rows
    lock.release()
    start_run(second, results, changed).release()
    assert read_plan(results).list_removed("00001") == {"b"}


def test_verbs_of_the_same_settings_work_beside_the_run():
    config, results, plan = prepare()
    lock = start_run(config, results, plan)
    verb = RunLock(results, hash_settings(config))
    assert write_plan(config, results, verb).shards == ("00001",)
    verb.release()
    lock.release()


def test_a_plan_of_a_changed_sheet_is_not_written():
    config, results, plan = prepare()
    write_sheet("a", "b", "c")
    with pytest.raises(StoreError, match="start again"):
        start_run(config, results, plan)
    assert not results.plan.exists()


def test_a_moved_project_is_planned_as_it_was(project, tmp_path, monkeypatch):
    config, results, plan = prepare()
    start_run(config, results, plan).release()
    moved = tmp_path / "elsewhere"
    shutil.move(project, moved)
    monkeypatch.chdir(moved)
    _, results, again = prepare()
    assert again.is_written(results)
    assert [row["path"] for row in again.manifests["00001"]] == ["a.mp4", "b.mp4"]


def test_a_second_run_of_the_same_settings_is_refused():
    """Both would compute everything; jobs of the run go on."""
    config, results, plan = prepare()
    lock = start_run(config, results, plan)
    with pytest.raises(StoreError, match="a run with the same settings is at work") as error:
        start_run(config, results, plan)
    assert f"process {os.getpid()} on " in str(error.value)
    RunLock(results, hash_settings(config)).release()
    lock.release()
    start_run(config, results, plan).release()


@pytest.mark.parametrize("name", ["keys", "shards/00001", "models/pose", ".runs"])
def test_a_folder_that_cannot_be_written_is_named_before_any_work(name, monkeypatch):
    config, results, plan = prepare()
    start_run(config, results, plan).release()
    (results.root / name).mkdir(parents=True, exist_ok=True)
    (results.root / "poses" / "pose" / "a.zarr" / "position").mkdir(parents=True)
    before = sorted(results.root.rglob("*"))
    # Not by permissions: whoever runs the tests as root may write everywhere.
    refused = str(results.root / name)
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != refused and mode)
    with pytest.raises(StoreError, match="cannot write to ") as error:
        start_run(config, results, plan)
    assert refused in str(error.value)
    assert "`chmod u+w`" in str(error.value)
    assert sorted(results.root.rglob("*")) == before
