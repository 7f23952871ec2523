"""Read the frames that a user names: a table of videos and frames."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.untrusted.regular_files import describe_encoding, require_regular_file

_COLUMNS = ("video", "frame")
_MOST_DIGITS = 18  # of a frame's number


def read_frame_list(path: Path, frames: Mapping[str, int | None]) -> list[tuple[str, int]]:
    """Read a table of frames.

    Parameters
    ----------
    path
        TSV with the columns ``video`` and ``frame``; others are ignored.
    frames
        Number of frames of each video of the cohort; None: unknown.

    Returns
    -------
    list of (video, frame)
        In the table's order, each once.

    Raises
    ------
    LabelError
        With one line per problem: a table that cannot be read or lacks a column, a video that the
        cohort does not have, a frame that is no number or not in its video.
    """
    try:
        reader = csv.DictReader(io.StringIO(_read_text(path), newline=""), delimiter="\t")
        found, rows = reader.fieldnames or (), list(reader)
    except csv.Error as error:
        raise LabelError(str(path), [f"is not a table of text: {error}"]) from None
    missing = [name for name in _COLUMNS if name not in found]
    if missing:
        shown = ", ".join(found) or "nothing"
        raise LabelError(
            str(path),
            [f"missing column `{name}` (tab-separated; found: {shown})" for name in missing],
        )
    problems = []
    for line, row in enumerate(rows, start=2):
        if problem := _find_problem(row["video"] or "", row["frame"] or "", frames):
            problems.append(f"line {line}: {problem}")
    if problems:
        raise LabelError(str(path), problems)
    return list(dict.fromkeys((row["video"], int(row["frame"])) for row in rows))


def _find_problem(video: str, frame: str, frames: Mapping[str, int | None]) -> str:
    if video not in frames:
        return f"the cohort has no video {video!r}"
    if not (frame.isascii() and frame.isdecimal() and len(frame) <= _MOST_DIGITS):
        return f"expected a frame counted from 0, found {frame!r}"
    number = frames[video]
    if number is not None and int(frame) >= number:
        return f"video {video} has the frames 0 to {number - 1}, found {frame}"
    return ""


def _read_text(path: Path) -> str:
    try:
        require_regular_file(path)
        data = path.read_bytes()
    except OSError as error:
        raise LabelError(str(path), [f"cannot be read: {error.strerror}"]) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError(str(path), [describe_encoding(data, error)]) from None
