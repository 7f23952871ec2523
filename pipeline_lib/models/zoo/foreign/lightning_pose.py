"""Read networks that Lightning Pose trained: a checkpoint and its ``config.yaml``.

Of the checkpoint only tensors and plain values are read (``weights_only``). Settings in it are
objects of OmegaConf; inert ones stand for them. Heat maps on a ResNet or EfficientNet, of single
frames, are known; others are refused by name.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.untrusted.yaml_files import YamlError, read_yaml
from pipeline_lib.models.card import LightningPoseLayout, ModelCard
from pipeline_lib.models.zoo.foreign.pack import describe_origin, pack_foreign
from pipeline_lib.models.zoo.foreign.snapshots import OMEGACONF, load_plain, rename_weights
from pipeline_lib.models.zoo.foreign.values import PlainValues

CONFIG = "config.yaml"
PREFIXES = {
    "backbone.": "backbone.",
    "head.upsampling_layers.": "upsampling_layers.",
    # Of version 1.
    "upsampling_layers.": "upsampling_layers.",
}
_UNUSED = ("loss_factory", "rmse_loss", "total_unsupervised_importance")
_VERSION = re.compile(r"version_(\d+)")
_ANIMALS = re.compile(r"resnet50_(animal|human)_\w+")
_LARGEST_SIDE = 8192


@dataclass(frozen=True)
class LightningPoseModel:
    """Hold a network of Lightning Pose.

    Attributes
    ----------
    snapshot, config
        Files of the weights and of their description.
    bodyparts
        Names along the keypoint axis.
    layout
        Layout of the network.
    state
        Weights by the names of `pipeline_lib.models.network.lightning_pose.LightningPoseNetwork`.
    epochs
        Epochs that it was trained; 0 if unknown.
    """

    snapshot: Path
    config: Path
    bodyparts: tuple[str, ...]
    layout: LightningPoseLayout
    state: dict[str, Tensor]
    epochs: int


def read_lightning_pose(path: Path) -> LightningPoseModel:
    """Read a network of Lightning Pose.

    Parameters
    ----------
    path
        Folder of a model, with its ``config.yaml`` and, anywhere below, its checkpoints, of which
        the best one of the latest version is read; or one checkpoint below that folder.

    Raises
    ------
    ModelError
        If there is none, it is damaged, or of a kind that is not known.
    """
    config = _find_config(path)
    try:
        values = PlainValues(config, read_yaml(config))
    except (YamlError, OSError) as error:
        raise ModelError(f"{config}: {error}") from None
    layout = _read_layout(values)
    bodyparts = values.read_names("data.keypoint_names", "a keypoint")
    snapshot = path if path.is_file() else _choose_checkpoint(path)
    content = load_plain(snapshot, inert=OMEGACONF)
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if isinstance(weights, dict):
        weights = {
            name: value for name, value in weights.items() if not str(name).startswith(_UNUSED)
        }
    state = rename_weights(weights, PREFIXES, snapshot)
    epoch = content.get("epoch")
    epochs = epoch if isinstance(epoch, int) else 0
    return LightningPoseModel(snapshot, config, bodyparts, layout, state, epochs)


def _find_config(path: Path) -> Path:
    """Return the config of a model: in its folder, or in one above its checkpoint."""
    folders = [path] if path.is_dir() else list(path.absolute().parents)[:5]
    for folder in folders:
        if (folder / CONFIG).is_file():
            return folder / CONFIG
    raise ModelError(f"{path}: no {CONFIG}; expected the folder of a model of Lightning Pose")


def _choose_checkpoint(folder: Path) -> Path:
    """Return the best checkpoint of the latest version, else the one of its last epoch."""

    def rank(path: Path) -> tuple[int, bool, int, str]:
        versions = [int(match[1]) for part in path.parts if (match := _VERSION.fullmatch(part))]
        epochs = re.search(r"epoch=(\d+)", path.name)
        best = path.stem.endswith("-best")
        return max(versions, default=-1), best, int(epochs[1]) if epochs else -1, str(path)

    found = sorted(folder.rglob("*.ckpt"), key=rank)
    if not found:
        raise ModelError(f"{folder}: no checkpoint (*.ckpt) below; train the network first")
    return found[-1]


def _read_layout(values: PlainValues) -> LightningPoseLayout:
    kind = values.get("model.model_type", str)
    if kind != "heatmap":
        raise values.refuse(
            f"`model.model_type` is {kind}: only heatmap is read, which sees one frame of one view"
        )
    backbone = values.get("model.backbone", str)
    if _ANIMALS.fullmatch(backbone):
        # Named by the weights that they started from.
        backbone = "resnet50"
    known: Any = LightningPoseLayout.model_fields["backbone"].annotation
    if backbone not in known.__args__:
        raise values.refuse(
            f"`model.backbone` is {backbone}: expected {', '.join(known.__args__)}; transformers "
            "are not read"
        )
    sides = [values.get(f"data.image_resize_dims.{name}", int) for name in ("height", "width")]
    factor = values.get("data.downsample_factor", int, 2)
    if any(not 0 < side <= _LARGEST_SIDE or side % 32 for side in sides):
        raise values.refuse(f"`data.image_resize_dims` is {sides}: expected multiples of 32")
    if factor not in (1, 2, 3):
        raise values.refuse(f"`data.downsample_factor` is {factor}: expected 1, 2 or 3")
    return LightningPoseLayout(
        backbone=backbone,
        height=sides[0],
        width=sides[1],
        downsample_factor=factor,
    )


def pack_lightning_pose(
    model: LightningPoseModel, name: str, program: str
) -> tuple[ModelCard, dict[str, bytes]]:
    """Return the card of a network of Lightning Pose, and the members of its bundle.

    Parameters
    ----------
    model
        The network.
    name
        Name of the network.
    program
        Program that packs it, for the card.

    Raises
    ------
    ModelError
        If its weights are not those of the network that its config describes.
    """
    card = ModelCard(
        **describe_origin(model.snapshot, model.epochs, name, program, "Lightning Pose"),
        backbone=model.layout.backbone,
        # It tells positions itself, not by cells.
        stride=1,
        refinement_scale=1.0,
        skeleton=Skeleton(bodyparts=model.bodyparts),
        lightning_pose=model.layout,
    )
    return pack_foreign(card, model.state, model.snapshot)
