"""Tracks: the same animal at the same place throughout a video."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.tracking.detections import Detections
from pipeline_lib.kernels.tracking.track import TrackRules, cut_video, follow_individuals

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Tracks:
    """Poses with one individual at each place.

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
    detections: Detections, individuals: int, rules: TrackRules, segment_frames: int = 2000
) -> Tracks:
    """Follow the individuals of a video that is held in memory.

    Parameters
    ----------
    detections
        All poses.
    individuals
        Most individuals at a time: the places of the result.
    rules
        How individuals are followed.
    segment_frames
        Frames linked at a time; the result does not depend on it.

    Returns
    -------
    Tracks
        With known identities, as many as places, place n is the nth of them; else places are in
        the order of their first frames, at the same frame from left to right.
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
    position, confidence = arrange_poses(detections, followed.place, individuals)
    return Tracks(position, confidence, followed.status)


def arrange_poses(
    detections: Detections, place: NDArray[np.int32], individuals: int
) -> tuple[Floats, Floats]:
    """Put the poses of some frames where they belong.

    Parameters
    ----------
    detections
        Poses of these frames.
    place
        Shape (frame, individual), as in `pipeline_lib.kernels.tracking.track.Followed`.
    individuals
        Number of places.

    Returns
    -------
    position, confidence
        As in `Tracks`.
    """
    position = arrange_values(detections.position, place, individuals, np.nan)
    confidence = arrange_values(detections.confidence, place, individuals, 0.0)
    if detections.confidence.shape[1]:
        confidence[np.isnan(detections.confidence).all((1, 2))] = np.nan
    return position, confidence


def arrange_values(
    values: Floats, place: NDArray[np.int32], individuals: int, missing: float
) -> Floats:
    """Put what belongs to the poses of some frames where these belong.

    Parameters
    ----------
    values
        Shape (frame, individual, ...).
    place
        Shape (frame, individual), as in `pipeline_lib.kernels.tracking.track.Followed`.
    individuals
        Number of places.
    missing
        Value of individuals that were not found.

    Returns
    -------
    ndarray
        Shape (frame, place, ...), dtype of `values`.
    """
    shape = (len(values), individuals, *values.shape[2:])
    arranged = np.full(shape, missing, values.dtype)
    frame, individual = np.nonzero(place >= 0)
    arranged[frame, place[frame, individual]] = values[frame, individual]
    return arranged
