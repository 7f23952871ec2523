"""Find and read COCO keypoints: one JSON file, as CVAT and other labelling tools write it."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_lib.core.errors import LabelError

if TYPE_CHECKING:
    from pipeline_lib.io.labels.points import SourceLabels

SUFFIX = ".json"
# Where CVAT and COCO itself keep the file of a dataset.
_IN_FOLDER = "annotations/person_keypoints*.json"
_START = 64  # bytes


def is_format(path: Path) -> bool:
    """Tell whether a JSON file that holds an object, or a dataset folder, lies at a path."""
    if path.is_dir():
        return any(path.glob(_IN_FOLDER))
    return path.suffix.lower() == SUFFIX and path.is_file() and _holds_object(path)


def list_files(path: Path) -> list[Path]:
    """Return the file itself, or the one of a dataset folder."""
    return [find_coco_file(path)]


def read(path: Path, images: Path, *, predicted: bool) -> "SourceLabels":  # noqa: ARG001
    """Read a file; see `pipeline_lib.io.labels.coco.read.read_coco`."""
    from pipeline_lib.io.labels.coco.read import read_coco  # noqa: PLC0415

    return read_coco(find_coco_file(path))


def find_coco_file(path: Path) -> Path:
    """Return the JSON file that a path names: itself, or the one of a dataset folder.

    Raises
    ------
    LabelError
        If a folder holds none, or several.
    """
    if not path.is_dir():
        return path
    files = sorted(path.glob(_IN_FOLDER))
    if not files:
        raise LabelError(str(path), [f"no {_IN_FOLDER} in this folder: give the path of the JSON"])
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        problem = f"several label files ({names}): name each of them under `labels`"
        raise LabelError(str(path), [problem])
    return files[0]


def _holds_object(path: Path) -> bool:
    """Tell whether the first letter is that of an object: other tools write JSON lists."""
    try:
        with path.open("rb") as file:
            start = file.read(_START)
    except OSError:
        return False
    return start.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n").startswith(b"{")
