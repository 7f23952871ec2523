"""Drive SLEAP-NN, in its own environment: make a network, track videos, read the poses.

    PYTHON sleap_nn_program.py make FOLDER WIDTH HEIGHT
    PYTHON sleap_nn_program.py run FOLDER OUTPUT BATCH VIDEO ...
    PYTHON sleap_nn_program.py read FOLDER OUTPUT VIDEO POSES.npy

``make`` writes a U-Net for one animal with random weights: 16 filters, rate 2, strides 16 and 4,
its usual size. ``run`` is ``sleap-nn track`` for each video, in one process.
"""

import sys
from pathlib import Path

import numpy as np

BODYPARTS = ["snout", "leftear", "rightear", "tailbase"]


def describe_unet(output_stride):
    return {
        "in_channels": 3,
        "kernel_size": 3,
        "filters": 16,
        "filters_rate": 2.0,
        "max_stride": 16,
        "stem_stride": None,
        "middle_block": True,
        "up_interpolate": True,
        "stacks": 1,
        "convs_per_block": 2,
        "output_stride": output_stride,
    }


def describe(width, height):
    from omegaconf import OmegaConf
    from sleap_nn.config.training_job_config import TrainingJobConfig

    config = OmegaConf.structured(TrainingJobConfig())
    OmegaConf.set_struct(config, value=False)
    config = OmegaConf.create(OmegaConf.to_container(config))
    config.model_config.backbone_config = {
        "unet": describe_unet(4),
        "convnext": None,
        "swint": None,
    }
    confmaps = {"part_names": BODYPARTS, "sigma": 5.0, "output_stride": 4}
    heads = dict.fromkeys(("centroid", "centered_instance", "bottomup"))
    config.model_config.head_configs = {"single_instance": {"confmaps": confmaps}, **heads}
    config.data_config = {
        "skeletons": [
            {
                "name": "animal",
                "nodes": [{"name": name} for name in BODYPARTS],
                "edges": [],
                "symmetries": [],
            }
        ],
        "preprocessing": {
            "ensure_rgb": True,
            "ensure_grayscale": False,
            "max_height": height,
            "max_width": width,
            "scale": 1.0,
            "crop_size": None,
        },
    }
    return config


def make(folder, width, height):
    import torch
    from lightning.pytorch import Trainer
    from omegaconf import OmegaConf
    from seeded import draw_weights
    from sleap_nn.inference.loaders import _common_lightning_kwargs
    from sleap_nn.training.lightning_modules import SingleInstanceLightningModule

    folder.mkdir(parents=True)
    config = describe(width, height)
    OmegaConf.save(config, folder / "training_config.yaml")
    model = SingleInstanceLightningModule(
        **_common_lightning_kwargs(config, "unet", "single_instance")
    ).eval()
    state = {
        name: torch.from_numpy(draw_weights(name, tuple(value.shape)))
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(folder / "best.ckpt", weights_only=True)


def run(folder, output, batch, videos):
    from sleap_nn.cli import cli

    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    for video in videos:
        target = output / f"{Path(video).stem}.slp"
        options = ["-i", video, "-m", str(folder), "-o", str(target), "-b", batch, "-d", "cpu"]
        cli(["track", *options, "--peak_threshold", "-1e9"], standalone_mode=False)


def read(output, video, target):
    import sleap_io

    path = Path(output) / f"{Path(video).stem}.slp"
    labels = sleap_io.load_slp(str(path), open_videos=False)
    np.save(target, labels.numpy()[:, 0].astype(np.float32))


if __name__ == "__main__":
    verb, place, *others = sys.argv[1:]
    if verb == "make":
        make(Path(place).absolute(), *map(int, others))
    elif verb == "run":
        run(Path(place).absolute(), others[0], others[1], others[2:])
    else:
        read(*others)
