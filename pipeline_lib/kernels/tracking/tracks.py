"""Arrange poses as tracks: one animal per slot throughout a video."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.tracking.detections import Detections
from pipeline_lib.kernels.tracking.track import TrackRules, cut_video, follow_individuals

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Tracks:
    """Poses with one individual per slot.

    Attributes
    ----------
    position
        Shape (frame, individual, keypoint, 2), px; NaN where missing.
    confidence
        Shape (frame, individual, keypoint), 0..1; 0 where an individual was not found, NaN where
        the frame could not be decoded.
    status
        Shape (frame, individual), uint8, values of `pipeline_lib.core.tables.TrackStatus`.
    """

    position: Floats
    confidence: Floats
    status: NDArray[np.uint8]


def track_individuals(
    detections: Detections, individuals: int, rules: TrackRules, *, segment_frames: int
) -> Tracks:
    """Follow the individuals of a video that is held in memory.

    Parameters
    ----------
    detections
        Poses of all frames.
    individuals
        Number of slots: the largest number of individuals at a time.
    rules
        Rules by which individuals are followed.
    segment_frames
        Number of frames linked at a time; the result does not depend on it.

    Returns
    -------
    Tracks
        If there are as many identities as slots, slot n is the nth identity. Otherwise slots are
        in the order of their first frames, and from left to right within a frame.
    """

    def read(start: int, stop: int) -> Detections:
        identity = detections.identity
        return Detections(
            detections.position[start:stop],
            detections.confidence[start:stop],
            None if identity is None else identity[start:stop],
        )

    segments = cut_video(len(detections.position), segment_frames)
    followed = follow_individuals(read, segments, individuals, rules)
    position, confidence = arrange_poses(detections, followed.slot, individuals)
    return Tracks(position, confidence, followed.status)


def arrange_poses(
    detections: Detections, slot: NDArray[np.int32], individuals: int
) -> tuple[Floats, Floats]:
    """Move the poses of some frames to their slots.

    Parameters
    ----------
    detections
        Poses of these frames.
    slot
        Shape (frame, individual), as in `pipeline_lib.kernels.tracking.track.Followed`.
    individuals
        Number of slots.

    Returns
    -------
    position, confidence
        As in `Tracks`.
    """
    position = arrange_values(detections.position, slot, individuals, np.nan)
    confidence = arrange_values(detections.confidence, slot, individuals, 0.0)
    if detections.confidence.shape[1]:
        confidence[np.isnan(detections.confidence).all((1, 2))] = np.nan
    return position, confidence


def arrange_values(
    values: Floats, slot: NDArray[np.int32], individuals: int, missing: float
) -> Floats:
    """Move values that belong to the poses of some frames to the slots of these poses.

    Parameters
    ----------
    values
        Shape (frame, individual, ...).
    slot
        Shape (frame, individual), as in `pipeline_lib.kernels.tracking.track.Followed`.
    individuals
        Number of slots.
    missing
        Fill value of individuals that were not found.

    Returns
    -------
    ndarray
        Shape (frame, slot, ...), dtype of `values`.
    """
    shape = (len(values), individuals, *values.shape[2:])
    arranged = np.full(shape, missing, values.dtype)
    frame, individual = np.nonzero(slot >= 0)
    arranged[frame, slot[frame, individual]] = values[frame, individual]
    return arranged
