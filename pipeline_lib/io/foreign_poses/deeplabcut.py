"""Read DeepLabCut's tables of predictions, HDF5 or CSV, of one or several animals."""

from pathlib import Path

import numpy as np

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.exports.deeplabcut import read_deeplabcut_predictions
from pipeline_lib.io.foreign_poses.found import FoundPoses, check_frames

_SUFFIXES = (".h5", ".hdf5", ".csv")


def is_format(path: Path) -> bool:
    """Tell whether a file has the suffix of such a table."""
    return path.suffix.lower() in _SUFFIXES and path.is_file()


def read(path: Path) -> FoundPoses:
    """Read a table of predictions; a frame without a row shows no animal.

    Raises
    ------
    StoreError
        If it is damaged, is none, or has a frame twice.
    """
    table = read_deeplabcut_predictions(path)
    points = len(table.individuals) * len(table.bodyparts)
    head = 3 if len(table.individuals) == 1 else 4
    rows = np.arange(len(table.frame)) + head + 1
    count = check_frames(path, table.frame, rows, points)
    order = np.argsort(table.frame, kind="stable")
    repeated = np.flatnonzero(np.diff(table.frame[order]) == 0)
    if len(repeated):
        raise StoreError(
            f"{path}: row {rows[order[repeated[0] + 1]]} is of frame "
            f"{table.frame[order[repeated[0]]]}, as an earlier row is"
        )
    position = np.full((count, *table.position.shape[1:]), np.nan, np.float32)
    confidence = np.zeros((count, *table.confidence.shape[1:]), np.float32)
    position[table.frame], confidence[table.frame] = table.position, table.confidence
    return FoundPoses(
        position, confidence, table.bodyparts, table.individuals, len(table.individuals) > 1
    )
