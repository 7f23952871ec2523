"""Provide the tiny cohort of the workflow tests, and a finished run of it."""

import shutil

import pytest
import yaml

from pipeline_lib.demo.write import DemoSettings, write_demo
from tests.workflow.running import PROJECT, Run

DEMO = DemoSettings(videos=3, frames=24, width=96, height=96, labelled_frames=12)
# The smallest network there is; it learns nothing, which is not the matter here.
SETTINGS = {
    "frames": {"extract": True, "number": 3},
    "labels": [{"path": PROJECT}],
    "targets": {"stride": 8},
    "training": {
        "backbone": "mobilenetv3_small_050",
        "weights": "none",
        "head_channels": 8,
        "epochs": 3,
        "validate_every": 1,
        "batch_size": 4,
    },
    "report": {"sample_frames": 2},
    "quality": {"enabled": False},
}


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    """Render a demo cohort of three good videos and a damaged one."""
    folder = tmp_path_factory.mktemp("media") / "demo"
    write_demo(folder, DEMO)
    return folder


@pytest.fixture(scope="session")
def fresh(media, tmp_path_factory):
    """Prepare a run before its first start: two good videos with labels, and a damaged one."""
    run = Run(tmp_path_factory.mktemp("run") / "a cohort")
    run.folder.mkdir()
    demo = yaml.safe_load((media / "config.yaml").read_text())
    (run.folder / "config.yaml").write_text(yaml.safe_dump(demo | SETTINGS))
    (project,) = media.glob("demo-*")
    # Labels in CSV alone, which is easy to edit.
    shutil.copytree(project, run.folder / PROJECT, ignore=shutil.ignore_patterns("*.h5"))
    shutil.copy(media / "cohort.tsv", run.folder)
    rows = [{**row, "path": str(media / row["path"])} for row in run.read_sheet()]
    run.write_sheet([*rows[:2], rows[-1]])
    return run


@pytest.fixture(scope="session")
def finished(fresh, tmp_path_factory):
    """Return the run after its first start; tests that change anything copy it."""
    run = fresh.copy(tmp_path_factory.mktemp("finished") / "a cohort")
    run.first = run.snakemake()
    assert run.first.code == 0, run.first.output
    return run


@pytest.fixture
def again(finished, tmp_path):
    """Return a copy of the finished run to continue."""
    return finished.copy(tmp_path / "again")
