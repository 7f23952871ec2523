"""Write tidy tables: one row per moment, individual and bodypart, one column per variable."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.io.exports.sessions.source import SessionSource
from pipeline_lib.io.publish import publish_file

if TYPE_CHECKING:
    import pandas as pd

_UNKNOWN = ""


def write_tidy(path: Path, source: SessionSource) -> None:
    """Publish the poses of one session as a tidy CSV table (a `registry.Writer`).

    Columns: ``moment`` (from 0), ``time`` (s), ``individual``, ``bodypart``, ``x``, ``y``, ``z``
    in ``unit`` and the axes of the calibration, ``confidence``, ``error`` (px), ``views``,
    ``uncertainty`` (in ``unit``). A point that was not found has a row with empty cells and 0
    views. Numbers have the fewest digits that restore them.
    """
    with publish_file(path) as part:
        for moments, block in source.read_blocks():
            first = moments.start == 0
            _tabulate(block, moments.start).to_csv(
                part, mode="w" if first else "a", header=first, index=False, lineterminator="\n"
            )


def _tabulate(poses: SessionPoses, start: int) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415

    moments, individuals, bodyparts, _ = poses.position.shape
    points = individuals * bodyparts
    x, y, z = poses.position.reshape(-1, 3).T
    names = np.array([*poses.individuals], dtype=object)
    parts = np.array([*poses.bodyparts], dtype=object)
    return pd.DataFrame(
        {
            "moment": np.repeat(np.arange(start, start + moments), points),
            "time": np.repeat(poses.time, points),
            "individual": np.tile(np.repeat(names, bodyparts), moments),
            "bodypart": np.tile(parts, moments * individuals),
            "x": x,
            "y": y,
            "z": z,
            "unit": poses.unit or _UNKNOWN,
            "confidence": poses.confidence.ravel(),
            "error": poses.error.ravel(),
            "views": poses.views.ravel(),
            "uncertainty": poses.uncertainty.ravel(),
        }
    )
