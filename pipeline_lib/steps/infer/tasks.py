"""Define the messages between the scheduler and the workers of an inference."""

import math
from dataclasses import dataclass

from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.core.settings.network import StatedLocating
from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.io.poses.segments import Timings
from pipeline_lib.models.inference.predictor import RuntimeOptions

Crop = tuple[int, int, int, int]


@dataclass(frozen=True)
class NetworkTask:
    """Describe the network of a run to a worker.

    Attributes
    ----------
    folder
        Folder of the model.
    options
        Runtime of the networks.
    locating
        Settings of the locator.
    assembly
        Settings of the assembly of individuals.
    decoders
        Segments that a worker decodes at the same time.
    members
        Networks that predict together.
    """

    folder: str
    options: RuntimeOptions
    locating: StatedLocating
    assembly: AssemblySettings
    decoders: int = 1
    members: int = 1


@dataclass(frozen=True)
class VideoTask:
    """Describe a video to infer to a worker.

    Attributes
    ----------
    video, path, frames, fps, fingerprint
        Facts that the probe found.
    size, modified
        Size of the file in bytes and its modification time in ns, when it was probed.
    key
        Hash of all that the result depends on.
    output, segments
        The pose file, and the folder of finished segments.
    crop
        Region of the frames to predict, x1, x2, y1, y2 in px; None for whole frames.
    network
        The network.
    patience
        Longest time in s without a new frame while decoding.
    still_frames
        Compute a pose at least every N frames, and else only where something moves; 0: compute
        every frame.
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
    still_frames: int = 0


@dataclass(frozen=True)
class Verdict:
    """Explain why a video cannot be inferred, and whether to keep its finished segments."""

    status: VideoStatus
    reason: str
    keep_segments: bool = False


@dataclass(frozen=True)
class Totals:
    """Sum up a complete video.

    Attributes
    ----------
    frames, undecodable, still
        Number of frames, of those that could not be decoded, and of those in which nothing moved.
    timings
        Processing time.
    note
        Why few frames were still.
    """

    frames: int
    undecodable: int
    timings: Timings
    still: int = 0
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """Describe the outcome of a video in this stage."""

    video: str
    status: VideoStatus
    reason: str = ""
    key: str = ""
    frames: int | None = None
    undecodable: int | None = None
    timings: Timings | None = None
    still: int | None = None
