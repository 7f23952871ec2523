"""Adjust cameras and board poses jointly: minimise a robust reprojection error.

Bundle adjustment as in Triggs et al. 2000, Bundle adjustment: a modern synthesis. Unknowns are the
intrinsics and the pose of each camera and the pose of the board in each frame; the axes of the
first camera define the world. The normal equations are sparse, as each board pose is coupled only
to the cameras that saw it. Board poses are eliminated (Schur complement), SciPy solves the reduced
system, and Levenberg-Marquardt damping keeps steps short. Derivatives are analytic; rotations are
updated by small rotations from the left, so that no parameter has a singularity. Errors beyond
`scale` px count linearly (Huber 1964).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.spatial.transform import Rotation

from pipeline_lib.core.cameras.calibration import Camera
from pipeline_lib.kernels.geometry.lenses import differentiate_projection, project_local

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

_PLACE = 6  # rotation and translation
_LENS = 4  # fx fy cx cy
_MOST_DAMPING = 1e12


@dataclass(frozen=True)
class Pose:
    """Hold the pose of a board: `rotation` (3, 3) and `translation` (3,), from board to world."""

    rotation: Floats
    translation: Floats


@dataclass(frozen=True)
class BoardView:
    """Hold what one camera saw of the board in one frame.

    Attributes
    ----------
    camera, frame
        Indices into the cameras and the poses.
    points
        Shape (corner, 3), on the board.
    pixels
        Shape (corner, 2), in px.
    """

    camera: int
    frame: int
    points: Floats
    pixels: Floats


@dataclass(frozen=True)
class Bundle:
    """Hold everything that is adjusted, and what was seen.

    Attributes
    ----------
    cameras
        The pose of the first one is not changed.
    poses
        Of the board, in each frame.
    views
        At least one of each camera and each frame.
    free
        For each camera, indices of the coefficients of distortion that may change.
    """

    cameras: tuple[Camera, ...]
    poses: tuple[Pose, ...]
    views: tuple[BoardView, ...]
    free: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Adjusted:
    """Hold the result of an adjustment.

    Attributes
    ----------
    bundle
        With adjusted cameras and poses.
    errors
        For each view: shape (corner,), in px.
    converged
        Whether the cost stopped improving within the allowed steps.
    deviations
        For each camera, the standard error of fx, fy, cx, cy in px, from the residuals and the
        geometry of the views; infinite where the views do not determine them.
    """

    bundle: Bundle
    errors: tuple[Floats, ...]
    converged: bool
    deviations: tuple[Floats, ...]


@dataclass(frozen=True)
class _Normal:
    """Hold the normal equations in blocks."""

    cameras: Floats  # (parameter, parameter)
    poses: Floats  # (frame, 6, 6)
    shared: Floats  # (frame, parameter, 6)
    camera_gradient: Floats  # (parameter,)
    pose_gradient: Floats  # (frame, 6)


def adjust(bundle: Bundle, *, scale: float, most_steps: int) -> Adjusted:
    """Minimise the robust reprojection error over cameras and board poses.

    Parameters
    ----------
    bundle
        Initial estimate, in which every board is in front of the cameras that saw it.
    scale
        Error in px beyond which a corner counts linearly.
    most_steps
        Largest number of steps.

    Raises
    ------
    ValueError
        If a view's board is behind its camera at the start.
    """
    cost = measure_cost(bundle, scale)
    if not np.isfinite(cost):
        raise ValueError("a board starts behind a camera that saw it")
    damping, converged = 1e-4, False
    normal = _make_normal(bundle, scale)
    for _ in range(most_steps):
        trial = _move(bundle, *_solve(normal, damping))
        trial_cost = measure_cost(trial, scale)
        if trial_cost < cost:
            gain = cost - trial_cost
            bundle, cost, damping = trial, trial_cost, max(damping / 10, 1e-12)
            if gain <= 1e-10 * cost:
                converged = True
                break
            normal = _make_normal(bundle, scale)
            continue
        damping *= 10
        if damping > _MOST_DAMPING:
            converged = True
            break
    errors = tuple(np.hypot(*off.T) for off in find_residuals(bundle))
    return Adjusted(bundle, errors, converged, _find_deviations(bundle, errors, scale))


def find_residuals(bundle: Bundle) -> list[Floats]:
    """Return projected minus seen corners of each view; shape (corner, 2), in px."""
    residuals = []
    for view in bundle.views:
        camera, pose = bundle.cameras[view.camera], bundle.poses[view.frame]
        world = view.points @ pose.rotation.T + pose.translation
        local = world @ camera.rotation.T + camera.translation
        seen = np.stack(project_local(camera, *local.T), axis=-1)
        residuals.append(seen - view.pixels)
    return residuals


def measure_cost(bundle: Bundle, scale: float) -> float:
    """Return half the sum of robust squared errors, in px²; infinite behind a camera."""
    square = np.concatenate([(off * off).sum(axis=1) for off in find_residuals(bundle)])
    far = square > scale * scale
    cost = np.where(far, 2 * scale * np.sqrt(square) - scale * scale, square).sum() / 2
    return float(cost) if np.isfinite(cost) else np.inf


def find_gradient(bundle: Bundle, scale: float) -> tuple[Floats, Floats]:
    """Return the derivatives of the cost.

    Returns
    -------
    tuple
        By the cameras' parameters in the order of `move_cameras`, shape (parameter,); by small
        rotations and translations of the poses, shape (frame, 6).
    """
    normal = _make_normal(bundle, scale)
    return normal.camera_gradient, normal.pose_gradient


def list_parameters(bundle: Bundle) -> list[slice]:
    """Return the slice of each camera's parameters in the parameter vector.

    The parameters are fx, fy, cx, cy, the free coefficients and, for all cameras but the first, a
    small rotation (in radians, from the left) and a translation.
    """
    slices, start = [], 0
    for number, free in enumerate(bundle.free):
        count = _LENS + len(free) + (_PLACE if number else 0)
        slices.append(slice(start, start + count))
        start += count
    return slices


def move_cameras(bundle: Bundle, step: Floats) -> tuple[Camera, ...]:
    """Return the cameras moved by a step of their parameters; see `list_parameters`."""
    moved = []
    for number, columns in enumerate(list_parameters(bundle)):
        camera, free, own = bundle.cameras[number], bundle.free[number], step[columns]
        matrix, distortion = camera.matrix.copy(), camera.distortion.copy()
        matrix[[0, 1, 0, 1], [0, 1, 2, 2]] += own[:_LENS]
        distortion[list(free)] += own[_LENS : _LENS + len(free)]
        rotation, translation = camera.rotation, camera.translation
        if number:
            turn, shift = own[-_PLACE:-3], own[-3:]
            rotation = Rotation.from_rotvec(turn).as_matrix() @ rotation
            translation = translation + shift
        moved.append(
            replace(
                camera,
                matrix=matrix,
                distortion=distortion,
                rotation=rotation,
                translation=translation,
            )
        )
    return tuple(moved)


def move_poses(bundle: Bundle, step: Floats) -> tuple[Pose, ...]:
    """Return the poses turned and shifted by steps of shape (frame, 6)."""
    turns = Rotation.from_rotvec(step[:, :3]).as_matrix()
    return tuple(
        Pose(turn @ pose.rotation, pose.translation + shift)
        for pose, turn, shift in zip(bundle.poses, turns, step[:, 3:], strict=True)
    )


def _move(bundle: Bundle, camera_step: Floats, pose_step: Floats) -> Bundle:
    try:
        cameras = move_cameras(bundle, camera_step)
    except ValueError:  # a focal length that is not positive: as bad as behind the camera
        matrix = np.array([[1e-9, 0, 0], [0, 1e-9, 0], [0, 0, 1]])
        cameras = tuple(replace(camera, matrix=matrix) for camera in bundle.cameras)
    return replace(bundle, cameras=cameras, poses=move_poses(bundle, pose_step))


def _make_normal(bundle: Bundle, scale: float) -> _Normal:
    slices = list_parameters(bundle)
    count, frames = slices[-1].stop, len(bundle.poses)
    normal = _Normal(
        np.zeros((count, count)),
        np.zeros((frames, _PLACE, _PLACE)),
        np.zeros((frames, count, _PLACE)),
        np.zeros(count),
        np.zeros((frames, _PLACE)),
    )
    for number, columns in enumerate(slices):
        views = [view for view in bundle.views if view.camera == number]
        by_camera, by_pose, residual = _differentiate(bundle, number, views, scale)
        flat = by_camera.reshape(-1, by_camera.shape[-1])
        normal.cameras[columns, columns] += flat.T @ flat
        normal.camera_gradient[columns] += flat.T @ residual.reshape(-1)
        start = 0
        for view in views:
            part = slice(start, start + len(view.points))
            start = part.stop
            own, pose = (one[part].reshape(-1, one.shape[-1]) for one in (by_camera, by_pose))
            normal.poses[view.frame] += pose.T @ pose
            normal.shared[view.frame, columns] += own.T @ pose
            normal.pose_gradient[view.frame] += pose.T @ residual[part].reshape(-1)
    return normal


def _differentiate(
    bundle: Bundle, number: int, views: Sequence[BoardView], scale: float
) -> tuple[Floats, Floats, Floats]:
    """Return a camera's weighted derivatives (corner, 2, ...) and residuals (corner, 2)."""
    camera = bundle.cameras[number]
    frames = np.repeat([view.frame for view in views], [len(view.points) for view in views])
    points = np.concatenate([view.points for view in views])
    pixels = np.concatenate([view.pixels for view in views])
    rotations = np.stack([pose.rotation for pose in bundle.poses])[frames]
    turned = np.einsum("nij,nj->ni", rotations, points)
    world = turned + np.stack([pose.translation for pose in bundle.poses])[frames]
    in_camera = world @ camera.rotation.T
    seen, by_point, by_matrix, by_distortion = differentiate_projection(
        camera, *(in_camera + camera.translation).T
    )
    residual = seen - pixels
    size = np.hypot(*residual.T)
    root = np.sqrt(np.minimum(1, scale / np.maximum(size, 1e-300)))[:, None]
    by_world = by_point @ camera.rotation
    by_pose = np.concatenate([-by_world @ _cross(turned), by_world], axis=-1)
    columns = [by_matrix, by_distortion[..., list(bundle.free[number])]]
    if number:
        columns += [-by_point @ _cross(in_camera), by_point]
    by_camera = np.concatenate(columns, axis=-1)
    return by_camera * root[..., None], by_pose * root[..., None], residual * root


def _cross(vectors: Floats) -> Floats:
    """Return the matrices of cross products with vectors (n, 3)."""
    x, y, z = vectors.T
    nothing = np.zeros_like(x)
    rows = [[nothing, -z, y], [z, nothing, -x], [-y, x, nothing]]
    return np.moveaxis(np.array(rows), -1, 0)


def _solve(normal: _Normal, damping: float) -> tuple[Floats, Floats]:
    """Return the damped step of cameras and poses."""
    cameras, poses = normal.cameras.copy(), normal.poses.copy()
    _damp(cameras, damping)
    _damp(poses, damping)
    inverse = np.linalg.inv(poses)
    carried = normal.shared @ inverse
    reduced = cameras - np.tensordot(carried, normal.shared, axes=([0, 2], [0, 2]))
    right = normal.camera_gradient - np.einsum("fpi,fi->p", carried, normal.pose_gradient)
    try:
        step = -cho_solve(cho_factor(reduced), right)
    except LinAlgError:  # rounding made it indefinite: steeper damping follows
        step = np.zeros_like(right)
    rest = normal.pose_gradient + np.einsum("fpi,p->fi", normal.shared, step)
    return step, -np.einsum("fij,fj->fi", inverse, rest)


def _damp(matrices: Floats, damping: float) -> None:
    rows = np.arange(matrices.shape[-1])
    diagonal = matrices[..., rows, rows]
    matrices[..., rows, rows] = diagonal * (1 + damping) + 1e-12


def _find_deviations(bundle: Bundle, errors: Sequence[Floats], scale: float) -> tuple[Floats, ...]:
    """Estimate the standard errors of focal lengths and principal points, in px."""
    normal = _make_normal(bundle, scale)
    unknown = len(normal.camera_gradient) + normal.pose_gradient.size
    square = np.concatenate([np.minimum(one, scale) ** 2 for one in errors])
    freedom = 2 * len(square) - unknown
    carried = normal.shared @ np.linalg.inv(normal.poses + 1e-12 * np.eye(_PLACE))
    reduced = normal.cameras - np.tensordot(carried, normal.shared, axes=([0, 2], [0, 2]))
    # Parameters differ by orders of magnitude; a diagonal of 1 makes them comparable.
    size = np.sqrt(np.maximum(np.diag(reduced), 1e-300))
    values, vectors = np.linalg.eigh(reduced / np.outer(size, size))
    with np.errstate(all="ignore"):
        inverse = np.where(values > 1e-13, 1 / values, np.inf)
        variance = (vectors**2 * inverse).sum(axis=1) / size**2
        variance = np.where(np.isnan(variance), np.inf, variance)
    noise = square.sum() / freedom if freedom > 0 else np.inf
    return tuple(np.sqrt(noise * variance[columns][:_LENS]) for columns in list_parameters(bundle))
