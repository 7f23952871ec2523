"""Define the demo cohort, and write the sheet, config and calibrations that describe it."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Self

import cv2
from pydantic import Field, ValidationError, model_validator

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.settings.base import (
    WHOLE,
    Flag,
    NotNegativeInt,
    PositiveInt,
    Settings,
)
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL
from pipeline_lib.demo.project import PROJECT
from pipeline_lib.demo.render.animal import BODYPARTS, EDGES, SYMMETRIES
from pipeline_lib.demo.render.camera import PinholeCamera
from pipeline_lib.demo.rig import BOARD

# Share of the recordings that have labels; the others test how well a model generalises.
_LABELLED_SHARE = 0.6

# Moments that a demo in three dimensions needs for its calibration.
_FEWEST_BOARDS = 12

# Epochs of the training: affinity fields take longer to learn than score maps.
_EPOCHS, _EPOCHS_OF_SEVERAL = 32, 48

_CONFIG = """\
# The demo cohort, set for a short run on a laptop's CPU. Paths are relative to this folder.
cohort: cohort.tsv
results: results

skeleton:
  bodyparts: [{bodyparts}]
  edges:
{edges}
  symmetries:
{symmetries}
{individuals}
labels:
  - path: {project}

targets:
  stride: 4
  sigma: {sigma}
  pos_dist_thresh: 11.0
{affinity}
training:
  epochs: {epochs}
  batch_size: 4
{small}  augmentation:
    rotation: {rotation}
    mirror: true

# Which videos are good, and why the others are not: results/qc.tsv.
quality:
  enabled: true

report:
  title: Demo cohort{suffix}
"""
# A network for the demo in three dimensions that learns fast: crops around animals, a narrow head.
# Cameras that look from the side never see an animal upside down, and sharp maps tell its place.
_SMALL = """\
  head_channels: 64
  crop: 192
"""
_PLAIN = {"sigma": 5.0, "rotation": 180, "small": ""}
_IN_SPACE = {"sigma": 4.0, "rotation": 30, "small": _SMALL, "epochs": 40}
# Of the demo in three dimensions. The coefficients are those of the rendered lenses.
_SPACE = """
calibration:
  board:
    columns: {columns}
    rows: {rows}
    square: {square}
    marker: {marker}
    dictionary: {dictionary}
    unit: mm
  coefficients: 4

triangulation:
  enabled: true
  # Smoothed in space, where all views count, not in each view.
  source: raw
  smoothing:
    enabled: true
  synchronisation:
    method: timestamps
"""
# Folder of the board images that all good sessions share, and that of a calibration that must be
# refused: the images of one camera are a copy of another's.
BOARDS, COPIED_BOARDS = "calibration/boards", "calibration/boards-copied"
# Camera that drops frames.
DROPPING_CAMERA = 1


class DemoSettings(Settings):
    """Set the content of the demo cohort; the same settings give the same pixels and truth."""

    videos: PositiveInt = Field(8, description="Good recordings, each with its own arena.")
    frames: PositiveInt = Field(150, description="Frames per video.")
    individuals: PositiveInt = Field(1, description="Animals in each recording.")
    cameras: PositiveInt = Field(1, description="Cameras that film each recording simultaneously.")
    width: Annotated[int, Field(ge=64, multiple_of=2), WHOLE] = Field(256, description="In px.")
    height: Annotated[int, Field(ge=64, multiple_of=2), WHOLE] = Field(256, description="In px.")
    fps: Annotated[int, Field(ge=10), WHOLE] = Field(30, description="Frames per second.")
    seed: NotNegativeInt = Field(0, description="Seed of all random numbers.")
    labelled_frames: PositiveInt = Field(
        70,
        description="Labelled frames, spread over three in five recordings (in three dimensions: "
        "all of them) and all cameras.",
    )
    damaged: Flag = Field(default=True, description="Add a video whose copy was interrupted.")
    boards: NotNegativeInt = Field(
        0,
        description="Images of a calibration board per camera. With them the demo is one in three "
        "dimensions: lenses have distortion, all sessions are filmed by the same cameras, one of "
        "which drops frames, one session has a calibration that must be refused, and the damaged "
        "video is one of a session whose other videos are good.",
    )

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        most = self.labelled_recordings * self.cameras * self.frames
        if self.labelled_frames > most:
            raise ValueError(
                f"--labelled-frames {self.labelled_frames} is more than the {most} frames of the "
                f"labelled videos ({self.labelled_recordings * self.cameras} of "
                f"{self.frames} frames each): give --labelled-frames {most} or less, or more "
                "--frames, --videos or --cameras"
            )
        if self.boards and not (self.boards >= _FEWEST_BOARDS and 3 <= self.cameras <= 8):
            raise ValueError(
                f"--boards {self.boards} with --cameras {self.cameras}: a demo in three dimensions "
                f"has {_FEWEST_BOARDS} boards or more and 3 to 8 cameras"
            )
        return self

    @property
    def labelled_recordings(self) -> int:
        """Return the number of recordings with labels, which are the first ones.

        All of a demo in three dimensions: its three recordings show three coats, and a network
        that never saw a white animal finds none.
        """
        return self.videos if self.boards else max(1, round(self.videos * _LABELLED_SHARE))

    @property
    def individual_names(self) -> tuple[str, ...]:
        """Return the names of the individuals in labels and truth."""
        if self.individuals == 1:
            return (SINGLE_INDIVIDUAL,)
        return tuple(f"mouse{number}" for number in range(1, self.individuals + 1))


def make_settings(**values: Any) -> DemoSettings:  # noqa: ANN401 - what the command line has
    """Return settings of the demo.

    Raises
    ------
    CohortposeError
        If they contradict each other, in words of the command line's options.
    """
    try:
        return DemoSettings(**values)
    except ValidationError as error:
        problems = [
            f"--{'-'.join(map(str, one['loc'])).replace('_', '-')}: {one['msg']}"
            if one["loc"]
            else one["msg"].removeprefix("Value error, ")
            for one in error.errors()
        ]
        raise CohortposeError("; ".join(problems)) from None


@dataclass(frozen=True)
class DemoVideo:
    """Describe one video of the sheet.

    Attributes
    ----------
    video, session
        Names; the session is empty if there is only one camera.
    recording, camera
        Indices, from 0.
    is_damaged
        Whether the copy of the video was interrupted.
    calibration
        Cell of the sheet.
    """

    video: str
    recording: int
    camera: int
    session: str
    is_damaged: bool = False
    calibration: str = ""

    @property
    def path(self) -> str:
        """Return the path relative to the demo's folder."""
        return f"videos/{self.video}.mp4"


def list_videos(settings: DemoSettings) -> list[DemoVideo]:
    """Return the videos of the sheet; a damaged one is the last, but of a demo with boards."""
    if settings.boards:
        return list(_list_sessions(settings))
    entries = []
    for recording in range(settings.videos + settings.damaged):
        bad = "-damaged" if recording == settings.videos else ""
        if settings.cameras == 1:
            name = f"mouse-{recording + 1:02d}{bad}"
            entries.append(DemoVideo(name, recording, 0, "", bool(bad)))
            continue
        session = f"session-{recording + 1:02d}{bad}"
        calibration = "" if bad else f"calibration/{session}.toml"
        entries += [
            DemoVideo(
                f"{session}_camera-{camera}", recording, camera, session, bool(bad), calibration
            )
            for camera in range(1 if bad else settings.cameras)
        ]
    return entries


def _list_sessions(settings: DemoSettings) -> Iterator[DemoVideo]:
    """Yield the videos of good sessions, and those of one whose calibration must be refused."""
    for recording in range(settings.videos + 1):
        is_refused = recording == settings.videos
        session = f"session-{recording + 1:02d}{'-refused' if is_refused else ''}"
        is_last = recording == settings.videos - 1
        for camera in range(settings.cameras):
            yield DemoVideo(
                f"{session}_camera-{camera}",
                recording,
                camera,
                session,
                settings.damaged and is_last and camera == settings.cameras - 1,
                COPIED_BOARDS if is_refused else BOARDS,
            )


def describe_cohort(entries: Sequence[DemoVideo], settings: DemoSettings) -> str:
    """Return the text of the cohort sheet."""
    columns = ["video", "path", "group", "sex", "dose"]
    if settings.cameras > 1:
        columns[2:2] = ["session", "camera", "calibration"]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    for entry in entries:
        treated = entry.recording % 2
        row = {
            "video": entry.video,
            "path": entry.path,
            "group": "treated" if treated else "control",
            "sex": "female" if entry.recording // 2 % 2 else "male",
            "dose": "10" if treated else "0",
        }
        if settings.cameras > 1:
            row["session"], row["camera"] = entry.session, f"camera-{entry.camera}"
            row["calibration"] = entry.calibration
        writer.writerow(row)
    return buffer.getvalue()


def _choose_training(settings: DemoSettings) -> dict[str, Any]:
    """Return the settings that differ between the kinds of demo."""
    if settings.boards:
        return _IN_SPACE
    epochs = _EPOCHS_OF_SEVERAL if settings.individuals > 1 else _EPOCHS
    return {**_PLAIN, "epochs": epochs}


def describe_config(settings: DemoSettings) -> str:
    """Return the text of the config that runs the cohort."""
    several = settings.individuals > 1
    text = _CONFIG.format(
        bodyparts=", ".join(BODYPARTS),
        edges="\n".join(f"    - [{first}, {second}]" for first, second in EDGES),
        symmetries="\n".join(f"    - [{first}, {second}]" for first, second in SYMMETRIES),
        individuals=f"\nindividuals:\n  max: {settings.individuals}\n" if several else "",
        project=PROJECT,
        affinity="  part_affinity_width: 6.0\n" if several else "",
        **_choose_training(settings),
        suffix=" in three dimensions" if settings.boards else "",
    )
    if not settings.boards:
        return text
    return text + _SPACE.format(**asdict(BOARD))


def describe_calibration(cameras: Sequence[PinholeCamera]) -> str:
    """Return the calibration of one session as TOML, in the layout of Anipose.

    One table per camera, ``cam_0`` onwards: ``name`` as in the sheet's column ``camera``;
    ``size`` (width, height); ``matrix``, the intrinsic matrix in px with (0, 0) the centre of the
    top-left pixel; ``distortions`` (k1, k2, p1, p2, k3; zeros); ``rotation``, a Rodrigues vector,
    and ``translation`` in mm, from the world to the camera's axes (x right, y down, z forward).
    The world's origin is the middle of the arena's floor, z is up.
    """
    lines = []
    for index, camera in enumerate(cameras):
        rotation = cv2.Rodrigues(camera.rotation)[0].ravel()
        lines += [
            f"[cam_{index}]",
            f'name = "camera-{index}"',
            f"size = [{camera.width}, {camera.height}]",
            f"matrix = {camera.matrix.tolist()}",
            "distortions = [0.0, 0.0, 0.0, 0.0, 0.0]",
            f"rotation = {rotation.tolist()}",
            f"translation = {camera.translation.tolist()}",
            "",
        ]
    lines += ["[metadata]", 'units = "mm"', "error = 0.0", ""]
    return "\n".join(lines)
