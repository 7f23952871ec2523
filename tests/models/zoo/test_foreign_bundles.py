"""Test that networks of other tools are packed only where the result is a bundle."""

import pytest
import torch
import yaml

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.network.sleap_nn import SleapNetwork
from pipeline_lib.models.zoo.archive import read_bundle
from pipeline_lib.models.zoo.weights import unpack_weights
from pipeline_lib.steps.bundle import BundleTexts, run_foreign_bundle
from tests.models.zoo.bundles import UNET_LAYOUT

UNET = {"in_channels": 1, "filters": 8, "filters_rate": 1.5, "max_stride": 16, "output_stride": 2}
CONFIG = {
    "data_config": {"preprocessing": {"scale": 1.0}},
    "model_config": {
        "backbone_config": {"unet": UNET},
        "head_configs": {
            "single_instance": {"confmaps": {"part_names": ["a", "b"], "output_stride": 2}}
        },
    },
}
TEXTS = BundleTexts("CC0-1.0")


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes a model of SLEAP-NN, with edited weights."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    state = SleapNetwork(UNET_LAYOUT, 2).state_dict()

    def write(edit=lambda value: value):
        (tmp_path / "training_config.yaml").write_text(yaml.safe_dump(CONFIG))
        weights = {f"model.{name}": edit(value) for name, value in state.items()}
        torch.save({"state_dict": weights, "epoch": 3}, tmp_path / "best.ckpt")
        return tmp_path

    return write


def bundle(folder, texts=TEXTS, name="mice", output=None):
    return run_foreign_bundle("sleap-nn", folder, name, texts, output)


def test_weights_in_16_bits_are_packed_in_32(write):
    found = read_bundle(bundle(write(torch.Tensor.half)))
    assert found.card.skeleton.bodyparts == ("a", "b")
    state = unpack_weights(found.read("weights.safetensors"), found.card, "file")
    assert {value.dtype for value in state.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda value: value * torch.nan, "has values that are not finite"),
        (lambda value: value + torch.inf, "has values that are not finite"),
        (lambda value: (value * 20).to(torch.int8), r"is of torch\.int8: expected weights"),
        (lambda value: value > 0, r"is of torch\.bool: expected weights"),
        (lambda value: value.to(torch.float8_e4m3fn), r"is of torch\.float8_e4m3fn: expected"),
        (lambda value: value + 0j, "complex"),
    ],
)
def test_weights_that_are_no_finite_numbers_are_not_packed(write, tmp_path, edit, match):
    with pytest.raises(ModelError, match=match) as caught:
        bundle(write(edit))
    assert str(tmp_path / "best.ckpt") in str(caught.value)
    assert not (tmp_path / "mice.cohortpose").exists()


def test_texts_that_no_bundle_may_have_are_refused_by_option(write, tmp_path):
    folder = write()
    for texts, name, option in (
        (BundleTexts("CC0", description="x" * 20_001), "mice", "--description: 'xxx"),
        (BundleTexts("CC0", citation="x" * 20_001), "mice", "--citation: 'xxx"),
        (BundleTexts("x" * 20_001), "mice", "--licence: 'xxx"),
        (TEXTS, "m" * 201, "--name: 'mmm"),
        (TEXTS, "../mice", "--name: '../mice'"),
    ):
        with pytest.raises(ModelError) as caught:
            bundle(folder, texts, name, tmp_path / "b")
        assert str(caught.value).startswith(option)
    assert not (tmp_path / "b").exists()


def test_a_licence_that_is_too_long_or_no_file_is_refused_by_option(write, tmp_path):
    folder, path = write(), tmp_path / "LICENCE"
    path.write_bytes(b"x" * (4 * 2**20 + 1))
    for place, match in (
        (path, "LICENCE: 4194305 bytes; expected a text of at most 4194304"),
        (tmp_path, "Is a directory"),
        (tmp_path / "none", "No such file"),
    ):
        with pytest.raises(ModelError, match=match) as caught:
            bundle(folder, BundleTexts("CC0", licence_file=place))
        assert str(caught.value).startswith(f"--licence-file: {place}: ")
    path.write_bytes(b"x" * (4 * 2**20))
    found = read_bundle(bundle(folder, BundleTexts("CC0", licence_file=path)))
    assert len(found.read("LICENSE")) == 4 * 2**20


def test_a_link_that_leads_nowhere_is_not_replaced(write, tmp_path):
    link = tmp_path / "mice.cohortpose"
    link.symlink_to(tmp_path / "disk" / "mice.cohortpose")
    with pytest.raises(ModelError, match=r"mice\.cohortpose: exists"):
        bundle(write())
    assert link.is_symlink()
