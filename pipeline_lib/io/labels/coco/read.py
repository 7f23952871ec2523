"""Read labels of COCO keypoints files: points of their annotations, and the images they are on."""

import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.io.image_header import describe_stored, read_header
from pipeline_lib.io.labels.coco.file import CocoFile, CocoImage, open_coco_file, show_text
from pipeline_lib.io.labels.coco.images import CocoFolder
from pipeline_lib.io.labels.points import (
    POINT_COLUMNS,
    SourceLabels,
    frame_number,
    is_outside,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Labelled:
    """An image with animals: its entry, its file, and the position of each animal."""

    entry: CocoImage
    image: Path
    positions: Sequence[NDArray[np.float64]]


def read_coco(path: Path) -> SourceLabels:
    """Read the labels of a COCO keypoints file.

    Annotations of one image are that many individuals, which have no identity. Keypoints that are
    labelled but hidden (visibility 1) are labels like those that are visible. Crowds, and images
    without a labelled keypoint, are left out: COCO has no word for images without an animal that
    tools would not use for images that nobody has labelled yet.

    Parameters
    ----------
    path
        The JSON file. Images are looked for beside it and in its folder `images`: see
        `pipeline_lib.io.labels.coco.images.CocoFolder`.

    Returns
    -------
    SourceLabels
        One row per labelled image, annotation and keypoint; x, y float64 in px, NaN where not
        labelled. Individuals are counted in each image.

    Raises
    ------
    LabelError
        If the file cannot be read (see `pipeline_lib.io.labels.coco.file.open_coco_file`); with
        every image that is missing, ambiguous, named twice, unreadable or of another size than
        the file says; if a point lies more than 1 px outside its image.
    """
    file = open_coco_file(path)
    folder = CocoFolder(path, [image.name for image in file.images])
    labelled, problems = _locate_images(file, folder)
    problems += _check_shared(labelled)
    for one in labelled:
        problems += _check_image(one, file.skeleton.bodyparts)
    if problems:
        raise LabelError(str(path), problems)
    if len(labelled) < len(file.images):
        unused = len(file.images) - len(labelled)
        _log.info("%s: %d images without a labelled keypoint are left out", path, unused)
    videos = folder.name_videos([one.image for one in labelled])
    return SourceLabels(
        points=_tabulate(file, labelled, videos),
        skeleton=file.skeleton,
        kind="coco",
        identified=False,
    )


def _locate_images(file: CocoFile, folder: CocoFolder) -> tuple[list[_Labelled], list[str]]:
    positions: Mapping[int, list[NDArray[np.float64]]] = defaultdict(list)
    for animal in file.animals:
        positions[animal.image].append(animal.position)
    labelled, problems = [], []
    for number in sorted(positions):
        entry = file.images[number]
        image, problem = folder.locate(entry.name)
        if image is None:
            problems.append(problem)
        else:
            labelled.append(_Labelled(entry, image, positions[number]))
    return labelled, problems


def _check_shared(labelled: Sequence[_Labelled]) -> Iterator[str]:
    names: dict[str, list[str]] = {}
    for one in labelled:
        names.setdefault(os.path.realpath(one.image), []).append(show_text(one.entry.name))
    for image, shown in names.items():
        if len(shown) > 1:
            yield f"{' and '.join(shown)} are one image, {image}: keep one entry of `images`"


def _check_image(one: _Labelled, bodyparts: Sequence[str]) -> Iterator[str]:
    shown = show_text(one.entry.name)
    try:
        header = read_header(one.image)
    except StoreError as error:
        yield str(error)
        return
    size, labelled = header.upright, one.entry.size
    if labelled is not None and labelled != size:
        if labelled == header.stored:
            yield f"{shown}: {describe_stored(header)}"
        else:
            width, height = labelled
            yield (
                f"{shown}: {one.image} has {size[0]} x {size[1]} px, but was labelled with "
                f"{width} x {height} px: it is another image, or was scaled"
            )
        return
    for position in one.positions:
        for keypoint in np.flatnonzero(is_outside(position, size)).tolist():
            x, y = position[keypoint]
            yield (
                f"{shown}, {bodyparts[keypoint]}: x {x:g}, y {y:g} is outside its image of "
                f"{size[0]} x {size[1]} px"
            )


def _tabulate(file: CocoFile, labelled: Sequence[_Labelled], videos: Sequence[str]) -> pd.DataFrame:
    bodyparts = file.skeleton.bodyparts
    count = len(bodyparts)
    animals = [
        (one, video, f"individual{number}", position)
        for one, video in zip(labelled, videos, strict=True)
        for number, position in enumerate(one.positions, start=1)
    ]
    positions = np.concatenate([position for _, _, _, position in animals])

    def repeat(values: Sequence[object]) -> NDArray[np.object_]:
        return np.repeat(np.asarray(values, dtype=object), count)

    frames = np.asarray([frame_number(one.image) for one, _, _, _ in animals], dtype=np.int64)
    columns = {
        "video": repeat([video for _, video, _, _ in animals]),
        "frame": np.repeat(frames, count),
        "individual": repeat([name for _, _, name, _ in animals]),
        "bodypart": list(bodyparts) * len(animals),
        "x": positions[:, 0],
        "y": positions[:, 1],
        "visible": ~np.isnan(positions).any(axis=1),
        "source": str(file.path.absolute()),
        "image": repeat([str(one.image) for one, _, _, _ in animals]),
        "named": False,
    }
    return pd.DataFrame(columns, columns=list(POINT_COLUMNS))
