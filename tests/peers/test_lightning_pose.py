"""Compare networks of Lightning Pose with Lightning Pose itself, on the same random weights.

What lightning-pose 2.4.3 predicted is in ``data/lightning-pose``, written by
``lightning_pose_networks.py``. It predicts again in an environment of its own, see
`tests.peers.environments`.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.models.inference.predictor import RuntimeOptions, load_predictor
from pipeline_lib.models.inference.torch_runtime import load_network
from pipeline_lib.models.network.lightning_pose import LightningPoseNetwork
from pipeline_lib.models.training.run import build_network
from pipeline_lib.models.zoo.archive import read_bundle
from pipeline_lib.models.zoo.foreign.lightning_pose import _read_layout, read_lightning_pose
from pipeline_lib.models.zoo.foreign.values import PlainValues
from pipeline_lib.steps.bundle import run_foreign_bundle
from pipeline_lib.steps.import_model import run_import_model
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.runs.networks.start_network import BundledStart
from pipeline_lib.steps.transfer import plan_start
from tests.models.synthetic import tiny_config, write_tiny_labels
from tests.models.zoo.bundles import TEXTS
from tests.peers.environments import require_peer
from tests.peers.seeded import draw_head

KINDS = ("resnet", "efficientnet")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Write the checkpoints of the networks that Lightning Pose predicted with once."""
    folder = tmp_path_factory.mktemp("kept") / "networks"
    shutil.copytree(Path(__file__).parent / "data" / "lightning-pose", folder)
    for kind in KINDS:
        config = folder / kind / "config.yaml"
        layout = _read_layout(PlainValues(config, yaml.safe_load(config.read_text())))
        state = {}
        for name, value in LightningPoseNetwork(layout, 3).state_dict().items():
            if name not in ("mean", "std"):
                full = name if name.startswith("backbone") else f"head.{name}"
                state[full] = torch.from_numpy(draw_head(kind, full, tuple(value.shape)))
        checkpoints = folder / kind / "tb_logs/test/version_0/checkpoints"
        checkpoints.mkdir(parents=True)
        torch.save({"state_dict": state, "epoch": 2}, checkpoints / "epoch=2-step=6-best.ckpt")
    return folder


@pytest.fixture(scope="module", params=["kept", "now"])
def made(request, kept, tmp_path_factory):
    if request.param == "kept":
        return kept
    python = require_peer("lightning_pose")
    folder = tmp_path_factory.mktemp("lightning-pose")
    program = Path(__file__).with_name("lightning_pose_networks.py")
    subprocess.run([python, str(program), str(folder), *KINDS], check=True)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_maps_and_keypoints_are_those_of_lightning_pose(made, tmp_path, kind):
    path = run_foreign_bundle(
        "lightning-pose", made / kind, kind, TEXTS, tmp_path / f"{kind}.cohortpose"
    )
    card = read_bundle(path).card
    assert card.skeleton.bodyparts == ("nose", "left ear", "tail")
    assert (card.animals, card.origin) == (1, "Lightning Pose")
    results = Results(tmp_path / "results")
    values = {"cohort": "c", "results": str(results.root), "training": {"name": kind}}
    run_import_model(parse_config({**values, "model": {"bundle": str(path)}}), results)
    files = results.model(kind)
    expected = np.load(made / kind / "expected.npz")
    frame, heatmap = expected["frame0"], expected["heatmap0"]
    height, width = card.lightning_pose.height, card.lightning_pose.width
    network = load_network(files.weights, card).eval()
    image = torch.from_numpy(frame).permute(2, 0, 1)[None] / 255
    image = torch.nn.functional.interpolate(image, (height, width), mode="bilinear")
    with torch.no_grad():
        np.testing.assert_allclose(network(image), heatmap, atol=1e-5, rtol=1e-3)
    # Neither a single cell nor an even map, or agreement would say nothing.
    assert 0.01 < heatmap.max() < 0.9
    for runtime in ("onnx", "torch", "openvino"):
        found = load_predictor(files, RuntimeOptions(runtime, threads=1)).predict([frame, frame])
        for row in range(2):
            np.testing.assert_allclose(found.position[row, 0], expected["position0"], atol=2e-3)
            np.testing.assert_allclose(found.confidence[row, 0], expected["confidence0"], atol=1e-4)


def test_networks_that_cannot_be_read_are_refused_by_name(kept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(kept / "efficientnet", "model")
    config = yaml.safe_load(Path("model/config.yaml").read_text())
    best = next(Path("model").rglob("*.ckpt"))

    def refuse(match, place="model", **changes):
        values = yaml.safe_load(yaml.safe_dump(config))
        for where, value in changes.items():
            section, name = where.split("__")
            values[section][name] = value
        Path("model/config.yaml").write_text(yaml.safe_dump(values))
        with pytest.raises(ModelError, match=match):
            run_foreign_bundle("lightning-pose", Path(place), "x", TEXTS, tmp_path / "x")
        assert not Path("x").exists()

    refuse("only heatmap is read", model__model_type="heatmap_mhcrnn")
    refuse("transformers are not read", model__backbone="vits_dino")
    refuse("`model.backbone` is ../x: expected", model__backbone="../x")
    refuse("expected multiples of 32", data__image_resize_dims={"height": 50, "width": 64})
    refuse("expected 1, 2 or 3", data__downsample_factor=4)
    refuse("must be different names", data__keypoint_names=["a", "a"])
    refuse("its weights are not those", data__keypoint_names=["a", "b"])
    refuse("its weights are not those", model__backbone="resnet50_animal_ap10k")
    refuse("expected the folder of a model", "model/tb_logs")
    # A checkpoint names its config by its place; the latest version counts, and its best one.
    config["model"]["backbone"] = "efficientnet_b0"
    Path("model/config.yaml").write_text(yaml.safe_dump(config))
    assert read_lightning_pose(best).epochs == 2
    later = Path("model/tb_logs/test/version_10/checkpoints")
    later.mkdir(parents=True)
    content = torch.load(best, weights_only=True)
    for name, epoch in (("epoch=9-step=1", 9), ("epoch=3-step=6-best", 3)):
        torch.save({**content, "epoch": epoch}, later / f"{name}.ckpt")
    assert read_lightning_pose(Path("model")).epochs == 3
    # Code in a checkpoint is named and not run, beside settings that are passed over.
    torch.save({**content, "hyper_parameters": Payload()}, best)
    refuse("it holds posix.mkdir", best)
    best.write_bytes(best.read_bytes()[:1000])
    refuse("expected tensors and plain values", best)
    torch.save({"state_dict": {"head.x": 1}}, best)
    refuse("expected the tensors of a network", best)
    assert not Path("pwned").exists()
    shutil.rmtree("model/tb_logs")
    refuse("no checkpoint")


class Payload:
    """Write a file when unpickled."""

    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_a_training_starts_from_the_backbone(kept, tmp_path):
    """The coarsest map is that of Lightning Pose, whose layers have other names."""
    path = run_foreign_bundle(
        "lightning-pose", kept / "resnet", "resnet", TEXTS, tmp_path / "resnet.cohortpose"
    )
    bundle = read_bundle(path)
    config = tiny_config(backbone=bundle.card.backbone, weights="none", start_from=str(path))
    network = build_network(config.training, 8, 3)
    write_tiny_labels(results := Results(tmp_path / "results"))
    run_make_targets(config, results)
    plan_start(config, BundledStart(bundle), TargetStore(results.targets).layout)(network)
    theirs = LightningPoseNetwork(bundle.card.lightning_pose, 3)
    theirs.load_state_dict(safetensors.torch.load(bundle.read("weights.safetensors")))
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.eval().backbone(image)
        found = network.eval().backbone(image)[-1]
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected)
