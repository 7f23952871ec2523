"""Start the workflow from other folders, with other paths, with settings, and by rule."""

import pytest
import yaml

from pipeline_lib.core.settings.reading import read_config
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
    }
    assert rules - set(listed.output.split()) == set()


def test_snakemake_finds_nothing_to_say_of_the_workflow(finished):
    linted = finished.snakemake("--lint")
    assert linted.code == 0, linted.output
    assert "Congratulations" in linted.output


def test_a_relative_config_file_and_a_setting_on_the_command_line(again):
    """Check that the path is relative to the caller's folder and the setting replaces one key."""
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
    assert not (again.folder / "elsewhere").exists()


def test_the_default_config_is_a_run():
    """Check that the template in config/ passes the pre-flight checks."""
    config = read_config(REPOSITORY / "config" / "config.yaml")
    assert (REPOSITORY / config.cohort).is_file()
    assert yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
