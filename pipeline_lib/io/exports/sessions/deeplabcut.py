"""Write DeepLabCut's tables of triangulated poses (``*_DLC_3D.h5``).

HDF5 by pandas, key ``df_with_missing``: one row per moment; column levels scorer, bodyparts,
coords (x, y, z) for one individual, and scorer, individuals, bodyparts, coords for several.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.io.exports.deeplabcut import append_to_hdf
from pipeline_lib.io.exports.sessions.source import SessionSource
from pipeline_lib.io.publish import publish_file

if TYPE_CHECKING:
    import pandas as pd


def write_deeplabcut_3d(path: Path, source: SessionSource) -> None:
    """Publish the poses of one session as DeepLabCut's 3D table (a `registry.Writer`).

    Coordinates are in the unit and the axes of the calibration, as in DeepLabCut; NaN: not found.
    """
    with publish_file(path) as part:
        for moments, block in source.read_blocks():
            table = _tabulate(block, source.scorer, moments.start)
            append_to_hdf(part, table, first=moments.start == 0)


def _tabulate(poses: SessionPoses, scorer: str, start: int) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415

    levels: dict[str, tuple[str, ...]] = {"scorer": (scorer,)}
    if len(poses.individuals) > 1:
        levels["individuals"] = poses.individuals
    levels |= {"bodyparts": poses.bodyparts, "coords": ("x", "y", "z")}
    moments, *points = poses.position.shape
    return pd.DataFrame(
        poses.position.reshape(moments, math.prod(points)),
        index=np.arange(start, start + moments),
        columns=pd.MultiIndex.from_product([*levels.values()], names=list(levels)),
    )
