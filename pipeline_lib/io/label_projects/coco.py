"""Write COCO keypoints with images, in the layout of CVAT's datasets."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL
from pipeline_lib.io.label_projects.project import (
    Animal,
    LabelProject,
    ProjectFrame,
    list_present,
    start_animals,
)

FILE = "annotations/person_keypoints_default.json"
# Added to our coordinates: COCO counts from the corner of the image.
# `pipeline_lib.io.labels.coco.file.PIXEL_OFFSET`, its opposite, names the sources.
PIXEL_OFFSET = 0.5

_HIDDEN, _VISIBLE = 1, 2
_ANIMAL, _UNIQUE = 1, 2
_DIGITS = 4  # positions in px and confidences


def name_image(frame: ProjectFrame) -> str:
    """Return where the image of a frame lies in the project."""
    return f"images/{frame.unique_file}"


def write(folder: Path, target: Path, project: LabelProject) -> None:  # noqa: ARG001
    """Write the JSON file.

    Every frame is an image, and every individual with a keypoint an annotation, whose
    ``attributes`` name the individual. Unique bodyparts are of a
    category of their own, ``single``. A keypoint has visibility 2, 1 if it is hidden, 0 if it is
    absent. COCO has no word for a frame without an animal: it has no annotation.

    Parameters
    ----------
    folder
        The unfinished folder, which has the images.
    target
        Not used: the file contains relative names only.
    project
        What to write.
    """
    frames = [frame for _, some in project.by_folder() for frame in some]
    values = {
        "info": {
            "description": f"{project.name}: frames to correct. (0, 0) is the top-left corner of "
            "the image, (0.5, 0.5) the centre of its first pixel.",
            "scorer": project.scorer,
            "tracks": [{"id": n, "name": name} for n, name in enumerate(project.individuals, 1)],
        },
        "licenses": [],
        "categories": list(_list_categories(project)),
        "images": [
            {"id": n, "file_name": one.unique_file, "width": one.size[0], "height": one.size[1]}
            for n, one in enumerate(frames, 1)
        ],
        "annotations": [
            {"id": n, **annotation} for n, annotation in enumerate(_annotate(frames, project), 1)
        ],
    }
    path = folder / FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(values, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def _list_categories(project: LabelProject) -> Iterator[dict[str, Any]]:
    skeleton = project.skeleton
    animal = [skeleton.bodyparts[k] for k in skeleton.animal_indices]
    # COCO counts keypoints from 1.
    edges = [[animal.index(a) + 1, animal.index(b) + 1] for a, b in skeleton.edges]
    shared = {"supercategory": ""}
    yield {"id": _ANIMAL, "name": "animal", **shared, "keypoints": animal, "skeleton": edges}
    if skeleton.unique_bodyparts:
        names = [skeleton.bodyparts[k] for k in skeleton.unique_indices]
        unique = {"id": _UNIQUE, "name": UNIQUE_INDIVIDUAL, **shared}
        yield {**unique, "keypoints": names, "skeleton": []}


def _annotate(frames: list[ProjectFrame], project: LabelProject) -> Iterator[dict[str, Any]]:
    for number, frame in enumerate(frames, 1):
        animals, predicted = start_animals(frame)
        for animal in list_present(animals):
            keypoints = list(project.bodyparts_of(animal.name))
            unique = animal.name == UNIQUE_INDIVIDUAL
            described = _describe(animal, keypoints, predicted=predicted)
            if not unique and project.several:
                described["track_id"] = project.individuals.index(animal.name) + 1
            yield {
                "image_id": number,
                "category_id": _UNIQUE if unique else _ANIMAL,
                **described,
            }


def _describe(animal: Animal, keypoints: list[int], *, predicted: bool) -> dict[str, Any]:
    position = np.round(animal.position[keypoints] + PIXEL_OFFSET, _DIGITS)
    present = animal.present[keypoints]
    visibility = np.where(present, np.where(animal.hidden[keypoints], _HIDDEN, _VISIBLE), 0)
    low = np.nanmin(position, axis=0)
    size = np.round(np.nanmax(position, axis=0) - low, _DIGITS)
    numbers = [
        value
        for (x, y), seen in zip(position.tolist(), visibility.tolist(), strict=True)
        for value in ((x, y, seen) if seen else (0, 0, 0))
    ]
    described: dict[str, Any] = {
        "keypoints": numbers,
        "num_keypoints": int(present.sum()),
        "bbox": [*low.tolist(), *size.tolist()],
        "area": round(float(size[0] * size[1]), _DIGITS),
        "segmentation": [],
        "iscrowd": 0,
        "attributes": {"individual": animal.name},
    }
    if predicted:
        described["score"] = round(animal.score, _DIGITS)
        described["keypoint_scores"] = _list_scores(animal.confidence[keypoints])
    return described


def _list_scores(confidence: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(one) else round(one, _DIGITS) for one in confidence.tolist()]
