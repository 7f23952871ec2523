"""Make networks of Lightning Pose with random weights, and what they predict.

``python lightning_pose_networks.py FOLDER KIND …``, in an environment with lightning-pose, writes
for each kind ``FOLDER/KIND/config.yaml``, a checkpoint as its trainer saves it, and
``expected.npz``: frames, heat maps, keypoints and confidences. Without the checkpoints, whose
weights follow from the names of the layers, these are the files below
``tests/peers/data/lightning-pose``.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from lightning.pytorch import Trainer
from lightning_pose.data.bboxes import full_frame_bbox
from lightning_pose.data.video.utils import build_batch_dict, normalize_frames
from lightning_pose.models import HeatmapTracker
from omegaconf import OmegaConf
from seeded import draw_head

KEYPOINTS = ["nose", "left ear", "tail"]
# Backbone, downsample factor, and height and width of the network's input.
KINDS = {"resnet": ("resnet18", 2, (64, 96)), "efficientnet": ("efficientnet_b0", 1, (96, 64))}
SIZES = [(50, 70)]


def make(folder, kind):
    backbone, factor, (height, width) = KINDS[kind]
    checkpoints = folder / "tb_logs" / "test" / "version_0" / "checkpoints"
    checkpoints.mkdir(parents=True)
    config = {
        "data": {
            "image_resize_dims": {"height": height, "width": width},
            "num_keypoints": len(KEYPOINTS),
            "keypoint_names": KEYPOINTS,
            "downsample_factor": factor,
        },
        "model": {"model_type": "heatmap", "backbone": backbone, "losses_to_use": []},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    model = HeatmapTracker(
        num_keypoints=len(KEYPOINTS),
        backbone=backbone,
        downsample_factor=factor,
        pretrained=False,
        # As its trainer gives them: objects that are pickled.
        optimizer_params=OmegaConf.create({"learning_rate": 1e-3}),
        lr_scheduler_params=OmegaConf.create({"milestones": [150, 200], "gamma": 0.5}),
    ).eval()
    state = {
        name: torch.from_numpy(draw_head(kind, name, tuple(value.shape)))
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(checkpoints / "epoch=2-step=6-best.ckpt", weights_only=True)
    found = {}
    for number, size in enumerate(SIZES):
        frame = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
        seen = normalize_frames(torch.from_numpy(frame).permute(2, 0, 1)[None], [height, width])
        with torch.no_grad():
            box = [full_frame_bbox(*size, 1, seen.device)]
            batch = build_batch_dict([seen], box, torch.tensor([1.0]), is_multiview=False)
            keypoints, confidence, heatmap = model.predict_step(batch, 0, return_heatmaps=True)
        found[f"frame{number}"] = frame
        found[f"heatmap{number}"] = heatmap.numpy()
        found[f"position{number}"] = keypoints.reshape(-1, 2).numpy()
        found[f"confidence{number}"] = confidence[0].numpy()
    np.savez_compressed(folder / "expected.npz", **found)


if __name__ == "__main__":
    for one in sys.argv[2:]:
        make(Path(sys.argv[1]) / one, one)
