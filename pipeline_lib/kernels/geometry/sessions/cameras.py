"""Refine cameras from points that they saw: bundle adjustment on the animals themselves.

Unknowns are the pose of every camera but the first, the points and, if asked for, one factor for
the focal lengths of each camera. Points are eliminated (Schur complement), so that thousands of
them leave a small dense system. Steps are damped (Levenberg-Marquardt); errors beyond `scale` px
count linearly (Huber 1964). Neither the first camera nor the mean distance of the cameras from each
other moves: points alone do not determine them.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.spatial.transform import Rotation

from pipeline_lib.core.cameras.calibration import Camera
from pipeline_lib.kernels.geometry.lenses import differentiate_projection

Floats = NDArray[np.float64]

_STEPS = 50
_MOST_DAMPING = 1e10
_ENOUGH = 1e-9


def adjust_cameras(
    cameras: Sequence[Camera], pixels: Floats, weights: Floats, start: Floats, *, focal: bool
) -> tuple[list[Camera], Floats]:
    """Minimise the robust weighted reprojection error over cameras and points.

    Parameters
    ----------
    cameras
        In the order of the second axis of `pixels`.
    pixels
        Shape (point, camera, 2), in px; NaN: not seen.
    weights
        Shape (point, camera) of squared errors; 0: not used.
    start
        Shape (point, 3): triangulated points, in front of the cameras that saw them.
    focal
        Whether focal lengths change, too.

    Returns
    -------
    tuple
        Adjusted cameras and points.
    """
    use = (weights > 0) & np.isfinite(pixels).all(-1)
    seen = np.where(use[..., None], pixels, 0.0)
    heavy = np.where(use, weights, 0.0)
    here, points = list(cameras), start.copy()
    scale = _find_scale(here, seen, heavy, points)
    cost = _measure_cost(here, seen, heavy, points, scale)
    damping = 1e-3
    for _ in range(_STEPS):
        system = _Normal(here, seen, heavy, points, scale, focal=focal)
        moved = False
        while damping < _MOST_DAMPING:
            step, shift = system.solve(damping)
            trial = [_move(one, own) for one, own in zip(here, step, strict=True)]
            trial_cost = _measure_cost(trial, seen, heavy, points + shift, scale)
            if trial_cost < cost:
                gain = cost - trial_cost
                here, points, cost = trial, points + shift, trial_cost
                damping, moved = max(damping / 10, 1e-12), True
                break
            damping *= 10
        if not moved or gain <= _ENOUGH * cost:
            break
    return _keep_size(cameras, here, points)


class _Normal:
    """Hold the normal equations in blocks of cameras and points."""

    def __init__(  # noqa: PLR0913 - cameras, what they saw, and what may change
        self,
        cameras: Sequence[Camera],
        pixels: Floats,
        weights: Floats,
        points: Floats,
        scale: float,
        *,
        focal: bool,
    ) -> None:
        count, self._size = len(cameras), 7 if focal else 6
        self._cameras = np.zeros((count, self._size, self._size))
        self._camera_gradient = np.zeros((count, self._size))
        self._points = np.zeros((len(points), 3, 3))
        self._point_gradient = np.zeros((len(points), 3))
        self._shared = np.zeros((len(points), count, self._size, 3))
        for index, camera in enumerate(cameras):
            turned = points @ camera.rotation.T
            found, by_local, by_matrix, _ = differentiate_projection(
                camera, *(turned + camera.translation).T
            )
            root = np.sqrt(_weigh(found, pixels[:, index], weights[:, index], scale))
            off = np.where(root[:, None] > 0, found - pixels[:, index], 0.0) * root[:, None]
            by_local = np.where(root[:, None, None] > 0, by_local, 0.0) * root[:, None, None]
            columns = [-by_local @ _cross(turned), by_local]
            if focal:
                lengths = np.array([camera.matrix[0, 0], camera.matrix[1, 1]])
                along = np.where(root[:, None, None] > 0, by_matrix[..., :2], 0.0) @ lengths
                columns.append((along * root[:, None])[..., None])
            by_camera = np.concatenate(columns, axis=-1)
            by_point = by_local @ camera.rotation
            self._points += np.einsum("nri,nrj->nij", by_point, by_point)
            self._point_gradient += np.einsum("nri,nr->ni", by_point, off)
            if index == 0:
                by_camera[..., :6] = 0
            self._cameras[index] = np.einsum("nri,nrj->ij", by_camera, by_camera)
            self._camera_gradient[index] = np.einsum("nri,nr->i", by_camera, off)
            self._shared[:, index] = np.einsum("nri,nrj->nij", by_camera, by_point)

    def solve(self, damping: float) -> tuple[Floats, Floats]:
        """Return the damped steps of cameras (camera, 7) and points (point, 3)."""
        count, size = self._camera_gradient.shape
        whole = np.zeros((count, size, count, size))
        for index in range(count):
            own = self._cameras[index]
            whole[index, :, index] = own + np.diag(damping * np.diag(own) + 1e-12)
        extra = damping * np.einsum("nii->n", self._points) + 1e-12
        inverse = np.linalg.inv(self._points + extra[:, None, None] * np.eye(3))
        carried = self._shared @ inverse[:, None]
        flat = carried.reshape(len(carried), count * size, 3)
        shared = self._shared.reshape(len(carried), count * size, 3)
        matrix = whole.reshape(count * size, -1) - np.einsum("npi,nqi->pq", flat, shared)
        # Parameters that do not change have empty rows.
        empty = np.abs(np.diag(matrix)) <= 1e-12
        matrix[empty, empty] = 1.0
        right = self._camera_gradient.ravel() - np.einsum("npi,ni->p", flat, self._point_gradient)
        try:
            step = -cho_solve(cho_factor(matrix), right)
        except LinAlgError:
            step = np.zeros_like(right)
        rest = self._point_gradient + np.einsum("npi,p->ni", shared, step)
        shift = -np.einsum("nij,nj->ni", inverse, rest)
        full = np.zeros((count, 7))
        full[:, :size] = step.reshape(count, size)
        return full, shift


def _weigh(found: Floats, pixels: Floats, weights: Floats, scale: float) -> Floats:
    """Return the weights of squared errors that make large ones count linearly."""
    with np.errstate(all="ignore"):
        size = np.hypot(*(found - pixels).T)
        robust = np.minimum(1.0, scale / np.maximum(size, 1e-300))
    return np.where((weights > 0) & np.isfinite(size), weights * robust, 0.0)


def _measure_cost(
    cameras: Sequence[Camera], pixels: Floats, weights: Floats, points: Floats, scale: float
) -> float:
    total = 0.0
    for index, camera in enumerate(cameras):
        local = points @ camera.rotation.T + camera.translation
        used = weights[:, index] > 0
        found = differentiate_projection(camera, *local[used].T)[0]
        size = np.hypot(*(found - pixels[used, index]).T)
        square = np.where(size > scale, 2 * scale * size - scale**2, size**2)
        total += float((weights[used, index] * square).sum())
    return total if np.isfinite(total) else np.inf


def _find_scale(
    cameras: Sequence[Camera], pixels: Floats, weights: Floats, points: Floats
) -> float:
    sizes = []
    for index, camera in enumerate(cameras):
        used = weights[:, index] > 0
        local = points[used] @ camera.rotation.T + camera.translation
        sizes.append(
            np.hypot(*(differentiate_projection(camera, *local.T)[0] - pixels[used, index]).T)
        )
    flat = np.concatenate(sizes)
    flat = flat[np.isfinite(flat)]
    return max(0.1, 2 * float(np.median(flat))) if len(flat) else 1.0


def _cross(vectors: Floats) -> Floats:
    """Return the matrices of cross products with vectors (n, 3)."""
    x, y, z = vectors.T
    nothing = np.zeros_like(x)
    rows = [[nothing, -z, y], [z, nothing, -x], [-y, x, nothing]]
    return np.moveaxis(np.array(rows), -1, 0)


def _move(camera: Camera, step: Floats) -> Camera:
    if not step.any():
        return camera
    matrix = camera.matrix.copy()
    matrix[[0, 1], [0, 1]] *= np.exp(np.clip(step[6], -0.5, 0.5))
    return replace(
        camera,
        matrix=matrix,
        rotation=Rotation.from_rotvec(step[:3]).as_matrix() @ camera.rotation,
        translation=camera.translation + step[3:6],
    )


def _keep_size(
    before: Sequence[Camera], after: Sequence[Camera], points: Floats
) -> tuple[list[Camera], Floats]:
    """Scale about the first camera, so that distances of cameras stay as they were."""
    spread, new_spread = (
        sum(
            float(np.linalg.norm(one.centre - other.centre))
            for one, other in combinations(cameras, 2)
        )
        for cameras in (before, after)
    )
    factor = spread / new_spread if new_spread > 0 else 1.0
    origin = after[0].centre
    scaled = []
    for camera in after:
        centre = origin + factor * (camera.centre - origin)
        scaled.append(replace(camera, translation=-camera.rotation @ centre))
    return scaled, origin + factor * (points - origin)
