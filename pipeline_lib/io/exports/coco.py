"""Write COCO keypoints (JSON): one image per frame, one annotation per individual in it.

Lists are written entry by entry, because a video of an hour has a hundred thousand images.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.poses import Poses
from pipeline_lib.io.exports.sleap_convention import find_instances
from pipeline_lib.io.exports.source import ExportSource
from pipeline_lib.io.publish import publish_file

# Offset in px that is added to our coordinates on export: labelling tools that read COCO put
# (0, 0) at the top-left corner of the image. `pipeline_lib.io.labels.coco.file.PIXEL_OFFSET`, its
# opposite, names the sources.
PIXEL_OFFSET = 0.5

_CATEGORY = 1
_VISIBLE = 2
_DIGITS = 4  # positions in px and scores
_AT_A_TIME = 1024
_CONVENTION = "(0, 0) is the top-left corner of the image, (0.5, 0.5) the centre of its first pixel"


def write_coco(path: Path, source: ExportSource) -> None:
    """Publish the poses of one video as COCO keypoints.

    Every frame is an image ``VIDEO/frame-NNNNNNN.png``, the name that extracted frames have, of id
    frame + 1. Each individual with at least one keypoint in a frame is an annotation. A keypoint
    has visibility 2 if it was found, else 0. ``score`` is the mean confidence of the keypoints
    that were found. Besides COCO's own keys, annotations have ``keypoint_scores``, the confidence
    of each keypoint (null if there is none), of ensembles ``keypoint_spreads`` (px, null if there
    is none), and, of tracked individuals, ``track_id`` (counted from 1; ``info.tracks`` names all)
    and ``attributes``, where CVAT keeps its own. Unique bodyparts are keypoints of the one
    category; those found in a frame are an annotation of their own. The same poses give the same
    bytes. Memory holds one block of frames.

    Parameters
    ----------
    path
        File to write; its suffix is ``.json``.
    source
        Poses of the video, its size and its edges.

    Raises
    ------
    StoreError
        If the poses are missing or damaged.
    """
    with publish_file(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f'{{"info": {_dump(_describe(source))},\n"licenses": [],\n')
        file.write(f'"categories": [{_dump(_describe_category(source))}],\n')
        _write_list(file, "images", _list_images(source))
        file.write(",\n")
        _write_list(file, "annotations", _list_annotations(source))
        file.write("}\n")


def name_frame(video: str, frame: int) -> str:
    """Return the name of the image of a frame: that of the file if the frame is extracted."""
    return f"{video}/frame-{frame:07d}.png"


def _describe(source: ExportSource) -> dict[str, Any]:
    return {
        "description": f"Poses of {source.video.as_posix()} by {source.scorer}. {_CONVENTION}.",
        "scorer": source.scorer,
        "key": source.key,
        "video": source.video.as_posix(),
        "fps": source.fps,
        "tracks": [{"id": number, "name": name} for number, name in enumerate(source.tracks, 1)],
    }


def _describe_category(source: ExportSource) -> dict[str, Any]:
    return {
        "id": _CATEGORY,
        "name": "animal",
        "supercategory": "animal",
        "keypoints": list(source.head.bodyparts),
        # COCO counts keypoints from 1.
        "skeleton": [[first + 1, second + 1] for first, second in source.edges],
    }


def _list_images(source: ExportSource) -> Iterator[dict[str, Any]]:
    # An id may have dots.
    video = source.poses.name.removesuffix(".zip").removesuffix(".zarr")
    for frame in range(source.frames):
        yield {
            "id": frame + 1,
            "file_name": name_frame(video, frame),
            "width": source.width,
            "height": source.height,
        }


def _list_annotations(source: ExportSource) -> Iterator[dict[str, Any]]:
    number = start = 0
    for block in source.read_blocks():
        for frame, individual, annotation in _annotate(block):
            number += 1
            named = {"id": number, "image_id": start + frame + 1, **annotation}
            if source.tracks:
                track = individual + 1
                attributes = {"track_id": track, "individual": source.tracks[individual]}
                named |= {"track_id": track, "attributes": attributes}
            yield named
        start += len(block.time)


def _annotate(poses: Poses) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield frame and individual of each pose, and its annotation without ids."""
    found = find_instances(poses)
    frames, individuals = np.nonzero(found.present)
    # Lists of numbers take many times the memory of the arrays.
    for start in range(0, len(frames), _AT_A_TIME):
        part = slice(start, start + _AT_A_TIME)
        rows = (frames[part], individuals[part])
        annotations = _describe_poses(
            poses.position[rows].astype(np.float64) + PIXEL_OFFSET,
            poses.confidence[rows].astype(np.float64),
            found.score[rows].astype(np.float64),
        )
        if poses.spread is not None:
            annotations = _add_spreads(annotations, poses.spread[rows].astype(np.float64))
        yield from zip(rows[0].tolist(), rows[1].tolist(), annotations, strict=True)


def _add_spreads(
    annotations: Iterable[dict[str, Any]], spread: NDArray[np.float64]
) -> Iterator[dict[str, Any]]:
    """Yield annotations with the spread of each keypoint, shape (pose, keypoint), px."""
    for annotation, widths in zip(annotations, np.round(spread, _DIGITS).tolist(), strict=True):
        yield {
            **annotation,
            "keypoint_spreads": [None if math.isnan(one) else one for one in widths],
        }


def _describe_poses(
    position: NDArray[np.float64], confidence: NDArray[np.float64], score: NDArray[np.float64]
) -> Iterator[dict[str, Any]]:
    """Yield the annotation of each pose.

    Parameters
    ----------
    position
        Shape (pose, keypoint, 2), x and y in px, (0, 0) being the corner of the image. NaN: not
        found; each pose has at least one that is.
    confidence
        Shape (pose, keypoint). NaN: there is none.
    score
        Shape (pose,).
    """
    position, confidence, score = (
        np.round(values, _DIGITS) for values in (position, confidence, score)
    )
    known: NDArray[np.bool_] = np.asarray(~np.isnan(position).any(axis=-1))
    low = np.where(known[..., None], position, np.inf).min(axis=1)
    size = np.round(np.where(known[..., None], position, -np.inf).max(axis=1) - low, _DIGITS)
    area = np.round(size[:, 0] * size[:, 1], _DIGITS)
    x, y = np.where(known, np.moveaxis(position, -1, 0), 0)
    count = position.shape[1]
    for pose, visibility in enumerate((_VISIBLE * known).tolist()):
        keypoints = [0] * (3 * count)
        keypoints[0::3], keypoints[1::3] = x[pose].tolist(), y[pose].tolist()
        keypoints[2::3] = visibility
        yield {
            "category_id": _CATEGORY,
            "keypoints": keypoints,
            "num_keypoints": int(known[pose].sum()),
            "bbox": [*low[pose].tolist(), *size[pose].tolist()],
            "area": float(area[pose]),
            "segmentation": [],
            "iscrowd": 0,
            "score": float(score[pose]),
            "keypoint_scores": [
                None if math.isnan(one) else one for one in confidence[pose].tolist()
            ],
        }


def _write_list(file: IO[str], name: str, entries: Iterable[Mapping[str, Any]]) -> None:
    file.write(f'"{name}": [')
    for number, entry in enumerate(entries):
        file.write(f"{',' if number else ''}\n{_dump(entry)}")
    file.write("\n]")


def _dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
