"""Read networks that SLEAP-NN trained: ``best.ckpt`` and its ``training_config.yaml``.

Of the checkpoint only tensors and plain values are read (``weights_only``). U-Nets that locate a
single animal are known; others are refused by name.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.untrusted.yaml_files import YamlError, read_yaml
from pipeline_lib.models.card import ModelCard, SleapLayout
from pipeline_lib.models.zoo.foreign.pack import describe_origin, pack_foreign
from pipeline_lib.models.zoo.foreign.snapshots import OMEGACONF, load_plain, rename_weights
from pipeline_lib.models.zoo.foreign.values import PlainValues

CONFIG = "training_config.yaml"
_BEST = "best.ckpt"
PREFIXES = {"model.": ""}
_HEAD = "single_instance"


@dataclass(frozen=True)
class SleapModel:
    """Hold a network of SLEAP-NN.

    Attributes
    ----------
    snapshot, config
        Files of the weights and of their description.
    bodyparts
        Names along the keypoint axis.
    layout
        Layout of the network.
    state
        Weights by the names of `pipeline_lib.models.network.sleap_nn.SleapNetwork`.
    epochs
        Epochs that it was trained; 0 if unknown.
    """

    snapshot: Path
    config: Path
    bodyparts: tuple[str, ...]
    layout: SleapLayout
    state: dict[str, Tensor]
    epochs: int


def read_sleap(path: Path) -> SleapModel:
    """Read a network of SLEAP-NN.

    Parameters
    ----------
    path
        Folder of a model, with ``training_config.yaml`` and ``best.ckpt``; or one checkpoint in it.

    Raises
    ------
    ModelError
        If there is none, it is damaged, or of a kind that is not known.
    """
    folder = path if path.is_dir() else path.parent
    config, snapshot = folder / CONFIG, path if path.is_file() else folder / _BEST
    try:
        values = PlainValues(config, read_yaml(config))
    except FileNotFoundError:
        raise ModelError(
            f"{config}: no such file; expected the folder of a model of SLEAP-NN (those of SLEAP "
            "before it are not read)"
        ) from None
    except (YamlError, OSError) as error:
        raise ModelError(f"{config}: {error}") from None
    layout, bodyparts = read_layout(values)
    content = load_plain(snapshot, inert=OMEGACONF)
    weights = content.get("state_dict") if isinstance(content, dict) else None
    state = rename_weights(weights, PREFIXES, snapshot)
    epoch = content.get("epoch")
    return SleapModel(
        snapshot, config, bodyparts, layout, state, epoch if isinstance(epoch, int) else 0
    )


def read_layout(values: PlainValues) -> tuple[SleapLayout, tuple[str, ...]]:
    """Return layout and bodyparts of a network, or refuse one that is not known."""
    heads = values.get("model_config.head_configs", dict)
    kinds = [str(name) for name, head in heads.items() if head is not None]
    if kinds != [_HEAD]:
        raise values.refuse(
            f"`model_config.head_configs` are {', '.join(kinds) or 'none'}: only {_HEAD} is read; "
            "networks of several animals, top-down or bottom-up, are not"
        )
    backbones = values.get("model_config.backbone_config", dict)
    kinds = [str(name) for name, backbone in backbones.items() if backbone is not None]
    if kinds != ["unet"]:
        raise values.refuse(
            f"`model_config.backbone_config` is {', '.join(kinds) or 'none'}: only unet is read"
        )
    unet, head = "model_config.backbone_config.unet", f"model_config.head_configs.{_HEAD}.confmaps"
    if (stem := values.find(f"{unet}.stem_stride")) is not None:
        raise values.refuse(f"`{unet}.stem_stride` is {stem}: only null is read")
    values.require(f"{unet}.middle_block", expected=True, default=True)
    values.require(f"{unet}.stacks", 1, default=1)
    seen = "data_config.preprocessing"
    scale = values.get(f"{seen}.scale", float, 1.0)
    if scale != 1:
        raise values.refuse(f"`{seen}.scale` is {scale}: only frames that are not resized are read")
    stride = values.get(f"{head}.output_stride", int)
    values.require(f"{unet}.output_stride", stride, default=1)
    found = {
        "channels": values.get(f"{unet}.in_channels", int, 1),
        "filters": values.get(f"{unet}.filters", int),
        "filters_rate": float(values.get(f"{unet}.filters_rate", float)),
        "kernel_size": values.get(f"{unet}.kernel_size", int, 3),
        "convs_per_block": values.get(f"{unet}.convs_per_block", int, 2),
        "max_stride": values.get(f"{unet}.max_stride", int),
        "output_stride": stride,
        "up_interpolate": values.get(f"{unet}.up_interpolate", bool, default=True),
        "whole_greys": values.get(f"{seen}.ensure_grayscale", bool, default=False),
        "height": values.find(f"{seen}.max_height"),
        "width": values.find(f"{seen}.max_width"),
    }
    try:
        layout = SleapLayout.model_validate(found, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "unet"
        raise values.refuse(f"`{name}` of the U-Net: {first['msg']}") from None
    return layout, values.read_names(f"{head}.part_names", "a node")


def pack_sleap(model: SleapModel, name: str, program: str) -> tuple[ModelCard, dict[str, bytes]]:
    """Return the card of a network of SLEAP-NN, and the members of its bundle.

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
        **describe_origin(model.snapshot, model.epochs, name, program, "SLEAP-NN")
        # It does not normalise its input.
        | {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
        backbone="unet",
        # It tells positions itself, not by cells.
        stride=1,
        refinement_scale=1.0,
        skeleton=Skeleton(bodyparts=model.bodyparts),
        sleap_nn=model.layout,
    )
    return pack_foreign(card, model.state, model.snapshot)
