"""The ways in: other folders, other paths, settings on the command line, rules by name."""

import pytest
import yaml

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.steps.plan import read_shards
from tests.workflow.running import REPOSITORY, identify
from tests.workflow.test_whole_run import ALL_JOBS

pytestmark = [pytest.mark.workflow]


def test_every_verb_has_its_rule(finished):
    listed = finished.snakemake("--list-rules", cwd=finished.folder.parent)
    assert listed.code == 0
    rules = {
        "probe",
        "select_frames",
        "import_labels",
        "make_targets",
        "train",
        "evaluate",
        "infer",
        "postprocess",
        "report",
        "status",
        "demo",
        "init",
    }
    assert rules - set(listed.output.split()) == set()


def test_snakemake_finds_nothing_to_say_of_the_workflow(finished):
    linted = finished.snakemake("--lint")
    assert linted.code == 0, linted.output
    assert "Congratulations" in linted.output


def test_a_relative_config_file_and_a_setting_on_the_command_line(again):
    """The path is relative to where Snakemake is called; the setting replaces one key."""
    before = identify(again.results.root)
    planned = again.snakemake(
        "--dry-run",
        "--configfile",
        f"{again.folder.name}/config.yaml",
        "--config",
        "filtering={window: 3}",
        cwd=again.folder.parent,
    )
    assert planned.code == 0, planned.output
    assert planned.jobs == {
        "postprocess 00001",
        "status",
        "report",
        "accept",
    }
    assert identify(again.results.root) == before


def test_another_results_folder_on_the_command_line(again):
    before = identify(again.results.root)
    planned = again.snakemake("--dry-run", "--config", "results=elsewhere")
    assert planned.code == 0, planned.output
    assert planned.jobs == ALL_JOBS
    assert identify(again.results.root) == before
    assert read_shards(Results(again.folder / "elsewhere")) == ("00001",)


def test_init_and_demo_by_name(again, monkeypatch):
    """The demo takes long to render: another program of its name notes how it was called."""
    ended = again.snakemake("init")
    assert ended.code == 0, ended.output
    config = read_config(again.folder / "init" / "config.yaml")
    (labels,) = config.labels
    assert (again.folder / "init" / labels.path).resolve() == again.folder / "project"
    sheet = (again.folder / "init" / config.cohort).read_text().splitlines()
    assert sheet[0] == "video\tpath"
    assert len(sheet) == 1 + 2

    programs = again.folder / "programs"
    programs.mkdir()
    program = programs / "cohortpose"
    program.write_text('#!/bin/sh\necho "called: $@"\ntouch demo/cohort.tsv demo/config.yaml\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    ended = again.snakemake("demo")
    assert ended.code == 0, ended.output
    assert "called: demo demo\n" in ended.output
    assert ended.jobs == {"demo"}


def test_the_default_config_is_a_run():
    """What stands in config/ is a template that the checks accept."""
    config = read_config(REPOSITORY / "config" / "config.yaml")
    assert (REPOSITORY / config.cohort).is_file()
    assert yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
