"""Check the views of one session, and bring all into the same order with the same bodyparts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.errors import SessionError
from pipeline_lib.core.poses import Poses

Floats = NDArray[np.float64]

FEWEST_CAMERAS = 2


@dataclass(frozen=True)
class View:
    """Hold what one camera of a session saw.

    Attributes
    ----------
    camera
        Name of the camera, as in the calibration.
    poses
        Of its video, in px of the size that the calibration has.
    offset
        Number of frames (`frames`) or seconds (`timestamps`) by which it started late.
    timestamps
        Shape (frame,): the time of each frame in seconds, from a clock that all cameras share;
        None: the times of the poses.
    brightness
        Shape (frame,): of the light that sets the clocks; None with other methods than `light`.
    sound
        How much louder its sound becomes at each moment, and the time of the first moment in
        seconds after the first frame; None with other methods than `sound`.
    """

    camera: str
    poses: Poses
    offset: float = 0.0
    timestamps: Floats | None = None
    brightness: Floats | None = None
    sound: tuple[Floats, float] | None = None


@dataclass(frozen=True)
class Rig:
    """Hold the views of a session in the order of its calibration.

    Attributes
    ----------
    views
        At least two, of different cameras.
    calibration
        Of these cameras alone, in the same order.
    bodyparts
        Of all views.
    keypoints
        For each view, the index of each bodypart on its keypoint axis; -1: it has none of this.
    """

    views: tuple[View, ...]
    calibration: Calibration
    bodyparts: tuple[str, ...]
    keypoints: tuple[NDArray[np.intp], ...]


def arrange_views(views: Sequence[View], calibration: Calibration) -> Rig:
    """Return the views in the order of the calibration.

    Raises
    ------
    SessionError
        If there are fewer than two, a camera repeats or is not calibrated, or a view has no
        frame.
    """
    names = [view.camera for view in views]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SessionError(f"two videos are of camera {repeated[0]}: expected one per camera")
    unknown = [name for name in names if name not in calibration.names]
    if unknown:
        raise SessionError(
            f"the calibration has no camera {unknown[0]!r}; it has {', '.join(calibration.names)}"
        )
    if len(views) < FEWEST_CAMERAS:
        raise SessionError(f"{len(views)} of its cameras can be used; at least 2 are needed")
    empty = [view.camera for view in views if not len(view.poses.time)]
    if empty:
        raise SessionError(f"the poses of camera {empty[0]} have no frame")
    chosen = calibration.choose(name for name in calibration.names if name in names)
    ordered = tuple(views[names.index(name)] for name in chosen.names)
    bodyparts = tuple(dict.fromkeys(part for view in ordered for part in view.poses.bodyparts))
    keypoints = []
    for view in ordered:
        own = {part: place for place, part in enumerate(view.poses.bodyparts)}
        keypoints.append(np.array([own.get(part, -1) for part in bodyparts], np.intp))
    return Rig(ordered, chosen, bodyparts, tuple(keypoints))
