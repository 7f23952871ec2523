"""Find and read Label Studio's exports: a JSON file that is a list of tasks."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline_lib.io.labels.points import SourceLabels

SUFFIX = ".json"
_START = 64  # bytes


def is_format(path: Path) -> bool:
    """Tell whether a JSON file that holds a list lies at a path."""
    return path.suffix.lower() == SUFFIX and path.is_file() and _holds_list(path)


def list_files(path: Path) -> list[Path]:
    """Return the file itself."""
    return [path]


def read(path: Path, images: Path, *, predicted: bool) -> "SourceLabels":  # noqa: ARG001
    """Read a file; see `pipeline_lib.io.labels.label_studio.read.read_label_studio`."""
    from pipeline_lib.io.labels.label_studio.read import read_label_studio  # noqa: PLC0415

    return read_label_studio(path)


def _holds_list(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(_START)
    except OSError:
        return False
    return start.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n").startswith(b"[")
