"""Give back to one view what the session knows: fill its missing points and correct wrong ones."""

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
    """Hold what a view should see, in the order of the session's moments and individuals.

    Attributes
    ----------
    position
        Shape (time, individual, keypoint, 2), in px of the view; NaN: no point, or outside the
        image.
    disagrees
        Shape (time, individual, keypoint): the view saw the keypoint further than the gate from
        there.
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
    place = session.cameras.index(camera.name)
    position = project(camera, session.position.astype(np.float64))
    width, height = camera.size
    with np.errstate(invalid="ignore"):
        inside = (
            (position[..., 0] >= -0.5)
            & (position[..., 0] <= width - 0.5)
            & (position[..., 1] >= -0.5)
            & (position[..., 1] <= height - 0.5)
        )
        disagrees = session.camera_error[:, place] > gate
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

    A point of the session that two other views at least determine replaces what the view saw if it
    disagrees, and what it did not see. What agrees stays as it was seen. Slots keep their order;
    an individual that the view did not see at all gets a free slot.

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
    place = session.cameras.index(camera.name)
    new_position, new_confidence = position.copy(), confidence.copy()
    sure = (session.views >= rules.fewest_views) & np.isfinite(reprojected.position[..., 0])
    with np.errstate(invalid="ignore"):
        sure &= session.uncertainty <= rules.most_uncertainty
    frames = session.camera_frame[:, place]
    slots = fill_slots(session.camera_individual[:, place], position.shape[1])
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
    """Give individuals without a slot a free one, the first of those that are left.

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
