"""Make networks of SLEAP-NN with random weights, and what they predict.

``python sleap_nn_networks.py FOLDER KIND …``, in an environment with sleap-nn, writes for each
kind ``FOLDER/KIND/training_config.yaml``, ``best.ckpt`` as its trainer saves it, and
``expected.npz``: a frame, confidence maps, keypoints and their values. Without the checkpoints,
whose weights follow from the names of the layers, these are the files below
``tests/peers/data/sleap-nn``.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Trainer
from omegaconf import OmegaConf
from seeded import draw_weights
from sleap_nn.config.training_job_config import TrainingJobConfig
from sleap_nn.inference.layers.backends import TorchBackend
from sleap_nn.inference.layers.configs import PostprocessConfig, PreprocessConfig
from sleap_nn.inference.layers.single_instance import SingleInstanceLayer
from sleap_nn.inference.loaders import _common_lightning_kwargs
from sleap_nn.training.lightning_modules import SingleInstanceLightningModule

NODES = ["nose", "left ear", "tail"]
# Channels of the input, stride of the whole network and of its maps, and how it enlarges.
KINDS = {"grey": (1, 16, 2, True), "colour": (3, 8, 4, False)}
SIZE = (50, 70)


def describe(kind):
    channels, deepest, stride, interpolated = KINDS[kind]
    config = OmegaConf.structured(TrainingJobConfig())
    OmegaConf.set_struct(config, value=False)
    config = OmegaConf.create(OmegaConf.to_container(config))
    unet = {
        "in_channels": channels,
        "kernel_size": 3,
        "filters": 8,
        "filters_rate": 1.5,
        "max_stride": deepest,
        "stem_stride": None,
        "middle_block": True,
        "up_interpolate": interpolated,
        "stacks": 1,
        "convs_per_block": 2,
        "output_stride": stride,
    }
    config.model_config.backbone_config = {"unet": unet, "convnext": None, "swint": None}
    confmaps = {"part_names": NODES, "sigma": 5.0, "output_stride": stride}
    heads = dict.fromkeys(("centroid", "centered_instance", "bottomup"))
    config.model_config.head_configs = {"single_instance": {"confmaps": confmaps}, **heads}
    config.data_config = {
        "preprocessing": {
            "ensure_rgb": channels == 3,
            "ensure_grayscale": channels == 1,
            "max_height": SIZE[0],
            "max_width": SIZE[1],
            "scale": 1.0,
            "crop_size": None,
        }
    }
    return config


def make(folder, kind):
    folder.mkdir(parents=True)
    config = describe(kind)
    kept = OmegaConf.create({name: config[name] for name in ("data_config", "model_config")})
    OmegaConf.save(kept, folder / "training_config.yaml")
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
    frame = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    channels, deepest, stride, _ = KINDS[kind]
    layer = SingleInstanceLayer(
        TorchBackend(model=model, device="cpu"),
        output_stride=stride,
        max_stride=deepest,
        preprocess_config=PreprocessConfig(
            ensure_rgb=channels == 3,
            ensure_grayscale=channels == 1,
            max_height=SIZE[0],
            max_width=SIZE[1],
        ),
        postprocess_config=PostprocessConfig(return_confmaps=True, peak_threshold=-1e9),
    )
    found = layer.predict(frame)
    np.savez_compressed(
        folder / "expected.npz",
        frame=frame,
        maps=found.pred_confmaps.numpy(),
        position=found.pred_keypoints.numpy()[0, 0],
        value=found.pred_peak_values.numpy()[0, 0],
    )


if __name__ == "__main__":
    for one in sys.argv[2:]:
        make(Path(sys.argv[1]) / one, one)
