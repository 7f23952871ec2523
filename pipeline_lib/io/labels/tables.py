"""Find the label tables of DeepLabCut and Lightning Pose projects.

Nothing here opens a table, so that the workflow can ask for its inputs at every parse.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.core.errors import LabelError
from pipeline_lib.io.labels.deeplabcut_project import (
    PROJECT_CONFIG,
    find_project_config,
    read_project_config,
)

LABELED_DATA = "labeled-data"

_TABLE_NAME = re.compile(r"CollectedData(?:_(?P<scorer>.*))?\.(?P<suffix>csv|h5)")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableFiles:
    """Name the files of one label table, which DeepLabCut writes twice.

    Attributes
    ----------
    scorer
        As in the file name; empty where it has none.
    csv, hdf5
        The two copies; at least one is there.
    """

    scorer: str
    csv: Path | None = None
    hdf5: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Copies that exist."""
        return tuple(path for path in (self.csv, self.hdf5) if path is not None)


def is_lightning_pose(path: Path) -> bool:
    """Tell whether a Lightning Pose data folder, or its table, lies at a path."""
    if path.is_dir():
        beside = (path / LABELED_DATA).is_dir()
        return beside and not _holds_video_tables(path) and bool(_scan_tables(path))
    return path.suffix == ".csv" and path.is_file() and (path.parent / LABELED_DATA).is_dir()


def holds_project(path: Path) -> bool:
    """Tell whether a folder is that of a DeepLabCut project, labelled or not."""
    return (path / LABELED_DATA).is_dir() or _is_project_config(path / PROJECT_CONFIG)


def holds_tables(path: Path) -> bool:
    """Tell whether label tables lie in a folder, or in folders of labelled images below it."""
    return _holds_video_tables(path) or bool(_scan_tables(path))


def _holds_video_tables(path: Path) -> bool:
    return any(_scan_tables(folder) for folder in _video_folders(path))


def find_deeplabcut_tables(path: Path) -> tuple[TableFiles, ...]:
    """List the label tables of a DeepLabCut project, one per labelled folder.

    Folders without a table are skipped and logged. Where a folder has tables of several
    scorers, the project's ``config.yaml`` says whose counts.

    Parameters
    ----------
    path
        The project folder, its ``config.yaml``, its ``labeled-data`` folder, one folder of
        labelled images, or one table (then only that file is used).

    Raises
    ------
    LabelError
        If there is no table, or the scorer is ambiguous.
    """
    if path.is_file() and path.name != PROJECT_CONFIG:
        return (_name_table(path),)
    project = path.parent if path.is_file() or path.name == LABELED_DATA else path
    if not (path / LABELED_DATA).is_dir() and (found := _scan_tables(path)):
        return (_pick_scorer(path, found, _find_scorer(path)),)
    tables, problems = [], []
    scorer = _find_scorer(project)
    for folder in _video_folders(project):
        found = _scan_tables(folder)
        if not found:
            _log.info("%s has no CollectedData table: skipped", folder)
            continue
        try:
            tables.append(_pick_scorer(folder, found, scorer))
        except LabelError as error:
            problems += [f"{folder.name}: {problem}" for problem in error.problems]
    if problems:
        raise LabelError(str(path), problems)
    if not tables:
        raise LabelError(
            str(path),
            [f"no CollectedData_SCORER.csv or .h5 in any folder of {project / LABELED_DATA}"],
        )
    return tuple(tables)


def find_lightning_pose_table(path: Path) -> Path:
    """Return the label table of a Lightning Pose data folder.

    ``CollectedData.csv`` is taken where there are several: ``CollectedData_new.csv`` holds, by
    Lightning Pose's convention, frames set aside for testing.

    Raises
    ------
    LabelError
        If there is none, or several and none of that name.
    """
    if path.is_file():
        return path
    tables = sorted(file for table in _scan_tables(path) for file in table.files)
    tables = [file for file in tables if file.suffix == ".csv"]
    named = [file for file in tables if file.name == "CollectedData.csv"]
    if len(tables) > 1 and not named:
        names = ", ".join(file.name for file in tables)
        raise LabelError(str(path), [f"several label tables ({names}): give the path of one"])
    if not tables:
        raise LabelError(str(path), ["no CollectedData.csv in this folder"])
    chosen = (named or tables)[0]
    for other in tables:
        if other != chosen:
            _log.info("%s is not read: %s is the label table", other, chosen.name)
    return chosen


def _scan_tables(folder: Path) -> list[TableFiles]:
    """Return the tables that lie directly in a folder, sorted by scorer."""
    copies: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.glob("CollectedData*")):
        match = _TABLE_NAME.fullmatch(file.name)
        if match and file.is_file():
            kind = {"csv": "csv", "h5": "hdf5"}[match["suffix"]]
            copies.setdefault(match["scorer"] or "", {})[kind] = file
    return [TableFiles(scorer, **files) for scorer, files in sorted(copies.items())]


def _name_table(path: Path) -> TableFiles:
    match = _TABLE_NAME.fullmatch(path.name)
    scorer = (match["scorer"] or "") if match else ""
    if path.suffix == ".csv":
        return TableFiles(scorer, csv=path)
    return TableFiles(scorer, hdf5=path)


def _pick_scorer(folder: Path, tables: list[TableFiles], scorer: str | None) -> TableFiles:
    if len(tables) == 1:
        return tables[0]
    for table in tables:
        if table.scorer == scorer:
            return table
    names = ", ".join(table.scorer or "(none)" for table in tables)
    wanted = f"names {scorer!r}" if scorer else "names none"
    problem = (
        f"tables of several scorers ({names}) and the project's {PROJECT_CONFIG} {wanted}: "
        "set its `scorer` to one of them, or give the path of one table"
    )
    raise LabelError(str(folder), [problem])


def _find_scorer(folder: Path) -> str | None:
    file = find_project_config(folder)
    return str(read_project_config(file).get("scorer", "")) if file else None


def _video_folders(project: Path) -> Iterator[Path]:
    labeled = project if project.name == LABELED_DATA else project / LABELED_DATA
    if labeled.is_dir():
        yield from sorted(path for path in labeled.iterdir() if path.is_dir())


def _is_project_config(path: Path) -> bool:
    """Tell DeepLabCut's config.yaml from the many other files of that name."""
    try:
        return "video_sets" in read_project_config(path)
    except LabelError:
        return False
