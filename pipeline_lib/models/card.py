"""Read and write model cards, which tell how to run a network and how it was made."""

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.settings.base import AUTO
from pipeline_lib.core.settings.chosen import ChosenSetting
from pipeline_lib.core.settings.network import (
    HeadContext,
    HeadStages,
    LocatingSettings,
    StatedLocating,
)
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL, UNIQUE_INDIVIDUAL
from pipeline_lib.core.untrusted.credentials import show_address
from pipeline_lib.core.untrusted.finite_json import parse_finite


class TrainingRecord(BaseModel):
    """Describe how the network was trained.

    Attributes
    ----------
    iteration
        Labelling iteration.
    start_from, start_sha256
        Name of the network that the training started from, and the hash of its weights; None:
        from pretrained or random weights.
    precision
        Lightning's name of the precision that it computed in last; None: not recorded.
    targets_key
        Key of the targets that it learned from, which tells the labelled frames and their
        division; None: not recorded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int
    steps: int
    seconds: float
    seed: int
    frames: dict[str, int]
    checkpoint: str
    iteration: int = 0
    start_from: Annotated[str, AfterValidator(show_address)] | None = None
    start_sha256: str | None = None
    precision: str | None = None
    targets_key: str | None = None
    settings: dict[str, Any]


class DeconvolutionLayout(BaseModel):
    """Describe the transposed convolutions of an output of DeepLabCut.

    Attributes
    ----------
    channels
        Channels before the first layer and after each.
    kernel_size, strides
        Of each layer.
    final_channels, final_kernel
        Of a convolution after them; 0: there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[int, ...]
    kernel_size: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    final_channels: int = 0
    final_kernel: int = 0


class CropLayout(BaseModel):
    """Describe how DeepLabCut cuts an animal out of a frame.

    Attributes
    ----------
    width, height
        Size in px that what is cut out is brought to.
    margin
        px that a box is enlarged by at each side, before it gets the shape of the cut.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(ge=1)
    height: int = Field(ge=1)
    margin: int = Field(0, ge=0)


class DetectorLayout(BaseModel):
    """Describe a detector of torchvision that draws a box around each animal.

    Attributes
    ----------
    variant
        Name of torchvision's function that makes it.
    score_threshold
        Score of a box below which it is left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: Literal[
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_resnet50_fpn",
        "fasterrcnn_resnet50_fpn_v2",
        "ssdlite320_mobilenet_v3_large",
    ]
    score_threshold: float = Field(ge=0.0, le=1.0)


class DeepLabCutLayout(BaseModel):
    """Describe a network that DeepLabCut 3 trained.

    Attributes
    ----------
    backbone, model_name
        Kind of the backbone, and its name in timm.
    output_stride
        Stride of the backbone's map.
    interpolate_branches, increased_channel_count
        Options of HRNet.
    heatmap, locref
        The outputs; `locref` is None without location refinement.
    sigmoid
        Whether scores are logits.
    crop
        How animals are cut out of frames; None for a network of whole frames.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    backbone: Literal["ResNet", "HRNet"]
    model_name: str
    output_stride: int
    interpolate_branches: bool = False
    increased_channel_count: bool = False
    heatmap: DeconvolutionLayout
    locref: DeconvolutionLayout | None
    sigmoid: bool
    crop: CropLayout | None = None

    @property
    def stride(self) -> float:
        """Return the number of network px per cell of the heat maps."""
        return self.output_stride / math.prod(self.heatmap.strides)


class LightningPoseLayout(BaseModel):
    """Describe a network that Lightning Pose trained.

    Attributes
    ----------
    backbone
        Its name in torchvision.
    height, width
        Size in px that frames are brought to.
    downsample_factor
        Number of times that heat maps are half as large as the network's input.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: Literal[
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "efficientnet_b0",
        "efficientnet_b1",
        "efficientnet_b2",
    ]
    height: int = Field(ge=32, le=8192, multiple_of=32)
    width: int = Field(ge=32, le=8192, multiple_of=32)
    downsample_factor: Literal[1, 2, 3]


class SleapLayout(BaseModel):
    """Describe a U-Net of SLEAP-NN that locates a single animal.

    Attributes
    ----------
    channels
        1 for grey frames, 3 for coloured ones.
    filters, filters_rate
        Channels of the first block, and how they grow from block to block.
    kernel_size, convs_per_block
        Of the convolutions of a block.
    max_stride, output_stride
        Stride of the deepest features, and of the maps.
    up_interpolate
        Whether features are enlarged by interpolation, not by transposed convolutions.
    whole_greys
        Whether grey values of coloured frames are rounded down.
    height, width
        Size in px of the frames that it was trained on; None for any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Literal[1, 3]
    filters: int = Field(ge=1, le=1024)
    filters_rate: float = Field(ge=1.0, le=4.0)
    kernel_size: Literal[1, 3, 5, 7]
    convs_per_block: int = Field(ge=2, le=8)
    max_stride: Literal[2, 4, 8, 16, 32, 64]
    output_stride: Literal[1, 2, 4, 8, 16, 32]
    up_interpolate: bool
    whole_greys: bool
    height: int | None = Field(None, ge=1, le=2**16)
    width: int | None = Field(None, ge=1, le=2**16)

    @model_validator(mode="after")
    def _check_strides(self) -> Self:
        if self.output_stride >= self.max_stride:
            raise ValueError("output_stride must be smaller than max_stride")
        return self


class BundleRecord(BaseModel):
    """Name the bundle that a network came in.

    Attributes
    ----------
    file, sha256
        Name of its file, and the SHA-256 of the file.
    members
        Number of networks in it that predict together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str
    members: int = Field(1, ge=1)


class ModelCard(BaseModel):
    """Describe a trained network: the content of ``model.json``.

    Attributes
    ----------
    head_context, head_stages
        How the head sees the whole image, as in the settings of the training.
    individuals
        Names of the slots on the individual axis of the results; with unique bodyparts, the last
        one is `UNIQUE_INDIVIDUAL`.
    edges
        Pairs of positions on the keypoint axis that have a part affinity field.
    used_edges
        Positions in `edges` of the edges used to assemble individuals.
    identities
        Names of the individuals that the network tells apart.
    window
        Side in network px of the windows around an animal that the network was trained on; None
        for a network of whole frames.
    chosen
        Values of settings that were `auto`, by name, each with the reason; those of the locator
        are in the card of its network.
    bundle
        Bundle that the network came in; None for one that was trained here.
    deeplabcut
        Layout of a network that DeepLabCut trained; None for ours.
    detector
        Layout of a detector, which finds animals for a network of DeepLabCut; None for others.
    lightning_pose
        Layout of a network that Lightning Pose trained; None for others.
    sleap_nn
        Layout of a network that SLEAP-NN trained; None for others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    name: str
    key: str
    backbone: str
    head_channels: int
    head_context: HeadContext = "none"
    head_stages: HeadStages = 1
    parameters: int
    stride: int
    scale: float
    refinement_scale: float
    skeleton: Skeleton
    individuals: tuple[str, ...] = (SINGLE_INDIVIDUAL,)
    edges: tuple[tuple[int, int], ...] = ()
    used_edges: tuple[int, ...] = ()
    identities: tuple[str, ...] = ()
    window: int | None = None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    network_sha256: str
    training: TrainingRecord
    chosen: dict[str, ChosenSetting] = {}
    versions: dict[str, str]
    bundle: BundleRecord | None = None
    deeplabcut: DeepLabCutLayout | None = None
    detector: DetectorLayout | None = None
    lightning_pose: LightningPoseLayout | None = None
    sleap_nn: SleapLayout | None = None

    @property
    def animals(self) -> int:
        """Return the largest number of animals found in a frame."""
        return sum(name != UNIQUE_INDIVIDUAL for name in self.individuals)

    @property
    def origin(self) -> str:
        """Return the name of the tool that the network is from; empty for ours."""
        if self.deeplabcut is not None or self.detector is not None:
            return "DeepLabCut"
        if self.lightning_pose is not None:
            return "Lightning Pose"
        return "" if self.sleap_nn is None else "SLEAP-NN"

    @property
    def frame_size(self) -> tuple[int | None, int | None]:
        """Return height and width in px that frames must have; None for any."""
        layout = self.sleap_nn
        return (None, None) if layout is None else (layout.height, layout.width)

    @property
    def padding(self) -> int:
        """Return the number that the sides of the network's input must be multiples of."""
        if self.sleap_nn is not None:
            return self.sleap_nn.max_stride
        # DeepLabCut's ResNets see frames as they are; Lightning Pose resizes them itself.
        plain = self.deeplabcut is not None and self.deeplabcut.backbone == "ResNet"
        return 1 if plain or self.lightning_pose is not None else 32


def count_animals(card: ModelCard, locator: ModelCard | None) -> int:
    """Return the largest number of animals found in a frame.

    Parameters
    ----------
    card
        Card of a network. One that sees windows knows of one animal.
    locator
        Card of the network that finds the animals, if there is one.
    """
    return card.animals if card.window is None or locator is None else locator.animals


def read_card(path: Path) -> ModelCard:
    """Read and check a model card.

    Raises
    ------
    ModelError
        If the card is missing, damaged or has another format.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no model; run train") from None
    return parse_card(content, str(path))


def parse_card(content: bytes, where: str) -> ModelCard:
    """Parse and check the JSON text of a model card.

    Parameters
    ----------
    content
        Bytes of the text.
    where
        Name of the card in messages.

    Raises
    ------
    ModelError
        If it is damaged or has another format.
    """
    try:
        parse_finite(content)
        return ModelCard.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{where}: not a model card: `{key}`: {first['msg']}") from None
    except ValueError as error:
        raise ModelError(f"{where}: not a model card: {error}") from None


def format_card(card: ModelCard) -> str:
    """Return the JSON text of a card."""
    # Earlier releases know none of these.
    later = ("bundle", "deeplabcut", "detector", "lightning_pose", "sleap_nn")
    unused = {name for name in later if getattr(card, name) is None}
    unused |= {"head_context"} if card.head_context == "none" else set()
    unused |= {"head_stages"} if card.head_stages == 1 else set()
    values = card.model_dump(mode="json", exclude=unused)
    if card.bundle is not None and card.bundle.members == 1:
        del values["bundle"]["members"]
    if card.deeplabcut is not None and card.deeplabcut.crop is None:
        del values["deeplabcut"]["crop"]
    if card.training.precision is None:
        del values["training"]["precision"]
    return json.dumps(values, indent=2) + "\n"


def check_locator(files: ModelFiles, *, top_down: bool) -> None:
    """Raise an error if the locator, the network that finds the animal, is missing.

    Parameters
    ----------
    files
        Files of the network for windows, with its locator.
    top_down
        Whether each of several animals has a window.

    Raises
    ------
    ModelError
        If the locator is missing.
    """
    if files.locator.card.exists():
        return
    instead = (
        "set individuals.method to bottom-up and train again"
        if top_down
        else "set locating.enabled to false"
    )
    raise ModelError(
        f"{files.locator.folder}: no network that finds the animal; run `cohortpose "
        f"make-targets --locator` and `cohortpose train --locator`, or {instead}"
    )


def settle_locating(locating: StatedLocating, card: ModelCard) -> LocatingSettings:
    """Return the settings of the locator with every value fixed.

    Parameters
    ----------
    locating
        Settings of the config. What is `auto` has the value that was chosen when the network was
        trained, so that a network predicts the same wherever it is used.
    card
        Card of the network that predicts in windows.
    """
    values = locating.model_dump()
    defaults = LocatingSettings()
    for name in ("scale", "window"):
        if values[name] == AUTO:
            chosen = card.chosen.get(f"locating.{name}")
            values[name] = getattr(defaults, name) if chosen is None else chosen.value
    return LocatingSettings.model_validate(values)


def needs_locator(locating: StatedLocating, card: ModelCard) -> bool:
    """Tell whether a network predicts in windows, at least in some videos.

    Parameters
    ----------
    locating
        Settings of the config.
    card
        Card of the network.
    """
    # Where the settings leave it open, one animal is needed.
    chosen = locating.enabled == AUTO and card.animals == 1
    return card.window is not None or locating.enabled is True or chosen


def locating_key(files: ModelFiles, locating: StatedLocating) -> str:
    """Return the hash of the locator and its settings; empty if poses depend on neither.

    Parameters
    ----------
    files
        Files of the network, with its locator.
    locating
        Settings of the locator.

    Raises
    ------
    ModelError
        If the settings require a locator and it is missing.
    """
    own = read_card(files.card)
    top_down = own.window is not None
    if not needs_locator(locating, own):
        return ""
    check_locator(files, top_down=top_down)
    card = read_card(files.locator.card)
    settings = settle_locating(locating, own).result_settings(top_down=top_down)
    return hash_settings(settings, card.key, card.network_sha256)
