"""Provenance: what made the results, and nothing that changes by itself."""

import hashlib
import json

import pytest

from pipeline_lib import __version__
from pipeline_lib.core import versions
from pipeline_lib.core.config import hash_settings, parse_config, read_config
from pipeline_lib.core.layout import Results
from pipeline_lib.steps.provenance import write_provenance


@pytest.fixture
def run(tmp_path):
    sheet = tmp_path / "cohort.tsv"
    sheet.write_text("video\tpath\na\ta.mp4\n")
    config = parse_config({"cohort": str(sheet), "training": {"seed": 7}})
    return config, Results(tmp_path / "results")


def read(results):
    return json.loads(results.provenance.read_text())


def test_it_says_what_made_the_results(run):
    config, results = run
    write_provenance(config, results)
    record = read(results)
    assert record["cohortpose"] == __version__
    assert record["steps"]["infer"] == versions.INFER
    assert record["steps"].keys() >= {"probe", "make_targets", "train", "report"}
    assert record["seeds"]["training"] == 7
    assert record["hashes"]["settings"] == hash_settings(config)
    sheet = b"video\tpath\na\ta.mp4\n"
    assert record["hashes"]["cohort"] == hashlib.sha256(sheet).hexdigest()
    assert record["packages"]["torch"].count(".") >= 1
    assert read_config(results.config) == config


def test_the_same_run_leaves_its_files_alone(run):
    config, results = run
    write_provenance(config, results)
    files = (results.config, results.provenance)
    before = [(file.stat().st_mtime_ns, file.stat().st_ino) for file in files]
    write_provenance(config, results)
    assert [(file.stat().st_mtime_ns, file.stat().st_ino) for file in files] == before


def test_another_setting_or_sheet_shows(run, tmp_path):
    config, results = run
    write_provenance(config, results)
    first = read(results)["hashes"]
    (tmp_path / "cohort.tsv").write_text("video\tpath\nb\tb.mp4\n")
    write_provenance(config, results)
    second = read(results)["hashes"]
    assert (second["settings"], second["cohort"] != first["cohort"]) == (first["settings"], True)
    write_provenance(config.model_copy(update={"results": "elsewhere"}), results)
    assert read(results)["hashes"]["settings"] != first["settings"]


@pytest.mark.parametrize("error", [FileNotFoundError, OSError])
def test_without_git_there_is_no_commit(run, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("pipeline_lib.steps.provenance.subprocess.run", fail)
    config, results = run
    write_provenance(config, results)
    assert read(results)["git"] is None


def test_a_package_that_is_not_there_has_no_version(run, monkeypatch):
    monkeypatch.setattr("pipeline_lib.steps.provenance._PACKAGES", ("no-such-package", "numpy"))
    config, results = run
    write_provenance(config, results)
    packages = read(results)["packages"]
    assert packages["no-such-package"] is None
    assert packages["numpy"]
