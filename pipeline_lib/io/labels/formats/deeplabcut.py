"""Find and read DeepLabCut projects."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_lib.io.labels.deeplabcut_project import PROJECT_CONFIG, find_project_config
from pipeline_lib.io.labels.tables import (
    LABELED_DATA,
    find_deeplabcut_tables,
    holds_project,
    holds_tables,
    is_lightning_pose,
)

if TYPE_CHECKING:
    from pipeline_lib.io.labels.points import SourceLabels


def is_format(path: Path) -> bool:
    """Tell whether a DeepLabCut project, its ``config.yaml`` or a table of labels lies at a path.

    A table that lies as Lightning Pose has it is none.
    """
    if is_lightning_pose(path):
        return False
    if path.is_dir():
        return holds_project(path) or holds_tables(path)
    return path.is_file() and (path.name == PROJECT_CONFIG or path.suffix in {".csv", ".h5"})


def list_files(path: Path) -> list[Path]:
    """List the tables of a project, and its ``config.yaml``."""
    files = [file for table in find_deeplabcut_tables(path) for file in table.files]
    project = find_project_config(path if path.is_dir() else path.parent)
    # Not that of another tool, found above a project that has none.
    if project and (project.parent / LABELED_DATA).is_dir():
        files.append(project)
    return files


def read(path: Path, images: Path, *, predicted: bool) -> "SourceLabels":  # noqa: ARG001
    """Read a project; see `pipeline_lib.io.labels.deeplabcut.read_deeplabcut`."""
    from pipeline_lib.io.labels.deeplabcut import read_deeplabcut  # noqa: PLC0415
    from pipeline_lib.io.labels.deeplabcut_project import read_project_skeleton  # noqa: PLC0415
    from pipeline_lib.io.labels.points import SourceLabels  # noqa: PLC0415

    return SourceLabels(read_deeplabcut(path), read_project_skeleton(path), "deeplabcut")
