"""Read labels of COCO keypoints files: points of their annotations, and the images they are on."""

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL
from pipeline_lib.io.foreign.json_files import show_text
from pipeline_lib.io.image_header import describe_stored, read_header
from pipeline_lib.io.labels.coco.file import (
    CocoAnimal,
    CocoFile,
    CocoImage,
    open_coco_file,
)
from pipeline_lib.io.labels.coco.images import CocoFolder
from pipeline_lib.io.labels.points import (
    HIDDEN,
    POINT_COLUMNS,
    SourceLabels,
    frame_number,
    is_outside,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Labelled:
    """An image with animals: its entry, its file, and the animals."""

    entry: CocoImage
    image: Path
    animals: Sequence[CocoAnimal]


def read_coco(path: Path, place: Path | None = None) -> SourceLabels:
    """Read the labels of a COCO keypoints file.

    Annotations of one image are that many individuals. They are named by ``individual`` among
    their ``attributes``, as our own files have it, else counted: COCO knows no identities.
    Keypoints that are labelled but hidden (visibility 1) are labels like those that are visible,
    and the column ``hidden`` of the points tells them apart. Annotations of a category called
    ``single`` are the unique bodyparts. Crowds, and images
    without a labelled keypoint, are left out: COCO has no word for images without an animal that
    tools would not use for images that nobody has labelled yet.

    Parameters
    ----------
    path
        The JSON file. Images are looked for beside it and in its folder `images`: see
        `pipeline_lib.io.labels.coco.images.CocoFolder`.
    place
        Where the file would lie beside its images, if it lies elsewhere.

    Returns
    -------
    SourceLabels
        One row per labelled image, annotation and keypoint; x, y float64 in px, NaN where not
        labelled. Individuals without a name are counted in each image.

    Raises
    ------
    LabelError
        If the file cannot be read (see `pipeline_lib.io.labels.coco.file.open_coco_file`); with
        every image that is missing, ambiguous, named twice, unreadable or of another size than
        the file says; if a point lies more than 1 px outside its image.
    """
    file = open_coco_file(path)
    folder = CocoFolder(place or path, [image.name for image in file.images])
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
    animals: Mapping[int, list[CocoAnimal]] = defaultdict(list)
    for animal in file.animals:
        animals[animal.image].append(animal)
    labelled, problems = [], []
    for number in sorted(animals):
        entry = file.images[number]
        image, problem = folder.locate(entry.name)
        if image is None:
            problems.append(problem)
        else:
            labelled.append(_Labelled(entry, image, animals[number]))
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
    yield from _check_names(one)
    for animal in one.animals:
        for keypoint in np.flatnonzero(is_outside(animal.position, size)).tolist():
            x, y = animal.position[keypoint]
            yield (
                f"{shown}, {bodyparts[keypoint]}: x {x:g}, y {y:g} is outside its image of "
                f"{size[0]} x {size[1]} px"
            )


def _check_names(one: _Labelled) -> Iterator[str]:
    counts = Counter(animal.name for animal in one.animals if animal.name)
    for name, number in counts.items():
        if number > 1:
            shown = show_text(one.entry.name)
            yield f"{shown}: {number} annotations are of {show_text(name)}, expected one"


def _tabulate(file: CocoFile, labelled: Sequence[_Labelled], videos: Sequence[str]) -> pd.DataFrame:
    skeleton = file.skeleton
    frames = [frame_number(one.image) for one in labelled]
    animals = [
        (image, *named)
        for image, one in enumerate(labelled)
        for named in _name_animals(one.animals)
    ]
    kept = [
        skeleton.unique_indices if name == UNIQUE_INDIVIDUAL else skeleton.animal_indices
        for _, name, _, _ in animals
    ]
    # One row per keypoint: its image, its animal and its bodypart.
    counts = [len(keypoints) for keypoints in kept]
    animal = np.repeat(np.arange(len(animals)), counts)
    image = np.array([image for image, *_ in animals])[animal]
    bodypart = np.concatenate([np.array(keypoints, int) for keypoints in kept])
    position = np.stack([one.position for *_, one in animals])[animal, bodypart]

    def spread(values: Sequence[object], rows: NDArray[np.int64]) -> NDArray[np.object_]:
        return np.array([*values, None], dtype=object)[rows]

    columns = {
        "video": spread(videos, image),
        "frame": np.array(frames, np.int64)[image],
        "individual": spread([name for _, name, _, _ in animals], animal),
        "bodypart": spread(skeleton.bodyparts, bodypart),
        "x": position[:, 0],
        "y": position[:, 1],
        "visible": ~np.isnan(position).any(axis=1),
        "source": str(file.path.absolute()),
        "image": spread([str(one.image) for one in labelled], image),
        "named": np.array([named for _, _, named, _ in animals], bool)[animal],
        HIDDEN: np.stack([one.hidden for *_, one in animals])[animal, bodypart],
    }
    return pd.DataFrame(columns, columns=[*POINT_COLUMNS, HIDDEN])


def _name_animals(animals: Sequence[CocoAnimal]) -> Iterator[tuple[str, bool, CocoAnimal]]:
    """Yield name, whether somebody gave it, and each animal; those without one are counted."""
    taken = {animal.name for animal in animals}
    free = (name for n in count(1) if (name := f"individual{n}") not in taken)
    for animal in animals:
        named = animal.name not in ("", UNIQUE_INDIVIDUAL)
        yield animal.name or next(free), named, animal
