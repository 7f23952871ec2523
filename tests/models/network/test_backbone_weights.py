"""Test pretrained weights of packages, of files of other libraries, and of a hub's cache."""

import os
import pickle
import subprocess
import sys

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from sklearn.datasets import load_sample_image

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.formats.backbones import PACKAGES, TORCHVISION
from pipeline_lib.models.network.backbone import Backbone
from tests.models.synthetic import TINY_BACKBONE

PALACE = 698  # of ImageNet's classes


def shrink_photograph():
    """Return a photograph of a Chinese palace, (1, 3, 256, 384), as lite networks expect it."""
    image = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)[None] / 255
    small = torch.nn.functional.interpolate(image, (256, 384), mode="bilinear", antialias=True)
    return (small - 0.5) / 0.5


@pytest.mark.parametrize("name", PACKAGES)
def test_packaged_weights_recognise_a_photograph(name):
    """Classify a palace by the backbone's weights and the classifier of the same package."""
    backbone = Backbone(name, "package", 8).eval()
    assert (backbone.mean, backbone.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    whole = timm.create_model(name, pretrained=False).eval()
    package = PACKAGES[name]
    module = sys.modules[package.module]
    file = torch.load(
        getattr(module, package.holder).get_model_file_path(), map_location="cpu", weights_only=True
    )
    # The last layers, which the backbone lacks, from the end of the file.
    own = backbone.network.state_dict()
    last = [key for key in whole.state_dict() if key not in own]
    rest = dict(zip(last, list(file.values())[-len(last) :], strict=True))
    whole.load_state_dict({**own, **rest})
    with torch.no_grad():
        chances = whole(shrink_photograph()).softmax(1)[0]
    assert chances.argmax() == PALACE
    assert chances[PALACE] > 0.1


def test_the_head_does_not_depend_on_where_weights_are_from(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model(TINY_BACKBONE, pretrained=False).state_dict(), path)
    drawn = []
    for weights in ("none", str(path)):
        torch.manual_seed(3)
        Backbone(TINY_BACKBONE, weights, 8)
        drawn.append(torch.rand(2))
    assert torch.equal(*drawn)


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenetv2_100", "efficientnet_b0", "convnext_tiny"]
)
def test_files_of_torchvision(name, tmp_path):
    """Compare the deepest features with torchvision's own network of random weights."""
    torch.manual_seed(0)
    other = torchvision.models.get_model(TORCHVISION.get(name, name), weights=None).eval()
    for layer in other.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -0.1, 0.1)
    path = tmp_path / "weights.pth"
    torch.save(other.state_dict(), path)
    backbone = Backbone(name, str(path), 8).eval()
    image = torch.rand(1, 3, 64, 64)
    layers = list(other.children()) if name == "resnet18" else list(other.features)
    depth = {"resnet18": -2, "mobilenetv2_100": -1, "efficientnet_b0": -1}.get(name)
    with torch.no_grad():
        expected = torch.nn.Sequential(*layers[:depth])(image)
        found = backbone(image)[-1]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("form", ["safetensors", "checkpoint", "half"])
def test_forms_of_a_file(form, tmp_path):
    torch.manual_seed(0)
    source = timm.create_model(TINY_BACKBONE, pretrained=False, num_classes=7)
    state = source.state_dict()
    path = tmp_path / "weights"
    if form == "safetensors":
        safetensors.torch.save_file(state, path)
    elif form == "checkpoint":
        named = {f"module.{key}": value for key, value in state.items()}
        torch.save({"state_dict": named, "epoch": 3, "names": ["a"]}, path)
    else:
        torch.save({key: value.half() for key, value in state.items()}, path)
    own = Backbone(TINY_BACKBONE, str(path), 8).network.state_dict()
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if form == "half" else {"rtol": 0, "atol": 0}
    for key, value in own.items():
        if not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, state[key], **tolerance)


def test_names_tell_more_than_the_order_of_a_file(tmp_path):
    state = timm.create_model("mnasnet_100", pretrained=False).state_dict()
    del state["bn1.num_batches_tracked"]
    names = list(state)
    # Weight and bias have the same shape.
    one, other = names.index("bn1.weight"), names.index("bn1.bias")
    names[one], names[other] = names[other], names[one]
    state["bn1.weight"] += 1.0
    torch.save({name: state[name] for name in names}, tmp_path / "weights.pth")
    own = Backbone("mnasnet_100", str(tmp_path / "weights.pth"), 8).network.state_dict()
    assert torch.equal(own["bn1.weight"], state["bn1.weight"])
    assert torch.equal(own["bn1.bias"], state["bn1.bias"])


class Attack:
    def __reduce__(self):
        return os.mkdir, ("attacked",)


def test_files_that_are_no_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def refuse(name, backbone=TINY_BACKBONE):
        with pytest.raises(ModelError) as error:
            Backbone(backbone, str(tmp_path / name), 8)
        message = str(error.value)
        assert message.startswith(f"training.weights: {tmp_path / name}")
        return message

    assert refuse("no.pth").endswith("no.pth: no such file")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "cut.safetensors").write_bytes(b"\xff\0\0\0\0\0\0\0{")
    torch.save(Attack(), tmp_path / "code.pth")
    (tmp_path / "plain.pickle").write_bytes(pickle.dumps({"conv_stem.weight": Attack()}))
    torch.save(timm.create_model(TINY_BACKBONE), tmp_path / "module.pth")
    for name in (
        "text.pth",
        "empty.pth",
        "cut.safetensors",
        "code.pth",
        "plain.pickle",
        "module.pth",
    ):
        assert "not a state dict: expected tensors alone" in refuse(name), name
        assert "pickled code is not run" in refuse(name)
    assert not (tmp_path / "attacked").exists()
    torch.save({"epoch": 3, "state_dict": {"a": [1.0]}}, tmp_path / "none.pth")
    assert "it holds no tensor" in refuse("none.pth")
    torch.save({"conv_stem.weight": torch.eye(3).to_sparse()}, tmp_path / "sparse.pth")
    torch.save({"conv_stem.weight": torch.ones(3, device="meta")}, tmp_path / "meta.pth")
    for name in ("sparse.pth", "meta.pth"):
        assert "conv_stem.weight is a sparse, quantised, complex or empty tensor" in refuse(name)
    state = timm.create_model(TINY_BACKBONE).state_dict()
    state["blocks.0.0.conv_dw.weight"][0] = torch.nan
    torch.save(state, tmp_path / "nan.pth")
    assert "blocks.0.0.conv_dw.weight has values that are not finite" in refuse("nan.pth")
    # In 8 bits, with the scales that they mean nothing without, or as truth values.
    state = timm.create_model(TINY_BACKBONE).state_dict()
    for kind in (torch.int8, torch.bool, torch.float8_e4m3fn):
        small = {key: value.to(kind) for key, value in state.items()}
        scales = {f"{key}_scale": torch.ones(()) for key in state}
        torch.save({**small, **scales}, tmp_path / "small.pth")
        assert f"conv_stem.weight is of {kind}: expected weights" in refuse("small.pth")


def test_files_of_another_architecture(tmp_path):
    """ResNet-34 has every tensor of ResNet-18, in the same shapes."""

    def load(source, name):
        path = tmp_path / f"{source}.pth"
        torch.save(timm.create_model(source).state_dict(), path)
        with pytest.raises(ModelError) as error:
            Backbone(name, str(path), 8)
        return str(error.value)

    assert "has 32 layers that resnet18 has not, layer1.2.conv1.weight first" in load(
        "resnet34", "resnet18"
    )
    assert "lacks " in load("resnet18", "resnet34")
    assert "40 layers that mobilenetv3_small_050 has not" in load("resnet18", TINY_BACKBONE)
    assert "of shape (" in load("mobilenetv3_small_075", TINY_BACKBONE)


_OFFLINE = """
import sys
from pathlib import Path
import safetensors.torch, timm, torch
from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.network.backbone import Backbone

NAME = "mobilenetv3_small_050.lamb_in1k"
try:
    Backbone(NAME, "timm", 8)
except ModelError as error:
    print(error)
folder = Path(sys.argv[1], f"models--timm--{NAME}")
snapshot = folder / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
torch.manual_seed(5)
state = timm.create_model("mobilenetv3_small_050", pretrained=False).state_dict()
snapshot.mkdir(parents=True)
(folder / "refs").mkdir()
(folder / "refs" / "main").write_text(snapshot.name)
safetensors.torch.save_file(state, snapshot / "model.safetensors")
own = Backbone(NAME, "timm", 8).network.state_dict()
print(all(torch.equal(value, state[key]) for key, value in own.items()))
"""


def test_the_cache_of_the_hub_is_enough_without_a_network(tmp_path):
    """Fill the cache by hand as the page on pretrained weights says, with the hub off."""
    cache = str(tmp_path / "hub")
    environment = {**os.environ, "HF_HUB_CACHE": cache, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", _OFFLINE, cache]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    message, same = done.stdout.strip().rsplit("\n", 1)
    assert message.startswith("training.weights: timm's hub did not give weights for mobilenetv3")
    assert "fill the hub's cache" in message
    assert same == "True"
