"""Test that bundles hold what was put in, and that the same network gives the same bytes."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import Results
from pipeline_lib.models.card import read_card
from pipeline_lib.models.inference.decoding import MapDecoder
from pipeline_lib.models.inference.onnx_runtime import OnnxRuntime
from pipeline_lib.models.inference.torch_runtime import load_network
from pipeline_lib.models.network.network import DeployedNetwork
from pipeline_lib.models.zoo.archive import read_bundle
from pipeline_lib.models.zoo.weights import unpack_weights
from pipeline_lib.steps.bundle import BundleTexts, run_bundle
from tests.models.synthetic import BODYPARTS, tiny_config
from tests.models.zoo.bundles import TEXTS, read_members, write_tiny_bundle


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    return write_tiny_bundle(folder), Results(folder / "results-pose")


def test_a_bundle_holds_the_network_and_its_description(made):
    path, results = made
    bundle = read_bundle(path)
    files = results.model("pose")
    assert bundle.card == read_card(files.card)
    assert bundle.read("network.onnx") == files.network.read_bytes()
    state = unpack_weights(bundle.read("weights.safetensors"), bundle.card, "w")
    expected = load_network(files.weights, bundle.card).state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert (bundle.manifest.licence, bundle.manifest.citation) == ("CC0-1.0", "Doe 2026")
    for words in ("# pose", "Discs from above.", "| bodyparts | red, green, blue |", "CC0-1.0"):
        assert words in bundle.readme
    assert bundle.locator is None
    assert bundle.read("history.tsv") is None


def test_the_same_network_gives_the_same_bytes(made, tmp_path):
    path, results = made
    shutil.copytree(results.root, tmp_path / "elsewhere")
    again = run_bundle(tiny_config(), Results(tmp_path / "elsewhere"), TEXTS, tmp_path / "b")
    assert again.read_bytes() == path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_paths_of_this_machine_stay_here(made, tmp_path):
    _, results = made
    shutil.copytree(results.root, tmp_path / "results")
    card = json.loads(results.model("pose").card.read_text())
    card["training"]["settings"]["weights"] = f"{tmp_path}/secret/w.pt"
    card["training"]["start_from"] = "/home/somebody/mouse.cohortpose"
    (tmp_path / "results/models/pose/model.json").write_text(json.dumps(card))
    path = run_bundle(tiny_config(), Results(tmp_path / "results"), TEXTS, tmp_path / "b")
    members = read_members(path)
    assert b'"secret/w.pt"' in members["model.json"]
    for private in (str(tmp_path), "somebody"):
        assert private.encode() not in b"".join(members.values())


def test_a_bundle_is_not_written_without_licence_or_over_another(made, tmp_path):
    _, results = made
    with pytest.raises(ModelError, match="needs a licence"):
        run_bundle(tiny_config(), results, BundleTexts(" "), tmp_path / "b")
    (tmp_path / "b").write_text("mine")
    with pytest.raises(ModelError, match="exists"):
        run_bundle(tiny_config(), results, TEXTS, tmp_path / "b")
    assert (tmp_path / "b").read_text() == "mine"


def test_a_network_that_diverged_is_not_packed(made, tmp_path):
    _, results = made
    shutil.copytree(results.root, tmp_path / "results")
    own = Results(tmp_path / "results")
    state = torch.load(own.model("pose").weights, weights_only=True)
    state["score.bias"][0] = torch.nan
    torch.save(state, own.model("pose").weights)
    with pytest.raises(ModelError, match=r"score\.bias has values that are not finite"):
        run_bundle(tiny_config(), own, TEXTS, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_text_too_long_for_a_bundle_is_told_by_the_name_of_the_bundle(made, tmp_path):
    _, results = made
    shutil.copytree(results.root, tmp_path / "results")
    (tmp_path / "results/models/pose/history.tsv").write_bytes(b"x" * (4 * 2**20 + 1))
    with pytest.raises(ModelError, match="too many for a text") as caught:
        run_bundle(tiny_config(), Results(tmp_path / "results"), TEXTS, tmp_path / "b.cohortpose")
    assert str(caught.value).startswith(f"{tmp_path / 'b.cohortpose'}: history.tsv has 4194305")


def test_weights_and_exported_network_are_the_same_network(made):
    """The bundle's ONNX file and its tensors draw the same maps."""
    path, results = made
    bundle, files = read_bundle(path), results.model("pose")
    frames = np.random.default_rng(0).integers(0, 255, (1, 64, 96, 3), np.uint8)
    maps = OnnxRuntime(files.network, MapDecoder(bundle.card)).draw(frames)
    network = load_network(files.weights, bundle.card)
    with torch.inference_mode():
        score, _ = DeployedNetwork(network, bundle.card.refinement_scale).eval()(
            torch.from_numpy(frames)
        )
    np.testing.assert_allclose(maps["score"], score.numpy(), atol=1e-4)
    assert maps["score"].shape[1] == len(BODYPARTS)
