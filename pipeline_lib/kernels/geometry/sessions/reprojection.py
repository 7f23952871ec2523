"""Fill missing points of one view, and correct wrong ones, by the points of its session."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Camera
from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.core.tables import PointSource
from pipeline_lib.kernels.geometry.lenses import differentiate_projection, find_rays

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

# Cosine of the angle between a ray and the ray that the lens shows in its pixel, below which the
# model of the lens does not hold there.
_SAME_RAY = 1 - 1e-6
# Moments that are projected at a time, so that hours of video need little memory.
_MOMENTS = 4096


class Reprojected(NamedTuple):
    """Hold what a view should see, in the order of the session's moments and individuals.

    Attributes
    ----------
    position
        Shape (time, individual, keypoint, 2), in px of the view; NaN: no point, or outside the
        image.
    spread
        Shape (time, individual, keypoint), expected distance in px of the projected point from the
        true one (root mean square), by the uncertainty of the point alone; NaN as the position.
    """

    position: Floats
    spread: Floats


@dataclass(frozen=True)
class CorrectionRules:
    """Hold when a view is corrected.

    Attributes
    ----------
    gate
        Distance in px from the projected point above which what the view saw is wrong, and
        largest spread of a point that is filled; None: no view is wrong, and any spread will do.
    cut
        Confidence below which an observed point counts as not seen.
    fewest_views
        Least number of other views that a point comes from.
    """

    gate: float | None
    cut: float
    fewest_views: int = 2


class CorrectedView(NamedTuple):
    """Hold the poses of a view in the order of the session's moments and individuals.

    Attributes
    ----------
    position, confidence
        Shape (time, individual, keypoint, 2) in px, and (time, individual, keypoint).
    source
        Shape (time, individual, keypoint), values of `pipeline_lib.core.tables.PointSource`.
    """

    position: Floats
    confidence: Floats
    source: NDArray[np.uint8]


def reproject_session(session: SessionPoses, camera: Camera) -> Reprojected:
    """Project the points of a session into one of its cameras.

    Parameters
    ----------
    session
        Poses in space.
    camera
        In the axes of the session, see attribute ``calibration``.
    """
    position = np.empty((*session.uncertainty.shape, 2), np.float32)
    spread = np.empty(session.uncertainty.shape, np.float32)
    # Derivatives of a point take a hundred times the memory of its pixel.
    for start in range(0, len(spread), _MOMENTS):
        part = slice(start, start + _MOMENTS)
        position[part], spread[part] = _reproject(
            session.position[part].astype(np.float64), session.uncertainty[part], camera
        )
    return Reprojected(position, spread)


def _reproject(
    points: NDArray[np.float64], uncertainty: Floats, camera: Camera
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y, z = np.moveaxis(points @ camera.rotation.T + camera.translation, -1, 0)
    pixels, by_point, _, _ = differentiate_projection(camera, x, y, z)
    shown = _is_shown(camera, (x, y, z), pixels)
    # The uncertainty is a distance: a third of its square belongs to each axis.
    spread = np.linalg.norm(by_point, axis=(-2, -1)) * uncertainty / np.sqrt(3)
    return np.where(shown[..., None], pixels, np.nan), np.where(shown, spread, np.nan)


def correct_view(
    position: Floats,
    confidence: Floats,
    session: SessionPoses,
    camera: Camera,
    rules: CorrectionRules,
) -> CorrectedView:
    """Fill and correct what one view saw with the points of its session.

    A point that enough other views determine replaces what the view saw if it is further away
    than the gate and twice its own spread, and what the view did not see. What agrees stays as it
    was seen.

    Parameters
    ----------
    position, confidence
        Shape (time, individual, keypoint, 2) in px, and (time, individual, keypoint): what the
        view saw, in the order of the session; NaN: nothing, or no frame.
    session
        With the camera among its cameras.
    camera
        As for `reproject_session`.
    rules
        When to correct.

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
    reprojected = reproject_session(session, camera)
    there = np.isfinite(position).all(axis=-1)
    # Tools without confidences store NaN beside positions.
    seen = there & ~(confidence < rules.cut) & ~(confidence <= 0)
    # Points that were smoothed may be beyond the gate of a view that was used itself.
    sighted = np.isfinite(session.camera_error)
    least = np.minimum(session.views, sighted.sum(axis=1) - sighted[:, place])
    others = np.isfinite(reprojected.position[..., 0]) & (least >= rules.fewest_views)
    gate = np.inf if rules.gate is None else rules.gate
    with np.errstate(invalid="ignore"):
        differs = seen & (session.camera_error[:, place] > gate)
        vague = ~(session.camera_error[:, place] > 2 * reprojected.spread)
        fill = ~seen & others & (reprojected.spread <= gate)
    correct = differs & others & ~vague
    source = np.where(there, PointSource.KEPT, PointSource.NONE).astype(np.uint8)
    source[differs] = PointSource.DOUBTED
    source[correct], source[fill] = PointSource.CORRECTED, PointSource.FILLED
    new = correct | fill
    return CorrectedView(
        np.where(new[..., None], reprojected.position, position),
        np.where(new, session.confidence, confidence),
        source,
    )


def _is_shown(
    camera: Camera, local: tuple[NDArray[np.float64], ...], pixels: NDArray[np.float64]
) -> Flags:
    """Tell which points are in the image, where the lens shows the ray to them.

    Beyond the field of view the polynomial of a strong distortion leads back into the image.
    """
    width, height = camera.size
    column, row = pixels[..., 0], pixels[..., 1]
    rays = find_rays(camera, column, row)
    with np.errstate(all="ignore"):
        along = sum(one * other for one, other in zip(rays, local, strict=True))
        lengths = [np.sqrt(sum(one * one for one in some)) for some in (rays, local)]
        same = along >= _SAME_RAY * lengths[0] * lengths[1]
        inside = (column >= -0.5) & (column <= width - 0.5) & (row >= -0.5) & (row <= height - 0.5)
    return np.asarray(inside & same, bool)
