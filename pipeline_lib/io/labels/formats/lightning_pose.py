"""Find and read Lightning Pose data folders: ``CollectedData.csv`` beside ``labeled-data``."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.labels.tables import find_lightning_pose_table, is_lightning_pose

if TYPE_CHECKING:
    import pandas as pd

    from pipeline_lib.io.labels.points import SourceLabels

# Lightning Pose took its tables, and with them integer pixel centres, from DeepLabCut.
PIXEL_OFFSET = 0.0


def is_format(path: Path) -> bool:
    """Tell whether a data folder, or its table, lies at a path."""
    return is_lightning_pose(path)


def list_files(path: Path) -> list[Path]:
    """Return the table of a data folder."""
    return [find_lightning_pose_table(path)]


def read(path: Path, images: Path, *, predicted: bool) -> "SourceLabels":  # noqa: ARG001
    """Read a data folder; see `read_lightning_pose`."""
    from pipeline_lib.io.labels.points import SourceLabels  # noqa: PLC0415

    return SourceLabels(read_lightning_pose(path), Skeleton(), "lightning-pose")


def read_lightning_pose(path: Path) -> "pd.DataFrame":
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
        With everything that cannot be mapped: see `pipeline_lib.io.labels.points.check_points`.
    """
    # What finds folders is asked by commands that answer at once; pandas takes seconds.
    from pipeline_lib.io.labels import points  # noqa: PLC0415
    from pipeline_lib.io.labels.deeplabcut_table import read_table  # noqa: PLC0415

    table = read_table(find_lightning_pose_table(path))
    images, missing = points.locate_images(table, table.path.absolute().parent)
    problems = missing + points.check_points(table, images)
    if problems:
        raise LabelError(str(table.path), problems)
    return points.build_points(table, images, PIXEL_OFFSET)
