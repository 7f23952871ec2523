"""Find and read Lightning Pose data folders."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.labels.tables import find_lightning_pose_table, is_lightning_pose

if TYPE_CHECKING:
    from pipeline_lib.io.labels.points import SourceLabels


def is_format(path: Path) -> bool:
    """Tell whether a data folder, or its table, lies at a path."""
    return is_lightning_pose(path)


def list_files(path: Path) -> list[Path]:
    """Return the table of a data folder."""
    return [find_lightning_pose_table(path)]


def read(path: Path, images: Path, *, predicted: bool) -> "SourceLabels":  # noqa: ARG001
    """Read a data folder; see `pipeline_lib.io.labels.lightning_pose.read_lightning_pose`."""
    from pipeline_lib.io.labels.lightning_pose import read_lightning_pose  # noqa: PLC0415
    from pipeline_lib.io.labels.points import SourceLabels  # noqa: PLC0415

    return SourceLabels(read_lightning_pose(path), Skeleton(), "lightning-pose")
