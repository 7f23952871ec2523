"""What SLEAP's files and this project's poses mean by the same things."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.poses import Poses
from pipeline_lib.core.tables import TrackStatus

# Added to SLEAP's coordinates on import and taken off ours on export, in px. SLEAP counts as this
# project does: (0, 0) is the centre of the top-left pixel. Before version 1.1 of its format it was
# the pixel's corner; sleap-io takes half a pixel off such files.
PIXEL_OFFSET = 0.0


@dataclass(frozen=True, eq=False)
class Instances:
    """What SLEAP calls instances: the individuals that a frame shows.

    Attributes
    ----------
    present
        Shape (time, individual), bool, whether at least one keypoint is known.
    score
        Shape (time, individual), float32, mean confidence of the known keypoints, 0 where none of
        them has one (they were interpolated over frames that could not be decoded). NaN: not
        present.
    tracking_score
        Shape (time, individual), float32, 1 where the individual was followed, 0 where it is
        uncertain which one it is or where it was interpolated. NaN: not present, or not tracked.
    """

    present: NDArray[np.bool_]
    score: NDArray[np.float32]
    tracking_score: NDArray[np.float32]


def find_instances(poses: Poses) -> Instances:
    """Tell which individuals each frame shows, and how sure that is."""
    known = ~np.any(np.isnan(poses.position), axis=-1)
    present = np.any(known, axis=-1)
    scored = known & ~np.isnan(poses.confidence)
    total = np.where(scored, poses.confidence, 0).sum(axis=-1)
    score = total / np.maximum(scored.sum(axis=-1), 1)
    nowhere = np.float32(np.nan)
    tracking = np.full(present.shape, nowhere)
    if poses.track_status is not None:
        followed = poses.track_status == TrackStatus.FOLLOWED
        tracking = np.where(present, followed.astype(np.float32), nowhere)
    return Instances(present, np.where(present, score, nowhere).astype(np.float32), tracking)
