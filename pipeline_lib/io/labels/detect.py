"""Finding label tables: which format a path is in and which files hold its labels.

Nothing here opens a table, so that the workflow can ask for its inputs at every parse.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.settings.run import Config
from pipeline_lib.io.labels.deeplabcut_project import (
    PROJECT_CONFIG,
    find_project_config,
    read_project_config,
)

LabelFormat = Literal["deeplabcut", "lightning-pose", "sleap"]

LABELED_DATA = "labeled-data"
SLEAP_SUFFIX = ".slp"  # of `.pkg.slp`, too

_TABLE_NAME = re.compile(r"CollectedData(?:_(?P<scorer>.*))?\.(?P<suffix>csv|h5)")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableFiles:
    """One label table, which DeepLabCut writes twice.

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
        """The copies that exist."""
        return tuple(path for path in (self.csv, self.hdf5) if path is not None)


def detect_format(path: Path) -> LabelFormat:
    """Tell which tool's labels lie at a path, by the names of the files found.

    Parameters
    ----------
    path
        Project or data folder, its ``config.yaml``, one label table, or a SLEAP file.

    Raises
    ------
    LabelError
        If nothing is there, or nothing that is known.
    """
    if path.is_dir():
        if any(_scan_tables(folder) for folder in _video_folders(path)):
            return "deeplabcut"
        if _scan_tables(path):
            return "lightning-pose" if (path / LABELED_DATA).is_dir() else "deeplabcut"
        if (path / LABELED_DATA).is_dir() or _is_project_config(path / PROJECT_CONFIG):
            return "deeplabcut"
    elif path.name == PROJECT_CONFIG and path.is_file():
        return "deeplabcut"
    elif path.suffix in {".csv", ".h5"} and path.is_file():
        beside = (path.parent / LABELED_DATA).is_dir()
        return "lightning-pose" if beside and path.suffix == ".csv" else "deeplabcut"
    elif path.suffix == SLEAP_SUFFIX and path.is_file():
        return "sleap"
    if not path.exists():
        raise LabelError(str(path), ["no such file or folder"])
    problem = (
        "holds no labels that are known: expected a DeepLabCut project "
        f"({LABELED_DATA}/VIDEO/CollectedData_SCORER.csv or .h5), a Lightning Pose data "
        f"folder (CollectedData.csv beside {LABELED_DATA}), one such table, or a SLEAP file (.slp)"
    )
    raise LabelError(str(path), [problem])


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


def label_inputs(config: Config) -> list[Path]:
    """List the files that importing the labels reads, images left out.

    It never raises: where a source cannot be made out its own path is listed, so that the
    import step, not the parsing of the workflow, says what is wrong.

    Returns
    -------
    list of Path
        Tables and project files, relative where the config's paths are.
    """
    inputs: dict[Path, None] = {}
    for source in config.labels:
        path = Path(source.path)
        try:
            kind = detect_format(path) if source.format == "auto" else source.format
            if kind == "deeplabcut":
                files = [file for table in find_deeplabcut_tables(path) for file in table.files]
                project = find_project_config(path if path.is_dir() else path.parent)
                # Not that of another tool, found above a project that has none.
                if project and (project.parent / LABELED_DATA).is_dir():
                    files.append(project)
            elif kind == "lightning-pose":
                files = [find_lightning_pose_table(path)]
            else:
                files = [path]
        except (LabelError, OSError):
            files = [path]
        inputs |= dict.fromkeys(files)
    return list(inputs)


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
