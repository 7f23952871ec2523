"""Define the settings of the stages of every video: reading, poses, filtering, exports."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from pipeline_lib.core import versions
from pipeline_lib.core.formats.exports import FORMATS, find_format
from pipeline_lib.core.settings.base import (
    AUTO,
    WHOLE,
    Flag,
    Fraction,
    Name,
    NotNegativeInt,
    PathText,
    PositiveFloat,
    PositiveInt,
    Region,
    Seed,
    Settings,
    check_region,
    refuse_unprintable,
)

_ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")

# A word of a batch script, without quotes.
_Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.,:@+-]*$")]


class ReadingSettings(Settings):
    """Limit the time and memory of reading one video; a video beyond a limit is quarantined."""

    seconds: PositiveFloat = Field(
        300.0, description="Longest time in seconds to probe a video, whatever its size."
    )
    seconds_per_gigabyte: PositiveFloat = Field(
        300.0, description="Additional time in seconds for each gigabyte of the video."
    )
    gigabytes: PositiveFloat = Field(
        4.0,
        description="Most memory in GB for probing a video, in addition to that of the program "
        "itself (Linux).",
    )
    seconds_per_frame: PositiveFloat = Field(
        300.0, description="Longest time in seconds in which decoding gives no new frame."
    )


class ClusterJobSettings(Settings):
    """Run Dask workers as jobs of a SLURM cluster."""

    number: PositiveInt = Field(4, description="Most jobs at a time, each with one worker.")
    cores: PositiveInt = Field(8, description="Cores of a job.")
    gigabytes: PositiveFloat = Field(16.0, description="Memory of a job in GB.")
    minutes: PositiveInt = Field(
        480,
        description="Time limit of a job in minutes; its worker stops shortly before, and a new job"
        " replaces it.",
    )
    gpus: NotNegativeInt = Field(0, description="GPUs of a job.")
    partition: _Word | None = Field(None, description="Partition; null: the site's default.")
    account: _Word | None = Field(None, description="Account; null: the user's default.")
    interface: _Word | None = Field(
        None, description="Network interface between the nodes, e.g. `ib0`; null: Dask's choice."
    )
    directives: tuple[Annotated[str, Field(pattern="^-")], ...] = Field(
        (), description="More options of `sbatch`, one each, e.g. `--qos=long`."
    )

    @model_validator(mode="before")
    @classmethod
    def _check_lines(cls, values: Any) -> Any:  # noqa: ANN401 - what YAML may hold
        return refuse_unprintable(values)


class ClusterSecuritySettings(Settings):
    """Name the credentials for a Dask scheduler that you started; `cluster` is its address."""

    ca_file: PathText | None = Field(
        None,
        description="Certificate (PEM) of the authority that signed those of scheduler and "
        "workers, made for this cluster; null: Dask's own setting.",
    )
    cert: PathText | None = Field(
        None, description="Certificate (PEM) that the client shows; null: Dask's own setting."
    )
    key: PathText | None = Field(
        None, description="Its private key (PEM), which others must not read; null: in `cert`."
    )
    insecure: Flag = Field(
        default=False,
        description="Accept a `tcp://` address. Anybody who reaches one of its ports can run code "
        "as the owner of the workers, so use it on a private network only.",
    )

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        given = [name for name in ("ca_file", "cert", "key") if getattr(self, name) is not None]
        if given and (self.ca_file is None or self.cert is None):
            raise ValueError(f"needs `ca_file` and `cert`, found {' and '.join(given)} alone")
        if given and self.insecure:
            raise ValueError("takes either `insecure` or the files of credentials")
        return self


class InferenceSettings(Settings):
    """Predict the poses of every video."""

    runtime: Literal["auto", "openvino", "onnx", "torch"] = Field(
        "auto",
        description="Library that runs the network: `torch` (GPU), `openvino` or `onnx` (ONNX "
        "Runtime) on CPUs; `auto`: the first of these that suits the machine.",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16", "int8"] = Field(
        "float32",
        description="Arithmetic of the network. `bfloat16` (OpenVINO, PyTorch), `float16` "
        "(PyTorch on a GPU) and `int8` (OpenVINO, ONNX Runtime; calibrated on the labelled "
        "training frames) are faster and move keypoints by fractions of a pixel; `auto`: the "
        "fastest whose mean error on the labelled frames grows by at most 1 %, measured once for "
        "each network (`choose-precision`).",
    )
    compile: Flag = Field(default=False, description="Compile the network (PyTorch on a GPU).")
    batch_size: PositiveInt | None = Field(
        None, description="Frames per forward pass; null: 1 on CPUs, 32 on GPUs."
    )
    crop: Region | None = Field(
        None,
        description="Region of every video to analyse: x1, x2, y1, y2 in px (x2, y2 excluded). "
        "Coordinates remain those of the whole frame.",
    )
    still: Literal["off", "auto"] = Field(
        "off",
        description="`auto`: where nothing moves in the picture beyond the camera's noise, a frame "
        "has the pose of the last computed one, and costs no more than its decoding. `off`: "
        "compute every frame.",
    )
    # A segment reads from the last multiple before it.
    still_frames: Annotated[int, Field(ge=2, le=1000), WHOLE] = Field(
        100, description="Compute a pose at least every N frames (`still: auto`)."
    )
    segment_frames: PositiveInt = Field(
        2000, description="Most frames in a segment, the part of a video that a killed job repeats."
    )
    cluster: str = Field(
        "local",
        description="`local`; `dask-cuda` (a worker per GPU of this node, needs that package); "
        "`slurm` (a worker per job, needs dask-jobqueue); or the address of a Dask scheduler, "
        "`tls://host:port`, with `cluster_security`.",
    )
    cluster_jobs: ClusterJobSettings = ClusterJobSettings()
    cluster_security: ClusterSecuritySettings = ClusterSecuritySettings()
    dashboard: Flag | Annotated[int, Field(ge=1, le=65535), WHOLE] = Field(
        default=False,
        description="Dask's dashboard, on this node only: true (any free port) or a port. Other "
        "users of the node can open it.",
    )
    workers: PositiveInt | None = Field(
        None, description="Local Dask workers; null: one per GPU, else one per core."
    )
    threads_per_worker: PositiveInt | None = Field(
        None,
        description="Threads of the network in a worker; null: the number of cores divided by that "
        "of workers.",
    )
    decoders: PositiveInt | None = Field(
        None,
        description="Segments that a worker decodes at the same time; null: 1 on CPUs; on a GPU, "
        "the worker's share of the cores, at most 8.",
    )
    worker_gigabytes: PositiveFloat | None = Field(
        None, description="Memory in GB above which a local worker is restarted; null: no limit."
    )
    attempts: PositiveInt = Field(
        3,
        description="Attempts at a segment whose worker dies; after the last one its video is "
        "`failed`.",
    )
    shard_videos: PositiveInt = Field(64, description="Most videos in one shard (one job).")
    shard_gigabytes: PositiveFloat = Field(16.0, description="Most video data in GB in one shard.")
    max_failed_fraction: Fraction = Field(
        0.5, description="The run fails if a larger share of the videos failed or is quarantined."
    )

    @field_validator("still", mode="before")
    @classmethod
    def _read_off(cls, still: Any) -> Any:  # noqa: ANN401 - what YAML may hold
        # YAML reads the word `off` as false.
        return "off" if still is False else still

    @field_validator("cluster")
    @classmethod
    def _check_kind(cls, cluster: str) -> str:
        if cluster not in ("local", "dask-cuda", "slurm") and not _ADDRESS.fullmatch(cluster):
            raise ValueError("expected `local`, `dask-cuda`, `slurm` or `tls://host:port`")
        return cluster

    @model_validator(mode="after")
    def _check_cluster(self) -> Self:
        security = self.cluster_security
        if self.cluster.startswith("tcp://") and not security.insecure:
            raise ValueError(
                f"`cluster` {self.cluster}: anybody who reaches the ports of such a cluster can "
                "run code as the owner of its workers; start scheduler and workers with "
                "--tls-ca-file, --tls-cert and --tls-key, then set `cluster` to tls://... and "
                "`cluster_security` to `ca_file`, `cert` and `key` (or, on a network that is "
                "yours alone, `cluster_security: {insecure: true}`)"
            )
        if self.cluster.startswith("tls://") and security.insecure:
            raise ValueError("`cluster_security.insecure` is for `cluster` tcp://..., found tls://")
        if "://" not in self.cluster and security != ClusterSecuritySettings():
            raise ValueError(
                f"`cluster_security` is for `cluster` tls://...; `{self.cluster}` makes its own "
                "credentials for each run"
            )
        return self

    @model_validator(mode="after")
    def _check_crop(self) -> Self:
        check_region(self.crop)
        return self

    @model_validator(mode="after")
    def _check_precision(self) -> Self:
        if self.precision == "int8" and self.runtime == "torch":
            raise ValueError(
                "`precision` int8 runs with OpenVINO and ONNX Runtime: set `runtime` to openvino, "
                "onnx or auto"
            )
        return self

    @property
    def measures_precision(self) -> bool:
        """Tell whether a measurement on labelled frames decides the precision."""
        return self.precision in (AUTO, "int8")

    def result_settings(self) -> dict[str, Any]:
        """Return the settings that poses depend on: not those of speed and hardware."""
        known = self.model_dump(mode="json", include={"crop", "precision"})
        if self.skips_still:
            known |= {"still": versions.STILL, "still_frames": self.still_frames}
        return known

    @property
    def skips_still(self) -> bool:
        """Tell whether still frames are not computed."""
        return self.still == "auto"


class FilteringSettings(Settings):
    """Clean trajectories, in this order: gate, interpolate, smooth."""

    pcutoff: Fraction = Field(0.4, description="Keypoints below this confidence become gaps.")
    max_gap: NotNegativeInt = Field(
        5, description="Longest gap in frames that is interpolated; 0: none."
    )
    method: Literal["median", "savitzky-golay", "ensemble-kalman", "none"] = Field(
        "median",
        description="Smoothing over time: `median`, `savitzky-golay`, `ensemble-kalman` (a Kalman "
        "smoother that weights a keypoint by the agreement of the networks of an "
        "ensemble, `training.ensemble`) or `none`.",
    )
    motion: PositiveFloat | None = Field(
        None,
        description="Variance of a keypoint's movement between two frames in px² "
        "(`ensemble-kalman`); smaller values smooth more. null: the most likely value "
        "for each keypoint.",
    )
    window: PositiveInt = Field(5, description="Frames in the smoothing window (odd).")
    order: NotNegativeInt = Field(2, description="Savitzky-Golay polynomial order.")

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.window % 2 == 0:
            raise ValueError(f"window ({self.window}) must be odd")
        if self.method == "savitzky-golay" and self.order >= self.window:
            raise ValueError(f"order ({self.order}) must be below window ({self.window})")
        return self

    def result_settings(self) -> dict[str, Any]:
        """Return the settings that filtered poses depend on."""
        # Other methods have the same keys as before there was this one.
        unused = set() if self.method == "ensemble-kalman" else {"motion"}
        return self.model_dump(mode="json", exclude=unused)


def _check_format(name: str) -> str:
    find_format(name)
    return name


FormatName = Annotated[
    str,
    AfterValidator(_check_format),
    WithJsonSchema({"enum": list(FORMATS), "type": "string"}),
]


class ExportSettings(Settings):
    """Export poses for other tools."""

    formats: tuple[FormatName, ...] = Field(
        ("h5", "csv"),
        description="; ".join(f"`{name}`: {kind.about}" for name, kind in FORMATS.items()) + ".",
    )
    source: Literal["filtered", "raw"] = Field(
        "filtered",
        description="Poses to export: `filtered`, or `raw` (before filtering; with several "
        "individuals, as tracking left them).",
    )
    scorer: Name = Field(
        "cohortpose",
        description="Name of the source of the poses in the files: first level of DeepLabCut's "
        "column header.",
    )
    absolute_paths: Flag = Field(
        default=False,
        description="Name the video by its absolute path in formats that name it. false: by its "
        "path relative to the exported file. If that path leads through a folder with "
        "the home folders of all users, the file's name alone is written, so that no "
        "user name is published.",
    )

    @property
    def linked(self) -> bool:
        """Tell whether a format holds the path of the video and the edges, which poses do not."""
        return any(FORMATS[name].linked for name in self.formats)

    @property
    def described(self) -> bool:
        """Tell whether a format describes session and subject, which the cohort sheet may give."""
        return any(FORMATS[name].described for name in self.formats)


class ReportSettings(Settings):
    """Configure the report page."""

    title: str = Field("cohortpose report", description="Heading of the page.")
    sample_frames: NotNegativeInt = Field(
        6, description="Labelled frames shown with predicted and labelled keypoints."
    )
    seed: Seed = Field(0, description="Seed of the choice of sample frames.")
    worst_frames: NotNegativeInt = Field(
        3,
        description="Most frames of each video shown as pictures on its page: those with the "
        "lowest confidence, and possible swaps. One in a cohort of more than 300 videos; 0: none, "
        "and no video file is read for the report.",
    )
    multiqc: Flag = Field(
        default=False,
        description="Write files for MultiQC as well (`multiqc/`): one report with other analyses.",
    )
