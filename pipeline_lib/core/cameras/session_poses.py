"""Hold the three-dimensional poses of one session, which triangulation and exports pass on.

A moment is one instant of a session. The axes in memory are those of `pipeline_lib.core.poses`:
time, individual, keypoint, space; what belongs to a camera has its axis after time.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SessionPoses:
    """Hold the keypoints of every moment of one session.

    Attributes
    ----------
    position
        Shape (time, individual, keypoint, 3), float32, x, y and z in the unit and the axes of the
        calibration. NaN: seen by fewer than two cameras, or no two agree.
    confidence
        Shape (time, individual, keypoint), float32 in 0..1, mean confidence of the views that were
        used. NaN: no point.
    error
        Shape (time, individual, keypoint), float32, root mean square of the reprojection errors
        of the views that were used, in px. NaN: no point.
    views
        Shape (time, individual, keypoint), uint8, number of views that were used; 0: no point.
    uncertainty
        Shape (time, individual, keypoint), float32, expected distance from the true point (root
        mean square), in the unit of the calibration. NaN: no point.
    camera_error
        Shape (time, camera, individual, keypoint), float32, distance in px between the projected
        point and what the camera saw, also in views that were left out. NaN: not seen, or no
        point.
    camera_frame
        Shape (time, camera), int32, frame of the camera's video at the moment; -1: it has none.
    camera_individual
        Shape (time, camera, individual), int16, slot that the individual has in the camera's own
        poses at the moment; -1: the camera does not see it.
    frame_status
        Shape (time,), uint8, values of `pipeline_lib.core.tables.FrameStatus`; a moment without
        two cameras whose frames could be decoded has the worst status of its cameras.
    time
        Shape (time,), float64, seconds since the first moment of the session's clock.
    bodyparts, individuals, cameras
        Names along the keypoint, the individual and the camera axis.
    unit
        Unit of lengths, a key of `pipeline_lib.core.cameras.basics.UNITS`; None: the calibration
        does not tell.
    track_status
        Shape (time, individual), uint8, values of `pipeline_lib.core.tables.TrackStatus`; None for
        one animal.
    attributes
        JSON-like record: session, key, fps, videos and calibration of the cameras, versions and
        what else a later reader wants to know.

    Raises
    ------
    ValueError
        If an array has another shape.
    """

    position: NDArray[np.float32]
    confidence: NDArray[np.float32]
    error: NDArray[np.float32]
    views: NDArray[np.uint8]
    uncertainty: NDArray[np.float32]
    camera_error: NDArray[np.float32]
    camera_frame: NDArray[np.int32]
    camera_individual: NDArray[np.int16]
    frame_status: NDArray[np.uint8]
    time: NDArray[np.float64]
    bodyparts: tuple[str, ...]
    individuals: tuple[str, ...]
    cameras: tuple[str, ...]
    unit: str | None = None
    track_status: NDArray[np.uint8] | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        moments, cameras = len(self.time), len(self.cameras)
        points = (len(self.individuals), len(self.bodyparts))
        expected: dict[str, tuple[int, ...]] = {
            "position": (moments, *points, 3),
            "confidence": (moments, *points),
            "error": (moments, *points),
            "views": (moments, *points),
            "uncertainty": (moments, *points),
            "camera_error": (moments, cameras, *points),
            "camera_frame": (moments, cameras),
            "camera_individual": (moments, cameras, points[0]),
            "frame_status": (moments,),
        }
        if self.track_status is not None:
            expected["track_status"] = (moments, points[0])
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(f"{name} has shape {found}, expected {shape}")
