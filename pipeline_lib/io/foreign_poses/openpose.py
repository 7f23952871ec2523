"""Read folders of OpenPose JSON: one file per frame, with the people in it.

Pose2Sim, RTMLib and others write the same files, with other points. The number of points tells
which they are: `_NAMES`.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL
from pipeline_lib.io.foreign.json_files import read_json
from pipeline_lib.io.foreign_poses.found import (
    MOST_INDIVIDUALS,
    FoundPoses,
    check_frames,
    count_individuals,
)

_FRAME = re.compile(r"(\d+)(?!.*\d)")
_ENDING = "_keypoints"
_MOST_FILES = 5_000_000
_MOST_POINTS = 1_000
_LONGEST_NUMBER = 15
_KEY = "pose_keypoints_2d"

_ARMS = "RShoulder RElbow RWrist LShoulder LElbow LWrist"
_COCO = (
    "Nose LEye REye LEar REar LShoulder RShoulder LElbow RElbow LWrist RWrist "
    "LHip RHip LKnee RKnee LAnkle RAnkle"
)
_FEET = "LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel"
_LEGS = "RHip RKnee RAnkle LHip LKnee LAnkle"
_BODY_25 = f"Nose Neck {_ARMS} MidHip {_LEGS} REye LEye REar LEar {_FEET}".split()
_BODY_25B = f"{_COCO} Neck Head {_FEET}".split()
# Names of the points of each model, by their number; those of 25 points are told apart by where
# the points are.
_NAMES: Mapping[int, list[str]] = {
    15: f"Head Neck {_ARMS} {_LEGS} Chest".split(),  # MPI
    17: _COCO.split(),
    18: f"Nose Neck {_ARMS} {_LEGS} REye LEye REar LEar".split(),  # OpenPose's COCO
    25: _BODY_25,
    # HALPE_26, Pose2Sim's default.
    26: f"{_COCO} Head Neck Hip LBigToe RBigToe LSmallToe RSmallToe LHeel RHeel".split(),
}


def is_format(path: Path) -> bool:
    """Tell whether a path is a folder with a file of JSON."""
    if not path.is_dir():
        return False
    with os.scandir(path) as entries:
        return any(entry.name.endswith(".json") for entry in entries)


def read(path: Path) -> FoundPoses:
    """Read a folder of one file per frame, whose last number is that of the frame.

    A file ``{}``, one without people and one that is missing show nobody. A point with x and y 0
    was not found. People are counted in each frame: nothing tells who is who.

    Raises
    ------
    LabelError, StoreError
        That names the file: one that is no JSON of OpenPose, has no number or that of another
        one, or people with different numbers of points.
    """
    files = _list_files(path)
    people = {frame: _read_people(file) for frame, file in files.items()}
    counts = {len(person) for found in people.values() for person in found}
    if not counts:
        raise StoreError(
            f"{path}: shows nobody in {len(files)} files, so that points have no names"
        )
    if len(counts) > 1:
        raise StoreError(
            f"{path}: has people of {' and of '.join(map(str, sorted(counts)))} points"
        )
    points, most = counts.pop(), max(map(len, people.values()))
    if most > MOST_INDIVIDUALS:
        raise StoreError(f"{path}: shows {most} people in a frame, expected {MOST_INDIVIDUALS}")
    frames = np.array(sorted(files))
    length = check_frames(path, frames, frames, points * most)
    arranged = np.full((length, most, points, 3), np.nan, np.float32)
    for frame, found in people.items():
        if found:
            arranged[frame, : len(found)] = found
    # OpenPose writes 0, 0, 0 for a point that it did not find.
    arranged[(arranged[..., :2] == 0).all(axis=-1)] = np.nan
    return FoundPoses(
        position=arranged[..., :2],
        confidence=arranged[..., 2],
        bodyparts=tuple(_name_points(arranged)),
        individuals=count_individuals(most, SINGLE_INDIVIDUAL),
        tracked=False,
    )


def _list_files(folder: Path) -> dict[int, Path]:
    """Return the file of each frame."""
    files: dict[int, Path] = {}
    names = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".json"))
    if len(names) > _MOST_FILES:
        raise StoreError(f"{folder}: has {len(names):,} files, expected at most {_MOST_FILES:,}")
    for name in names:
        digits = _FRAME.search(name.removesuffix(".json").removesuffix(_ENDING))
        if digits is None or len(digits[1]) > _LONGEST_NUMBER:
            raise StoreError(f"{folder / name}: its name does not end in the number of a frame")
        frame = int(digits[1])
        if frame in files:
            raise StoreError(f"{folder / name}: is of frame {frame}, as {files[frame].name} is")
        files[frame] = folder / name
    return files


def _read_people(path: Path) -> list[NDArray[np.float64]]:
    """Return the points of each person, shape (point, 3): x, y and confidence."""
    content = read_json(path)
    people = content.get("people", []) if isinstance(content, Mapping) else None
    if not isinstance(people, list):
        raise LabelError(str(path), ["is no JSON of OpenPose: expected an object with `people`"])
    found = [_read_points(path, number, person) for number, person in enumerate(people)]
    # A person without points is an empty object.
    return [person for person in found if len(person)]


def _read_points(path: Path, number: int, person: Any) -> NDArray[np.float64]:  # noqa: ANN401
    values: Sequence[Any] = person.get(_KEY, []) if isinstance(person, Mapping) else [None]
    numbers = isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )
    if not numbers or len(values) % 3 or len(values) > 3 * _MOST_POINTS:
        raise LabelError(
            str(path),
            [f"person {number}: expected `{_KEY}` with x, y and confidence of each point"],
        )
    try:
        points = np.array(values, np.float64).reshape(-1, 3)
    except OverflowError:
        points = np.full((1, 3), np.inf)
    if not np.isfinite(points).all():
        raise LabelError(str(path), [f"person {number}: a number is not finite"])
    return points


def _name_points(arranged: NDArray[np.float32]) -> list[str]:
    count = arranged.shape[2]
    if count == len(_BODY_25B) and _looks_like_25b(arranged[..., :2].astype(np.float64)):
        return _BODY_25B
    return _NAMES.get(count, [f"point{number}" for number in range(count)])


def _looks_like_25b(points: NDArray[np.float64]) -> bool:
    """Tell whether 25 points are those of BODY_25B, shape (frame, person, point, 2).

    Eyes and ears are near the nose: of the points that BODY_25B and BODY_25 call so, those count
    that are nearer, in most people. The others are ankles, or arms.
    """

    def measure(names: list[str]) -> NDArray[np.float64]:
        face = [names.index(name) for name in ("LEye", "REye", "LEar", "REar")]
        away = np.linalg.norm(points[:, :, face] - points[:, :, :1], axis=-1)
        seen = np.isfinite(away)
        total = np.where(seen, away, 0).sum(axis=-1)
        return np.asarray(np.divide(total, seen.sum(axis=-1)))

    with np.errstate(invalid="ignore"):
        ours, others = measure(_BODY_25B), measure(_BODY_25)
    known = np.isfinite(ours) & np.isfinite(others)
    return bool((ours < others)[known].mean() > 0.5) if known.any() else False
