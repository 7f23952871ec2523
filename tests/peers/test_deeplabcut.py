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
import torch
import yaml

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.models.inference.decoding import MapDecoder
from pipeline_lib.models.inference.onnx_runtime import OnnxRuntime
from pipeline_lib.models.inference.predictor import RuntimeOptions, load_predictor
from pipeline_lib.models.network.deeplabcut import DeepLabCutNetwork
from pipeline_lib.models.zoo.archive import read_bundle
from pipeline_lib.models.zoo.deeplabcut import _PREFIXES, CONFIG, _Reader
from pipeline_lib.steps.bundle import run_deeplabcut_bundle
from pipeline_lib.steps.import_model import run_import_model
from tests.models.zoo.bundles import TEXTS
from tests.peers.environments import require_peer
from tests.peers.seeded import draw_weights

KINDS = ("resnet", "hrnet")
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Write the snapshots of the networks that DeepLabCut predicted with once."""
    folder = tmp_path_factory.mktemp("kept") / "networks"
    shutil.copytree(Path(__file__).parent / "data" / "deeplabcut", folder)
    for kind in KINDS:
        found = _Reader(Path(), yaml.safe_load((folder / kind / CONFIG).read_text()))
        network = DeepLabCutNetwork(found.read_layout()[0], len(found.read_bodyparts()))
        names = {ours: theirs for theirs, ours in _PREFIXES.items()}
        state = {}
        for name, value in network.state_dict().items():
            for ours, theirs in names.items():
                if name.startswith(ours):
                    full = theirs + name.removeprefix(ours)
                    state[full] = torch.from_numpy(draw_weights(full, tuple(value.shape)))
        metadata = {"epoch": 3}
        torch.save({"model": state, "metadata": metadata}, folder / kind / "snapshot-003.pt")
    return folder


@pytest.fixture(scope="module", params=["kept", "now"])
def made(request, kept, tmp_path_factory):
    if request.param == "kept":
        return kept
    python = require_peer("deeplabcut")
    folder = tmp_path_factory.mktemp("deeplabcut")
    program = Path(__file__).with_name("deeplabcut_networks.py")
    subprocess.run([python, str(program), str(folder), *KINDS], check=True)
    return folder


def import_bundle(folder, kind, target):
    """Bundle a network, and import it as a run does; return its files."""
    path = run_deeplabcut_bundle(folder / kind, kind, TEXTS, target / f"{kind}.cohortpose")
    results = Results(target / "results")
    values = {"cohort": "c", "results": str(results.root), "training": {"name": kind}}
    run_import_model(parse_config({**values, "model": {"bundle": str(path)}}), results)
    return path, results.model(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_and_poses_are_those_of_deeplabcut(made, tmp_path, kind):
    path, files = import_bundle(made, kind, tmp_path)
    card = read_bundle(path).card
    assert card.skeleton.bodyparts == ("nose", "left ear", "right ear", "tail")
    assert (card.stride, card.training.epochs) == ({"resnet": 8, "hrnet": 2}[kind], 3)
    expected = np.load(made / kind / "expected.npz")
    runtime = OnnxRuntime(files.network, MapDecoder(card))
    numbers = [name.removeprefix("frame") for name in expected if name.startswith("frame")]
    assert len(numbers) == {"resnet": 2, "hrnet": 1}[kind]
    for number in numbers:
        frame = expected[f"frame{number}"]
        maps = runtime.draw(frame[None])
        heatmap, poses = expected[f"heatmap{number}"], expected[f"poses{number}"][0, 0]
        np.testing.assert_allclose(maps["score"], heatmap, **CLOSE)
        locref = expected[f"locref{number}"]
        offset = locref.reshape(1, -1, 2, *locref.shape[2:]) * card.refinement_scale
        # Their cells begin half a px later than ours.
        np.testing.assert_allclose(maps["offset"], offset + 0.5, atol=1e-3)
        # The maps differ from place to place, or agreement would say nothing.
        assert heatmap.std() > 0.01
        for name in ("onnx", "torch"):
            found = predict(files, name, frame)
            np.testing.assert_allclose(found.position[0, 0], poses[:, :2], atol=1e-3)
            confidence = np.clip(poses[:, 2], 0, 1)
            np.testing.assert_allclose(found.confidence[0, 0], confidence, **CLOSE)


def predict(files: ModelFiles, runtime: str, frame: np.ndarray):
    return load_predictor(files, RuntimeOptions(runtime, threads=1)).predict([frame])


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
            run_deeplabcut_bundle(place, "x", TEXTS, tmp_path / "x")
        assert not (tmp_path / "x").exists()

    head = config["model"]["heads"]["bodypart"]
    refuse("top-down networks need their detector", method="td")
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
