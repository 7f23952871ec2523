"""Test the choice of the precision on machines that are made up, and that it is what trains."""

import json

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from torch import nn

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.network import name_precision_in_keys
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.models.card import read_card
from pipeline_lib.models.inference.torch_runtime import deploy_network, load_network
from pipeline_lib.models.training.module import PoseTraining
from pipeline_lib.models.training.precision import choose_precision
from pipeline_lib.models.training.samples.data import Batch
from pipeline_lib.models.zoo.weights import pack_weights, unpack_weights
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.train import run_train
from tests.models.synthetic import tiny_config, write_tiny_labels


@pytest.fixture
def machine(monkeypatch):
    """Return a function that gives the machine GPUs of these compute capabilities."""

    def build(*capabilities):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(capabilities))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
        monkeypatch.setattr(
            torch.cuda, "get_device_capability", lambda number: capabilities[number]
        )
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")

    return build


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ((), "32-true"),
        (((9, 0),), "bf16-mixed"),
        (((8, 0), (12, 0)), "bf16-mixed"),
        # The weakest one decides: all GPUs of a training compute alike.
        (((9, 0), (7, 5)), "16-mixed"),
        (((7, 0),), "16-mixed"),
        (((8, 6), (6, 1)), "32-true"),
    ],
)
def test_the_devices_decide(machine, capabilities, expected):
    machine(*capabilities)
    assert choose_precision("auto").name == expected
    assert choose_precision("auto", "gpu").name == expected
    assert choose_precision("auto", "cpu").name == "32-true"
    assert choose_precision("32").name == "32-true"
    assert choose_precision("bf16").name == "bf16-mixed"
    assert choose_precision("16").name == "16-mixed"
    assert choose_precision("64-true").name == "64-true"


def test_the_reason_names_the_device(machine):
    machine((9, 0), (7, 5))
    reason = choose_precision("auto").reason
    assert reason == "GPU 1 multiplies in half precision, not in bfloat16"


def test_the_key_has_what_was_asked_for():
    """Networks of before have the key of `32-true`, which was the default."""

    def key(**training):
        config = parse_config({"cohort": "c.tsv", "training": training})
        return config.training_settings()["precision"]

    assert key() == key(precision="auto") == key(precision=32) == key(precision="32-true")
    assert key() == "32-true"
    assert key(precision=16) == key(precision="16") == key(precision="16-mixed") == "16-mixed 2"
    assert key(precision="bf16") == key(precision="bf16-mixed") == "bf16-mixed 2"
    assert name_precision_in_keys("64-true") == "64-true"


@pytest.mark.parametrize(
    ("stated", "computed", "head"),
    [
        ("auto", "32-true", {}),
        ("bf16", "bf16-mixed", {"head_context": "attention", "head_stages": 2}),
    ],
)
def test_the_card_says_how_it_was_trained(tmp_path, monkeypatch, stated, computed, head):
    monkeypatch.chdir(tmp_path)
    results = Results(tmp_path / "results")
    write_tiny_labels(results, train=4)
    config = tiny_config(precision=stated, epochs=1, measure_every=0, **head)
    run_make_targets(config, results)
    run_train(config, results)
    files = results.model("pose")
    card = read_card(files.card)
    assert card.training.precision == computed
    assert card.training.settings["precision"] == stated
    assert (card.head_context, card.head_stages) == (("attention", 2) if head else ("none", 1))
    # Releases before there were other heads read the cards of plain ones.
    assert ("head_context" in json.loads(files.card.read_text())) == bool(head)
    history = pd.read_csv(files.history, sep="\t")
    assert ("train_first_stage_loss" in set(history["metric"])) == bool(head)
    # Weights are in single precision all the same, and make the network of the card again.
    weights = torch.load(files.weights, weights_only=True)
    assert {value.dtype for value in weights.values()} == {torch.float32, torch.int64}
    assert unpack_weights(pack_weights(weights), card, "w").keys() == weights.keys()
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(str(files.network))
    network = deploy_network(load_network(files.weights, card), card.refinement_scale).eval()
    with torch.no_grad():
        for one, other in zip(
            session.run(None, {"frames": frames}), network(torch.from_numpy(frames)), strict=True
        ):
            np.testing.assert_allclose(one, other.numpy(), atol=2e-5)


class SeenError(Exception):
    """The network has got its input."""


class Witness(nn.Module):
    """Keep the image that a network is given."""

    stages, outputs = 1, ("score", "offset")

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))
        self.seen = []

    def draw(self, image):
        self.seen.append(image)
        raise SeenError


def test_images_are_not_warped_in_mixed_precision(monkeypatch):
    """Coordinates in bfloat16 would move images away from their keypoints."""
    monkeypatch.setattr(PoseTraining, "current_epoch", 3)
    config = tiny_config(augmentation={"rotation": 30.0, "blur": 1.0})
    network = Witness()
    module = PoseTraining(network, config.targets, config.training, Skeleton(bodyparts=("a",)))
    torch.manual_seed(0)
    image = torch.randint(0, 256, (2, 320, 416, 3), dtype=torch.uint8)
    batch = Batch(image, torch.rand(2, 1, 1, 2) * 300, torch.arange(2), None)
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled), pytest.raises(SeenError):
            module.training_step(batch, 0)
    plain, mixed = network.seen
    assert plain.std() > 0.1
    assert torch.equal(plain, mixed)
