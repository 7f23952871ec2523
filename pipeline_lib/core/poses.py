"""Hold the poses of one video, which inference, tracking and filtering pass on.

In memory poses have one order of axes: time, individual, keypoint, space. Confidences and whatever
else describes an individual have the first of these axes. Pose files keep movement's order (time,
space, keypoint, individual); `pipeline_lib.io.poses` alone converts one into the other, and files
of other tools are converted where they are written or read.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.tables import FrameStatus

# Attribute of corrected tracks: names of animals that a decision added to this video, and that
# other videos of the cohort do not have.
ADDED_INDIVIDUALS = "added_individuals"


def find_decoded(frame_status: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Tell which frames were decoded, whether their poses were computed or nothing had moved.

    Parameters
    ----------
    frame_status
        Values of `pipeline_lib.core.tables.FrameStatus`, any shape.
    """
    return np.isin(frame_status, (FrameStatus.DECODED, FrameStatus.STILL))


@dataclass(frozen=True)
class Poses:
    """Hold the keypoints of every frame of one video.

    Attributes
    ----------
    position
        Shape (time, individual, keypoint, 2), float32, x and y in px of the full-resolution
        frame, (0, 0) being the centre of the top-left pixel. NaN: not found, or no frame.
    confidence
        Shape (time, individual, keypoint), float32 in 0..1. NaN: the frame could not be decoded.
    frame_status
        Shape (time,), uint8, values of `pipeline_lib.core.tables.FrameStatus`.
    time
        Shape (time,), float64, presentation time in seconds.
    bodyparts, individuals
        Names along the keypoint and the individual axis.
    attributes
        JSON-like record: fps, video, key, versions and what else a later reader wants to know.
    track_status
        Shape (time, individual), uint8, values of `pipeline_lib.core.tables.TrackStatus`; None
        where individuals were not tracked: the order of individuals then carries no identity.
    identity
        Shape (time, individual, identity), float32 in 0..1, how much each individual looks like
        each of the labelled ones (attribute ``identities``); NaN where it is not there. None
        where the network did not learn it.
    spread
        Shape (time, individual, keypoint), float32, px: root mean square of the distances between
        what the members of an ensemble predict and their median. NaN: fewer than two members
        found the keypoint, or no frame. None where there is one network.
    point_source
        Shape (time, individual, keypoint), uint8, values of
        `pipeline_lib.core.tables.PointSource`; None but in views that a session corrected.
    """

    position: NDArray[np.float32]
    confidence: NDArray[np.float32]
    frame_status: NDArray[np.uint8]
    time: NDArray[np.float64]
    bodyparts: tuple[str, ...]
    individuals: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    track_status: NDArray[np.uint8] | None = None
    identity: NDArray[np.float32] | None = None
    spread: NDArray[np.float32] | None = None
    point_source: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        frames, keypoints = len(self.time), len(self.bodyparts)
        individuals = len(self.individuals)
        expected: dict[str, tuple[int, ...]] = {
            "position": (frames, individuals, keypoints, 2),
            "confidence": (frames, individuals, keypoints),
            "frame_status": (frames,),
        }
        if self.track_status is not None:
            expected["track_status"] = (frames, individuals)
        if self.identity is not None:
            identities = len(self.attributes.get("identities", ()))
            expected["identity"] = (frames, individuals, identities)
        if self.spread is not None:
            expected["spread"] = (frames, individuals, keypoints)
        if self.point_source is not None:
            expected["point_source"] = (frames, individuals, keypoints)
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(f"{name} has shape {found}, expected {shape}")


def drop_added(poses: Poses) -> Poses:
    """Return poses without the animals that other videos do not have, see `ADDED_INDIVIDUALS`."""
    added = set(poses.attributes.get(ADDED_INDIVIDUALS, ()))
    if not added:
        return poses
    kept = [slot for slot, name in enumerate(poses.individuals) if name not in added]
    return replace(
        poses,
        position=poses.position[:, kept],
        confidence=poses.confidence[:, kept],
        individuals=tuple(poses.individuals[slot] for slot in kept),
        track_status=None if poses.track_status is None else poses.track_status[:, kept],
        identity=None if poses.identity is None else poses.identity[:, kept],
        spread=None if poses.spread is None else poses.spread[:, kept],
        point_source=None if poses.point_source is None else poses.point_source[:, kept],
    )
