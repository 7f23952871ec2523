"""Find and read SLEAP files."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline_lib.io.labels.points import SourceLabels

SUFFIX = ".slp"  # of `.pkg.slp`, too


def is_format(path: Path) -> bool:
    """Tell whether a path leads to a SLEAP file, by its suffix."""
    return path.suffix == SUFFIX and path.is_file()


def list_files(path: Path) -> list[Path]:
    """Return the file itself."""
    return [path]


def read(path: Path, images: Path, *, predicted: bool) -> "SourceLabels":
    """Read a SLEAP file; see `pipeline_lib.io.labels.sleap.read.read_sleap`."""
    from pipeline_lib.io.labels.sleap.read import read_sleap  # noqa: PLC0415

    return read_sleap(path, images, predicted=predicted)
