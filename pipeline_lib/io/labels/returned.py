"""Read labels that come back from another tool, frame by frame, to be merged.

Unlike in a source of labels, a frame of a video needs no image here, and its video need not exist.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PureWindowsPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from pipeline_lib.core.errors import LabelError
from pipeline_lib.io.labels.detect import load_reader
from pipeline_lib.io.labels.points import HIDDEN, SourceLabels

if TYPE_CHECKING:
    from pipeline_lib.io.labels.sleap.file import SleapFile


class ReturnedPoint(NamedTuple):
    """Hold a labelled keypoint; x and y are in px with pixel centres at integers."""

    individual: str
    named: bool
    bodypart: str
    x: float
    y: float
    hidden: bool


@dataclass(frozen=True)
class ReturnedFrame:
    """Hold the labels of one frame of a file.

    Attributes
    ----------
    recorded
        Path of its video or its image as the file has it.
    frame
        0-based, of a video; -1 for an image.
    image
        The image, absolute; None for a frame of a video.
    points
        Labelled keypoints.
    time
        When it was labelled.
    author
        Who labelled it; empty where the file does not say.
    size
        Recorded width and height in px; None where they were checked already, or are unknown.
    count
        Recorded number of frames of its video; None where it is unknown.
    """

    recorded: str
    frame: int
    image: Path | None
    points: tuple[ReturnedPoint, ...]
    time: datetime
    author: str = ""
    size: tuple[int, int] | None = None
    count: int | None = None

    @property
    def shown(self) -> str:
        """Return the name of the frame for messages."""
        recorded = self.recorded if len(self.recorded) <= 200 else f"...{self.recorded[-197:]}"
        return f"{recorded}, frame {self.frame}" if self.image is None else recorded


@dataclass(frozen=True)
class ReturnedFile:
    """Hold the content of a file.

    Attributes
    ----------
    bodyparts
        Those that the file can label: of others it says nothing.
    frames
        In its order.
    """

    bodyparts: tuple[str, ...]
    frames: tuple[ReturnedFrame, ...]


def read_returned(
    path: Path, kind: str, project: Path | None = None, *, predicted: bool = False
) -> ReturnedFile:
    """Read a file of labels that somebody made or corrected in another tool.

    Parameters
    ----------
    path
        The file or project.
    kind
        Its format, a name of `pipeline_lib.core.formats.labels.FORMATS`.
    project
        Folder of the project that it was made from, whose images it is of; None: its own folder.
    predicted
        Whether to take predictions that nobody corrected.

    Raises
    ------
    LabelError
        As the reader of the format.
    """
    special: Mapping[str, Callable[..., ReturnedFile]] = {
        "sleap": partial(_read_sleap, predicted=predicted),
        "leap": _read_leap,
        "coco": _read_coco,
        "label-studio": _read_label_studio,
    }
    if kind in special:
        return special[kind](path, project)
    if kind == "deeplabcut":
        from pipeline_lib.io.labels.deeplabcut import check_copies  # noqa: PLC0415

        check_copies(path)
    with TemporaryDirectory() as folder:
        source = load_reader(kind).read(path, Path(folder), predicted=predicted)
    return _tabulate(source, lambda table: _read_time(Path(table)))


def _read_coco(path: Path, project: Path | None) -> ReturnedFile:
    from pipeline_lib.io.labels.coco.read import read_coco  # noqa: PLC0415
    from pipeline_lib.io.labels.formats.coco import find_coco_file  # noqa: PLC0415

    file = find_coco_file(path)
    place = None if project is None else project / "annotations" / file.name
    return _tabulate(read_coco(file, place), lambda _: _read_time(file))


def _tabulate(source: SourceLabels, read_time: Callable[[str], datetime]) -> ReturnedFile:
    """Return the frames of a source whose labels are of images."""
    points = source.points
    if HIDDEN not in points:
        points = points.assign(**{HIDDEN: False})
    times = {name: read_time(name) for name in points["source"].unique()}
    frames = [
        ReturnedFrame(
            recorded=str(image),
            frame=-1,
            image=Path(str(image)),
            points=tuple(_list_points(rows)),
            time=times[rows["source"].iloc[0]],
        )
        for image, rows in points.groupby("image", sort=False)
    ]
    bodyparts = dict.fromkeys(points["bodypart"])
    return ReturnedFile(tuple(bodyparts), tuple(frames))


def _list_points(rows: pd.DataFrame) -> Iterator[ReturnedPoint]:
    names = ["individual", "named", "bodypart", "x", "y", HIDDEN]
    for values in rows.loc[rows["visible"], names].itertuples(index=False, name=None):
        individual, named, bodypart, x, y, hidden = values
        yield ReturnedPoint(individual, bool(named), bodypart, float(x), float(y), bool(hidden))


def _read_label_studio(path: Path, project: Path | None) -> ReturnedFile:
    from pipeline_lib.io.labels.coco.images import CocoFolder  # noqa: PLC0415
    from pipeline_lib.io.labels.label_studio import file as studio  # noqa: PLC0415
    from pipeline_lib.io.labels.label_studio.read import (  # noqa: PLC0415
        choose_newest,
        find_file_name,
        locate_images,
        name_animals,
    )

    content = studio.open_studio_file(path)
    place = path if project is None else project / path.name
    folder = CocoFolder(place, [find_file_name(image) for image in content.tasks])
    located, problems = locate_images(choose_newest(content.annotations), folder)
    if problems:
        raise LabelError(str(path), problems)
    saved = _read_time(path)
    frames = [
        ReturnedFrame(
            recorded=find_file_name(one.image),
            frame=-1,
            image=image,
            points=tuple(
                ReturnedPoint(name, named, point.bodypart, point.x, point.y, point.hidden)
                for name, named, animal in name_animals(one.animals)
                for point in animal.points
            ),
            time=one.time or saved,
            author=one.author,
        )
        for image, one in located
    ]
    return ReturnedFile(content.bodyparts, tuple(frames))


def _read_sleap(path: Path, project: Path | None, *, predicted: bool) -> ReturnedFile:
    del project  # a SLEAP file names its videos
    from pipeline_lib.io.labels.sleap.file import open_sleap_file  # noqa: PLC0415

    return _list_frames(open_sleap_file(path, predicted=predicted))


def _read_leap(path: Path, project: Path | None) -> ReturnedFile:
    del project  # a LEAP file names its video
    from pipeline_lib.io.labels.leap import open_leap_file  # noqa: PLC0415

    return _list_frames(open_leap_file(path))


def _list_frames(file: "SleapFile") -> ReturnedFile:
    from pipeline_lib.io.labels.sleap.read import check_frames  # noqa: PLC0415

    path = file.path
    if problems := list(check_frames(file)):
        raise LabelError(str(path), problems)
    saved = _read_time(path)
    frames = []
    for one in file.frames:
        video = file.videos[one.video]
        still = bool(video.images)
        if still and one.frame >= len(video.images):
            problem = f"frame {one.frame} of {len(video.images)} images in {video.recorded}"
            raise LabelError(str(path), [problem])
        points = [
            ReturnedPoint(animal.track or f"individual{n}", bool(animal.track), name, x, y, False)  # noqa: FBT003
            for n, animal in enumerate(one.animals, 1)
            for name, (x, y) in zip(animal.bodyparts, animal.position.tolist(), strict=True)
            if x == x and y == y  # noqa: PLR0124 - not NaN
        ]
        # Of another system, perhaps.
        recorded = video.images[one.frame] if still else video.recorded
        frames.append(
            ReturnedFrame(
                recorded=PureWindowsPath(recorded).as_posix(),
                frame=-1 if still else one.frame,
                image=None,
                points=tuple(points),
                time=saved,
                size=video.size,
                count=video.count,
            )
        )
    return ReturnedFile(file.skeleton.bodyparts, tuple(frames))


def _read_time(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
