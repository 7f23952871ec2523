"""Test `zoo list`, `show` and `verify`."""

import pytest
from typer.testing import CliRunner

from pipeline_lib.cli import app
from tests.models.zoo.bundles import change, read_members, write_tiny_bundle


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
