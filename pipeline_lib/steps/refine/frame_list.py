"""Read the frames that a user names: a table of videos and frames."""

from collections.abc import Mapping
from pathlib import Path

from pipeline_lib.core.errors import LabelError
from pipeline_lib.io.stage_tables import read_table

_COLUMNS = ("video", "frame")


def read_frame_list(path: Path, frames: Mapping[str, int | None]) -> list[tuple[str, int]]:
    """Read a table of frames.

    Parameters
    ----------
    path
        TSV with the columns ``video`` and ``frame``.
    frames
        Number of frames of each video of the cohort; None: unknown.

    Returns
    -------
    list of (video, frame)
        In the table's order, each once.

    Raises
    ------
    LabelError
        With one line per problem: a video that the cohort does not have, a frame that is no
        number or not in its video.
    StoreError
        If the table is missing or lacks a column.
    """
    try:
        rows = read_table(path, _COLUMNS)
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(str(path), [f"cannot be read as a TSV in UTF-8: {error}"]) from None
    problems = []
    for line, row in enumerate(rows, start=2):
        video, frame = row["video"] or "", row["frame"] or ""
        if video not in frames:
            problems.append(f"line {line}: the cohort has no video {video!r}")
        elif not (frame.isascii() and frame.isdecimal()):
            problems.append(f"line {line}: expected a frame counted from 0, found {frame!r}")
        elif (most := frames[video]) is not None and int(frame) >= most:
            problems.append(
                f"line {line}: video {video} has the frames 0 to {most - 1}, found {frame}"
            )
    if problems:
        raise LabelError(str(path), problems)
    return list(dict.fromkeys((row["video"], int(row["frame"])) for row in rows))
