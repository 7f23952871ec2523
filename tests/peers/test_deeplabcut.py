"""Compare networks of DeepLabCut with DeepLabCut itself, on the same random weights.

What DeepLabCut 3.0.2 predicted is in ``data/deeplabcut``, written by ``deeplabcut_networks.py``.
It predicts again in an environment of its own, see `tests.peers.environments`.
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
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.core.settings.network import LocatingSettings
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.models.card import read_card
from pipeline_lib.models.inference.decoding import MapDecoder
from pipeline_lib.models.inference.detector import OnnxDetector
from pipeline_lib.models.inference.locating.coarse_to_fine import load_pose_predictor
from pipeline_lib.models.inference.onnx_runtime import OnnxRuntime
from pipeline_lib.models.inference.predictor import RuntimeOptions, load_predictor
from pipeline_lib.models.network.deeplabcut import DeepLabCutNetwork
from pipeline_lib.models.network.detector import DetectorNetwork, complete_counts
from pipeline_lib.models.zoo.archive import read_bundle
from pipeline_lib.models.zoo.foreign.deeplabcut import (
    CONFIG,
    DETECTOR_PREFIXES,
    PREFIXES,
    DeepLabCutSource,
)
from pipeline_lib.models.zoo.foreign.deeplabcut_config import ConfigReader
from pipeline_lib.steps.bundle import run_deeplabcut_bundle
from pipeline_lib.steps.import_model import run_import_model
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.train import run_train
from tests.models.synthetic import tiny_config, write_tiny_labels
from tests.models.zoo.bundles import TEXTS
from tests.peers.environments import require_peer
from tests.peers.seeded import draw_weights

KINDS = ("resnet", "hrnet")
LARGE = ("hrnet_w32", "hrnet_w48", "resnet_101")
BOXED = ("boxed-hrnet", "boxed-resnet", "boxed-groups")
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Write the snapshots of the networks that DeepLabCut predicted with once."""
    folder = tmp_path_factory.mktemp("kept") / "networks"
    shutil.copytree(Path(__file__).parent / "data" / "deeplabcut", folder)
    for kind in (*KINDS, BOXED[0]):
        place = folder / kind
        found = ConfigReader(Path(), yaml.safe_load((place / CONFIG).read_text()))
        network = DeepLabCutNetwork(found.read_layout()[0], len(found.read_bodyparts()))
        write_snapshot(network, PREFIXES, place / "snapshot-003.pt")
        if kind in BOXED:
            detector = DetectorNetwork(found.read_detector())
            write_snapshot(detector, DETECTOR_PREFIXES, place / "snapshot-detector-003.pt")
    return folder


def write_snapshot(network, prefixes, path):
    """Write the weights that follow from the names of the layers."""
    state = {}
    for name, value in network.state_dict().items():
        for theirs, ours in prefixes.items():
            if name.startswith(ours):
                full = theirs + name.removeprefix(ours)
                state[full] = torch.from_numpy(draw_weights(full, tuple(value.shape)))
    torch.save({"model": state, "metadata": {"epoch": 3}}, path)


@pytest.fixture(scope="module", params=["kept", "now"])
def made(request, kept, tmp_path_factory):
    if request.param == "kept":
        return kept
    python = require_peer("deeplabcut")
    folder = tmp_path_factory.mktemp("deeplabcut")
    program = Path(__file__).with_name("deeplabcut_networks.py")
    subprocess.run([python, str(program), str(folder), *KINDS, *BOXED], check=True)
    return folder


def import_bundle(place, kind, target, **more):
    """Bundle a network, and import it as a run does; return its files."""
    source = DeepLabCutSource(place, **more)
    path = run_deeplabcut_bundle(source, kind, TEXTS, target / f"{kind}.cohortpose")
    results = Results(target / "results")
    several = {"max": read_bundle(path).animals, "method": "top-down"}
    values = {"cohort": "c", "results": str(results.root), "training": {"name": kind}}
    values["individuals"] = several if several["max"] > 1 else {}
    run_import_model(parse_config({**values, "model": {"bundle": str(path)}}), results)
    return path, results.model(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_starts_from_the_backbone(kept, tmp_path, kind):
    source = DeepLabCutSource(kept / kind)
    path = run_deeplabcut_bundle(source, kind, TEXTS, tmp_path / f"{kind}.cohortpose")
    bundle = read_bundle(path)
    results = Results(tmp_path / "results")
    write_tiny_labels(results)
    training = {"backbone": bundle.card.backbone, "epochs": 1, "learning_rate": 1e-12}
    config = tiny_config(**training, weight_decay=0.0, start_from=str(path))
    run_make_targets(config, results)
    run_train(config, results)
    theirs = safetensors.torch.load(bundle.read("weights.safetensors"))
    after = torch.load(results.model("pose").weights, weights_only=True)
    kept_names = [
        name for name in theirs if name.startswith("backbone.") and name.endswith(".weight")
    ]
    assert len(kept_names) >= 40
    for name in kept_names:
        ours = name.replace("backbone.", "backbone.network.")
        torch.testing.assert_close(after[ours], theirs[name], atol=1e-6, rtol=0, msg=name)
    assert after["mean"].flatten().tolist() == pytest.approx(bundle.card.mean)
    start = read_card(results.model("pose").card).training
    assert (start.start_sha256, start.start_from) == (bundle.sha256, str(path))
    with pytest.raises(ModelError, match=f"set `training.backbone` to {bundle.card.backbone}, not"):
        run_train(config_with_backbone(config, "mobilenetv2_035"), results)


def config_with_backbone(config, backbone):
    training = config.training.model_copy(update={"backbone": backbone})
    return config.model_copy(update={"training": training})


@pytest.mark.parametrize("kind", KINDS)
def test_maps_and_poses_are_those_of_deeplabcut(made, tmp_path, kind):
    check_maps_and_poses(made / kind, kind, tmp_path)


@pytest.mark.parametrize("kind", LARGE)
def test_networks_of_full_size_draw_the_maps_of_deeplabcut(tmp_path, kind):
    python = require_peer("deeplabcut")
    program = Path(__file__).with_name("deeplabcut_networks.py")
    subprocess.run([python, str(program), str(tmp_path / "theirs"), kind], check=True)
    check_maps_and_poses(tmp_path / "theirs" / kind, kind, tmp_path)


def check_maps_and_poses(place, kind, target):
    path, files = import_bundle(place, kind, target)
    card = read_bundle(path).card
    assert card.skeleton.bodyparts == ("nose", "left ear", "right ear", "tail")
    family = kind.partition("_")[0]
    assert (card.stride, card.training.epochs) == ({"resnet": 8, "hrnet": 2}[family], 3)
    expected = np.load(place / "expected.npz")
    runtime = OnnxRuntime(files.network, MapDecoder(card))
    numbers = [name.removeprefix("frame") for name in expected if name.startswith("frame")]
    assert len(numbers) == (2 if kind == "resnet" else 1)
    for number in numbers:
        frame = expected[f"frame{number}"]
        maps = runtime.draw(frame[None])
        heatmap, poses = expected[f"heatmap{number}"], expected[f"poses{number}"][0, 0]
        # Random weights of many layers draw large numbers.
        height = max(1.0, float(np.abs(heatmap).max()))
        np.testing.assert_allclose(maps["score"] / height, heatmap / height, **CLOSE)
        locref = expected[f"locref{number}"]
        offset = locref.reshape(1, -1, 2, *locref.shape[2:]) * card.refinement_scale
        length = max(1.0, float(np.abs(locref).max()))
        # Their cells begin half a px later than ours.
        np.testing.assert_allclose(maps["offset"] / length, (offset + 0.5) / length, atol=1e-3)
        # The maps differ from place to place, or agreement would say nothing.
        assert heatmap.std() > 0.01
        for name in ("onnx", "torch"):
            found = predict(files, name, frame)
            np.testing.assert_allclose(found.position[0, 0], poses[:, :2], atol=1e-3 * length)
            confidence = np.clip(poses[:, 2], 0, 1)
            np.testing.assert_allclose(found.confidence[0, 0], confidence, **CLOSE)


def predict(files: ModelFiles, runtime: str, frame: np.ndarray):
    return load_predictor(files, RuntimeOptions(runtime, threads=1)).predict([frame])


ALL = AssemblySettings(pcutoff=0.0, min_keypoints=1, surplus=0)


@pytest.mark.parametrize("kind", BOXED)
def test_boxes_and_the_poses_in_them_are_those_of_deeplabcut(made, tmp_path, kind):
    if not (made / kind / "snapshot-003.pt").exists():
        pytest.skip("takes a minute, and is compared where there is DeepLabCut")
    path, files = import_bundle(made / kind, kind, tmp_path)
    bundle = read_bundle(path)
    assert (bundle.animals, bundle.card.window) == (3, 256)
    assert bundle.manifest.settings.method == "top-down"
    expected = np.load(made / kind / "expected.npz")
    frame = expected["frame"]
    found = OnnxDetector(files.locator.network).find(frame)
    box = expected["boxes"] + np.pad(expected["boxes"][:, :2], ((0, 0), (2, 0)))
    np.testing.assert_allclose(found.box[:3], box, atol=0.02)
    np.testing.assert_allclose(found.score[:3], expected["scores"], **CLOSE)
    # Boxes of three places, with parts of other sizes.
    assert np.ptp(box[:, :2], axis=0).min() > 10
    poses = expected["poses"]
    for runtime in ("onnx", "torch") if kind == "boxed-hrnet" else ("onnx",):
        options = RuntimeOptions(runtime, threads=1)
        predictor = load_pose_predictor(files, options, LocatingSettings(pcutoff=0.0), ALL)
        located = predictor.predict([frame, frame])
        assert located.position.shape == (2, 3, 4, 2)
        np.testing.assert_allclose(located.position[1], poses[..., :2], atol=1e-3)
        confidence = np.clip(poses[..., 2], 0, 1)
        np.testing.assert_allclose(located.confidence[1], confidence, **CLOSE)
    # Thresholds leave out animals and keypoints; more slots take the next boxes.
    some = LocatingSettings(pcutoff=float(expected["scores"][:2].mean()))
    middle = float(np.median(confidence))
    options = RuntimeOptions("onnx", threads=1)
    for weakest in (middle, 0.02):
        least = AssemblySettings(pcutoff=middle, min_confidence=weakest, min_keypoints=1, surplus=2)
        located = load_pose_predictor(files, options, some, least).predict([frame])
        assert located.position.shape[1] == 5
        there = (confidence >= middle).any(axis=1, keepdims=True)
        kept = there & (confidence >= weakest) & (np.arange(3)[:, None] == 0)
        np.testing.assert_array_equal(np.isfinite(located.position[0, :3, :, 0]), kept)
    assert np.isnan(located.position[0, 3:]).all()
    assert (located.confidence[0][np.isnan(located.position[0, ..., 0])] == 0).all()


def test_faster_rcnn_finds_the_boxes_of_deeplabcut(kept):
    place = kept / "boxed-resnet"
    reader = ConfigReader(Path(), yaml.safe_load((place / CONFIG).read_text()))
    network = DetectorNetwork(reader.read_detector()).eval()
    own = network.state_dict()
    # Frozen normalisations, which DeepLabCut's have, count no batches.
    drawn = {
        name: torch.from_numpy(draw_weights(name, tuple(value.shape)))
        for name, value in own.items()
        if name.startswith("model.") and not name.endswith("num_batches_tracked")
    }
    statistics = {name: own[name] for name in ("mean", "std")}
    network.load_state_dict({**complete_counts(drawn, own), **statistics})
    expected = np.load(place / "expected.npz")
    with torch.inference_mode():
        box, score = network(torch.from_numpy(expected["frame"])[None])
    corners = expected["boxes"] + np.pad(expected["boxes"][:, :2], ((0, 0), (2, 0)))
    np.testing.assert_allclose(box[:3], corners, atol=1e-3)
    np.testing.assert_allclose(score[:3], expected["scores"], **CLOSE)


def write_superanimal(kept, zoo):
    """Write a network as a SuperAnimal: descriptions that leave the numbers open, checkpoints."""
    place = kept / "boxed-hrnet"
    config = yaml.safe_load((place / CONFIG).read_text())
    for name, channels in (
        ("heatmap_config", "num_bodyparts"),
        ("locref_config", "num_bodyparts x 2"),
    ):
        head = config["model"]["heads"]["bodypart"][name]
        head["channels"], head["final_conv"]["out_channels"] = (
            ["backbone_output_channels"],
            channels,
        )
    described = {
        "model_configs/tiny_net": {name: config[name] for name in ("data", "model", "method")},
        "model_configs/ssdlite": config["detector"],
        "project_configs/superanimal_x": {"bodyparts": config["metadata"]["bodyparts"]},
        "project_configs/superanimal_y": {"bodyparts": ["a"]},
    }
    for name, values in described.items():
        path = zoo / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values))
    (zoo / "checkpoints").mkdir()
    for name, source in (("tiny_net", "snapshot-003"), ("ssdlite", "snapshot-detector-003")):
        shutil.copy(place / f"{source}.pt", zoo / f"checkpoints/superanimal_x_{name}.pt")
    return zoo / "checkpoints" / "superanimal_x_tiny_net.pt"


def test_a_superanimal_predicts_its_bodyparts_or_those_of_a_project(kept, tmp_path):
    snapshot = write_superanimal(kept, tmp_path / "modelzoo")
    expected = np.load(kept / "boxed-hrnet" / "expected.npz")
    project = tmp_path / "config.yaml"
    table = {"hind": "tail", "snout": "nose"}
    values = {"bodyparts": ["snout", "spine", "hind"]}
    values["SuperAnimalConversionTables"] = {"superanimal_x": table}
    project.write_text(yaml.safe_dump(values))
    wanted = {"whole": [0, 1, 2, 3], "some": [0, 3]}
    for kind, number in (("whole", 3), ("some", 1)):
        more = {"conversion": project} if kind == "some" else {}
        path, files = import_bundle(snapshot, kind, tmp_path, individuals=number, **more)
        names = read_bundle(path).card.skeleton.bodyparts
        assert names == (("snout", "hind") if more else ("nose", "left ear", "right ear", "tail"))
        options = RuntimeOptions("onnx", threads=1)
        predictor = load_pose_predictor(files, options, LocatingSettings(pcutoff=0.0), ALL)
        located = predictor.predict([expected["frame"]])
        poses = expected["poses"][:number, wanted[kind]]
        np.testing.assert_allclose(located.position[0], poses[..., :2], atol=1e-3)
        confidence = np.clip(poses[..., 2], 0, 1)
        np.testing.assert_allclose(located.confidence[0], confidence, **CLOSE)

    def refuse(match, place=snapshot, **more):
        with pytest.raises(ModelError, match=match):
            run_deeplabcut_bundle(DeepLabCutSource(place, **more), "x", TEXTS, tmp_path / "x")

    refuse("give --individuals")
    values["SuperAnimalConversionTables"] = {"superanimal_x": {"snout": "beak"}}
    project.write_text(yaml.safe_dump(values))
    refuse("has no bodypart 'beak'", individuals=1, conversion=project)
    values["SuperAnimalConversionTables"] = {"superanimal_y": {"snout": "a"}}
    project.write_text(yaml.safe_dump(values))
    refuse("has no table for superanimal_x", individuals=1, conversion=project)
    second = snapshot.with_name("superanimal_x_other.pt")
    second.write_bytes(b"")
    shutil.copy(
        tmp_path / "modelzoo/model_configs/ssdlite.yaml",
        tmp_path / "modelzoo/model_configs/other.yaml",
    )
    refuse("there are beside it: superanimal_x_other.pt, superanimal_x_ssdlite.pt", individuals=1)
    refuse("expected tensors and plain values", individuals=1, detector=second)
    refuse("no layer of a network", individuals=1, detector=snapshot)
    refuse("is not named as a project", second.rename(second.with_name("best.pt")), individuals=1)
    refuse("no description of the network", shutil.copy(snapshot, tmp_path / "a.pt"), individuals=1)
    refuse("no such file", tmp_path)


def test_networks_of_other_kinds_are_refused_by_name(kept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load((kept / "hrnet/pytorch_config.yaml").read_text())
    snapshot = (kept / "hrnet/snapshot-003.pt").read_bytes()
    folder = tmp_path / "changed"
    folder.mkdir()
    (folder / "snapshot-003.pt").write_bytes(snapshot)

    def refuse(match, place=folder, **changes):
        values = yaml.safe_load(yaml.safe_dump(config))
        for where, value in changes.items():
            *path, last = where.split("__")
            inner = values
            for part in path:
                inner = inner[part]
            inner[last] = value
        (folder / "pytorch_config.yaml").write_text(yaml.safe_dump(values))
        with pytest.raises(ModelError, match=match):
            run_deeplabcut_bundle(DeepLabCutSource(place), "x", TEXTS, tmp_path / "x")
        assert not (tmp_path / "x").exists()

    head = config["model"]["heads"]["bodypart"]
    refuse("top-down networks need their detector", method="td")
    refuse("need the poses of another network", method="ctd")
    refuse("expected the head bodypart alone", model__heads={"bodypart": head, "identity": head})
    refuse("DEKRHead: only HeatmapHead", model__heads__bodypart__type="DEKRHead")
    refuse("is CSPNeXt: expected ResNet or HRNet", model__backbone__type="CSPNeXt")
    refuse("is BGR: only RGB", data__colormode="BGR")
    refuse("must be a list", metadata__bodyparts="nose")
    refuse("`deeplabcut` cannot be", metadata__bodyparts=["a", "b"])
    refuse("its weights are not those", model__backbone__model_name="hrnet_w18_small_v2")
    refuse("no name of a network", model__backbone__model_name="hf-hub:evil/net")
    refuse("timm cannot make", model__backbone__model_name="nonsense")
    (folder / "snapshot-007.pt").write_bytes(snapshot[:1000])
    refuse(r"snapshot-007\.pt: expected tensors and plain values")
    torch.save({"model": {"x": Payload()}}, folder / "snapshot-best-001.pt")
    refuse(r"snapshot-best-001\.pt: expected tensors and plain values")
    assert not Path("pwned").exists()
    (folder / "empty").mkdir()
    refuse("no such file; expected a folder of DeepLabCut 3", folder / "empty")


class Payload:
    """Write a file when unpickled."""

    def __reduce__(self):
        return os.mkdir, ("pwned",)
