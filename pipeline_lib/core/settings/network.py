"""Define the settings of labels and of the network that learns from them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from pipeline_lib.core.formats.labels import FORMATS, find_format
from pipeline_lib.core.settings.base import (
    AUTO,
    FINITE,
    WHOLE,
    Flag,
    Fraction,
    Name,
    NotNegativeFloat,
    NotNegativeInt,
    OrAuto,
    PathText,
    PositiveFloat,
    PositiveInt,
    Region,
    Seed,
    Settings,
    check_region,
)
from pipeline_lib.core.settings.model import StartText
from pipeline_lib.core.settings.renamed import name_as_in_keys
from pipeline_lib.core.settings.training.stopping import StatedStop, StopSettings
from pipeline_lib.core.settings.training.unsupervised import UnsupervisedSettings


class FrameSettings(Settings):
    """Choose frames to label."""

    extract: Flag = Field(default=False, description="Write frames to label for every good video.")
    method: Literal["uniform", "kmeans"] = Field(
        "kmeans",
        description="`uniform`: evenly spread frames; `kmeans`: one frame per cluster of similar "
        "frames.",
    )
    number: PositiveInt = Field(20, description="Frames per video.")
    start: Fraction = Field(0.0, description="Start, as a fraction of the video.")
    stop: Fraction = Field(1.0, description="End, as a fraction of the video.")
    crop: Region | None = Field(
        None,
        description="Region in which frames are compared and which is written: x1, x2, y1, y2 in px"
        " (x2, y2 excluded).",
    )
    step: PositiveInt = Field(1, description="k-means uses every step-th frame.")
    kmeans_width: PositiveInt = Field(
        30, description="Width in px to which k-means shrinks frames."
    )
    seed: Seed = Field(0, description="Seed of the random choice.")

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        if self.start >= self.stop:
            raise ValueError(f"start ({self.start}) must be below stop ({self.stop})")
        check_region(self.crop)
        return self


def _check_format(name: str) -> str:
    if name != AUTO:
        find_format(name)
    return name


LabelFormatName = Annotated[
    str,
    AfterValidator(_check_format),
    WithJsonSchema({"enum": [AUTO, *FORMATS], "type": "string"}),
]


class LabelSource(Settings):
    """Name one labelled project or table; the key holds a list of them.

    Positions refer to upright images, turned by their EXIF orientation, as labelling tools show
    them.
    """

    path: PathText = Field(
        description="A DeepLabCut project folder, a label table (CSV or HDF5), a Lightning Pose "
        "data folder, a SLEAP file (`.slp`, `.pkg.slp`), COCO keypoints or an export of Label "
        "Studio (`.json`), or a file of LEAP (`.mat`)."
    )
    format: LabelFormatName = Field(
        AUTO, description="Tool that wrote it; `auto`: detected from the files."
    )
    predicted: Flag = Field(
        default=False,
        description="Use predicted instances as labels where no user instance corrects them "
        "(SLEAP).",
    )
    iteration: NotNegativeInt = Field(
        0,
        description="Labelling iteration of these labels; training uses them from this "
        "`training.iteration` on.",
    )


Scale = Annotated[float, Field(gt=0.0, le=1.0), FINITE]
Stride = Literal[4, 8]


class StatedTargets(Settings):
    """Define the targets that the network learns to draw.

    `auto`: chosen from the labels, see `labels/chosen_settings.yaml` in the results.
    """

    scale: OrAuto[Scale] = Field(
        AUTO,
        description="Factor by which frames are shrunk before the network sees them. `auto`: as far"
        " as the closest bodyparts allow.",
    )
    stride: OrAuto[Stride] = Field(
        AUTO,
        description="Network pixels per score-map cell, 4 or 8. `auto`: 4 where bodyparts are "
        "close.",
    )
    score_map: Literal["gaussian", "plateau"] = Field(
        "gaussian",
        description="Shape of a score map around a bodypart: `gaussian`, or `plateau` (1 within "
        "`pos_dist_thresh`, 0 elsewhere).",
    )
    sigma: OrAuto[PositiveFloat] = Field(
        AUTO,
        description="Standard deviation of the Gaussian, in network px. `auto`: from the smallest "
        "distance between bodyparts.",
    )
    pos_dist_thresh: OrAuto[PositiveFloat] = Field(
        AUTO,
        description="Radius in network px of the plateau and of the location refinement. `auto`: "
        "twice `sigma`.",
    )
    location_refinement_scale: PositiveFloat = Field(
        7.2801,
        description="Distance in px by which offsets are divided (DeepLabCut's `locref_stdev`).",
    )
    part_affinity_width: PositiveFloat = Field(
        10.0,
        description="Half the width of part affinity fields around an edge, in network px "
        "(several individuals).",
    )
    samples_per_shard: PositiveInt = Field(32, description="Labelled frames per Zarr shard.")


class TargetSettings(StatedTargets):
    """Define the targets with every value fixed; the defaults are for labels that tell nothing."""

    scale: Scale = 1.0
    stride: Stride = 8
    sigma: PositiveFloat = 8.0
    pos_dist_thresh: PositiveFloat = 17.0


class SplitSettings(Settings):
    """Divide labelled frames into training and test frames."""

    method: Literal["random", "block"] = Field(
        "random",
        description="`random` frames (DeepLabCut's way), or `block`s of contiguous frames "
        "of one video, which neighbours cannot leak across.",
    )
    test_fraction: Fraction = Field(0.05, description="Share of frames to test on.")
    folds: Annotated[int, Field(ge=2), WHOLE] | None = Field(
        None, description="Number of parts in a cross-validation, of which `fold` is the test part."
    )
    fold: NotNegativeInt = Field(0, description="The test part when `folds` is set.")
    block_frames: PositiveInt = Field(10, description="Labelled frames in a block.")
    seed: Seed = Field(0, description="Seed of the split.")

    @model_validator(mode="after")
    def _check_fold(self) -> Self:
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold ({self.fold}) must be below folds ({self.folds})")
        return self


Rotation = Annotated[float, Field(ge=0.0, le=180.0), FINITE]


class StatedAugmentation(Settings):
    """Change training frames at random, move keypoints accordingly, and draw targets again.

    Without rotation, zoom, shift, mirroring and crop no keypoint moves; then the stored targets
    are read instead.
    """

    rotation: OrAuto[Rotation] = Field(
        AUTO,
        description="Largest rotation in degrees, either way. `auto`: 180 where animals face all "
        "ways, as from above; a little where the view is fixed.",
    )
    scale: tuple[PositiveFloat, PositiveFloat] = Field(
        (0.8, 1.25), description="Smallest and largest zoom."
    )
    translation: Fraction = Field(
        0.1, description="Largest shift, as a fraction of the training image."
    )
    mirror: OrAuto[Flag] = Field(
        default=AUTO,
        description="Mirror half of the frames, swapping the skeleton's `symmetries`. `auto`: "
        "where these are complete and the mirrored view occurs.",
    )
    brightness: Fraction = Field(0.2, description="Largest change of brightness.")
    contrast: Fraction = Field(0.3, description="Largest relative change of contrast.")
    noise: Fraction = Field(0.03, description="Largest standard deviation of added noise.")
    blur: Fraction = Field(0.2, description="Share of frames that are blurred.")
    erase: Fraction = Field(0.2, description="Share of frames with a patch painted over.")


class AugmentationSettings(StatedAugmentation):
    """Change training frames with every value fixed."""

    rotation: Rotation = 180.0
    mirror: Flag = False

    @property
    def moves_keypoints(self) -> bool:
        """Tell whether a change may move a keypoint or give it another name."""
        still = (self.rotation, self.scale, self.translation) == (0.0, (1.0, 1.0), 0.0)
        return self.mirror or not still


# Networks of an ensemble, at most.
MOST_MEMBERS = 32
# Settings of training that a trained network does not depend on.
PLACEMENT = frozenset(
    {
        "name",
        "iteration",
        # What it chooses is in the settings that it chooses.
        "goal",
        "accelerator",
        "devices",
        "num_nodes",
        "strategy",
        "loader_workers",
        "measure_every",
        # Each member is a network of its own.
        "ensemble",
    }
)


HeadContext = Literal["none", "pool", "attention"]
HeadStages = Annotated[Literal[1, 2], WHOLE]


def _spell_precision(value: object) -> object:
    """Return the text of a number: YAML reads `32` as one."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Precision = Annotated[str, BeforeValidator(_spell_precision)]
# What keys of networks contain for each spelling. Which precision `auto` stands for depends on the
# hardware, which they do not contain.
_PRECISIONS_IN_KEYS = {AUTO: "32-true", "32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
# Networks of before were trained on images that were warped in mixed precision, too.
_SECOND = {"bf16-mixed": "bf16-mixed 2", "16-mixed": "16-mixed 2"}


def name_precision_in_keys(precision: str) -> str:
    """Return the precision as the keys of networks contain it."""
    name = _PRECISIONS_IN_KEYS.get(precision, precision)
    return _SECOND.get(name, name)


class StatedTraining(Settings):
    """Train the network."""

    name: Name = Field(
        "pose",
        description="Name of the network: its folder under `models/`, `poses/` and the like.",
    )
    goal: Literal["offline", "live"] = Field(
        "offline",
        description="What the network is for. `live`: real-time feedback (`cohortpose live`). A "
        "`backbone` that is not stated is then `auto`, and so are `inference.precision` and "
        "`live.prediction.precision`.",
    )
    backbone: str = Field(
        "tf_efficientnet_lite0",
        description="Name of a timm model that can return feature maps. `auto`: a light one, or "
        "that of the network of `start_from`.",
    )
    weights: PathText = Field(
        "package",
        description="Pretrained weights: `package` (installed with cohortpose, for "
        "`tf_efficientnet_lite0` to `lite2`; no network needed), `timm` (timm's hub, or its "
        "cache), `none`, or a file of timm's or torchvision's (`.pth`, `.safetensors`).",
    )
    iteration: NotNegativeInt = Field(
        0,
        description="Labelling iteration of this network: it is trained on the labels of this "
        "iteration and of earlier ones. Test frames are drawn from the labels of iteration 0 and "
        "stay the same in every iteration.",
    )
    start_from: StartText | None = Field(
        None,
        description="Network whose weights the training starts from. A name: a network in the same "
        "results, with the same bodyparts, backbone and maps. A bundle (as in "
        "`model.bundle`; files end with `.cohortpose`): its backbone must be the same; "
        "bodyparts of the same name keep their weights, others are new; of a network of another "
        "tool the backbone alone is kept. null: start from `weights`.",
    )
    start_bodyparts: dict[str, str] = Field(
        {},
        description="Names of bodyparts in the bundle of `start_from`, where they differ: `{own "
        "name: name in the bundle}`.",
    )
    head_channels: PositiveInt = Field(128, description="Channels of the head.")
    head_context: HeadContext = Field(
        "none",
        description="What each cell of the score maps receives about the whole image, to "
        "distinguish bodyparts that look alike, such as paws: `none`, `pool` (the "
        "average over the image) or `attention` (each cell attends to all others).",
    )
    head_stages: HeadStages = Field(
        1,
        description="Stages of the head, 1 or 2. 2: a second stage sees the score maps of the "
        "first, and revises them.",
    )
    split: SplitSettings = SplitSettings()
    augmentation: StatedAugmentation = StatedAugmentation()
    crop: OrAuto[PositiveInt | None] = Field(
        AUTO,
        description="Side in network px of the square crops around the animal that training uses, a"
        " multiple of 32; null: whole frames. `auto`: twice the animal's length. "
        "(Top-down, `locating.window` sets it.)",
    )
    epochs: OrAuto[PositiveInt] = Field(
        AUTO,
        description="Passes over the training frames. `auto`: fewer if there are more frames.",
    )
    batch_size: OrAuto[PositiveInt] = Field(
        AUTO,
        description="Frames per optimiser step over all devices together. `auto`: 8, or what 8 GiB "
        "of memory allow.",
    )
    stop: StatedStop = StatedStop()
    freeze: OrAuto[Flag] = Field(
        default=False,
        description="Keep what pretrained weights know of edges and textures: the stages of the "
        "backbone that are finer than the score maps, and the statistics of its batch norms. A "
        "step takes 0.6 of the time on a CPU. `auto`: true if `training.epochs` is `auto`, too, "
        "and `weights` is not `none`.",
    )
    learning_rate: PositiveFloat = Field(1e-3, description="Peak learning rate of AdamW.")
    weight_decay: NotNegativeFloat = Field(1e-2, description="Weight decay of AdamW.")
    warmup: Fraction = Field(0.05, description="Share of the steps with a rising learning rate.")
    location_refinement_weight: NotNegativeFloat = Field(
        0.05, description="Weight of the location-refinement loss."
    )
    part_affinity_weight: NotNegativeFloat = Field(
        0.1, description="Weight of the part-affinity loss (several individuals)."
    )
    identity_weight: NotNegativeFloat = Field(
        0.1, description="Weight of the identity loss (`individuals.identity`)."
    )
    validation_fraction: Fraction = Field(
        0.0, description="Share of the training frames held out to monitor the training."
    )
    validate_every: PositiveInt = Field(10, description="Epochs between validations.")
    measure_every: NotNegativeInt | None = Field(
        None,
        description="Epochs between two measurements of loss and error on the test frames and on "
        "some training frames. They are for the learning curves alone: no choice "
        "depends on them, and the network is the same. The last epoch is always "
        "measured. null: about 12 times in a training (some 2 % of the time of 50 "
        "epochs); 0: never.",
    )
    checkpoint: Literal["last", "best"] = Field(
        "last", description="Checkpoint to export; `best` needs a `validation_fraction`."
    )
    unsupervised: UnsupervisedSettings = UnsupervisedSettings()
    seed: Seed = Field(0, description="Seed of all random numbers in training.")
    ensemble: Annotated[int, Field(ge=1, le=MOST_MEMBERS), WHOLE] = Field(
        1,
        description="Number of networks to train, with different seeds (`seed`, `seed` + 1 …). "
        "Poses are the medians of their predictions, with the `spread` in px. Each "
        "network costs as much time in training and inference as a single one. The "
        "first one is the same as with 1.",
    )
    deterministic: Flag = Field(
        default=False, description="Refuse operations that are not deterministic."
    )
    accelerator: str = Field("auto", description="Lightning's accelerator.")
    devices: PositiveInt | Literal["auto"] = Field("auto", description="Devices per node.")
    num_nodes: PositiveInt = Field(1, description="Nodes.")
    strategy: str = Field("auto", description="Lightning's strategy.")
    precision: Precision = Field(
        AUTO,
        description="`32`: single precision; `bf16`, `16`: multiply in bfloat16 or half precision, "
        "which is faster on GPUs, with weights in single precision; or another name of "
        "Lightning's, such as `64-true`. `auto`: `bf16` on GPUs that support it, else "
        "`16` on those that support that, else `32`.",
    )
    loader_workers: NotNegativeInt = Field(
        0, description="Processes per device that read the target store."
    )

    @model_validator(mode="before")
    @classmethod
    def _let_goal_choose(cls, values: Any) -> Any:  # noqa: ANN401 - not checked yet
        if isinstance(values, Mapping) and values.get("goal") == "live":
            return {"backbone": AUTO, **values}
        return values

    @property
    def decides_length(self) -> bool:
        """Tell whether the labels decide how long to train; otherwise all is as it was stated."""
        return self.epochs == AUTO

    def name_unused(self) -> set[str]:
        """Return the names of settings that keys leave out: those of before there were these."""
        values = {"stop": self.stop.plateau, "freeze": self.freeze}
        unused = (False,) if self.decides_length else (False, AUTO)
        return {name for name, value in values.items() if value in unused}

    @model_validator(mode="after")
    def _check_checkpoint(self) -> Self:
        if self.checkpoint == "best" and self.validation_fraction == 0.0:
            raise ValueError("checkpoint: best needs validation_fraction above 0")
        if self.start_from is not None and self.start_from == self.name:
            raise ValueError(
                f"start_from ({self.start_from}) is the network itself: give the network "
                "another `name`"
            )
        named = self.weights in ("package", "timm", "none") or self.start_from is not None
        if self.backbone == AUTO and not named:
            raise ValueError(
                f"backbone: auto cannot tell which network the weights in {self.weights} are of: "
                "state `backbone`"
            )
        if self.freeze is True and self.weights == "none" and self.start_from is None:
            raise ValueError("freeze: true needs pretrained weights, but weights is none")
        if self.crop is not None and self.crop != AUTO and self.crop % 32:
            raise ValueError(f"crop ({self.crop}) must be a multiple of 32")
        return self


class TrainingSettings(StatedTraining):
    """Train the network with every value fixed."""

    augmentation: AugmentationSettings = AugmentationSettings()
    crop: PositiveInt | None = None
    stop: StopSettings = StopSettings()
    freeze: Flag = False
    epochs: PositiveInt = 200
    batch_size: PositiveInt = 8


class StatedLocating(Settings):
    """Locate the animal in small frames, then predict in a window around it, which is faster.

    A second network, the locator, is trained on shrunken frames. With several individuals and
    `method: top-down` it learns the centre of each animal, and the main network sees only windows
    around them.
    """

    enabled: OrAuto[Flag] = Field(
        default=False,
        description="Predict in a window around the animal. If no animal is found, or the window "
        "cuts it, the whole frame is used. `auto`: in videos in which the animal is so small that "
        "the networks then see at most half of the pixels; the locator is trained in any case. "
        "For one individual; for several, see `individuals.method`.",
    )
    scale: OrAuto[Scale] = Field(
        AUTO,
        description="Factor by which frames are shrunk to locate the animal. Several animals are "
        "separated if their centres are some 12 px apart in the small frames; `auto` "
        "ensures this.",
    )
    window: OrAuto[PositiveInt] = Field(
        AUTO,
        description="Side of the window in network px, a multiple of 32. It must hold the animal "
        "in every posture, with some margin; a larger window has no benefit. `auto`: from the "
        "largest labelled animals.",
    )
    pcutoff: Fraction = Field(
        0.1,
        description="Confidence from which a keypoint counts as found. It is low so that windows "
        "also contain bodyparts that are hard to see in small frames.",
    )
    min_found: Fraction = Field(
        0.5,
        description="Smallest share of the bodyparts that must be found for a window to be placed "
        "(one individual).",
    )
    every: Annotated[int, Field(ge=1, le=16), WHOLE] = Field(
        1,
        description="Frames from one search for the animals to the next. In the frames between, "
        "windows lie around the poses of the frame before; a frame in which an animal is lost is "
        "searched. 1: every frame is searched.",
    )
    backbone: str | None = Field(None, description="As in `training`; null: the same.")
    weights: PathText | None = Field(None, description="As in `training`; null: the same.")
    epochs: PositiveInt | None = Field(None, description="As in `training`; null: the same.")

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.window != AUTO and self.window % 32:
            raise ValueError(f"window ({self.window}) must be a multiple of 32")
        if self.backbone == AUTO:
            raise ValueError("backbone: auto goes with `training` alone; null is the same as there")
        return self

    def result_settings(self, *, top_down: bool = False) -> dict[str, Any]:
        """Return the settings that poses depend on besides the networks, named as in keys.

        Top-down, the network has the window.
        """
        include = {"pcutoff"} if top_down else {"window", "pcutoff", "min_found"}
        if self.every > 1:
            include.add("every")
        if self.enabled == AUTO and not top_down:
            include.add("enabled")
        return name_as_in_keys("locating", self.model_dump(mode="json", include=include))


class LocatingSettings(StatedLocating):
    """Locate the animal with every value fixed."""

    scale: Scale = 0.25
    window: PositiveInt = 224


class EvaluationSettings(Settings):
    """Measure the error on labelled frames."""

    pcutoff: Fraction = Field(0.6, description="Confidence from which a keypoint counts as found.")
    pck_thresholds: tuple[PositiveFloat, ...] = Field(
        (2.0, 5.0, 10.0), description="Distances in px for the share of correct keypoints."
    )
    oks_sigma: PositiveFloat = Field(
        0.1,
        description="Spread of the object keypoint similarity (OKS) of all bodyparts, as a "
        "fraction of the animal's size (DeepLabCut's `oks_sigma`; several individuals).",
    )
    oks_thresholds: tuple[Fraction, ...] = Field(
        (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
        min_length=1,
        description="OKS from which a predicted individual counts as correct; the mean average "
        "precision and recall are over these (several individuals).",
    )
    match_oks: Fraction = Field(
        0.05,
        description="OKS from which a predicted individual is matched with a labelled one, so that "
        "its error is measured; below, one is missed and one is false (several individuals).",
    )
    confidence_regions: Flag = Field(
        default=False,
        description="Calibrate confidence on held-out labels: how far from the truth a keypoint "
        "may lie (`confidence.json` of the network). Ensembles always are calibrated.",
    )

    def result_settings(self) -> dict[str, Any]:
        """Return the settings as they are in keys."""
        # Keys are those of before there was this one.
        unused = set() if self.confidence_regions else {"confidence_regions"}
        return self.model_dump(mode="json", exclude=unused)
