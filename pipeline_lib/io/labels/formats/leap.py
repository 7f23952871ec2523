"""Find and read files of LEAP."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline_lib.io.labels.points import SourceLabels

SUFFIX = ".mat"


def is_format(path: Path) -> bool:
    """Tell whether a path leads to a MATLAB file, by its suffix."""
    return path.suffix.lower() == SUFFIX and path.is_file()


def list_files(path: Path) -> list[Path]:
    """Return the file itself."""
    return [path]


def read(path: Path, images: Path, *, predicted: bool) -> "SourceLabels":  # noqa: ARG001
    """Read a file; see `pipeline_lib.io.labels.leap.read_leap`."""
    from pipeline_lib.io.labels.leap import read_leap  # noqa: PLC0415

    return read_leap(path, images)
