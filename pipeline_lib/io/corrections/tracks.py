"""Read and write decisions about tracks: one table per author and video, one row per decision."""

import hashlib
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.track_decisions import Anchor, DecisionKind, Passage, TrackDecision
from pipeline_lib.io.corrections.files import (
    MOST_BYTES,
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

_PLACES = ("before", "after", "other_before", "other_after")
_ENDS = tuple(f"end_{name}" for name in _PLACES)
DECISION_COLUMNS = (
    "video",
    "what",
    "first_frame",
    "last_frame",
    "individual",
    "other",
    *_PLACES,
    *_ENDS,
    "author",
    "time",
)

_TRACKS = "tracks"
# Far beyond any frame, in px; what is farther is a mistake.
_FARTHEST = 1e6
_MOST_ANIMALS = 2
_ANCHOR_FORM = "`FRAME X Y`, such as `119 310.25 48.5`"
# Kinds that name two animals, and kinds that may end before the video does.
_PAIRED = (DecisionKind.SWAP, DecisionKind.JOIN)
_ENDING = (DecisionKind.SWAP, DecisionKind.CUT, DecisionKind.CONFIRM)


def index_decision_tables(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Return the tables of decisions of each video, by the name of the file.

    Parameters
    ----------
    folder
        ``corrections.path``; none are found where it does not exist.

    Raises
    ------
    LabelError
        If links or other files stand among them.
    """
    tables: dict[str, list[Path]] = {}
    for path in list_tables(folder / _TRACKS):
        tables.setdefault(path.stem, []).append(path)
    return {video: tuple(paths) for video, paths in tables.items()}


def hash_tables(tables: Iterable[Path]) -> str:
    """Return a hash of the contents of tables; empty without any."""
    digest, any_table = hashlib.sha256(), False
    for path in sorted(tables):
        any_table = True
        digest.update(path.parent.name.encode(errors="surrogateescape") + b"\0")
        try:
            # The step reports a table that cannot be read as a problem of its video.
            facts = path.lstat()
            small = stat.S_ISREG(facts.st_mode) and facts.st_size <= MOST_BYTES
            content = path.read_bytes() if small else str(facts.st_size).encode()
        except OSError:
            content = b""
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16] if any_table else ""


def read_track_decisions(folder: Path) -> tuple[TrackDecision, ...]:
    """Read the decisions of all authors about all videos, by file, in the order of their rows.

    Parameters
    ----------
    folder
        ``corrections.path``; none are found where it does not exist.

    Raises
    ------
    LabelError
        With every problem of every file, one line each, by file and line.
    """
    return read_decision_tables(list_tables(folder / _TRACKS))


def read_decision_tables(tables: Sequence[Path]) -> tuple[TrackDecision, ...]:
    """Read the decisions in some tables.

    Raises
    ------
    LabelError
        With every problem, one line each, by file and line.
    """
    problems: list[str] = []
    decisions: list[TrackDecision] = []
    for path in tables:
        try:
            decisions += _read_table(path)
        except LabelError as error:
            where = f"{path.parent.name}/{path.name}"
            problems += [f"{where}, {problem}" for problem in error.problems]
    if problems:
        raise LabelError(str(tables[0].parents[1]), problems)
    return tuple(dict.fromkeys(decisions))


def write_track_decision(folder: Path, decision: TrackDecision) -> Path:
    """Add a decision to the table of its author and video, and return the table.

    The table is written whole, under the lock of the author's folder; a damaged one is left as it
    is. A decision that the table already holds is not repeated.

    Parameters
    ----------
    folder
        ``corrections.path``; made where it does not exist.
    decision
        The decision.

    Raises
    ------
    LabelError
        If the decision cannot be stored, with every problem; if the existing table is damaged or
        cannot be locked.
    """
    return _rewrite(folder, decision, keep=True)


def remove_track_decision(folder: Path, decision: TrackDecision) -> Path:
    """Withdraw a decision; a table without any other row is removed.

    Raises
    ------
    LabelError
        As `write_track_decision`.
    """
    return _rewrite(folder, decision, keep=False)


def find_decision_problems(one: TrackDecision) -> list[str]:
    """Explain why a decision cannot be stored or applied; empty if it can."""
    return [*_find_naming_problems(one), *_find_place_problems(one)]


def _find_naming_problems(one: TrackDecision) -> Iterator[str]:
    names = [("video", one.video), ("individual", one.individual), ("author", one.author)]
    names += [("other", one.other)] if one.other or one.what in _PAIRED else []
    yield from (problem for pair in names if (problem := describe_name_problem(*pair)))
    if one.other and one.other == one.individual:
        yield f"other {one.other[:80]!r}: is the individual itself"
    if problem := find_time_problem(one.time):
        yield problem


def _find_place_problems(one: TrackDecision) -> Iterator[str]:
    if one.first_frame < 1:
        yield f"first_frame {one.first_frame}: expected 1 or more, a frame that has one before it"
    anchored = any(passage.complete for passage in one.passages)
    if one.what is DecisionKind.CONFIRM:
        if not one.passages:
            yield "before, after: expected an anchor"
    elif not anchored:
        yield "before, after: expected the anchors of one animal at least on both sides"
    elif one.what is not DecisionKind.SWAP and not one.passages[0].complete:
        yield "before, after: expected both anchors of the individual"
    if max(len(one.passages), len(one.ends)) > _MOST_ANIMALS:
        yield f"anchors of {len(one.passages)} animals: expected {_MOST_ANIMALS} at most"
    yield from _find_passage_problems(one.passages, _PLACES, one.first_frame)
    yield from _find_end_problems(one)


def _find_end_problems(one: TrackDecision) -> Iterator[str]:
    if one.last_frame is not None:
        if one.what not in _ENDING:
            yield f"last_frame {one.last_frame}: must be empty, as a {one.what} goes to the end"
        if one.last_frame < one.first_frame:
            yield f"last_frame {one.last_frame}: is before first_frame {one.first_frame}"
    if one.last_frame is None or one.what is DecisionKind.CONFIRM:
        if one.ends:
            yield "end_before, end_after: must be empty without an end"
        return
    if not any(passage.complete for passage in one.ends):
        yield "end_before, end_after: expected the anchors of one animal at least at the end"
    yield from _find_passage_problems(one.ends, _ENDS, one.last_frame + 1)


def _find_passage_problems(
    passages: Sequence[Passage], names: Sequence[str], place: int
) -> Iterator[str]:
    """Yield a problem per anchor that is on the wrong side of a place, or nowhere."""
    anchors = [anchor for passage in passages for anchor in passage]
    for name, anchor in zip(names, anchors, strict=False):
        if anchor is None:
            continue
        if not (abs(anchor.x) <= _FARTHEST and abs(anchor.y) <= _FARTHEST):
            yield f"{name}: x {anchor.x:g}, y {anchor.y:g}: expected px within a frame"
        if name.endswith("before") and not 0 <= anchor.frame < place:
            yield f"{name}: frame {anchor.frame}: expected one before frame {place}"
        if name.endswith("after") and not place <= anchor.frame < 10**12:
            yield f"{name}: frame {anchor.frame}: expected frame {place} or one after it"


def _read_table(path: Path) -> list[TrackDecision]:
    """Read the table of an author and video; none where there is no file."""
    problems: list[str] = []
    decisions = []
    for row in read_rows(path, DECISION_COLUMNS):
        try:
            decision = _read_decision(row)
        except ValueError as error:
            problems.append(f"line {row.line}: {error}")
            continue
        problems += [f"line {row.line}: {found}" for found in find_decision_problems(decision)]
        if find_table_path(path.parent, "x", decision.video).name != path.name:
            problems.append(
                f"line {row.line}: video {decision.video[:80]!r}: stands in a file of another name"
            )
        decisions.append(decision)
    if problems:
        raise LabelError(str(path), problems)
    return decisions


def _read_decision(row: TableRow) -> TrackDecision:
    if row["what"] not in DecisionKind.__members__.values():
        expected = ", ".join(DecisionKind)
        raise ValueError(f"what {row['what'][:40]!r}: expected one of {expected}")
    first = parse_whole_number("first_frame", row["first_frame"])
    last = parse_whole_number("last_frame", row["last_frame"]) if row["last_frame"] else None
    return TrackDecision(
        video=row["video"],
        what=DecisionKind(row["what"]),
        first_frame=first,
        last_frame=last,
        individual=row["individual"],
        other=row["other"],
        passages=_read_passages(row, _PLACES),
        ends=_read_passages(row, _ENDS),
        author=row["author"],
        time=parse_time(row["time"]),
    )


def _read_passages(row: Mapping[str, str], columns: Sequence[str]) -> tuple[Passage, ...]:
    anchors = [_read_anchor(column, row[column]) for column in columns]
    return _drop_empty([Passage(*anchors[:2]), Passage(*anchors[2:])])


def _drop_empty(passages: Sequence[Passage]) -> tuple[Passage, ...]:
    """Drop the last passages that have no anchor."""
    kept = list(passages)
    while kept and kept[-1] == Passage():
        kept.pop()
    return tuple(kept)


def _read_anchor(column: str, text: str) -> Anchor | None:
    if not text:
        return None
    try:
        frame, x, y = text.split(" ")
        return Anchor(
            parse_whole_number(column, frame), parse_number(column, x), parse_number(column, y)
        )
    except ValueError:
        raise ValueError(f"{column} {text[:40]!r}: expected {_ANCHOR_FORM}") from None


def _rewrite(folder: Path, decision: TrackDecision, *, keep: bool) -> Path:
    decision = _round_anchors(decision)
    if problems := find_decision_problems(decision):
        raise LabelError(f"decision about {decision.video[:80]!r}", problems)
    path = find_table_path(folder / _TRACKS, decision.author, decision.video)
    with lock_folder(path.parent, folder):
        kept = [one for one in _read_table(path) if one != decision]
        kept += [decision] if keep else []
        # In the order of frames, so that version control sees what changed and nothing else.
        kept.sort(key=lambda one: (one.first_frame, one.time))
        if kept:
            rows = [_format_decision(one) for one in kept]
            publish_text(path, format_table(DECISION_COLUMNS, rows))
        else:
            path.unlink(missing_ok=True)
    return path


def _round_anchors(one: TrackDecision) -> TrackDecision:
    """Return a decision as its row will be read: anchors to a hundredth of a px."""
    passages, ends = (
        _drop_empty([Passage(*(_round(anchor) for anchor in passage)) for passage in passages])
        for passages in (one.passages, one.ends)
    )
    return replace(one, passages=passages, ends=ends)


def _round(anchor: Anchor | None) -> Anchor | None:
    return anchor and Anchor(anchor.frame, round(anchor.x, 2), round(anchor.y, 2))


def _format_decision(one: TrackDecision) -> dict[str, object]:
    cells: dict[str, object] = {
        "video": one.video,
        "what": str(one.what),
        "first_frame": one.first_frame,
        "last_frame": one.last_frame,
        "individual": one.individual,
        "other": one.other,
        "author": one.author,
        "time": format_time(one.time),
    }
    for names, passages in ((_PLACES, one.passages), (_ENDS, one.ends)):
        anchors = [anchor for passage in passages for anchor in passage]
        cells |= {
            name: f"{anchor.frame} {anchor.x:.2f} {anchor.y:.2f}"
            for name, anchor in zip(names, anchors, strict=False)
            if anchor is not None
        }
    return cells
