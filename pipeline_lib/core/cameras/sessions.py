"""Find the sessions of a cohort: the videos that several cameras recorded together.

Their calibrations get names here, too. A name follows from the path alone, so that another
calibration in the sheet never renames one.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from pipeline_lib.core.cohort import Video
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.untrusted.names import (
    clean_part,
    find_name_problem,
    find_text_problem,
    fold_name,
)

# Cameras that a session needs.
FEWEST_CAMERAS = 2
# Folders of an absolute path that are part of a calibration's name.
_NAMED_PARTS = 2
# Of calibrations that other tools write.
_SUFFIXES = frozenset(
    {".toml", ".yml", ".yaml", ".xml", ".txt", ".pickle", ".pkl", ".mat", ".json"}
)


@dataclass(frozen=True)
class Session:
    """Hold the videos of one recording by several cameras.

    Attributes
    ----------
    name
        As in the sheet.
    videos
        One per camera, in the sheet's order.
    source
        Path of its calibration, or of a folder that shows a board; empty where it has none.
    """

    name: str
    videos: tuple[Video, ...]
    source: str


def list_sessions(config: Config, videos: Iterable[Video]) -> tuple[Session, ...]:
    """Return the sessions of a sheet in the order of their first videos.

    Parameters
    ----------
    config
        `calibration.path` is the calibration of sessions whose cells are empty.
    videos
        Rows of the sheet; those without a session are left out.
    """
    groups: dict[str, list[Video]] = {}
    for video in videos:
        if video.session:
            groups.setdefault(video.session, []).append(video)
    return tuple(
        Session(name, tuple(group), _find_source(config, group)) for name, group in groups.items()
    )


def name_calibration(source: str, sheet: Path) -> str:
    """Return the name of a calibration's results.

    Parameters
    ----------
    source
        Path of a calibration.
    sheet
        The cohort sheet: the folders between it and the calibration are part of the name.
    """
    path = Path(source)
    folder = Path(os.path.normpath(sheet.parent))
    normal = Path(os.path.normpath(path))
    if normal.is_relative_to(folder):
        parts = normal.relative_to(folder).parts
    else:
        parts = tuple(part for part in normal.parts if part not in (normal.anchor, ".."))
        parts = parts[-_NAMED_PARTS:]
    if not parts:
        return "calibration"
    stem = _drop_suffix(parts[-1])
    return clean_part("-".join((*parts[:-1], stem)), "calibration").replace(" ", "-")


def find_session_problems(config: Config, videos: Sequence[Video]) -> list[str]:
    """Explain what makes the sessions of a sheet impossible to triangulate, one line each.

    Names that cannot be file names or differ in case only, videos without a camera, two videos
    of one camera, several calibrations of one session, calibrations whose results would have
    the same name, columns that the settings name and the sheet lacks.
    """
    sessions = list_sessions(config, videos)
    problems = [*_find_name_problems(sessions), *_find_missing_columns(config, videos)]
    for session in sessions:
        problems += _find_view_problems(session)
        named = [video.calibration for video in session.videos if video.calibration]
        cells = sorted({os.path.normpath(cell) for cell in named})
        if len(cells) > 1:
            problems.append(
                f"session {session.name}: its videos name different calibrations "
                f"({', '.join(cells)}); a session has one: give all of them the same cell"
            )
    return [*problems, *_find_calibration_problems(config, sessions)]


def _find_source(config: Config, videos: Sequence[Video]) -> str:
    cells = [video.calibration for video in videos if video.calibration]
    source = cells[0] if cells else config.calibration.path
    # One text for one path, however it is written.
    return os.path.normpath(source) if source else ""


def _drop_suffix(name: str) -> str:
    """Return a file's name without the suffix of a calibration; other dots stay."""
    path = PurePath(name)
    return path.stem if path.suffix.lower() in _SUFFIXES else path.name


def _find_name_problems(sessions: Iterable[Session]) -> list[str]:
    problems, first = [], dict[str, str]()
    for session in sessions:
        earlier = first.setdefault(fold_name(session.name), session.name)
        if problem := find_name_problem(session.name):
            problems.append(f"session {session.name!r} of {session.videos[0].video} {problem}")
        elif earlier != session.name:
            problems.append(
                f"session {session.name} differs from {earlier} in case only: some file systems "
                "would write both to the same files; rename one of them"
            )
    return problems


def _find_view_problems(session: Session) -> list[str]:
    problems, first = [], dict[str, str]()
    for video in session.videos:
        if not video.camera:
            problems.append(
                f"video {video.video}: is in session {session.name} and has no camera: fill its "
                "cell `camera`, or empty its cell `session`"
            )
            continue
        if problem := find_text_problem(video.camera):
            problems.append(f"video {video.video}: camera {video.camera!r} {problem}")
        earlier = first.setdefault(fold_name(video.camera), video.video)
        if earlier != video.video:
            problems.append(
                f"session {session.name}: videos {earlier} and {video.video} are both of camera "
                f"{video.camera}; rename a camera, or make two sessions"
            )
    return problems


def _find_missing_columns(config: Config, videos: Sequence[Video]) -> list[str]:
    known = list(videos[0].metadata) if videos else []
    settings = config.triangulation.synchronisation
    named = {
        "offset_column": settings.offset_column,
        "timestamps_column": settings.timestamps_column,
    }
    return [
        f"`triangulation.synchronisation.{setting}`: the sheet has no column {column!r}; there "
        f"are {', '.join(known) or 'none besides those that we know'}"
        for setting, column in named.items()
        if column is not None and videos and column not in known
    ]


def _find_calibration_problems(config: Config, sessions: Iterable[Session]) -> list[str]:
    problems, first = [], dict[str, str]()
    for source in dict.fromkeys(session.source for session in sessions if session.source):
        name = name_calibration(source, Path(config.cohort))
        earlier = first.setdefault(fold_name(name), source)
        if earlier != source:
            problems.append(
                f"calibrations {earlier} and {source} would both be written as {name}: rename one "
                "of them, or the folder that it is in"
            )
    return problems
