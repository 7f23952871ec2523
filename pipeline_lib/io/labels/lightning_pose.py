"""Read labels of Lightning Pose data folders: ``CollectedData.csv`` beside ``labeled-data``."""

from pathlib import Path

import pandas as pd

from pipeline_lib.core.errors import LabelError
from pipeline_lib.io.labels.deeplabcut_table import read_table
from pipeline_lib.io.labels.points import build_points, check_points, locate_images
from pipeline_lib.io.labels.tables import find_lightning_pose_table

# Lightning Pose took its tables, and with them integer pixel centres, from DeepLabCut.
PIXEL_OFFSET = 0.0


def read_lightning_pose(path: Path) -> pd.DataFrame:
    """Read the labels of a Lightning Pose data folder.

    Parameters
    ----------
    path
        The folder that holds ``CollectedData.csv`` and ``labeled-data``, or the table.

    Returns
    -------
    DataFrame
        As from `pipeline_lib.io.labels.deeplabcut.read_deeplabcut`; images that lie directly in
        ``labeled-data`` belong to a video named like the data folder.

    Raises
    ------
    LabelError
        With everything that cannot be mapped: see `label_points.check_points`.
    """
    table = read_table(find_lightning_pose_table(path))
    images, missing = locate_images(table, table.path.absolute().parent)
    problems = missing + check_points(table, images)
    if problems:
        raise LabelError(str(table.path), problems)
    return build_points(table, images, PIXEL_OFFSET)
