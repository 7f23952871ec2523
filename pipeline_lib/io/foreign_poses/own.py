"""Read our own pose files, from another run or another computer."""

from pathlib import Path

from pipeline_lib.core.poses import Poses
from pipeline_lib.io.poses.read import read_poses


def is_format(path: Path) -> bool:
    """Tell whether a file or folder is named as our pose files are."""
    return path.name.endswith((".zarr", ".zarr.zip"))


def read(path: Path) -> Poses:
    """Read a pose file.

    Raises
    ------
    StoreError
        If it is damaged, of another version, or none.
    """
    return read_poses(path)
