"""Fill missing points of one view, and correct wrong ones, by the points of its session."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Camera
from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.kernels.geometry.projection import project

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

NONE = -1


@dataclass(frozen=True)
class Reprojected:
    """Hold the projections of a session into a view, in the order of its moments and individuals.

    Attributes
    ----------
    position
        Shape (time, individual, keypoint, 2), in px of the view; NaN: no point, or outside the
        image.
    disagrees
        Shape (time, individual, keypoint): whether the observed keypoint is further from the
        projected one than the gate.
    """

    position: Floats
    disagrees: Flags


def reproject_session(session: SessionPoses, camera: Camera, gate: float) -> Reprojected:
    """Project the points of a session into one of its cameras.

    Parameters
    ----------
    session
        With the camera among its cameras.
    camera
        As in the calibration of the session (attribute ``calibration``).
    gate
        Distance in px above which an observed point disagrees.

    Raises
    ------
    ValueError
        If the session has no such camera.
    """
    if camera.name not in session.cameras:
        raise ValueError(
            f"the session has no camera {camera.name!r}; it has {', '.join(session.cameras)}"
        )
    index = session.cameras.index(camera.name)
    position = project(camera, session.position.astype(np.float64))
    width, height = camera.size
    with np.errstate(invalid="ignore"):
        inside = (
            (position[..., 0] >= -0.5)
            & (position[..., 0] <= width - 0.5)
            & (position[..., 1] >= -0.5)
            & (position[..., 1] <= height - 0.5)
        )
        disagrees = session.camera_error[:, index] > gate
    position[~inside] = np.nan
    return Reprojected(position.astype(np.float32), disagrees)


def correct_view(
    position: Floats,
    confidence: Floats,
    session: SessionPoses,
    camera: Camera,
    rules: "CorrectionRules",
) -> tuple[Floats, Floats]:
    """Fill and correct the poses of one video with the points of its session.

    A point of the session that is determined by at least two other views replaces an observed point
    that disagrees, and fills in one that was not seen. Observed points that agree are kept. Slots
    keep their order; an individual that the view did not see at all gets a free slot.

    Parameters
    ----------
    position, confidence
        Shape (frame, slot, keypoint, 2) and (frame, slot, keypoint), keypoints as in the session.
    session, camera
        As for `reproject_session`.
    rules
        When to correct.

    Returns
    -------
    tuple
        New positions and confidences. A point from the session has the mean confidence of the
        views that it comes from.
    """
    reprojected = reproject_session(session, camera, rules.gate)
    index = session.cameras.index(camera.name)
    new_position, new_confidence = position.copy(), confidence.copy()
    sure = (session.views >= rules.fewest_views) & np.isfinite(reprojected.position[..., 0])
    with np.errstate(invalid="ignore"):
        sure &= session.uncertainty <= rules.most_uncertainty
    frames = session.camera_frame[:, index]
    slots = fill_slots(session.camera_individual[:, index], position.shape[1])
    moment, individual = np.nonzero((frames != NONE)[:, None] & (slots != NONE))
    frame, slot = frames[moment], slots[moment, individual]
    seen = np.isfinite(position[frame, slot]).all(-1) & (confidence[frame, slot] >= rules.cut)
    change = sure[moment, individual] & (~seen | reprojected.disagrees[moment, individual])
    row, keypoint = np.nonzero(change)
    where = (frame[row], slot[row], keypoint)
    source = (moment[row], individual[row], keypoint)
    new_position[where] = reprojected.position[source]
    new_confidence[where] = session.confidence[source]
    return new_position, new_confidence


@dataclass(frozen=True)
class CorrectionRules:
    """Hold when a view is corrected.

    Attributes
    ----------
    gate
        Distance in px above which an observed point is replaced.
    cut
        Confidence below which an observed point counts as not seen.
    fewest_views
        Least number of views that a point comes from.
    most_uncertainty
        Largest uncertainty of a point, in the unit of the calibration.
    """

    gate: float
    cut: float
    fewest_views: int = 2
    most_uncertainty: float = np.inf


def fill_slots(slots: NDArray[np.int16], count: int) -> NDArray[np.int16]:
    """Give each individual without a slot the first free one.

    Parameters
    ----------
    slots
        Shape (moment, individual); -1: none.
    count
        Number of slots.
    """
    filled = slots.copy()
    for individual in range(slots.shape[1]):
        missing = filled[:, individual] == NONE
        # An individual usually returns to the slot of its number.
        order = [individual % max(count, 1), *range(count)]
        for slot in order:
            free = missing & ~(filled == slot).any(axis=1)
            filled[free, individual] = slot
            missing &= ~free
    return filled
