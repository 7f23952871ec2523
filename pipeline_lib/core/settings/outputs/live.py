"""Define the settings of live cameras: prediction, recording, rules and what they set off."""

import re
from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline_lib.core.settings.base import (
    FINITE,
    SHOWN,
    Flag,
    Fraction,
    Name,
    NotNegativeFloat,
    NotNegativeInt,
    PathText,
    PositiveFloat,
    PositiveInt,
    Region,
    Settings,
    check_region,
)

_Number = Annotated[float, FINITE]
# Numbers of points that a measure takes.
_POINTS = {"region": 1, "speed": 1, "distance": 2, "angle": 3}
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_ZMQ = re.compile(r"(tcp://(\*|\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}|ipc://.+)")


class CameraSettings(Settings):
    """Name a camera, and say how it is read."""

    name: Name = Field("camera", description="Name in files and messages.")
    source: Annotated[str, Field(min_length=1), SHOWN] = Field(
        description="`camera:0` or `/dev/video0` (V4L2, OpenCV), `rtsp://…`, `video:PATH` (paced "
        "as a camera), `folder:PATH` (images that keep coming), `shm:NAME` (shared memory), "
        "`zmq:tcp://HOST:PORT`, `genicam:SERIAL` (needs `harvesters` and GENICAM_GENTL64_PATH)."
    )
    fps: PositiveFloat | None = Field(
        None, description="Frames per second asked of the camera; of a video, its pace. null: own."
    )
    width: PositiveInt | None = Field(None, description="px asked of the camera; null: its own.")
    height: PositiveInt | None = Field(None, description="px asked of the camera; null: its own.")
    exposure_us: PositiveFloat | None = Field(
        None, description="Exposure in microseconds; null: as the camera is set."
    )
    crop: Region | None = Field(
        None,
        description="Region to predict and record: x1, x2, y1, y2 in px (x2, y2 excluded). Points "
        "are in px of the region, as in the recorded video.",
    )
    every_frame: Flag = Field(
        default=False,
        description="Wait until each frame was predicted (videos and folders): for trying rules.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_region(self.crop)
        if (self.width is None) != (self.height is None):
            raise ValueError("`width` and `height` go together")
        if self.every_frame and not self.source.startswith(("video:", "folder:")):
            raise ValueError("`every_frame`: only videos and folders wait")
        return self


class PredictionSettings(Settings):
    """Choose how frames are predicted."""

    runtime: Literal["auto", "openvino", "onnx", "torch"] = Field(
        "auto", description="As in `inference`."
    )
    precision: Literal["auto", "float32", "bfloat16", "float16", "int8"] = Field(
        "float32",
        description="As in `inference`; `auto` and `int8` use what was measured for the network "
        "of a results folder, or where the bundle was written.",
    )
    threads: PositiveInt | None = Field(
        None, description="Cores that compute a frame; null: all of the process."
    )
    cropping: NotNegativeInt = Field(
        0,
        description="Side in network px, a multiple of 32, of a window that follows the animals; "
        "the frame is seen whole where they are lost. 0: always whole.",
    )
    pcutoff: Fraction = Field(
        0.3, description="Confidence from which a point moves the window and rules see it."
    )
    min_found: Fraction = Field(
        0.5, description="Smallest share of the bodyparts of an animal that keeps the window."
    )
    look_again: Flag = Field(
        default=False,
        description="See a frame whose window lost the animals whole at once, instead of the next.",
    )
    ahead_ms: NotNegativeFloat = Field(
        0.0, description="Rules see points as they will be this long after the capture."
    )
    noise: PositiveFloat = Field(
        1.0, description="px, standard deviation of points about their places (`ahead_ms`)."
    )
    acceleration: PositiveFloat = Field(
        3000.0, description="px/s^2, usual acceleration of points (`ahead_ms`)."
    )

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.cropping % 32:
            raise ValueError(f"`cropping` ({self.cropping}) must be a multiple of 32")
        return self


class RecordingSettings(Settings):
    """Choose what is recorded."""

    poses: Flag = Field(default=True, description="Record poses and times.")
    video: Flag = Field(default=True, description="Record the video beside them (H.264).")
    quality: Annotated[NotNegativeInt, Field(le=51)] = Field(
        23, description="Constant rate factor of the video: smaller is better and larger."
    )
    minutes: PositiveFloat = Field(60.0, description="A new video begins after so many minutes.")
    queue: PositiveInt = Field(
        50,
        description="Most frames that wait for the encoder; beyond it the video repeats the last "
        "picture, which is recorded.",
    )


class RuleSettings(Settings):
    """Set off actions when a measure of points passes a value."""

    name: Name
    measure: Literal["region", "speed", "distance", "angle"] = Field(
        description="`region`: px by which a point is inside `polygon`; `speed`: px/s of a point; "
        "`distance`: px between two points; `angle`: degrees at the second of three points."
    )
    points: tuple[str, ...] = Field(description="Bodyparts: 1, 1, 2 or 3 of them.")
    individual: str | None = Field(None, description="Whose; null: each individual by itself.")
    other: str | None = Field(
        None, description="Whose the second point of a `distance` is; null: the same individual's."
    )
    polygon: tuple[tuple[_Number, _Number], ...] = Field((), description="Corners, px (`region`).")
    above: _Number | None = Field(
        None, description="The rule holds above this value; a `region` without either: above 0."
    )
    below: _Number | None = Field(None, description="The rule holds below this value.")
    hysteresis: NotNegativeFloat = Field(
        0.0, description="How far the value must go back before the rule ends, in its unit."
    )
    frames: PositiveInt = Field(
        1, description="Frames in a row for which the value must be passed, either way."
    )
    refractory_ms: NotNegativeFloat = Field(
        0.0, description="Time after a start in which the rule does not start again."
    )
    ahead: Flag = Field(
        default=True, description="Judge points as predicted by `ahead_ms`, not as seen."
    )
    actions: tuple[Name, ...] = Field((), description="Names of actions.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        wanted = _POINTS[self.measure]
        if len(self.points) != wanted:
            raise ValueError(f"`{self.measure}` takes {wanted} points, found {len(self.points)}")
        if self.other is not None and (self.measure != "distance" or self.individual is None):
            raise ValueError("`other` goes with `measure: distance` and an `individual`")
        if (self.measure == "region") != bool(self.polygon) or 0 < len(self.polygon) < 3:
            raise ValueError("`region` takes a `polygon` of 3 or more corners, others take none")
        given = [name for name in ("above", "below") if getattr(self, name) is not None]
        if len(given) > 1 or (not given and self.measure != "region"):
            raise ValueError("takes one of `above` and `below`")
        return self


class ActionSettings(Settings):
    """Say what an action sends, and where."""

    name: Name
    kind: Literal["zmq", "udp", "osc", "serial", "lsl", "file"] = Field(
        description="`zmq` (publishes), `udp`, `osc`, `serial` line, `lsl` marker stream, `file`."
    )
    address: PathText = Field(
        description="`zmq`: `tcp://127.0.0.1:5556`, which is bound; `udp`, `osc`: `host:port`; "
        "`serial`: the device; `lsl`: the name of the stream; `file`: a path, appended to."
    )
    baud: PositiveInt = Field(115200, description="Of a `serial` line.")
    path: Annotated[str, Field(pattern="^/[!-~]*$")] = Field(
        "/cohortpose", description="Address pattern of `osc` messages."
    )
    start: str | None = Field(
        None,
        description="Text sent when a rule starts; null: JSON with rule, camera, frame, time, "
        "individual and value (OSC: these as arguments).",
    )
    end: str | None = Field(None, description="Text sent when a rule ends; null: nothing.")
    ends: Flag = Field(default=False, description="Also send JSON when a rule ends.")

    @model_validator(mode="after")
    def _check_address(self) -> Self:
        patterns = {"zmq": (_ZMQ, "tcp://HOST:PORT or ipc://PATH")}
        patterns |= dict.fromkeys(("udp", "osc"), (_HOST_PORT, "HOST:PORT"))
        if self.kind in patterns:
            pattern, expected = patterns[self.kind]
            if not pattern.fullmatch(self.address):
                raise ValueError(f"`address`: expected {expected}, found {self.address!r}")
        if not self.address.strip():
            raise ValueError("`address` is empty")
        return self


class ProcessorSettings(Settings):
    """Name a processor of an installed package, as DeepLabCut-Live has them."""

    name: Annotated[str, Field(min_length=1)] = Field(
        description="Name of an entry point of the group `cohortpose.live_processors`."
    )
    options: dict[str, str | float | bool | None] = Field(
        {}, description="Arguments of its class, by name."
    )

    @field_validator("options")
    @classmethod
    def _check_options(
        cls, options: dict[str, str | float | bool | None]
    ) -> dict[str, str | float | bool | None]:
        for name in options:
            if not name.isidentifier():
                raise ValueError(f"{name!r} is no name of an argument")
        return options


class LiveSettings(Settings):
    """Predict live cameras (`cohortpose live`), record them, and act on what they show."""

    cameras: tuple[CameraSettings, ...] = Field(
        (), description="Cameras; `--source` replaces them."
    )
    prediction: PredictionSettings = PredictionSettings()
    recording: RecordingSettings = RecordingSettings()
    seconds: PositiveFloat | None = Field(
        None, description="How long it runs; null: until the sources end or Ctrl+C."
    )
    latency_ms: PositiveFloat = Field(
        50.0,
        description="Promised time from the capture of a frame to its last action; a warning says "
        "what takes long where more than one of ten frames takes longer.",
    )
    real_time: Flag = Field(
        default=True,
        description="Capture, predict and compute networks in threads of real-time priority where "
        "the system allows it (Linux).",
    )
    rules: tuple[RuleSettings, ...] = Field((), description="What sets off actions.")
    actions: tuple[ActionSettings, ...] = Field((), description="What rules set off.")
    processors: tuple[ProcessorSettings, ...] = Field(
        (), description="Processors of installed packages; they see each pose before the rules do."
    )

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for field in ("cameras", "rules", "actions"):
            counts = Counter(one.name for one in getattr(self, field))
            if twice := sorted(name for name, count in counts.items() if count > 1):
                raise ValueError(f"`{field}`: two are named {twice[0]!r}")
        known = {one.name for one in self.actions}
        for rule in self.rules:
            if unknown := [name for name in rule.actions if name not in known]:
                raise ValueError(f"`rules`: {rule.name!r} names no action: {unknown[0]!r}")
        return self
