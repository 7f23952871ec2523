"""What travels between the scheduler and the workers of an inference."""

import math
from dataclasses import dataclass

from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.core.settings.network import LocatingSettings
from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.io.poses.segments import Work
from pipeline_lib.models.inference.predictor import RuntimeOptions

Crop = tuple[int, int, int, int]


@dataclass(frozen=True)
class NetworkTask:
    """The network of a run, in words that travel to any worker."""

    folder: str
    options: RuntimeOptions
    locating: LocatingSettings
    assembly: AssemblySettings
    decoders: int = 1


@dataclass(frozen=True)
class VideoTask:
    """One video to infer, in words that travel to any worker.

    Attributes
    ----------
    video, path, frames, fps, fingerprint
        As the probe found it.
    size, modified
        Bytes and time of change in ns that the file had then.
    key
        What the result depends on.
    output, segments
        The pose file, and the folder of finished segments.
    crop
        Region of the frames to look at.
    network
        What infers.
    patience
        Longest time in s in which decoding gives no new frame.
    """

    video: str
    path: str
    frames: int
    fps: float
    fingerprint: str
    size: int
    modified: int
    key: str
    output: str
    segments: str
    crop: Crop | None
    network: NetworkTask
    patience: float = math.inf


@dataclass(frozen=True)
class Verdict:
    """Why a video cannot be inferred, and whether its finished segments are of use later."""

    status: VideoStatus
    reason: str
    keep_segments: bool = False


@dataclass(frozen=True)
class Totals:
    """What a complete video came to."""

    frames: int
    undecodable: int
    work: Work


@dataclass(frozen=True)
class Outcome:
    """How a video ended."""

    video: str
    status: VideoStatus
    reason: str = ""
    key: str = ""
    frames: int | None = None
    undecodable: int | None = None
    work: Work | None = None
