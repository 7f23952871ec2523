"""Compare networks of SLEAP-NN with SLEAP-NN itself, on the same random weights.

What sleap-nn 0.3.5 predicted is in ``data/sleap-nn``, written by ``sleap_nn_networks.py``. It
predicts again in an environment of its own, see `tests.peers.environments`.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pipeline_lib.core.errors import ModelError, VideoError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.models.inference.predictor import RuntimeOptions, load_predictor
from pipeline_lib.models.network.sleap_nn import DeployedSleap, SleapNetwork
from pipeline_lib.models.zoo.archive import read_bundle
from pipeline_lib.models.zoo.foreign.sleap_nn import CONFIG, read_layout
from pipeline_lib.models.zoo.foreign.values import PlainValues
from pipeline_lib.steps.bundle import run_foreign_bundle
from pipeline_lib.steps.import_model import run_import_model
from tests.models.zoo.bundles import TEXTS
from tests.peers.environments import require_peer
from tests.peers.seeded import draw_weights

KINDS = ("grey", "colour")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Write the checkpoints of the networks that SLEAP-NN predicted with once."""
    folder = tmp_path_factory.mktemp("kept") / "networks"
    shutil.copytree(Path(__file__).parent / "data" / "sleap-nn", folder)
    for kind in KINDS:
        config = folder / kind / CONFIG
        layout, nodes = read_layout(PlainValues(config, yaml.safe_load(config.read_text())))
        shapes = SleapNetwork(layout, len(nodes)).state_dict()
        state = {
            f"model.{name}": torch.from_numpy(draw_weights(f"model.{name}", tuple(value.shape)))
            for name, value in shapes.items()
        }
        torch.save({"state_dict": state, "epoch": 4}, folder / kind / "best.ckpt")
    return folder


@pytest.fixture(scope="module", params=["kept", "now"])
def made(request, kept, tmp_path_factory):
    if request.param == "kept":
        return kept
    python = require_peer("sleap_nn")
    folder = tmp_path_factory.mktemp("sleap-nn")
    program = Path(__file__).with_name("sleap_nn_networks.py")
    subprocess.run([python, str(program), str(folder), *KINDS], check=True)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_keypoints_are_those_of_sleap_nn(made, tmp_path, kind):
    path = run_foreign_bundle("sleap-nn", made / kind, kind, TEXTS, tmp_path / f"{kind}.cohortpose")
    card = read_bundle(path).card
    assert card.skeleton.bodyparts == ("nose", "left ear", "tail")
    assert (card.origin, card.animals) == ("SLEAP-NN", 1)
    results = Results(tmp_path / "results")
    values = {"cohort": "c", "results": str(results.root), "training": {"name": kind}}
    run_import_model(parse_config({**values, "model": {"bundle": str(path)}}), results)
    files = results.model(kind)
    expected = np.load(made / kind / "expected.npz")
    # Best cells are apart, and are moved: neither follows from the other.
    moved = expected["position"] / card.sleap_nn.output_stride
    assert np.abs(moved - np.rint(moved)).max() > 0.05
    assert np.ptp(expected["position"], axis=0).min() > 10
    frame = expected["frame"]
    for runtime in ("onnx", "torch", "openvino"):
        predictor = load_predictor(files, RuntimeOptions(runtime, threads=1))
        found = predictor.predict([frame, frame])
        for row in range(2):
            np.testing.assert_allclose(found.position[row, 0], expected["position"], atol=2e-3)
            value = np.clip(expected["value"], 0, 1)
            np.testing.assert_allclose(found.confidence[row, 0], value, atol=1e-4)
    with pytest.raises(VideoError, match="was trained on frames of 70 x 50 px, and these have 70"):
        predictor.predict([frame[:40]])


def test_grey_frames_are_seen_as_they_are(kept):
    """See colours as SLEAP-NN mixes them, and equal ones as the one value that they are."""
    config = yaml.safe_load((kept / "grey" / CONFIG).read_text())
    layout, _ = read_layout(PlainValues(Path(), config))
    deployed = DeployedSleap(SleapNetwork(layout, 1))
    pixels = torch.tensor([[200.0, 200.0, 200.0], [10.0, 20.0, 30.0]]).T.reshape(1, 3, 2, 1)
    # 0.2989 · 10 + 0.587 · 20 + 0.114 · 30 = 18.149
    assert deployed._mix(pixels).flatten().tolist() == [200.0, 18.0]


def test_networks_that_cannot_be_read_are_refused_by_name(kept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(kept / "grey", "model")
    config = yaml.safe_load(Path("model", CONFIG).read_text())
    best = Path("model/best.ckpt")

    def refuse(match, place="model", **changes):
        values = yaml.safe_load(yaml.safe_dump(config))
        for where, value in changes.items():
            *path, last = where.split("__")
            inner = values
            for part in path:
                inner = inner[part]
            inner[last] = value
        Path("model", CONFIG).write_text(yaml.safe_dump(values))
        with pytest.raises(ModelError, match=match):
            run_foreign_bundle("sleap-nn", Path(place), "x", TEXTS, tmp_path / "x")
        assert not Path("x").exists()

    unet = "model_config__backbone_config__unet"
    refuse(
        "are centroid: only single_instance is read",
        model_config__head_configs={"centroid": {"confmaps": {}}, "single_instance": None},
    )
    refuse("is convnext: only unet", model_config__backbone_config={"convnext": {}, "unet": None})
    refuse("stem_stride` is 2: only null", **{f"{unet}__stem_stride": 2})
    refuse("stacks` is 3: only 1", **{f"{unet}__stacks": 3})
    refuse("frames that are not resized", data_config__preprocessing__scale=0.5)
    refuse("`max_stride` of the U-Net", **{f"{unet}__max_stride": 12})
    refuse("`filters` of the U-Net", **{f"{unet}__filters": 10**9})
    refuse("must be smaller than max_stride", **{f"{unet}__max_stride": 2})
    refuse("its weights are not those", **{f"{unet}__filters": 9})
    refuse("must be a dict", model_config__head_configs=[])
    refuse("no such file; expected the folder of a model of SLEAP-NN", tmp_path)
    content = torch.load(best, weights_only=True)
    torch.save({**content, "callbacks": Payload()}, best)
    refuse("it holds posix.mkdir")
    best.write_bytes(best.read_bytes()[:100])
    refuse("expected tensors and plain values")
    best.unlink()
    refuse("expected tensors and plain values")
    assert not Path("pwned").exists()


class Payload:
    """Write a file when unpickled."""

    def __reduce__(self):
        return os.mkdir, ("pwned",)
