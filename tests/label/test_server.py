"""Test why the page cannot be served, and what is said then."""

import socket
import sys

import pytest
from typer.testing import CliRunner

from pipeline_lib.cli import app
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.label.project import Project
from pipeline_lib.label.server import LabelPageError, require_nicegui, serve
from tests.label.serving import write_project


def test_the_extra_is_named_where_nicegui_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    with pytest.raises(LabelPageError, match=r"pip install 'cohortpose\[label\]'"):
        require_nicegui()
    folder = write_project(tmp_path / "project", {"m1": tmp_path / "m1.mp4"})
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, ["label", "--config", "config.yaml", "--author", "Ann"])
    assert done.exit_code == 1
    assert "extra `label`" in done.output
    assert "Traceback" not in done.output


def test_a_port_that_is_taken_is_an_error(monkeypatch, tmp_path):
    pytest.importorskip("nicegui")
    folder = write_project(tmp_path / "project", {"m1": tmp_path / "m1.mp4"})
    monkeypatch.chdir(folder)
    project = Project(parse_config({"cohort": "cohort.tsv"}), Results(folder / "results"), "Ann")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(LabelPageError, match="--port"):
            serve(project, taken.getsockname()[1], print)
