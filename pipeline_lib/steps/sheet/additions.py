"""Decide which videos become rows of a cohort sheet, and say why the others do not."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline_lib.core.cohort import Video
from pipeline_lib.core.errors import VideoError
from pipeline_lib.core.tables import SHEET_REQUIRED
from pipeline_lib.core.untrusted.names import find_name_problem, find_text_problem, fold_name
from pipeline_lib.io.video.reader import fingerprint_file
from pipeline_lib.steps.sheet.find import (
    NOT_UTF8,
    clean_name,
    is_text,
    name_videos,
    shorten_path,
)
from pipeline_lib.steps.sheet.pattern import FilePattern, PatternError, fill_template

# Cells that begin so are computed by spreadsheets.
_FORMULA = ("=", "+", "-", "@")
# Bytes that are compared before whole files of one size are read.
_HEAD = 2**16

Row = dict[str, str]


@dataclass(frozen=True)
class Naming:
    """Describe how the cells of a new row are made.

    Attributes
    ----------
    pattern
        Of the file name; None: a row has an id and a path only.
    session
        Text with fields, such as ``{animal}-{date}``, of the column ``session``; empty for none.
    """

    pattern: FilePattern | None = None
    session: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that rows have: required ones first, then fields in their order."""
        fields = self.pattern.fields if self.pattern else ()
        session = ("session",) if self.session else ()
        return tuple(dict.fromkeys((*SHEET_REQUIRED, *session, *fields)))

    def check(self) -> None:
        """Refuse a session that names other fields than the pattern has.

        Raises
        ------
        SheetError
            If it does.
        """
        fill_template(self.session, dict.fromkeys(self.pattern.fields if self.pattern else (), ""))


@dataclass(frozen=True)
class Places:
    """Name two folders.

    Attributes
    ----------
    searched
        Folder of videos: patterns match names of folders below it. Or one video.
    sheet
        Folder of the sheet, which its paths are relative to.
    """

    searched: Path
    sheet: Path


@dataclass(frozen=True)
class LeftOut:
    """Name a file that gets no row, and the reason."""

    path: Path
    reason: str


@dataclass
class Additions:
    """Hold the rows that some files add to a sheet.

    Attributes
    ----------
    rows
        New rows; every column of the naming has a cell.
    present
        Files that the sheet names already.
    duplicates
        Files that are another row's: the same file, content or id.
    misfits
        Files whose names give no row.
    notes
        What people should know of the new rows.
    """

    rows: list[Row] = field(default_factory=list)
    present: list[Path] = field(default_factory=list)
    duplicates: list[LeftOut] = field(default_factory=list)
    misfits: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def make_additions(
    videos: Iterable[Path],
    places: Places,
    naming: Naming | None = None,
    existing: Sequence[Video] = (),
    *,
    compare_content: bool = True,
) -> Additions:
    """Return the rows for videos that a sheet does not name yet.

    Parameters
    ----------
    videos
        Files, each once.
    places
        Folders that were searched, and that of the sheet.
    naming
        How cells are made; None: rows have an id and a path only.
    existing
        The present rows.
    compare_content
        Leave out files with the same bytes as another one.
    """
    naming = naming or Naming()
    made = Additions()
    files = _Files(existing)
    checked: list[tuple[Path, Row]] = []
    for path in videos:
        if twin := files.find_same(path):
            label, there = twin
            if there.absolute() == path.absolute() or there.resolve() == path.resolve():
                made.present.append(path)
            else:
                made.duplicates.append(LeftOut(path, f"is the same file as {label} ({there})"))
            continue
        try:
            cells = _read_cells(path, places.searched, naming)
        except PatternError as error:
            made.misfits.append(LeftOut(path, str(error)))
            continue
        if compare_content and (twin := files.find_copy(path)):
            label, there = twin
            made.duplicates.append(LeftOut(path, f"has the same content as {label} ({there})"))
            continue
        files.add(path)
        checked.append((path, cells))
    _add_rows(checked, places.sheet, naming, existing, made)
    return made


def _add_rows(
    checked: Sequence[tuple[Path, Row]],
    folder: Path,
    naming: Naming,
    existing: Sequence[Video],
    made: Additions,
) -> None:
    """Name the videos, and make the rows of those whose names and views are not taken."""
    ids = {fold_name(video.video): video for video in existing}
    kept: list[tuple[Path, Row]] = []
    for path, cells in checked:
        if reason := _find_moved(path, cells, ids):
            made.duplicates.append(LeftOut(path, reason))
        else:
            kept.append((path, cells))
    unnamed = [path for path, cells in kept if "video" not in cells]
    # Ids are made of those without a field of their own.
    taken = [*(video.video for video in existing), *(cells.get("video", "") for _, cells in kept)]
    named = {path: name for name, path in name_videos(unnamed, filter(None, taken)).items()}
    views = _Views(existing)
    first = {name: f"{video.video} ({video.path})" for name, video in ids.items()}
    for path, cells in kept:
        row = {"video": named.get(path, ""), **cells, "path": shorten_path(path, folder)}
        if not is_text(row["path"]):
            made.misfits.append(LeftOut(path, NOT_UTF8))
            continue
        name = fold_name(row["video"])
        if name in first:
            reason = f"would have the same id as {first[name]}"
            made.duplicates.append(LeftOut(path, reason))
            continue
        if reason := views.find_problem(row):
            made.misfits.append(LeftOut(path, reason))
            continue
        first[name] = f"{row['video']} ({path})"
        views.add(row)
        made.notes += _list_notes(path, row)
        made.rows.append({column: row[column] for column in naming.columns})


def _read_cells(path: Path, base: Path, naming: Naming) -> Row:
    """Return the cells that the name of a file gives.

    Raises
    ------
    PatternError
        If it gives none, or one that a sheet cannot hold.
    """
    if naming.pattern is None:
        return {}
    # One video is below no folder.
    below = path.relative_to(base) if path != base and path.is_relative_to(base) else path.name
    cells = naming.pattern.read(PurePosixPath(below))
    if naming.session:
        cells["session"] = fill_template(naming.session, cells)
    for name, value in cells.items():
        check = find_name_problem if name in ("video", "session") else find_text_problem
        if problem := check(value):
            raise PatternError(f"{name} {value!r} {problem}")
    return cells


def _find_moved(path: Path, cells: Mapping[str, str], ids: Mapping[str, Video]) -> str:
    """Explain that the file of this id in the sheet is gone; empty if it is there."""
    video = ids.get(fold_name(cells.get("video") or clean_name(path.stem)))
    if video is None or video.path.exists():
        return ""
    return (
        f"has the same id as {video.video}, whose file {video.path} is missing: if it was moved, "
        "change the path of that row"
    )


def _list_notes(path: Path, row: Mapping[str, str]) -> Iterator[str]:
    for name, value in row.items():
        if name != "path" and value.startswith(_FORMULA):
            yield (
                f"{path.name}: {name} {value!r} is kept as text, but a spreadsheet that opens the "
                "sheet takes it for a formula: import that column as text"
            )


class _Files:
    """Find the row that has the same file as a path, or the same bytes."""

    def __init__(self, existing: Iterable[Video]) -> None:
        self._labels: dict[tuple[int, int], tuple[str, Path]] = {}
        self._sizes: dict[int, list[tuple[str, Path]]] = {}
        self._digests: dict[Path, str] = {}
        for video in existing:
            self._add(f"row {video.video}", video.path)

    def add(self, path: Path) -> None:
        """Count a new file."""
        self._add("another new file", path)

    def _add(self, label: str, path: Path) -> None:
        try:
            facts = path.stat()
        except (OSError, ValueError):
            return
        self._labels.setdefault((facts.st_dev, facts.st_ino), (label, path))
        self._sizes.setdefault(facts.st_size, []).append((label, path))

    def find_same(self, path: Path) -> tuple[str, Path] | None:
        """Return label and path of the row whose file this is, also by another name."""
        try:
            facts = path.stat()
        except OSError:
            return None
        return self._labels.get((facts.st_dev, facts.st_ino))

    def find_copy(self, path: Path) -> tuple[str, Path] | None:
        """Return label and path of a file with the same bytes; an empty file has no copies."""
        try:
            size = path.stat().st_size
            alike = self._sizes.get(size, []) if size else []
            return next((one for one in alike if self._are_equal(one[1], path)), None)
        except (OSError, VideoError):
            # The probe reports a file that cannot be read.
            return None

    def _are_equal(self, first: Path, second: Path) -> bool:
        return _read_head(first) == _read_head(second) and self._hash(first) == self._hash(second)

    def _hash(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = fingerprint_file(path)
        return self._digests[path]


def _read_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


class _Views:
    """Find sessions and cameras that a new row may not have beside the others."""

    def __init__(self, existing: Iterable[Video]) -> None:
        self._sessions: dict[str, str] = {}
        self._cameras: dict[tuple[str, str], str] = {}
        for video in existing:
            self.add({"video": video.video, "session": video.session, "camera": video.camera})

    def add(self, row: Mapping[str, str]) -> None:
        """Count a row."""
        if session := row.get("session", ""):
            self._sessions.setdefault(fold_name(session), session)
            if camera := row.get("camera", ""):
                view = (fold_name(session), fold_name(camera))
                self._cameras.setdefault(view, row["video"])

    def find_problem(self, row: Mapping[str, str]) -> str:
        """Explain why a run would refuse a row beside the others; empty if it would not."""
        session, camera = row.get("session", ""), row.get("camera", "")
        earlier = self._sessions.get(fold_name(session), session)
        if earlier != session:
            return f"session {session} differs from {earlier} in case only: rename one of them"
        other = self._cameras.get((fold_name(session), fold_name(camera)))
        if session and camera and other:
            return f"camera {camera} of session {session} is that of video {other} already"
        return ""
