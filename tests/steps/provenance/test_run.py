"""Test that provenance records what made the results, and nothing that changes by itself."""

import hashlib
import json

import pytest

from pipeline_lib import __version__
from pipeline_lib.core import versions
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings, parse_config, read_config
from pipeline_lib.steps.provenance.checksums import read_checksums
from pipeline_lib.steps.provenance.jobs import record_job
from pipeline_lib.steps.provenance.run import (
    complete_provenance,
    read_provenance,
    write_provenance,
)

SHEET = b"video\tpath\na\ta.mp4\n"


@pytest.fixture
def run(tmp_path):
    sheet, weights = tmp_path / "cohort.tsv", tmp_path / "weights.pt"
    sheet.write_bytes(SHEET)
    weights.write_bytes(b"w")
    labels = tmp_path / "labels.csv"
    labels.write_text("scorer,me\n")
    config = parse_config(
        {
            "cohort": str(sheet),
            "training": {"seed": 7, "split": {"seed": 8}, "weights": str(weights)},
            "labels": [
                {"path": str(labels), "format": "lightning-pose"},
                {"path": str(tmp_path / "none.csv"), "format": "lightning-pose"},
            ],
        }
    )
    return config, Results(tmp_path / "results")


def read(results):
    return json.loads(results.provenance.read_text())


def test_the_provenance_names_versions_seeds_and_hashes(run, tmp_path):
    config, results = run
    write_provenance(config, results)
    record = read(results)
    assert record["cohortpose"] == __version__
    assert record["steps"]["infer"] == versions.INFER
    assert record["steps"].keys() >= {"probe", "make_targets", "train", "report"}
    assert record["seeds"] == {"frames": 0, "split": 8, "training": 7, "report": 0}
    assert record["settings"] == config.model_dump(mode="json")
    assert record["packages"]["torch"].count(".") >= 1
    assert (results.environments / f"{record['environment']}.json").is_file()
    hashes = record["hashes"]
    assert hashes["settings"] == hash_settings(config)
    assert hashes["cohort"] == hashlib.sha256(SHEET).hexdigest()
    labels = {
        str(tmp_path / "labels.csv"): hashlib.sha256(b"scorer,me\n").hexdigest(),
        str(tmp_path / "none.csv"): None,
    }
    assert hashes["labels"] == labels
    weights = {str(tmp_path / "weights.pt"): hashlib.sha256(b"w").hexdigest()}
    assert hashes["weights"] == weights
    assert read_config(results.config) == config


def test_the_same_run_leaves_its_files_alone(run):
    config, results = run
    results.ledger.parent.mkdir()
    results.ledger.write_text("ledger\n")

    def start_and_end():
        write_provenance(config, results)
        complete_provenance(config, results)
        files = (results.config, results.provenance, results.checksums)
        return [(file.stat().st_mtime_ns, file.stat().st_ino) for file in files]

    assert start_and_end() == start_and_end()


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


def test_the_end_of_a_run_adds_what_it_made_and_took(run, tmp_path):
    config, results = run
    write_provenance(config, results)
    with record_job(config, results, "train", None):
        network = results.model("pose").network
        network.parent.mkdir(parents=True)
        network.write_bytes(b"network")
    # An input that changes while the run is at work was not what it read.
    (tmp_path / "cohort.tsv").write_text("video\tpath\nb\tb.mp4\n")
    complete_provenance(config, results)
    record = read(results)
    sha256 = hashlib.sha256(b"network").hexdigest()
    assert record["networks"] == {"models/pose/network.onnx": sha256}
    assert record["stages"]["train"]["jobs"] == 1
    assert record["hashes"]["cohort"] == hashlib.sha256(SHEET).hexdigest()
    assert read_checksums(results.checksums)["models/pose/network.onnx"]["sha256"] == sha256
    # The next start keeps it.
    write_provenance(config, results)
    assert read(results)["stages"] == record["stages"]


def test_without_a_start_there_is_no_end(run):
    config, results = run
    complete_provenance(config, results)
    assert not results.provenance.exists()
    results.root.mkdir()
    results.provenance.write_text('{"git": "of an older version"}')
    assert read_provenance(results) == {}
