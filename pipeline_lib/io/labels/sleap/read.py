"""Read labels of SLEAP files: points of their instances, and labelled frames as images."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL
from pipeline_lib.core.untrusted.names import find_text_problem
from pipeline_lib.io.image_header import read_header
from pipeline_lib.io.labels.images import LabelledVideo, image_path, write_label_images
from pipeline_lib.io.labels.points import POINT_COLUMNS, SourceLabels, is_outside
from pipeline_lib.io.labels.sleap.file import (
    SleapAnimal,
    SleapFile,
    SleapFrame,
    open_sleap_file,
)
from pipeline_lib.io.labels.sleap.links import shorten
from pipeline_lib.io.labels.sleap.videos import SleapVideo


def read_sleap(path: Path, images: Path, *, predicted: bool = False) -> SourceLabels:
    """Read the labels of a SLEAP file, and write its labelled frames as images.

    Parameters
    ----------
    path
        ``.slp`` or ``.pkg.slp``. A video is looked for where it was when the labels were made,
        then, by ever shorter ends of that path, in the folder of the file.
    images
        Folder for the images of this file alone; see `label_images.write_label_images`.
    predicted
        Take predicted instances, too, where no user instance was made from them or has their
        track.

    Returns
    -------
    SourceLabels
        One row per labelled frame, instance and node; x, y float64 in px, NaN where not visible.
        Individuals are named after their tracks; those without one are counted in each frame.

    Raises
    ------
    LabelError
        If the file cannot be read, nothing in it is labelled, a video of labelled frames is not
        found or cannot be read, a frame is labelled twice, a frame has a track twice, or a point
        lies more than 1 px outside its image.
    """
    return write_and_tabulate(open_sleap_file(path, predicted=predicted), images, "sleap")


def write_and_tabulate(file: SleapFile, images: Path, kind: str) -> SourceLabels:
    """Write the labelled frames of a file as images, and return its labels.

    Parameters
    ----------
    file
        What sleap-io read.
    images
        Folder for its images alone.
    kind
        Its format, a name of `pipeline_lib.core.formats.labels.FORMATS`.

    Raises
    ------
    LabelError
        As `read_sleap`.
    """
    path = file.path
    videos = _labelled_videos(file)
    problems = [*check_frames(file), *_check_videos(file, videos)]
    if problems:
        raise LabelError(str(path), problems)
    try:
        write_label_images(images, videos)
    except LabelError as error:
        raise LabelError(str(path), error.problems) from None
    folder = images.absolute()
    problems = list(_check_inside(file, folder))
    if problems:
        raise LabelError(str(path), problems)
    return SourceLabels(
        points=pd.DataFrame(_rows(file, folder), columns=list(POINT_COLUMNS)),
        skeleton=file.skeleton,
        kind=kind,
        origins=_find_origins(file, folder),
        identified=False,
    )


def _labelled_videos(file: SleapFile) -> list[LabelledVideo]:
    videos = []
    for number, video in enumerate(file.videos):
        frames = sorted({one.frame for one in file.frames if one.video == number})
        if frames and video.read is not None:
            videos.append(LabelledVideo(video.name, video.files, tuple(frames), video.read))
    return videos


def check_frames(file: SleapFile) -> Iterator[str]:
    """Yield what is wrong with labelled frames: none, one labelled twice, a track twice in one."""
    if not file.frames:
        hint = (
            f"; its {file.unused} predicted instances are taken with `predicted: true`"
            if file.unused
            else ""
        )
        yield f"no frame has a user instance{hint}"
    counts = Counter((one.video, one.frame) for one in file.frames)
    for (video, frame), count in counts.items():
        if count > 1:
            yield f"{file.videos[video].name}, frame {frame}: labelled {count} times"
    tracks = {animal.track for one in file.frames for animal in one.animals if animal.track}
    for name in sorted(tracks):
        if problem := find_text_problem(name):
            yield f"track {name!r}: its name {problem}; rename it in SLEAP"
    for one in file.frames:
        counts_of_tracks = Counter(animal.track for animal in one.animals if animal.track)
        for track, count in counts_of_tracks.items():
            if count > 1:
                where = f"{file.videos[one.video].name}, frame {one.frame}"
                yield f"{where}: {count} instances have the track {track}"


def _check_videos(file: SleapFile, found: list[LabelledVideo]) -> Iterator[str]:
    names = {video.name for video in found}
    missing = [file.videos[number] for number in sorted({one.video for one in file.frames})]
    missing = [video for video in missing if video.name not in names]
    # What two videos have in common is said once.
    yield from dict.fromkeys(video.problem or describe_missing(file, video) for video in missing)


def describe_missing(file: SleapFile, video: SleapVideo) -> str:
    """Explain that a video was not found, and what to do."""
    return (
        f"video {shorten(video.recorded)}: not found there, nor in "
        f"{file.path.absolute().parent}; put it (or a link to it) beside the SLEAP file "
        "under its own name, or save the labels with their images (.pkg.slp)"
    )


def _check_inside(file: SleapFile, folder: Path) -> Iterator[str]:
    for one in file.frames:
        name = file.videos[one.video].name
        size = read_header(image_path(folder, name, one.frame)).upright
        for animal in one.animals:
            for node in np.flatnonzero(is_outside(animal.position, size)):
                x, y = animal.position[node]
                who = f"{animal.track} {animal.bodyparts[node]}".strip()
                yield (
                    f"{name}, frame {one.frame}, {who}: x {x:g}, y {y:g} is outside its image of "
                    f"{size[0]} x {size[1]} px"
                )


def _rows(file: SleapFile, folder: Path) -> Iterator[dict[str, Any]]:
    for one in file.frames:
        video = file.videos[one.video].name
        shared = {
            "video": video,
            "frame": one.frame,
            "source": str(file.path.absolute()),
            "image": str(image_path(folder, video, one.frame)),
        }
        for number, animal in enumerate(_present_animals(one, file), start=1):
            # Also a track of that name is no one's name: it means the unique bodyparts.
            named = animal.track not in ("", UNIQUE_INDIVIDUAL)
            name = animal.track if named else f"individual{number}"
            for bodypart, (x, y) in zip(animal.bodyparts, animal.position, strict=True):
                yield shared | {
                    "individual": name,
                    "bodypart": bodypart,
                    "x": x,
                    "y": y,
                    "visible": not np.isnan(x + y),
                    "named": named,
                }


def _present_animals(frame: SleapFrame, file: SleapFile) -> tuple[SleapAnimal, ...]:
    """Return a frame's animals; of one without any, an animal with no point, to have its rows."""
    bodyparts = file.skeleton.bodyparts
    nothing = SleapAnimal("", bodyparts, np.full((len(bodyparts), 2), np.nan))
    return frame.animals or (nothing,)


def _find_origins(file: SleapFile, folder: Path) -> dict[str, str]:
    origins = {}
    for one in file.frames:
        video = file.videos[one.video]
        origin = (video.source or video.files[0]).resolve()
        # Images, and frames whose recording is not here, are known by their position in the file.
        inside = "" if video.source else f"#{video.name}"
        image = image_path(folder, video.name, one.frame)
        origins[str(image)] = f"{origin}{inside}#{one.frame}"
    return origins
