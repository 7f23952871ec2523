"""Drive Lightning Pose, in its own environment: make a network, predict videos, read the poses.

    PYTHON lightning_pose_program.py make FOLDER WIDTH HEIGHT
    PYTHON lightning_pose_program.py run FOLDER OUTPUT BATCH VIDEO ...
    PYTHON lightning_pose_program.py read FOLDER OUTPUT VIDEO POSES.npy

``make`` writes a model of heat maps on a ResNet-50 with random weights, for frames of that size.
``run`` does what ``litpose predict --skip_viz`` does, but for metrics.
"""

import csv
import sys
from pathlib import Path

import numpy as np

BODYPARTS = ["snout", "leftear", "rightear", "tailbase"]


def make(folder, width, height):
    import torch
    import yaml
    from lightning.pytorch import Trainer
    from lightning_pose.models import HeatmapTracker
    from omegaconf import OmegaConf
    from seeded import draw_head

    checkpoints = folder / "tb_logs" / "peers" / "version_0" / "checkpoints"
    checkpoints.mkdir(parents=True)
    config = {
        "data": {
            "image_resize_dims": {"height": height, "width": width},
            "data_dir": str(folder),
            "video_dir": str(folder),
            "csv_file": "labels.csv",
            "num_keypoints": len(BODYPARTS),
            "keypoint_names": BODYPARTS,
            "downsample_factor": 2,
        },
        "model": {
            "model_name": "peers",
            "model_type": "heatmap",
            "backbone": "resnet50",
            "losses_to_use": [],
        },
        "training": {"imgaug": "default", "train_batch_size": 8, "val_batch_size": 8},
        "eval": {"confidence_thresh_for_vid": 0.9},
        "dali": {
            "general": {"seed": 0},
            "base": {"predict": {"sequence_length": 96}},
            "context": {"predict": {"sequence_length": 96}},
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    model = HeatmapTracker(
        num_keypoints=len(BODYPARTS),
        backbone="resnet50",
        downsample_factor=2,
        pretrained=False,
        optimizer_params=OmegaConf.create({"learning_rate": 1e-3}),
        lr_scheduler_params=OmegaConf.create({"milestones": [150, 200], "gamma": 0.5}),
    ).eval()
    state = {
        name: torch.from_numpy(draw_head("resnet", name, tuple(value.shape)))
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(checkpoints / "epoch=2-step=6-best.ckpt", weights_only=True)


def run(folder, batch, videos):
    from lightning_pose.api import Model

    keys = ("dali.base", "dali.context")
    model = Model.from_dir2(
        folder, hydra_overrides=[f"{key}.predict.sequence_length={batch}" for key in keys]
    )
    for video in videos:
        # Without its metrics, which need the labels.
        model.predict_on_video_file(video, compute_metrics=False, reader="opencv")


def read(folder, video, target):
    with (Path(folder) / "video_preds" / f"{Path(video).stem}.csv").open() as file:
        rows = list(csv.reader(file))[3:]
    values = np.array([row[1:] for row in rows], np.float32).reshape(len(rows), -1, 3)
    np.save(target, values[..., :2])


if __name__ == "__main__":
    verb, place, *others = sys.argv[1:]
    if verb == "make":
        make(Path(place).absolute(), *map(int, others))
    elif verb == "run":
        run(Path(place).absolute(), others[1], others[2:])
    else:
        read(place, *others[1:])
