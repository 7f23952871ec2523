"""Make networks of DeepLabCut 3 with random weights, and what they predict.

``python deeplabcut_networks.py FOLDER KIND …``, in an environment with deeplabcut, writes for each
kind ``FOLDER/KIND/pytorch_config.yaml``, ``snapshot-003.pt`` and ``expected.npz``: frames, heat
maps, offsets and poses; for a top-down kind also ``snapshot-detector-003.pt``, boxes, and poses of
the boxes. Without the snapshots, whose weights follow from the names of the layers, these are the
files below ``tests/peers/data/deeplabcut``.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from deeplabcut.pose_estimation_pytorch.apis.utils import get_inference_runners
from deeplabcut.pose_estimation_pytorch.config.enums import DetectorType, NetType
from deeplabcut.pose_estimation_pytorch.config.make_pose_config import (
    build_detector_config_defaults,
    build_pose_config_defaults,
)
from deeplabcut.pose_estimation_pytorch.config.metadata import PoseMetadata
from deeplabcut.pose_estimation_pytorch.config.pose import DetectorConfig
from deeplabcut.pose_estimation_pytorch.data.transforms import build_transforms
from deeplabcut.pose_estimation_pytorch.models import DETECTORS, PoseModel
from deeplabcut.pose_estimation_pytorch.task import Task
from seeded import draw_weights
from torchvision.models.detection import faster_rcnn, ssdlite

BODYPARTS = ["nose", "left ear", "right ear", "tail"]
# Net types of DeepLabCut, and a smaller backbone of the same kind where there is one.
KINDS = {"resnet": ("resnet_50", "resnet18"), "hrnet": ("hrnet_w18", "hrnet_w18_small")}
# As DeepLabCut makes them; the first is that of the SuperAnimals.
KINDS |= {net: (net, "") for net in ("hrnet_w32", "hrnet_w48", "resnet_101")}
# Top-down: the network as above, and the detector.
TOP_DOWN = {
    "boxed-hrnet": ("hrnet_w18", "hrnet_w18_small", "ssdlite"),
    "boxed-resnet": ("resnet_50", "resnet18", "fasterrcnn_mobilenet_v3_large_fpn"),
    "boxed-groups": ("resnet_50", "resnet50_gn", "fasterrcnn_resnet50_fpn_v2"),
}
# A smaller detector of the same layers, where there is one.
VARIANTS = {"fasterrcnn_mobilenet_v3_large_fpn": "fasterrcnn_mobilenet_v3_large_320_fpn"}
ANIMALS = 3
CHANNELS = {"resnet18": 512, "resnet50_gn": 2048, "hrnet_w18_small": 16}
# Sides that are no multiples of 32 too, where DeepLabCut takes frames as they are.
SIZES = {"resnet": [(64, 96), (75, 101)]}


def describe(kind):
    boxed = kind in TOP_DOWN
    net, backbone = TOP_DOWN[kind][:2] if boxed else KINDS[kind]
    individuals = [f"mouse{number}" for number in range(ANIMALS)] if boxed else ["animal"]
    metadata = PoseMetadata(
        project_path="/nowhere", bodyparts=BODYPARTS, individuals=individuals, unique_bodyparts=[]
    )
    detector = None
    if boxed:
        values = build_detector_config_defaults(ANIMALS, DetectorType(TOP_DOWN[kind][2]))
        detector = DetectorConfig.from_dict(values)
    config = build_pose_config_defaults(
        NetType(net),
        metadata,
        task=Task.TOP_DOWN if boxed else Task.BOTTOM_UP,
        multi_animal=boxed,
        detector_config=detector,
    )
    if boxed and TOP_DOWN[kind][2] in VARIANTS:
        config["detector"]["model"]["variant"] = VARIANTS[TOP_DOWN[kind][2]]
    if not backbone:
        return config
    config["model"]["backbone"]["model_name"] = backbone
    channels = CHANNELS[backbone]
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
    save(model, folder / "snapshot-003.pt")
    if kind in TOP_DOWN:
        make_boxed(folder, config)
        return
    transform = build_transforms(config["data"]["inference"])
    found = {}
    for number, size in enumerate(SIZES.get(kind, [(64, 96)])):
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


def save(model, path):
    state = {
        name: torch.from_numpy(draw_weights(name, tuple(value.shape)))
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    metadata = {"epoch": 3, "metrics": {"test.rmse": 1.5}, "losses": {}}
    torch.save({"model": model.state_dict(), "metadata": metadata}, path)


def make_boxed(folder, config):
    """Predict as DeepLabCut analyses a video: boxes first, then the pose in each."""
    # torchvision asks for weights of ImageNet, which are replaced: there is no network.
    for module in (faster_rcnn, ssdlite):
        for name in ("resnet50", "mobilenet_v3_large"):
            if hasattr(module, name):
                setattr(module, name, leave_out_weights(getattr(module, name)))
    save(DETECTORS.build(dict(config["detector"]["model"])), folder / "snapshot-detector-003.pt")
    pose, detector = get_inference_runners(
        model_config=config,
        snapshot_path=folder / "snapshot-003.pt",
        detector_path=folder / "snapshot-detector-003.pt",
        device="cpu",
    )
    frame = draw_waves(120, 160)
    (boxes,) = detector.inference([frame])
    (poses,) = pose.inference([(frame, {name: value.copy() for name, value in boxes.items()})])
    np.savez_compressed(
        folder / "expected.npz",
        frame=frame,
        boxes=boxes["bboxes"],
        scores=boxes["bbox_scores"],
        poses=poses["bodyparts"],
    )


def leave_out_weights(create):
    def wrapped(*values, **options):
        return create(*values, **{**options, "weights": None})

    return wrapped


def draw_waves(height, width):
    """Return a frame of smooth colours, of which a detector finds some more like an animal."""
    y, x = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(x / 9 + c) * np.cos(y / 13 - c) for c in range(3)]
    return np.stack(waves, -1).astype(np.uint8)


if __name__ == "__main__":
    for one in sys.argv[2:]:
        make(Path(sys.argv[1]) / one, one)
