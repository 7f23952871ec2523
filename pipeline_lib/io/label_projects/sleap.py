"""Write a SLEAP file: labels as user instances, predictions as predicted ones, and suggestions.

sleap-io writes the project; frames are embedded by us, because ours are decoded already, and
libraries do not number frames alike in every video.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.io.exports.sleap_convention import PIXEL_OFFSET
from pipeline_lib.io.images import read_image
from pipeline_lib.io.label_projects.project import (
    Animal,
    LabelProject,
    ProjectFrame,
    list_present,
)

if TYPE_CHECKING:
    import h5py
    import sleap_io

# sleap-io and h5py are imported where they are used: loading them takes a second.

PACKAGE, LINKED = "project.pkg.slp", "project.slp"
_IMAGES = "images"


def name_image(frame: ProjectFrame) -> str:
    """Return where the image of a frame lies in the project, if it refers to it."""
    return f"{_IMAGES}/{frame.folder}/{frame.name}"


def write(folder: Path, target: Path, project: LabelProject) -> None:
    """Write ``project.pkg.slp``, or ``project.slp`` for a linked project.

    Labelled individuals are user instances, predicted ones predicted instances; of several, each
    has the track of its name. Hidden keypoints are visible: SLEAP knows no others. A frame that
    was labelled as one without an animal is a negative frame. Every frame that nobody has labelled
    is a suggestion, in the order of the project.

    Parameters
    ----------
    folder
        The unfinished folder, which has the images. A package contains them, so that they are
        removed; a linked project keeps those of frames that are not of a video.
    target
        Its path once it is finished, to refer to images.
    project
        What to write.
    """
    import h5py  # noqa: PLC0415
    import sleap_io  # noqa: PLC0415

    groups = [list(frames) for _, frames in project.by_folder()]
    path = folder / (LINKED if project.linked else PACKAGE)
    labels = _describe(groups, target, project)
    sleap_io.save_slp(labels, str(path), embed=False, verbose=False)
    if not project.linked:
        with h5py.File(path, "r+") as file:
            _embed(file, groups, folder)
        shutil.rmtree(folder / _IMAGES)
        return
    for frames in groups:
        if frames[0].recording is not None:
            shutil.rmtree(folder / _IMAGES / frames[0].folder)


def _describe(
    groups: Sequence[Sequence[ProjectFrame]], target: Path, project: LabelProject
) -> "sleap_io.Labels":
    import sleap_io  # noqa: PLC0415

    names = project.skeleton.bodyparts
    skeleton = sleap_io.Skeleton(
        nodes=list(names), edges=list(project.skeleton.edge_indices), name="skeleton"
    )
    for first, second in project.skeleton.symmetries:
        skeleton.add_symmetry(first, second)
    tracks = {name: sleap_io.Track(name) for name in project.slots} if project.several else {}
    videos, labelled, suggestions = [], [], []
    for frames in groups:
        video = _describe_video(frames, target)
        videos.append(video)
        for number, frame in enumerate(frames):
            index = frame.frame if frame.recording is not None else number
            instances = list(_list_instances(frame, skeleton, tracks))
            if instances or frame.labels is not None:
                one = sleap_io.LabeledFrame(video=video, frame_idx=index, instances=instances)
                one.is_negative = not instances
                labelled.append(one)
            if frame.labels is None:
                suggestions.append((frame, sleap_io.SuggestionFrame(video, index)))
    order = {id(frame): place for place, frame in enumerate(project.frames)}
    suggestions.sort(key=lambda pair: order[id(pair[0])])
    return sleap_io.Labels(
        labelled,
        videos=videos,
        skeletons=[skeleton],
        tracks=list(tracks.values()),
        suggestions=[suggestion for _, suggestion in suggestions],
        provenance={"scorer": project.scorer, "model": project.model},
    )


def _describe_video(frames: Sequence[ProjectFrame], target: Path) -> "sleap_io.Video":
    import sleap_io  # noqa: PLC0415

    first = frames[0]
    width, height = first.size
    shared: dict[str, Any] = {"grayscale": False, "fps": None}
    if first.recording is None:
        files = [(target / name_image(frame)).as_posix() for frame in frames]
        shape = [len(files), height, width, 3]
        described = {
            "type": "ImageVideo",
            "filename": files[0],
            "filenames": files,
            "shape": shape,
            **shared,
        }
        return sleap_io.Video(filename=files, backend_metadata=described, open_backend=False)
    count = first.recording.frames or max(frame.frame for frame in frames) + 1
    described = {
        "type": "MediaVideo",
        "filename": first.recording.name,
        "shape": [count, height, width, 3],
        "bgr": True,
        "dataset": "",
        "input_format": "",
        **shared,
        "fps": first.recording.fps or None,
    }
    return sleap_io.Video(
        filename=first.recording.name, backend_metadata=described, open_backend=False
    )


def _list_instances(
    frame: ProjectFrame, skeleton: "sleap_io.Skeleton", tracks: Mapping[str, "sleap_io.Track"]
) -> "list[sleap_io.Instance]":
    import sleap_io  # noqa: PLC0415

    instances = []
    for animal in list_present(frame.labels or ()):
        position = _list_points(animal)
        one = sleap_io.Instance.from_numpy(position, skeleton=skeleton)
        one.track = tracks.get(animal.name)
        instances.append(one)
    for animal in list_present(frame.predictions if frame.labels is None else ()):
        one = sleap_io.PredictedInstance.from_numpy(
            _list_points(animal),
            skeleton=skeleton,
            point_scores=np.nan_to_num(animal.confidence, nan=0.0),
            score=animal.score,
        )
        one.track = tracks.get(animal.name)
        instances.append(one)
    return instances


def _list_points(animal: Animal) -> NDArray[np.float64]:
    return np.where(animal.present[:, np.newaxis], animal.position, np.nan) - PIXEL_OFFSET


def _embed(file: "h5py.File", groups: Sequence[Sequence[ProjectFrame]], folder: Path) -> None:
    """Put the frames of every video into the file, each as PNG, as sleap-io does."""
    described = [json.loads(text) for text in file["videos_json"][:]]
    for number, frames in enumerate(groups):
        name, video = f"video{number}", described[number]
        images = [read_image(folder / name_image(frame)) for frame in frames]
        shown = frames[0].recording is not None
        group = file.create_group(name)
        _write_images(group, images)
        numbers = [frame.frame for frame in frames] if shown else list(range(len(frames)))
        group.create_dataset("frame_numbers", data=np.array(numbers, np.int64))
        source = {"filename": video["filename"], "backend": video["backend"]}
        group.create_group("source_video").attrs["json"] = json.dumps(source)
        height, width = images[0].shape[:2]
        described[number] = {
            "filename": ".",
            "backend": {
                "type": "HDF5Video",
                "shape": [len(images), height, width, 3],
                "filename": ".",
                "dataset": f"{name}/video",
                "input_format": "channels_last",
                "convert_range": False,
                "has_embedded_images": True,
                "grayscale": False,
                "fps": video["backend"].get("fps"),
            },
            "source_video": source,
        }
    texts = [json.dumps(one, separators=(",", ":")) for one in described]
    kind = file["videos_json"].dtype
    del file["videos_json"]
    file.create_dataset("videos_json", data=texts, dtype=kind, maxshape=(None,))


def _write_images(group: "h5py.Group", images: Sequence[NDArray[np.uint8]]) -> None:
    encoded = [_encode(image) for image in images]
    length = max(len(one) for one in encoded)
    padded = np.zeros((len(encoded), length), np.int8)
    for row, one in zip(padded, encoded, strict=True):
        row[: len(one)] = one
    data = group.create_dataset("video", data=padded)
    height, width = images[0].shape[:2]
    described: dict[str, Any] = {
        "format": "png",
        "channel_order": "RGB",
        "frames": len(images),
        "height": height,
        "width": width,
        "channels": 3,
    }
    data.attrs.update(described)


def _encode(image: NDArray[np.uint8]) -> NDArray[np.int8]:
    # Fast: PNG's best compression saves little, and takes most of the time.
    quickly = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quickly)
    encoded: NDArray[np.int8] = data.ravel().view(np.int8)
    return encoded
