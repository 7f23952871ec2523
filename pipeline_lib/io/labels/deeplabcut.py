"""Read labels of DeepLabCut projects: ``labeled-data/VIDEO/CollectedData_SCORER.{h5,csv}``."""

import logging
from pathlib import Path

import pandas as pd

from pipeline_lib.core.errors import LabelError
from pipeline_lib.io.labels.deeplabcut_table import LabelTable, read_table, tables_agree
from pipeline_lib.io.labels.points import build_points, check_points, locate_images
from pipeline_lib.io.labels.tables import LABELED_DATA, TableFiles, find_deeplabcut_tables

# Points are placed in napari (formerly matplotlib), which draw the centre of the top-left pixel
# at (0, 0), as this project counts.
PIXEL_OFFSET = 0.0

_log = logging.getLogger(__name__)


def read_deeplabcut(path: Path) -> pd.DataFrame:
    """Read the labels of a DeepLabCut project, single- or multi-animal.

    Of the two copies of a table the HDF5 one is read, the CSV one where HDF5 cannot be; where
    they differ a warning is logged. Images are found relative to the tables, so ``project_path``
    and ``video_sets`` may be foreign.

    Parameters
    ----------
    path
        Project folder, its ``config.yaml``, one folder of labelled images, or one table.

    Returns
    -------
    DataFrame
        One row per image, individual and bodypart, unlabelled ones included (x, y NaN); columns
        `pipeline_lib.io.labels.points.POINT_COLUMNS`; bodyparts in the tables' order.

    Raises
    ------
    LabelError
        With everything that cannot be mapped: see `label_points.check_points`.
    """
    frames: list[pd.DataFrame] = []
    problems: list[str] = []
    for files in find_deeplabcut_tables(path):
        try:
            table = _read_preferred(files)
        except LabelError as error:
            problems += [f"{error.where}: {problem}" for problem in error.problems]
            continue
        images, missing = locate_images(table, _find_root(table.path))
        found = missing + check_points(table, images)
        if found:
            problems += found
        else:
            frames.append(build_points(table, images, PIXEL_OFFSET))
    if problems:
        raise LabelError(str(path), problems)
    points = pd.concat(frames, ignore_index=True)
    _check_tables_disjoint(path, points)
    return points


def _read_preferred(files: TableFiles) -> LabelTable:
    if files.hdf5 is None or files.csv is None:
        return read_table(files.files[0])
    try:
        table = read_table(files.hdf5)
    except LabelError as error:
        _log.warning("%s; reading %s instead", error, files.csv.name)
        return read_table(files.csv)
    try:
        if not tables_agree(table, read_table(files.csv)):
            _log.warning(
                "%s and %s differ: the labels are taken from the HDF5 file; remove it to use the "
                "CSV file",
                files.hdf5,
                files.csv.name,
            )
    except LabelError as error:
        _log.warning("%s; reading %s only", error, files.hdf5.name)
    return table


def check_copies(path: Path) -> None:
    """Refuse tables of which the CSV copy was saved later than the HDF5 one, and differs from it.

    Somebody has corrected the CSV copy, and `read_deeplabcut` would not see it.

    Parameters
    ----------
    path
        As in `read_deeplabcut`.

    Raises
    ------
    LabelError
        With one line per table.
    """
    problems = []
    for files in find_deeplabcut_tables(path):
        if files.hdf5 is None or files.csv is None:
            continue
        if files.csv.stat().st_mtime_ns <= files.hdf5.stat().st_mtime_ns:
            continue
        try:
            table = read_table(files.hdf5)
        except LabelError:
            continue  # the CSV copy is read
        try:
            if tables_agree(table, read_table(files.csv)):
                continue
            reason = "differs from"
        except LabelError as error:
            reason = f"cannot be read ({'; '.join(error.problems)}), unlike"
        problems.append(
            f"{files.csv}: is newer than {files.hdf5.name} and {reason} it: remove the one that "
            "was not corrected"
        )
    if problems:
        raise LabelError(str(path), problems)


def _find_root(table: Path) -> Path:
    """Return the project folder of a table: the nearest above it that holds ``labeled-data``."""
    for folder in table.absolute().parents:
        if folder.name == LABELED_DATA:
            return folder.parent
        if (folder / LABELED_DATA).is_dir():
            return folder
    return table.absolute().parent


def _check_tables_disjoint(path: Path, points: pd.DataFrame) -> None:
    sources = points.groupby("image", sort=False)["source"].unique()
    problems = [
        f"{image}: labelled in {' and '.join(names)}"
        for image, names in sources.items()
        if len(names) > 1
    ]
    if problems:
        raise LabelError(str(path), problems)
