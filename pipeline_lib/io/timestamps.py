"""Read lists of the times of frames, which recorders write beside videos."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import SessionError
from pipeline_lib.core.untrusted.regular_files import require_regular_file

_MOST_BYTES = 2**26


def read_timestamps(path: Path) -> NDArray[np.float64]:
    """Read the time of each frame, one number per line.

    A first line that is no number is a heading. Of several cells, separated by tabs or commas,
    the last one is the time. Empty lines at the end are left out.

    Parameters
    ----------
    path
        Text in UTF-8.

    Returns
    -------
    NDArray[np.float64]
        Shape (frame,), seconds; NaN for a line ``nan``, a frame whose time is not known.

    Raises
    ------
    SessionError
        If the file cannot be read or a line is no number; names file and line.
    """
    try:
        require_regular_file(path)
        if path.stat().st_size > _MOST_BYTES:
            raise SessionError(
                f"{path}: is larger than {_MOST_BYTES // 2**20} MiB, expected one time per line"
            )
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise SessionError(f"{path}: is not text in UTF-8: save it as UTF-8") from None
    except OSError as error:
        raise SessionError(f"{path}: cannot be read: {error.strerror}") from None
    while lines and not lines[-1].strip():
        lines.pop()
    cells = [line.replace(",", "\t").split("\t")[-1].strip() for line in lines]
    times = [_parse(cell) for cell in cells]
    if times and times[0] is None:
        cells, times = cells[1:], times[1:]
    for number, time in enumerate(times):
        if time is None:
            line = number + 1 + len(lines) - len(times)
            raise SessionError(
                f"{path}: line {line} is {cells[number][:40]!r}, expected a time in seconds"
            )
    return np.array(times, np.float64)


def _parse(cell: str) -> float | None:
    try:
        time = float(cell)
    except ValueError:
        return None
    return None if math.isinf(time) else time
