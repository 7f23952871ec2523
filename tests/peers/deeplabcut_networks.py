"""Make networks of DeepLabCut 3 with random weights, and what they predict.

``python deeplabcut_networks.py FOLDER KIND …``, in an environment with deeplabcut, writes for each
kind ``FOLDER/KIND/pytorch_config.yaml``, ``snapshot-003.pt`` and ``expected.npz``: frames, heat
maps, offsets and poses. Without the snapshots, whose weights follow from the names of the
layers, these are the files below ``tests/peers/data/deeplabcut``.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from deeplabcut.pose_estimation_pytorch.config.enums import NetType
from deeplabcut.pose_estimation_pytorch.config.make_pose_config import (
    build_pose_config_defaults,
)
from deeplabcut.pose_estimation_pytorch.config.metadata import PoseMetadata
from deeplabcut.pose_estimation_pytorch.data.transforms import build_transforms
from deeplabcut.pose_estimation_pytorch.models import PoseModel
from deeplabcut.pose_estimation_pytorch.task import Task
from seeded import draw_weights

BODYPARTS = ["nose", "left ear", "right ear", "tail"]
# Net types of DeepLabCut, and a smaller backbone of the same kind where there is one.
KINDS = {"resnet": ("resnet_50", "resnet18"), "hrnet": ("hrnet_w18", "hrnet_w18_small")}
# Sides that are no multiples of 32 too, where DeepLabCut takes frames as they are.
SIZES = {"resnet": [(64, 96), (75, 101)], "hrnet": [(64, 96)]}


def describe(kind):
    net, backbone = KINDS[kind]
    metadata = PoseMetadata(
        project_path="/nowhere", bodyparts=BODYPARTS, individuals=["animal"], unique_bodyparts=[]
    )
    config = build_pose_config_defaults(
        NetType(net), metadata, task=Task.BOTTOM_UP, multi_animal=False
    )
    config["model"]["backbone"]["model_name"] = backbone
    channels = {"resnet18": 512, "hrnet_w18_small": 16}[backbone]
    config["model"]["backbone_output_channels"] = channels
    for name in ("heatmap_config", "locref_config"):
        head = config["model"]["heads"]["bodypart"][name]
        head["channels"] = [channels, *head["channels"][1:]]
    return config


def plain(value):
    """Return values of YAML alone."""
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def make(folder, kind):
    folder.mkdir(parents=True)
    config = plain(describe(kind))
    (folder / "pytorch_config.yaml").write_text(yaml.safe_dump(config))
    model = PoseModel.build(config["model"]).eval()
    state = {
        name: torch.from_numpy(draw_weights(name, tuple(value.shape)))
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    metadata = {"epoch": 3, "metrics": {"test.rmse": 1.5}, "losses": {}}
    torch.save({"model": model.state_dict(), "metadata": metadata}, folder / "snapshot-003.pt")
    transform = build_transforms(config["data"]["inference"])
    found = {}
    for number, size in enumerate(SIZES[kind]):
        stream = np.random.default_rng(number)
        frame = stream.integers(0, 256, (*size, 3), np.uint8)
        seen = transform(image=frame, keypoints=[], class_labels=[], bboxes=[], bbox_labels=[])
        image = torch.from_numpy(seen["image"].astype(np.float32)).permute(2, 0, 1)[None]
        with torch.no_grad():
            outputs = model(image)
            poses = model.get_predictions(outputs)["bodypart"]["poses"]
        found[f"frame{number}"] = frame
        found[f"heatmap{number}"] = outputs["bodypart"]["heatmap"].numpy()
        found[f"locref{number}"] = outputs["bodypart"]["locref"].numpy()
        found[f"poses{number}"] = poses.numpy()
    np.savez_compressed(folder / "expected.npz", **found)


if __name__ == "__main__":
    for one in sys.argv[2:]:
        make(Path(sys.argv[1]) / one, one)
