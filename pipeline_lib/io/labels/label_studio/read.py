"""Read labels of Label Studio: keypoints of its annotations, and the images they are on."""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pandas as pd

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL
from pipeline_lib.io.foreign.json_files import show_text
from pipeline_lib.io.image_header import describe_stored, read_header
from pipeline_lib.io.labels.coco.images import CocoFolder
from pipeline_lib.io.labels.label_studio.file import (
    StudioAnimal,
    StudioAnnotation,
    open_studio_file,
)
from pipeline_lib.io.labels.points import (
    HIDDEN,
    POINT_COLUMNS,
    SourceLabels,
    frame_number,
    is_outside,
)

# What Label Studio puts before the names of files that were uploaded to it.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")
_FOLDER_PARAMETER = "d"
_OLDEST = datetime.min.replace(tzinfo=UTC)

_log = logging.getLogger(__name__)


def read_label_studio(path: Path, place: Path | None = None) -> SourceLabels:
    """Read the labels of a file that Label Studio exported as "JSON".

    Of several annotations of a task the one that was changed last counts, and the log says so.
    Keypoints related to a rectangle are the individual that its label names; the label ``single``
    is that of the unique bodyparts. An annotation without a keypoint says that there is no animal.

    Parameters
    ----------
    path
        The JSON file. Images are looked for beside it and in its folder ``images``, by the ends of
        their paths: see `pipeline_lib.io.labels.coco.images.CocoFolder`.
    place
        Where the file would lie beside its images, if it lies elsewhere.

    Returns
    -------
    SourceLabels
        One row per annotated image, individual and bodypart; x, y float64 in px, NaN where not
        labelled. Individuals without a name are counted in each image.

    Raises
    ------
    LabelError
        If the file cannot be read (see `file.open_studio_file`); with every image that is missing,
        ambiguous, annotated in two tasks, unreadable or of another size than the file says; if a
        point lies more than 1 px outside its image.
    """
    file = open_studio_file(path)
    folder = CocoFolder(place or path, [find_file_name(image) for image in file.tasks])
    chosen = choose_newest(file.annotations)
    located, problems = locate_images(chosen, folder)
    if not located and not problems:
        problems = ["no task has an annotation"]
    if problems:
        raise LabelError(str(path), problems)
    videos = folder.name_videos([image for image, _ in located])
    unique = _list_unique(located)
    animal = [name for name in file.bodyparts if name not in unique]
    rows = [
        row
        for (image, annotation), video in zip(located, videos, strict=True)
        for row in _list_rows(image, annotation, video, path, animal)
    ]
    skeleton = Skeleton(
        bodyparts=file.bodyparts,
        unique_bodyparts=tuple(name for name in file.bodyparts if name in unique),
    )
    points = pd.DataFrame(rows, columns=[*POINT_COLUMNS, HIDDEN])
    return SourceLabels(points, skeleton, kind="label-studio", identified=False)


def find_file_name(image: str) -> str:
    """Return the path of an image that a task names: a path, an address or local files' ``?d=``."""
    parts = urlsplit(image) if "://" in image or image.startswith("/data/") else None
    if parts is None:
        return image
    local = parse_qs(parts.query).get(_FOLDER_PARAMETER)
    name = local[0] if local else unquote(parts.path)
    folder, _, last = name.rpartition("/")
    # Names of uploads are unique by what is before them, which files here do not have.
    return _UPLOADED.sub("", last) if "upload" in folder.split("/") else name


def choose_newest(annotations: Sequence[StudioAnnotation]) -> list[StudioAnnotation]:
    """Return the annotation of each image that was changed last."""
    of_image: dict[str, list[StudioAnnotation]] = defaultdict(list)
    for one in annotations:
        of_image[one.image].append(one)
    several = sum(len(some) > 1 for some in of_image.values())
    if several:
        _log.warning("%d tasks have several annotations: the newest of each counts", several)
    # Of equal ones the last of the file.
    return [max(reversed(some), key=lambda one: one.time or _OLDEST) for some in of_image.values()]


def locate_images(
    annotations: Sequence[StudioAnnotation], folder: CocoFolder
) -> tuple[list[tuple[Path, StudioAnnotation]], list[str]]:
    """Return the image of each annotation, and what is wrong with images and positions."""
    located, problems = [], []
    owner: dict[str, str] = {}
    for one in annotations:
        image, problem = folder.locate(find_file_name(one.image))
        if image is None:
            problems.append(problem)
            continue
        first = owner.setdefault(os.path.realpath(image), one.image)
        if first != one.image:
            names = f"{show_text(first)} and {show_text(one.image)}"
            problems.append(f"{names} are one image, {image}: keep one task")
            continue
        problems += _check_image(image, one)
        located.append((image, one))
    return located, problems


def _check_image(image: Path, one: StudioAnnotation) -> Iterator[str]:
    shown = show_text(find_file_name(one.image))
    try:
        header = read_header(image)
    except StoreError as error:
        yield str(error)
        return
    size = header.upright
    if one.size is not None and one.size != size:
        if one.size == header.stored:
            yield f"{shown}: {describe_stored(header)}"
        else:
            yield (
                f"{shown}: {image} has {size[0]} x {size[1]} px, but was labelled with "
                f"{one.size[0]} x {one.size[1]} px: it is another image, or was scaled"
            )
        return
    for animal in one.animals:
        for point in animal.points:
            if is_outside(np.array([point.x, point.y]), size):
                yield (
                    f"{shown}, {show_text(point.bodypart)}: x {point.x:g}, y {point.y:g} is "
                    f"outside its image of {size[0]} x {size[1]} px"
                )


def name_animals(animals: Sequence[StudioAnimal]) -> Iterator[tuple[str, bool, StudioAnimal]]:
    """Yield name, whether somebody gave it, and each animal; those without one are counted."""
    taken = {animal.name for animal in animals}
    free = (name for n in count(1) if (name := f"individual{n}") not in taken)
    for animal in animals:
        named = animal.name not in ("", UNIQUE_INDIVIDUAL)
        yield animal.name or next(free), named, animal


def _list_unique(located: Sequence[tuple[Path, StudioAnnotation]]) -> set[str]:
    """Return the bodyparts that only the individual of the unique ones has."""
    owners: dict[str, set[bool]] = defaultdict(set)
    for _, one in located:
        for animal in one.animals:
            for point in animal.points:
                owners[point.bodypart].add(animal.name == UNIQUE_INDIVIDUAL)
    return {bodypart for bodypart, owner in owners.items() if owner == {True}}


def _list_rows(
    image: Path, one: StudioAnnotation, video: str, path: Path, bodyparts: Sequence[str]
) -> Iterator[Mapping[str, Any]]:
    shared = {
        "video": video,
        "frame": frame_number(image),
        "source": str(path.absolute()),
        "image": str(image),
    }
    nothing = StudioAnimal("", ())
    for name, named, animal in name_animals(one.animals or (nothing,)):
        points = {point.bodypart: point for point in animal.points}
        # The unique bodyparts are only those that are there.
        wanted = points if name == UNIQUE_INDIVIDUAL else bodyparts
        for bodypart in wanted:
            point = points.get(bodypart)
            yield {
                **shared,
                "individual": name,
                "bodypart": bodypart,
                "x": point.x if point else float("nan"),
                "y": point.y if point else float("nan"),
                "visible": point is not None,
                "named": named,
                HIDDEN: point is not None and point.hidden,
            }
