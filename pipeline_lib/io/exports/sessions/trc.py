"""Write TRC files (Track Row Column), as Pose2Sim writes them for OpenSim.

Lengths are in m. As in Pose2Sim, the file's X, Y, Z are y, z, x of the calibration: a calibration
whose z points up, as that of a floor does, gives Y up, which OpenSim expects.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline_lib.core.cameras.calibration import UNITS
from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.exports.sessions.source import SessionSource
from pipeline_lib.io.publish import publish_file

if TYPE_CHECKING:
    import pandas as pd

# Positions of the file's X, Y, Z among x, y, z of the calibration.
AXES = (1, 2, 0)
# So many digits restore a float32.
_FORMAT = "%.9g"


def write_trc(path: Path, source: SessionSource) -> None:
    """Publish the poses of one session as a TRC file (a `registry.Writer`).

    Frames are numbered from 1, as in the format; ``Time`` is the time of the session in s. A point
    that was not found is written as NaN: readers that split lines at blanks would misread empty
    cells. For the same reason, blanks in names become underscores; if two markers then have the
    same name, a `StoreError` says so. With several individuals, markers are named
    ``INDIVIDUAL_BODYPART``.
    """
    with publish_file(path) as part:
        part.write_text(_write_head(path, source), encoding="utf-8", newline="\n")
        for moments, block in source.read_blocks():
            _tabulate(block, moments.start + 1).to_csv(
                part,
                sep="\t",
                mode="a",
                header=False,
                float_format=_FORMAT,
                na_rep="NaN",
                lineterminator="\n",
            )


def _write_head(path: Path, source: SessionSource) -> str:
    markers, rate = _name_markers(source), format(source.fps, ".10g")
    count, frames = str(len(markers)), str(source.frames)
    columns = {
        "DataRate": rate,
        "CameraRate": rate,
        "NumFrames": frames,
        "NumMarkers": count,
        "Units": "m",
        "OrigDataRate": rate,
        "OrigDataStartFrame": "1",
        "OrigNumFrames": frames,
    }
    lines = [
        ["PathFileType", "4", "(X/Y/Z)", path.name],
        list(columns),
        list(columns.values()),
        ["Frame#", "Time", *(cell for name in markers for cell in (name, "", ""))],
        ["", "", *(f"{axis}{place}" for place in range(1, len(markers) + 1) for axis in "XYZ")],
    ]
    return "".join("\t".join(line) + "\n" for line in lines)


def _name_markers(source: SessionSource) -> list[str]:
    names = ["_".join(name.split()) for name in source.name_markers("_")]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise StoreError(
            f"{source.poses}: more than one marker of the TRC file is named {twice!r}; rename an "
            "individual or a bodypart"
        )
    return names


def _tabulate(poses: SessionPoses, start: int) -> "pd.DataFrame":
    """Return a row per moment: its time, and X, Y, Z of each marker in m."""
    import pandas as pd  # noqa: PLC0415

    moments, *points = poses.position.shape
    metres = poses.position.astype(np.float64)[..., AXES] * UNITS[poses.unit or "m"]
    table = pd.DataFrame(
        metres.reshape(moments, math.prod(points)), index=np.arange(start, start + moments)
    )
    # Seconds with the digits that tell moments of an hour apart.
    table.insert(0, "time", [format(second, ".6f") for second in poses.time])
    return table
