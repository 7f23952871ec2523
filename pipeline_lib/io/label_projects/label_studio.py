"""Write tasks of Label Studio: images, labels as annotations, predictions as pre-annotations.

The format: https://labelstud.io/guide/tasks and https://labelstud.io/tags/keypointlabels.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from pipeline_lib.io.label_projects.project import (
    Animal,
    LabelProject,
    ProjectFrame,
    list_present,
)

TASKS, INTERFACE = "tasks.json", "interface.xml"
# Names of the tags in the labelling interface, by which results say what they are.
IMAGE, KEYPOINTS, ANIMALS, VISIBILITY = "image", "keypoints", "individuals", "visibility"
HIDDEN = "hidden"
# Before the path of an image below the folder that Label Studio serves.
LOCAL_FILES = "/data/local-files/?d="

# Added to our coordinates: Label Studio counts from the corner of the image, in percent of it.
PIXEL_OFFSET = 0.5
_KEYPOINT_WIDTH = 0.5  # how large a point is drawn, in percent
_MARGIN = 5.0  # px around the keypoints of an animal
_CHOICES = f"""\
  <Choices name="{VISIBILITY}" toName="{IMAGE}" perRegion="true" whenTagName="{KEYPOINTS}">
    <Choice value="{HIDDEN}"/>
  </Choices>
</View>"""


def name_image(frame: ProjectFrame) -> str:
    """Return where the image of a frame lies in the project."""
    return f"images/{frame.unique_file}"


def write(folder: Path, target: Path, project: LabelProject) -> None:
    """Write the tasks, and the labelling interface for the project's settings.

    Keypoints are regions ``keypointlabels`` in percent of the image. Of several animals each has
    a rectangle that is labelled with its name; a relation leads from each keypoint to it. A
    hidden keypoint has the choice ``hidden``. Labels are an annotation by the scorer; an
    annotation without regions says that there is no animal. Predictions are predictions.

    Parameters
    ----------
    folder
        The unfinished folder, which has the images.
    target
        Its path once it is finished; its name begins the paths of images that Label Studio serves.
    project
        What to write.
    """
    frames = [frame for _, some in project.by_folder() for frame in some]
    tasks = [
        _describe_task(number, frame, target.name, project)
        for number, frame in enumerate(frames, 1)
    ]
    text = json.dumps(tasks, ensure_ascii=False, allow_nan=False, indent=1)
    (folder / TASKS).write_text(text, encoding="utf-8")
    (folder / INTERFACE).write_text(_describe_interface(project), encoding="utf-8")


def _describe_interface(project: LabelProject) -> str:
    lines = ["<View>", f'  <Image name="{IMAGE}" value="$image" zoom="true" zoomControl="true"/>']
    if project.several:
        lines += _list_labels("RectangleLabels", ANIMALS, project.slots)
    lines += _list_labels("KeyPointLabels", KEYPOINTS, project.skeleton.bodyparts)
    lines += _CHOICES.splitlines()
    return "\n".join(lines) + "\n"


def _list_labels(tag: str, name: str, values: Sequence[str]) -> Iterator[str]:
    yield f'  <{tag} name="{name}" toName="{IMAGE}">'
    yield from (f"    <Label value={quoteattr(value)}/>" for value in values)
    yield f"  </{tag}>"


def _describe_task(
    number: int, frame: ProjectFrame, root: str, project: LabelProject
) -> dict[str, Any]:
    task: dict[str, Any] = {
        "id": number,
        "data": {
            "image": f"{LOCAL_FILES}{quote(f'{root}/{name_image(frame)}')}",
            "video": frame.video,
            "frame": frame.frame,
        },
        # Where sleap-io finds the frame of a video.
        "meta": {
            "video": {
                "filename": f"images/{frame.folder}",
                "frame_idx": frame.frame,
                "shape": [max(frame.frame, 0) + 1, frame.size[1], frame.size[0], 3],
            }
        },
        "annotations": [],
        "predictions": [],
    }
    if frame.labels is not None:
        result = list(_list_results(frame, frame.labels, project))
        task["annotations"].append(
            {"result": result, "was_cancelled": False, "ground_truth": False}
        )
    elif predicted := list_present(frame.predictions):
        scores = [animal.score for animal in predicted]
        task["predictions"].append(
            {
                "model_version": project.model,
                "score": round(float(np.mean(scores)), 4),
                "result": list(_list_results(frame, predicted, project)),
            }
        )
    return task


def _list_results(
    frame: ProjectFrame, animals: Sequence[Animal], project: LabelProject
) -> Iterator[dict[str, Any]]:
    for number, animal in enumerate(list_present(animals)):
        # A region's id is unique in its task.
        group = f"animal{number}"
        if project.several:
            yield _describe_animal(group, animal, frame.size)
        for keypoint in np.flatnonzero(animal.present).tolist():
            point = f"{group}-{keypoint}"
            yield from _describe_point(point, animal, keypoint, frame, project)
            if project.several:
                yield {
                    "type": "relation",
                    "from_id": point,
                    "to_id": group,
                    "direction": "right",
                }


def _describe_region(name: str, kind: str, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "id": name,
        "type": kind,
        "to_name": IMAGE,
        "original_width": size[0],
        "original_height": size[1],
        "image_rotation": 0,
    }


def _describe_animal(name: str, animal: Animal, size: tuple[int, int]) -> dict[str, Any]:
    position = animal.position[animal.present] + PIXEL_OFFSET
    low = np.clip(position.min(axis=0) - _MARGIN, 0, size)
    high = np.clip(position.max(axis=0) + _MARGIN, 0, size)
    (x, y), (width, height) = (100 * low / size).tolist(), (100 * (high - low) / size).tolist()
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0}
    return {
        **_describe_region(name, "rectanglelabels", size),
        "from_name": ANIMALS,
        "value": {**value, "rectanglelabels": [animal.name]},
    }


def _describe_point(
    name: str, animal: Animal, keypoint: int, frame: ProjectFrame, project: LabelProject
) -> Iterator[dict[str, Any]]:
    x, y = (100 * (animal.position[keypoint] + PIXEL_OFFSET) / frame.size).tolist()
    value: dict[str, Any] = {"x": x, "y": y, "width": _KEYPOINT_WIDTH}
    region = _describe_region(name, "keypointlabels", frame.size)
    yield {
        **region,
        "from_name": KEYPOINTS,
        "value": {**value, "keypointlabels": [project.skeleton.bodyparts[keypoint]]},
    }
    if animal.hidden[keypoint]:
        yield {
            **region,
            "type": "choices",
            "from_name": VISIBILITY,
            "value": {**value, "choices": [HIDDEN]},
        }
