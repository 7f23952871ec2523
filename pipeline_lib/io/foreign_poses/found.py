"""Hold what a file of another tool says of the poses of a video, and check it."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.untrusted.names import find_text_problem

# A file may leave out frames without an animal; so many values, or so many times what it stores,
# may be filled in.
_ALWAYS_FILLED = 2**26
_MOST_FILLED = 100
MOST_INDIVIDUALS = 1000


@dataclass(frozen=True, eq=False)
class FoundPoses:
    """Hold the poses of a file.

    Attributes
    ----------
    position
        Shape (frame, individual, keypoint, 2), float32, px, pixel centres at integers. NaN: not
        found.
    confidence
        Shape (frame, individual, keypoint), float32. NaN or 0: not found.
    bodyparts, individuals
        Names along the axes.
    tracked
        Whether an individual is the same animal in all frames.
    """

    position: NDArray[np.float32]
    confidence: NDArray[np.float32]
    bodyparts: tuple[str, ...]
    individuals: tuple[str, ...]
    tracked: bool


def count_individuals(number: int, single: str) -> tuple[str, ...]:
    """Return names of individuals that have none; ``single`` is that of a single one."""
    if number == 1:
        return (single,)
    return tuple(f"individual{one}" for one in range(1, number + 1))


def check_names(path: Path, what: str, names: Sequence[str]) -> None:
    """Refuse names that are none, or that repeat.

    Raises
    ------
    StoreError
        That names the first.
    """
    if not names:
        raise StoreError(f"{path}: has no {what}")
    for name in names:
        if problem := find_text_problem(name):
            raise StoreError(f"{path}: a {what} {name[:80]!r} {problem}; rename it")
    if len(set(names)) < len(names):
        twice = next(name for name, later in itertools.pairwise(sorted(names)) if name == later)
        raise StoreError(f"{path}: two of its {what}s have the name {twice!r}; rename one of them")


def check_frames(path: Path, frame: NDArray[np.int64], rows: NDArray[np.int64], points: int) -> int:
    """Return the number of frames that rows of a file make, those without a row included.

    Parameters
    ----------
    path
        The file, for messages.
    frame
        Shape (row,), frame of each row, 0-based; it may repeat.
    rows
        Shape (row,), number of each row, as people count it in the file.
    points
        In a frame.

    Raises
    ------
    StoreError
        If a number is negative, or larger than the file can mean.
    """
    if not len(frame):
        return 0
    most = max(_ALWAYS_FILLED, _MOST_FILLED * len(frame) * points) // max(1, points)
    wrong = np.flatnonzero((frame < 0) | (frame >= most))
    if len(wrong):
        first = wrong[0]
        raise StoreError(
            f"{path}: row {rows[first]} is of frame {frame[first]}; expected frames from 0, and "
            f"fewer than {most:,} in a file of {len(frame):,} rows"
        )
    return int(frame.max()) + 1
