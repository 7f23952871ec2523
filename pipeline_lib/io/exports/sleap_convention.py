"""Convert between the conventions of SLEAP's files and of our poses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.poses import Poses
from pipeline_lib.core.tables import TrackStatus

# Offset in px that is added to SLEAP's coordinates on import and subtracted from ours on export.
# In both, (0, 0) is the centre of the top-left pixel. Before version 1.1 of SLEAP's format it was
# the corner of that pixel; sleap-io subtracts half a pixel when it reads such files.
PIXEL_OFFSET = 0.0


@dataclass(frozen=True, eq=False)
class Instances:
    """Hold the individuals that each frame shows, which SLEAP calls instances.

    Attributes
    ----------
    present
        Shape (time, individual), bool. Whether at least one keypoint is known.
    score
        Shape (time, individual), float32, 0 to 1. Mean confidence of the known keypoints; 0 if
        none has a confidence, as after interpolation over frames that were not decoded. NaN if the
        individual is not present.
    tracking_score
        Shape (time, individual), float32. 1 if the individual was followed, 0 if its identity is
        uncertain or its pose was interpolated. NaN if it is not present or not tracked.
    """

    present: NDArray[np.bool_]
    score: NDArray[np.float32]
    tracking_score: NDArray[np.float32]


def find_instances(poses: Poses) -> Instances:
    """Return the individuals that each frame shows, with their scores.

    Parameters
    ----------
    poses
        Poses of consecutive frames, with axes (time, individual, keypoint, space).

    Returns
    -------
    Instances
        Presence and scores, with axes (time, individual).
    """
    known = ~np.any(np.isnan(poses.position), axis=-1)
    present = np.any(known, axis=-1)
    scored = known & ~np.isnan(poses.confidence)
    total = np.where(scored, poses.confidence, 0).sum(axis=-1)
    score = total / np.maximum(scored.sum(axis=-1), 1)
    absent = np.float32(np.nan)
    tracking = np.full(present.shape, absent)
    if poses.track_status is not None:
        followed = poses.track_status == TrackStatus.FOLLOWED
        tracking = np.where(present, followed.astype(np.float32), absent)
    return Instances(present, np.where(present, score, absent).astype(np.float32), tracking)
