"""Read the corrected labels that a training uses, and describe them for keys and reasons.

Imports are light: the workflow asks whenever it is parsed.
"""

import difflib
import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import LabelError, SheetError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL, UNIQUE_INDIVIDUAL
from pipeline_lib.io.checksums import measure_file
from pipeline_lib.io.corrections.files import find_table_path, format_time, read_rows
from pipeline_lib.io.corrections.labels import (
    CORRECTION_COLUMNS,
    BodypartChange,
    CorrectedKeypoint,
    FrameCorrection,
    apply_renames,
    describe_frame,
    list_label_tables,
    read_bodypart_changes,
    read_label_corrections,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CorrectedLabels:
    """Hold the corrections of a project that a training uses.

    Attributes
    ----------
    frames
        Corrections of its iteration and earlier ones, also those that newer ones replace; bodyparts
        have their present names.
    changes
        Bodyparts added and renamed, oldest first.
    later
        Number of corrections of later iterations, which are not used.
    """

    frames: tuple[FrameCorrection, ...] = ()
    changes: tuple[BodypartChange, ...] = ()
    later: int = 0

    @property
    def added(self) -> tuple[str, ...]:
        """Return the bodyparts that were added, by their present names, in order."""
        names = [
            apply_renames(one.bodypart, self.changes, one.time)
            for one in self.changes
            if one.what == "add"
        ]
        return tuple(dict.fromkeys(names))

    @property
    def renames(self) -> tuple[BodypartChange, ...]:
        """Return the changes that rename a bodypart."""
        return tuple(one for one in self.changes if one.what == "rename")


def read_corrections(config: Config) -> CorrectedLabels:
    """Read the corrections of the iteration that is trained, and of earlier iterations.

    Raises
    ------
    LabelError
        With every problem of the tables, by file and line.
    """
    folder = Path(config.corrections.path)
    tables = list_label_tables(folder)
    if not tables:
        return CorrectedLabels()
    frames, changes = _read_tables(folder.absolute(), tuple(map(_measure, tables)))
    used = [one for one in frames if one.iteration <= config.training.iteration]
    renamed = tuple(_rename_frame(one, changes) for one in used)
    return CorrectedLabels(renamed, changes, len(frames) - len(used))


def choose_iteration(config: Config, results: Results) -> int:
    """Return the iteration of new labels: the next one once the network of this one is trained."""
    training = config.training
    trained = results.model(training.name).card.is_file()
    return training.iteration + 1 if trained else training.iteration


def _measure(path: Path) -> tuple[str, int, int, int]:
    try:
        facts = path.lstat()
    except OSError:  # it was there a moment ago
        return str(path), 0, 0, 0
    return str(path), facts.st_ino, facts.st_size, facts.st_mtime_ns


# A process asks several times.
@lru_cache(maxsize=1)
def _read_tables(
    folder: Path, stamp: tuple[tuple[str, int, int, int], ...]
) -> tuple[tuple[FrameCorrection, ...], tuple[BodypartChange, ...]]:
    """Read the tables below a folder, of which the stamp tells whether they have changed."""
    del stamp
    problems: list[str] = []
    changes: tuple[BodypartChange, ...] = ()
    frames: tuple[FrameCorrection, ...] = ()
    try:
        changes = read_bodypart_changes(folder)
    except LabelError as error:
        problems += [f"{error.where}: {problem}" for problem in error.problems]
    try:
        frames = read_label_corrections(folder)
    except LabelError as error:
        problems += [f"{error.where}: {problem}" for problem in error.problems]
    if problems:
        raise LabelError(str(folder), problems)
    return frames, changes


def _rename_frame(one: FrameCorrection, changes: Sequence[BodypartChange]) -> FrameCorrection:
    """Return a correction with the present names of its bodyparts.

    Raises
    ------
    LabelError
        If two of its bodyparts have one name now.
    """
    if not any(change.what == "rename" and change.time > one.time for change in changes):
        return one
    former: dict[tuple[str, str], str] = {}
    keypoints = []
    for point in one.keypoints:
        name = apply_renames(point.bodypart, changes, one.time)
        other = former.setdefault((point.individual, name), point.bodypart)
        if other != point.bodypart:
            problem = (
                f"{describe_frame(one.key)}: {other} and {point.bodypart} are both labelled, but "
                f"bodyparts.tsv gives both the name {name}: give them two names"
            )
            raise LabelError(f"{one.author}, {one.video}", [problem])
        keypoints.append(CorrectedKeypoint(point.individual, name, *point[2:]))
    return replace(one, keypoints=tuple(keypoints))


def rename_skeleton(
    skeleton: Skeleton, corrected: CorrectedLabels, labelled: Iterable[str] = ()
) -> Skeleton:
    """Return a skeleton with the present names of bodyparts, and those that were added.

    Parameters
    ----------
    skeleton
        Of the config or a label source.
    corrected
        The project's changes.
    labelled
        Bodyparts that have labels. Of those that were added, these are appended to a skeleton
        that names its bodyparts.

    Raises
    ------
    LabelError
        If what results is no skeleton.
    """
    if not corrected.changes:
        return skeleton

    def rename(name: str) -> str:
        return apply_renames(name, corrected.changes, None)

    def rename_pairs(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        named = dict.fromkeys((rename(a), rename(b)) for a, b in pairs)
        return tuple((a, b) for a, b in named if a != b)

    bodyparts = list(dict.fromkeys(map(rename, skeleton.bodyparts)))
    known = set(labelled)
    more = [name for name in corrected.added if name in known and name not in bodyparts]
    try:
        return Skeleton(
            bodyparts=tuple([*bodyparts, *more] if bodyparts else ()),
            edges=rename_pairs(skeleton.edges),
            symmetries=rename_pairs(skeleton.symmetries),
            unique_bodyparts=tuple(dict.fromkeys(map(rename, skeleton.unique_bodyparts))),
        )
    except ValidationError as error:
        problems = [one["msg"].removeprefix("Value error, ") for one in error.errors()]
        raise LabelError(
            "bodyparts.tsv", [f"after renaming, the skeleton is none: {one}" for one in problems]
        ) from None


def check_bodyparts(
    corrected: CorrectedLabels, config: Config, sources: Iterable[str]
) -> list[str]:
    """Return a problem per bodypart of the corrections that the project does not know.

    Without a skeleton, label sources and added bodyparts the corrections themselves name them.

    Parameters
    ----------
    corrected
        The corrections in use.
    config
        Its skeleton.
    sources
        Bodyparts of all label sources, by their present names.

    Returns
    -------
    list of str
        With the file and line of the first row, and the nearest known name.
    """
    skeleton = rename_skeleton(config.skeleton, corrected).bodyparts
    known = dict.fromkeys([*skeleton, *sources, *corrected.added])
    if not known:
        return []
    first = {point.bodypart: one for one in reversed(corrected.frames) for point in one.keypoints}
    problems = []
    for name, one in sorted(first.items()):
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(list(known)[:20])}"
        where = _find_row(Path(config.corrections.path), one, corrected.changes, bodypart=name)
        problems.append(
            f"{where}: the project has no bodypart {name!r}; {hint} (a new one is added to "
            "bodyparts.tsv, as the page does)"
        )
    return problems


def warn_of_names(corrected: CorrectedLabels, config: Config, sources: Iterable[str]) -> None:
    """Log the names of individuals that a project of one animal does not know.

    As in label sources, the labels of a frame are that animal's, whatever it is called.
    """
    known = {SINGLE_INDIVIDUAL, UNIQUE_INDIVIDUAL, *config.individuals.names, *sources}
    first = {point.individual: one for one in reversed(corrected.frames) for point in one.keypoints}
    for name, one in sorted(first.items()):
        if name not in known:
            where = _find_row(Path(config.corrections.path), one, corrected.changes, name)
            _log.warning(
                "%s: individual '%s' is unknown; as `individuals.max` is 1, it is taken for the "
                "one animal",
                *(where, name),
            )


def _find_row(
    folder: Path,
    one: FrameCorrection,
    changes: Sequence[BodypartChange],
    individual: str = "",
    bodypart: str = "",
) -> str:
    """Return table and line of a row, for messages; of the table alone if it has just changed."""
    path = find_table_path(folder / "labels", one.author, one.video)
    try:
        rows = read_rows(path, CORRECTION_COLUMNS)
    except LabelError:
        rows = []
    for row in rows:
        is_frame = (row["author"], row["image"]) == (one.author, one.image)
        is_frame = is_frame and row["frame"].lstrip("0") == str(one.frame).lstrip("0")
        present = apply_renames(row["bodypart"], changes, one.time)
        if is_frame and individual in ("", row["individual"]) and bodypart in ("", present):
            return f"{path}, line {row.line}"
    return str(path)


def list_corrections(config: Config) -> list[str]:
    """Return one line per table of corrections that the labels depend on; none without any.

    Keys of the import are made from these lines, and people read them as Snakemake's reason. A
    table of later iterations alone has none, so that labelling for the next iteration leaves the
    results of this one as they are.
    """
    folder = Path(config.corrections.path)
    try:
        tables = list_label_tables(folder)
        if not tables:
            return []
        corrected = read_corrections(config)
    except LabelError:
        # The pre-flight checks and the import report the damage; a repaired table has another key.
        return [f"damaged corrections: {_hash_files(folder)}"]
    lines = [
        f"{video} as {author} labelled it: {len(frames)} frames, {_hash(map(_describe, frames))}"
        for (author, video), frames in _group_by_table(corrected.frames)
    ]
    lines += [f"bodypart {one.former} is now {one.bodypart}" for one in corrected.renames]
    labelled = {point.bodypart for one in corrected.frames for point in one.keypoints}
    lines += [f"bodypart {name} is new" for name in corrected.added if name in labelled]
    return [*lines, *_list_videos(config, corrected.frames)]


def hash_corrections(config: Config) -> dict[str, str | None]:
    """Return the hash of the corrections in use by the path of their table.

    A table that cannot be read has None.
    """
    folder = Path(config.corrections.path)
    try:
        corrected = read_corrections(config)
    except LabelError:
        return {str(path): None for path in sorted((folder / "labels").glob("*/*.tsv"))}
    hashes: dict[str, str | None] = {
        str(find_table_path(folder / "labels", *table)): _hash(map(_describe, frames))
        for table, frames in _group_by_table(corrected.frames)
    }
    if corrected.renames or (corrected.frames and corrected.changes):
        hashes[str(folder / "bodyparts.tsv")] = _hash(map(str, corrected.changes))
    return hashes


def _group_by_table(
    frames: Iterable[FrameCorrection],
) -> list[tuple[tuple[str, str], list[FrameCorrection]]]:
    """Return the corrections of each author and video, in order."""
    by_table: dict[tuple[str, str], list[FrameCorrection]] = {}
    for one in frames:
        by_table.setdefault((one.author, one.video), []).append(one)
    return sorted(by_table.items())


def _list_videos(config: Config, frames: Iterable[FrameCorrection]) -> list[str]:
    """Return the size of each corrected video that the cohort has: one that comes back counts."""
    corrected = {one.video for one in frames if not one.image}
    try:
        cohort = read_cohort(Path(config.cohort)) if corrected else ()
    except SheetError:
        return []
    return [
        f"corrected video {one.video}: {measure_file(one.path)[0]} bytes"
        for one in cohort
        if one.video in corrected
    ]


def _describe(one: FrameCorrection) -> str:
    points = [[str(point[0]), str(point[1]), *point[2:4], str(point[4])] for point in one.keypoints]
    return f"{[*one.key]} {one.author} {format_time(one.time)} {one.iteration} {points}"


def _hash_files(folder: Path) -> str:
    """Return a hash of names, sizes and times: what is there may be a link or no file at all."""
    return _hash(str(_measure(path)) for path in sorted(folder.rglob("*.tsv")))


def _hash(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\n")
    return digest.hexdigest()[:16]
