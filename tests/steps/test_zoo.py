"""Test `zoo list`, `show` and `verify`, and what `predict` writes."""

import hashlib
import os

import pytest
from typer.testing import CliRunner

from pipeline_lib.cli import app
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config, read_config
from pipeline_lib.models.card import read_card
from pipeline_lib.steps.import_model import run_import_model
from pipeline_lib.steps.predict import write_prediction_project
from pipeline_lib.steps.provenance.run import hash_inputs
from tests.models.zoo.bundles import change, read_members, write_tiny_bundle
from tests.models.zoo.server import serve, write_certificate


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.setenv("COHORTPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, ["zoo", *words])


def test_bundles_are_listed_shown_and_verified(call, tmp_path):
    path = write_tiny_bundle(tmp_path)
    (tmp_path / "cache").mkdir()
    path.rename(tmp_path / "cache" / "a.cohortpose")
    path = tmp_path / "cache" / "a.cohortpose"
    (tmp_path / "bad.cohortpose").write_bytes(path.read_bytes()[:500])
    rows = [line.split("\t") for line in call("list").stdout.splitlines()]
    assert rows[0][:2] == ["bundle", "name"]
    assert rows[1][0] == "bad.cohortpose"
    assert "expected a bundle, a ZIP file" in rows[1][-1]
    assert rows[2] == [str(path), "pose", "3", "1", "0", "CC0-1.0", ""]

    shown = call("show", str(path)).stdout
    assert "| bodyparts | red, green, blue |" in shown
    assert "  bundle: FILE.cohortpose" in shown
    assert "Doe 2026" in shown

    good = call("verify", str(path))
    assert good.exit_code == 0
    assert "4 files as listed, CC0-1.0, SHA-256" in good.stdout
    # Members are as listed, but the weights are of no network.
    other = change(path, tmp_path / "b.cohortpose", weights_safetensors=b"x")
    bad = call("verify", str(path), str(other))
    assert bad.exit_code == 1
    assert "weights.safetensors: expected safetensors" in bad.stderr
    # They are of the same network, but of another training.
    seed = read_members(write_tiny_bundle(tmp_path, "seed", seed=1))["weights.safetensors"]
    other = change(path, tmp_path / "b.cohortpose", weights_safetensors=seed)
    bad = call("verify", str(other))
    assert bad.exit_code == 1
    assert "network.onnx is another network than weights.safetensors beside it" in bad.stderr
    for wrong in ("http://host/a.cohortpose", "none.cohortpose", "."):
        assert call("verify", wrong).exit_code == 1
    assert call("list", "nowhere").exit_code == 1


def predict(*words):
    return CliRunner().invoke(app, ["predict", *words])


@pytest.mark.usefixtures("call")
def test_predict_names_a_file_that_is_no_text(tmp_path):
    """Refuse bytes that no config can hold, in names and in files that are there, by name."""
    model = str(write_tiny_bundle(tmp_path))
    odd = tmp_path / os.fsdecode(b"v\xe9.mp4")
    odd.touch()
    below = tmp_path / os.fsdecode(b"d\xe9") / "v.mp4"
    below.parent.mkdir()
    below.touch()
    done = predict(str(odd), str(below), "--model", model)
    assert done.exit_code == 1
    problem = "its name, or that of a folder on the way, is not UTF-8: rename it"
    assert done.stderr.splitlines()[1:] == [
        rf"  - {tmp_path}/v\udce9.mp4: {problem}",
        rf"  - {tmp_path}/d\udce9/v.mp4: {problem}",
    ]
    assert not (tmp_path / "predictions").exists()

    video, folder = tmp_path / "v.mp4", tmp_path / "predictions"
    video.touch()
    folder.mkdir()
    for name in ("config.yaml", "cohort.tsv"):
        (folder / name).write_bytes(b"cohort: \xff\n")
        done = predict(str(video), "--model", model)
        assert done.exit_code == 1
        assert f"{name}: 1 problem\n  - is of other videos or another bundle" in done.stderr
        (folder / name).unlink()
        os.mkfifo(folder / name)
        assert f"{name}: is no regular file" in predict(str(video), "--model", model).stderr
        (folder / name).unlink()


def test_predict_writes_no_query(call, tmp_path, monkeypatch):
    """Write the address of a bundle so that the project may be published, and goes on."""
    path = write_tiny_bundle(tmp_path)
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    certificate = write_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    (tmp_path / "v.mp4").touch()
    with serve(certificate) as server:
        server.answers |= {"/q?token=S3CRET": content, "/q.sha256?token=S3CRET": sha256.encode()}
        address = f"{server.address}/q?token=S3CRET"
        for _ in range(2):
            config = write_prediction_project([tmp_path / "v.mp4"], address, tmp_path / "out")
        shown = f"{server.address}/q?…#sha256={sha256}"
        assert read_config(config).model.bundle == shown
        plain = f"{server.address}/q#sha256={sha256}"
        config = write_prediction_project([tmp_path / "v.mp4"], plain, tmp_path / "plain")
        assert read_config(config).model.bundle == plain
        # What the run stores of it.
        results = Results(tmp_path / "out" / "results")
        values = {"cohort": "c.tsv", "model": {"bundle": address}}
        run_import_model(parse_config(values), results)
        assert read_card(results.model("pose").card).bundle.file == "q"
        assert hash_inputs(parse_config(values))["bundles"] == {f"{server.address}/q?…": sha256}
        assert len(server.asked) == 2
        verified = call("verify", address)
        assert verified.stdout.startswith(f"{server.address}/q?…: 4 files as listed")
    assert b"S3CRET" not in b"".join(
        one.read_bytes()
        for folder in ("out", "cache")
        for one in (tmp_path / folder).rglob("*")
        if one.is_file()
    )
