"""Read and write corrected labels: one table per author and video, one row per keypoint.

A frame is corrected as a whole: the rows of one author hold everything that this author labelled
in it. For one frame the newest correction counts, whoever made it (`settle_corrections`).
"""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pipeline_lib.core.errors import LabelError
from pipeline_lib.io.corrections.files import (
    TableRow,
    describe_name_problem,
    find_table_path,
    find_time_problem,
    format_time,
    list_tables,
    lock_folder,
    parse_number,
    parse_time,
    parse_whole_number,
    read_rows,
)
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.stage_tables import format_table

CORRECTION_COLUMNS = (
    "video",
    "frame",
    "image",
    "individual",
    "bodypart",
    "x",
    "y",
    "visibility",
    "iteration",
    "author",
    "time",
)
BODYPART_COLUMNS = ("what", "bodypart", "former", "author", "time")

_LABELS = "labels"
_BODYPARTS = "bodyparts.tsv"
# Far beyond any frame, in px; what is farther is a mistake.
_FARTHEST = 1e6
_MOST_ITERATIONS = 10_000
_LONGEST_IMAGE = 4096


class Visibility(StrEnum):
    """Name the visibility of a keypoint in a frame."""

    VISIBLE = "visible"
    HIDDEN = "hidden"  # the position is known, though the bodypart is occluded
    ABSENT = "absent"  # no position


_VISIBILITIES = {str(one): one for one in Visibility}


class CorrectedKeypoint(NamedTuple):
    """Hold one keypoint of a corrected frame.

    Attributes
    ----------
    individual, bodypart
        Names as the labels have them.
    x, y
        In px of the full upright frame, the centre of its top-left pixel being (0, 0); NaN where
        it is absent.
    visibility
        Whether the keypoint is visible, hidden or absent.
    """

    individual: str
    bodypart: str
    x: float
    y: float
    visibility: Visibility


class FrameKey(NamedTuple):
    """Name a frame: of a video of the cohort (no image), or an image of a label source."""

    video: str
    frame: int
    image: str


@dataclass(frozen=True)
class FrameCorrection:
    """Hold everything that one author labelled in one frame.

    Attributes
    ----------
    video
        Id of the video in the cohort sheet; of an image, its video in ``labels.parquet``.
    frame
        0-based; of an image as in ``labels.parquet``, -1 where its name holds no number.
    image
        Empty for a frame of a video of the cohort; else the path of an image of a label source,
        relative to the project or absolute.
    author
        Name of the person who corrected the frame.
    time
        Time of the correction, with its zone.
    iteration
        Labelling iteration, 0 or more.
    keypoints
        `CorrectedKeypoint`, or tuples (individual, bodypart, x, y, visibility); empty where the
        frame shows no animal. Bodyparts that are not listed are not labelled in this frame.

    Raises
    ------
    LabelError
        If the correction cannot be stored, with every problem.
    """

    video: str
    frame: int
    image: str
    author: str
    time: datetime
    iteration: int
    keypoints: tuple[CorrectedKeypoint, ...]

    def __post_init__(self) -> None:
        keypoints = tuple(_make_keypoint(*keypoint) for keypoint in self.keypoints)
        object.__setattr__(self, "keypoints", keypoints)
        problems = list(_find_problems(self))
        if problems:
            raise LabelError(f"correction of {describe_frame(self.key)}", problems)

    @property
    def key(self) -> FrameKey:
        """Return the key of the corrected frame."""
        return FrameKey(self.video, self.frame, self.image)


@dataclass(frozen=True)
class BodypartChange:
    """Hold a bodypart that was added, or renamed, for the whole project.

    Attributes
    ----------
    what
        ``add`` or ``rename``.
    bodypart
        The name from now on.
    former
        The name until now; empty for one that is added.
    author, time
        Who and when.

    Raises
    ------
    LabelError
        If something of it cannot be stored.
    """

    what: str
    bodypart: str
    former: str
    author: str
    time: datetime

    def __post_init__(self) -> None:
        names = [("bodypart", self.bodypart), ("author", self.author)]
        names += [("bodypart", self.former)] if self.what == "rename" else []
        problems = [found for one in names if (found := describe_name_problem(*one))]
        if self.what not in ("add", "rename"):
            problems.append(f"what {self.what[:40]!r}: expected add or rename")
        if self.what == "add" and self.former:
            problems.append(f"former {self.former[:80]!r}: an added bodypart has none")
        if self.what == "rename" and self.former == self.bodypart:
            problems.append(f"bodypart {self.bodypart[:80]!r}: is its former name, too")
        if problem := find_time_problem(self.time):
            problems.append(problem)
        if problems:
            raise LabelError(f"bodypart {self.bodypart[:80]!r}", problems)


def describe_frame(key: FrameKey) -> str:
    """Return the name of a frame for messages."""
    return key.image or f"{key.video}, frame {key.frame}"


def list_label_tables(folder: Path) -> list[Path]:
    """Return the files that `read_label_corrections` and `read_bodypart_changes` read, sorted.

    Raises
    ------
    LabelError
        If links or other files stand among them.
    """
    changes = folder / _BODYPARTS
    found = [changes] if changes.exists() or changes.is_symlink() else []
    return [*found, *list_tables(folder / _LABELS)]


def read_label_corrections(folder: Path) -> tuple[FrameCorrection, ...]:
    """Read all corrected frames of all authors, also those that newer ones replace.

    Parameters
    ----------
    folder
        ``corrections.path``; none are found where it does not exist.

    Returns
    -------
    tuple of FrameCorrection
        By file, in the order of their first rows.

    Raises
    ------
    LabelError
        With every problem of every file, one line each, by file and line.
    """
    problems: list[str] = []
    corrections: list[FrameCorrection] = []
    for path in list_tables(folder / _LABELS):
        try:
            corrections += _read_table(path)
        except LabelError as error:
            where = f"{path.parent.name}/{path.name}"
            problems += [f"{where}, {problem}" for problem in error.problems]
    if problems:
        raise LabelError(str(folder / _LABELS), problems)
    return tuple(corrections)


def write_frame_correction(folder: Path, correction: FrameCorrection) -> Path:
    """Replace the author's correction of a frame, and return the path of its table.

    The table is written whole, under the lock of the author's folder; an unreadable one is left
    as it is. A frame that the author has labelled in an earlier iteration keeps that iteration, so
    that a correction cannot change which frames test the networks.

    Parameters
    ----------
    folder
        ``corrections.path``; made where it does not exist.
    correction
        Of one frame.

    Raises
    ------
    LabelError
        If the table that stands there is damaged or cannot be locked.
    """
    return _rewrite(folder, correction.author, {correction.key: correction})


def write_frame_corrections(folder: Path, corrections: Iterable[FrameCorrection]) -> list[Path]:
    """Write many corrections as `write_frame_correction` does, each table once.

    Parameters
    ----------
    folder
        ``corrections.path``; made where it does not exist.
    corrections
        Of different frames, or authors.

    Returns
    -------
    list of Path
        The tables.

    Raises
    ------
    LabelError
        If a table that stands there is damaged or cannot be locked; those before it are written.
    """
    tables: dict[tuple[str, Path], dict[FrameKey, FrameCorrection | None]] = {}
    for one in corrections:
        table = find_table_path(folder / _LABELS, one.author, one.video)
        tables.setdefault((one.author, table), {})[one.key] = one
    return [_rewrite(folder, author, changes) for (author, _), changes in tables.items()]


def remove_frame_correction(folder: Path, author: str, key: FrameKey) -> Path:
    """Withdraw an author's correction of a frame; those of other authors count again.

    Raises
    ------
    LabelError
        As `write_frame_correction`.
    """
    return _rewrite(folder, author, {key: None})


def identify_frame(correction: FrameCorrection) -> Hashable:
    """Return a key that is equal for two corrections of the same frame.

    An image is identified by its path alone, whatever its video is called.
    """
    return FrameKey("", -1, correction.image) if correction.image else correction.key


def settle_corrections(
    corrections: Iterable[FrameCorrection],
    identify: Callable[[FrameCorrection], Hashable] = identify_frame,
) -> tuple[dict[FrameKey, FrameCorrection], list[tuple[FrameCorrection, FrameCorrection]]]:
    """Choose the correction of each frame that counts: the newest.

    At equal times, the correction of the author whose name sorts first counts.

    Parameters
    ----------
    corrections
        Of all authors.
    identify
        Return a key that is equal for two corrections of the same frame.

    Returns
    -------
    chosen
        By frame, sorted.
    replaced
        Pairs (the correction that counts, one that it replaces), in the same order.
    """
    of_frame: dict[Hashable, list[FrameCorrection]] = {}
    for one in corrections:
        of_frame.setdefault(identify(one), []).append(one)
    settled = []
    for several in of_frame.values():
        # Sorting is stable: at equal times, the first author stays first.
        by_author = sorted(several, key=lambda one: (one.author, one.key))
        settled.append(sorted(by_author, key=lambda one: one.time, reverse=True))
    settled.sort(key=lambda ordered: ordered[0].key)
    chosen = {ordered[0].key: ordered[0] for ordered in settled}
    replaced = [(ordered[0], other) for ordered in settled for other in ordered[1:]]
    return chosen, replaced


def read_bodypart_changes(folder: Path) -> tuple[BodypartChange, ...]:
    """Read the bodyparts added and renamed for the whole project, oldest first.

    Raises
    ------
    LabelError
        With each row that is damaged, by its line.
    """
    path = folder / _BODYPARTS
    changes, problems = [], []
    for row in read_rows(path, BODYPART_COLUMNS):
        try:
            time = parse_time(row["time"])
            changes.append(
                BodypartChange(row["what"], row["bodypart"], row["former"], row["author"], time)
            )
        except ValueError as error:
            problems.append(f"line {row.line}: {error}")
        except LabelError as error:
            problems += [f"line {row.line}: {problem}" for problem in error.problems]
    if problems:
        raise LabelError(str(path), problems)
    return tuple(sorted(changes, key=lambda change: change.time))


def write_bodypart_change(folder: Path, change: BodypartChange) -> Path:
    """Add a change to the table of bodyparts, written whole under a lock.

    Raises
    ------
    LabelError
        If the table that stands there is damaged or cannot be locked.
    """
    path = folder / _BODYPARTS
    with lock_folder(folder, folder):
        changes = [*read_bodypart_changes(folder), change]
        rows = [
            {
                "what": one.what,
                "bodypart": one.bodypart,
                "former": one.former,
                "author": one.author,
                "time": format_time(one.time),
            }
            for one in sorted(dict.fromkeys(changes), key=lambda one: one.time)
        ]
        publish_text(path, format_table(BODYPART_COLUMNS, rows))
    return path


def apply_renames(name: str, changes: Sequence[BodypartChange], since: datetime | None) -> str:
    """Return the present name of a bodypart.

    Parameters
    ----------
    name
        As a label source or a correction has it.
    changes
        Oldest first.
    since
        When the name was written: only later changes apply; None: all of them.
    """
    for change in changes:
        later = since is None or change.time > since
        if later and change.what == "rename" and change.former == name:
            name = change.bodypart
    return name


def _make_keypoint(
    individual: str, bodypart: str, x: float, y: float, visibility: str
) -> CorrectedKeypoint:
    # What is unknown is reported with the other problems of the frame.
    shown = _VISIBILITIES.get(visibility, visibility)
    # One NaN for all, so that equal corrections compare equal.
    x = math.nan if math.isnan(x) else float(x)
    y = math.nan if math.isnan(y) else float(y)
    return CorrectedKeypoint(individual, bodypart, x, y, shown)  # type: ignore[arg-type]


def _find_problems(one: FrameCorrection) -> Iterator[str]:
    for what, name in (("video", one.video), ("author", one.author)):
        if problem := _check_name(what, name):
            yield problem
    if problem := find_time_problem(one.time):
        yield problem
    if not 0 <= one.iteration <= _MOST_ITERATIONS:
        yield f"iteration {one.iteration}: expected 0 to {_MOST_ITERATIONS}"
    if not (-1 if one.image else 0) <= one.frame < 10**12:
        yield f"frame {one.frame}: expected a frame number, 0-based"
    if len(one.image) > _LONGEST_IMAGE or not (one.image.isprintable()):
        yield f"image {one.image[:80]!r}: expected a path of printable characters"
    seen = set()
    for keypoint in one.keypoints:
        name = f"{keypoint.individual[:80]} {keypoint.bodypart[:80]}"
        if keypoint[:2] in seen:
            yield f"{name}: stands there twice"
        seen.add(keypoint[:2])
        yield from _find_keypoint_problems(keypoint, name)


def _find_keypoint_problems(one: CorrectedKeypoint, name: str) -> Iterator[str]:
    for what, text in (("individual", one.individual), ("bodypart", one.bodypart)):
        if problem := _check_name(what, text):
            yield problem
    known = one.visibility in _VISIBILITIES
    if not known:
        expected = ", ".join(Visibility)
        yield f"{name}: visibility {str(one.visibility)[:40]!r}: expected {expected}"
    without = math.isnan(one.x) + math.isnan(one.y)
    if one.visibility == Visibility.ABSENT:
        if without < 2:
            yield f"{name}: is absent, so x and y must be empty"
    elif known and without:
        yield f"{name}: is {one.visibility}, but x or y is missing"
    if abs(one.x) > _FARTHEST or abs(one.y) > _FARTHEST:
        yield f"{name}: x {one.x:g}, y {one.y:g}: expected px within a frame"


# A table repeats its few names in thousands of rows.
@lru_cache(maxsize=4096)
def _check_name(what: str, name: str) -> str | None:
    return describe_name_problem(what, name)


def _read_table(path: Path) -> list[FrameCorrection]:
    """Read the table of an author and video; none where there is no file."""
    frames: dict[tuple[str, FrameKey], list[TableRow]] = {}
    problems: list[str] = []
    for row in read_rows(path, CORRECTION_COLUMNS):
        try:
            frame = parse_whole_number("frame", row["frame"], signed=True)
        except ValueError as error:
            problems.append(f"line {row.line}: {error}")
            continue
        key = FrameKey(row["video"], frame, row["image"])
        frames.setdefault((row["author"], key), []).append(row)
    corrections = []
    for (author, key), rows in frames.items():
        try:
            corrections.append(_read_frame(author, key, rows))
        except LabelError as error:
            problems += error.problems
            continue
        # Else it could not be changed or withdrawn: that is done in the table of its name.
        if find_table_path(path.parent.parent, author, key.video) != path:
            problems.append(
                f"line {rows[0].line}: author {author[:80]!r}, video {key.video[:80]!r}: "
                "stands in a file of another name"
            )
    if problems:
        raise LabelError(str(path), problems)
    return corrections


def _read_frame(author: str, key: FrameKey, rows: list[TableRow]) -> FrameCorrection:
    first = rows[0]
    problems = list(_find_unlike(rows))
    keypoints = [] if _shows_no_animal(rows) else list(_read_keypoints(rows, problems))
    try:
        time, iteration = (
            parse_time(first["time"]),
            parse_whole_number("iteration", first["iteration"], signed=True),
        )
    except ValueError as error:
        problems.append(f"line {first.line}: {error}")
    if problems:
        raise LabelError("", problems)
    try:
        return FrameCorrection(*key, author, time, iteration, tuple(keypoints))
    except LabelError as error:
        lines = f"lines {first.line} to {rows[-1].line}" if len(rows) > 1 else f"line {first.line}"
        raise LabelError("", [f"{lines}: {problem}" for problem in error.problems]) from None


def _find_unlike(rows: list[TableRow]) -> Iterator[str]:
    """Yield a problem per row of a frame that is of another correction than the first."""
    first = rows[0]
    for row in rows[1:]:
        for column in ("time", "iteration"):
            if row[column] != first[column]:
                yield (
                    f"line {row.line}: {column} {row[column][:40]!r}, but line {first.line} of the "
                    f"same frame has {first[column][:40]!r}: keep the rows of one correction"
                )


def _shows_no_animal(rows: list[TableRow]) -> bool:
    cells = [rows[0][name] for name in ("individual", "bodypart", "x", "y", "visibility")]
    return len(rows) == 1 and cells == ["", "", "", "", Visibility.ABSENT]


def _read_keypoints(rows: list[TableRow], problems: list[str]) -> Iterator[CorrectedKeypoint]:
    """Yield the keypoints of a frame; add what is wrong with others to the problems."""
    for row in rows:
        try:
            x, y = (_read_number(row, column) for column in ("x", "y"))
        except ValueError as error:
            problems.append(f"line {row.line}: {error}")
            continue
        keypoint = _make_keypoint(row["individual"], row["bodypart"], x, y, row["visibility"])
        name = f"{keypoint.individual[:80]} {keypoint.bodypart[:80]}"
        found = list(_find_keypoint_problems(keypoint, name))
        problems += [f"line {row.line}: {problem}" for problem in found]
        if not found:
            yield keypoint


def _read_number(row: TableRow, column: str) -> float:
    return parse_number(column, row[column]) if row[column] else math.nan


def _rewrite(folder: Path, author: str, changes: Mapping[FrameKey, FrameCorrection | None]) -> Path:
    """Replace frames of one table; None removes a frame."""
    path = find_table_path(folder / _LABELS, author, next(iter(changes)).video)
    with lock_folder(path.parent, folder):
        stored = _read_table(path)
        kept = [one for one in stored if one.author != author or one.key not in changes]
        # A frame keeps the iteration in which it was labelled first.
        iterations = {one.key: one.iteration for one in stored if one.author == author}
        kept += [
            replace(one, iteration=min(one.iteration, iterations.get(key, one.iteration)))
            for key, one in changes.items()
            if one is not None
        ]
        # In the order of frames, so that version control sees what changed and nothing else.
        kept.sort(key=lambda one: (one.key, one.author))
        if kept:
            rows = [row for one in kept for row in _format_frame(one)]
            publish_text(path, format_table(CORRECTION_COLUMNS, rows))
        else:
            path.unlink(missing_ok=True)
    return path


def _format_frame(one: FrameCorrection) -> Iterator[dict[str, object]]:
    shared = {
        "video": one.video,
        "frame": one.frame,
        "image": one.image,
        "iteration": one.iteration,
        "author": one.author,
        "time": format_time(one.time),
    }
    for keypoint in one.keypoints:
        here = keypoint.visibility != Visibility.ABSENT
        yield shared | {
            "individual": keypoint.individual,
            "bodypart": keypoint.bodypart,
            # The shortest text that is read as the same number.
            "x": repr(float(keypoint.x)) if here else "",
            "y": repr(float(keypoint.y)) if here else "",
            "visibility": str(keypoint.visibility),
        }
    if not one.keypoints:
        yield shared | {"individual": "", "bodypart": "", "visibility": str(Visibility.ABSENT)}
