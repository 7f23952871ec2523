"""Write tables of text for tools that find behaviour in poses and want every cell filled.

SimBA's input (``project_folder/csv/input_csv``) has three rows of header, ``IMPORTED_POSE`` twice
and the names of columns: ``BODYPART_x``, ``BODYPART_y``, ``BODYPART_p``, of several animals
``BODYPART_1_x`` and so on. A point that is not known is 0, 0 with probability 0, as SimBA's own
importers write it.

B-SOiD reads DeepLabCut's table of one animal, and fails where a likelihood is empty. A point that
is not known has likelihood 0 and its last known place, which B-SOiD would put there itself; before
the first known place it is 0, 0. Points of several animals are bodyparts ``ANIMAL_BODYPART``.

Unique bodyparts belong to no animal, and are left out of both.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.poses import Poses
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL
from pipeline_lib.io.exports.source import ExportSource
from pipeline_lib.io.publish import publish_file

_SIMBA = "IMPORTED_POSE"
Points = list[tuple[int, int]]


def write_simba(path: Path, source: ExportSource) -> None:
    """Publish the poses of one video as a table of SimBA's folder ``input_csv``.

    Raises
    ------
    StoreError
        If the poses are missing or damaged.
    """
    points = _list_points(source)
    several = _count_animals(source.head) > 1
    names = [
        f"{source.head.bodyparts[k]}_{i + 1}" if several else source.head.bodyparts[k]
        for i, k in points
    ]
    columns = [(_SIMBA, _SIMBA, f"{name}_{axis}") for name in names for axis in "xyp"]
    blocks = (_arrange(block, points, None) for block in source.read_blocks())
    _write(path, columns, ("scorer", "bodypart", "coords"), blocks)


def write_bsoid(path: Path, source: ExportSource) -> None:
    """Publish the poses of one video as a table that B-SOiD reads as DeepLabCut's.

    Raises
    ------
    StoreError
        If the poses are missing or damaged.
    """
    points, head = _list_points(source), source.head
    several = _count_animals(head) > 1
    names = [
        f"{head.individuals[i]}_{head.bodyparts[k]}" if several else head.bodyparts[k]
        for i, k in points
    ]
    columns = [(source.scorer, name, coord) for name in names for coord in ("x", "y", "likelihood")]
    last = np.zeros((len(points), 2), np.float32)
    blocks = (_arrange(block, points, last) for block in source.read_blocks())
    _write(path, columns, ("scorer", "bodyparts", "coords"), blocks)


def _count_animals(head: Poses) -> int:
    return sum(name != UNIQUE_INDIVIDUAL for name in head.individuals)


def _list_points(source: ExportSource) -> Points:
    """Return individual and bodypart of each point of an animal, as positions on their axes."""
    head = source.head
    several = len(head.individuals) > 1
    unique = (
        set(source.skeleton.unique_bodyparts) if UNIQUE_INDIVIDUAL in head.individuals else set()
    )
    return [
        (i, k)
        for i, individual in enumerate(head.individuals)
        if not several or individual != UNIQUE_INDIVIDUAL
        for k, bodypart in enumerate(head.bodyparts)
        if bodypart not in unique
    ]


def _arrange(poses: Poses, points: Points, last: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Return x, y and confidence of each point in each frame, none of them NaN.

    Parameters
    ----------
    poses
        A block of frames.
    points
        Individual and bodypart of each point.
    last
        Shape (point, 2): last known places, which take the place of unknown ones and are updated;
        None: unknown places are 0.
    """
    animal, bodypart = ([point[axis] for point in points] for axis in (0, 1))
    position = poses.position[:, animal, bodypart]
    known = np.asarray(~np.isnan(position).any(axis=-1))
    confidence = np.where(known, np.nan_to_num(poses.confidence[:, animal, bodypart]), 0)
    if last is None:
        place = np.where(known[..., None], position, 0)
    else:
        # The frame before the block stands first; each frame then names the last known one.
        place = np.concatenate([last[None], position])
        frames = np.arange(len(place))[:, None]
        there = np.concatenate([np.ones((1, len(points)), bool), known])
        named = np.maximum.accumulate(np.where(there, frames, 0), axis=0)
        place = np.take_along_axis(place, named[..., None], axis=0)
        last[:] = place[-1]
        place = place[1:]
    values = np.concatenate([place, confidence[..., None]], axis=-1)
    return values.reshape(len(position), -1).astype(np.float32)


def _write(
    path: Path,
    columns: Sequence[tuple[str, ...]],
    levels: tuple[str, ...],
    blocks: Iterator[NDArray[np.float32]],
) -> None:
    import pandas as pd  # noqa: PLC0415

    header = pd.MultiIndex.from_tuples(columns, names=levels)
    with publish_file(path) as part:
        start = 0
        for block in blocks:
            index = np.arange(start, start + len(block))
            table = pd.DataFrame(block, index=index, columns=header)
            first = start == 0
            table.to_csv(part, mode="w" if first else "a", header=first, lineterminator="\n")
            start += len(block)
