"""Poses of one video: what inference, tracking and filtering hand to each other."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Poses:
    """Keypoints of every true frame of one video.

    Attributes
    ----------
    position
        Shape (time, 2, keypoint, individual), float32, x and y in px of the full-resolution
        frame, (0, 0) being the centre of the top-left pixel. NaN: not found, or no frame.
    confidence
        Shape (time, keypoint, individual), float32 in 0..1. NaN: the frame could not be decoded.
    frame_status
        Shape (time,), uint8, values of `pipeline_lib.core.tables.FrameStatus`.
    time
        Shape (time,), float64, presentation time in seconds.
    bodyparts, individuals
        Names along the keypoint and individual axes.
    attributes
        JSON-like record: fps, video, key, versions and what else a later reader wants to know.
    track_status
        Shape (time, individual), uint8, values of `pipeline_lib.core.tables.TrackStatus`; None
        where individuals were not tracked: then their places say nothing of who they are.
    identity
        Shape (time, individual, identity), float32 in 0..1, how much each individual looks like
        each of the labelled ones (attribute ``identities``); NaN where it is not there. None
        where the network did not learn it.
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

    def __post_init__(self) -> None:
        frames, keypoints = len(self.time), len(self.bodyparts)
        individuals = len(self.individuals)
        expected: dict[str, tuple[int, ...]] = {
            "position": (frames, 2, keypoints, individuals),
            "confidence": (frames, keypoints, individuals),
            "frame_status": (frames,),
        }
        if self.track_status is not None:
            expected["track_status"] = (frames, individuals)
        if self.identity is not None:
            identities = len(self.attributes.get("identities", ()))
            expected["identity"] = (frames, individuals, identities)
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(f"{name} has shape {found}, expected {shape}")
