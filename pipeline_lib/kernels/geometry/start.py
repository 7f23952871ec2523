"""Estimate initial values for bundle adjustment: intrinsics, board poses and camera poses."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Camera, Model
from pipeline_lib.kernels.geometry.adjustment import BoardView, Bundle, Pose, adjust
from pipeline_lib.kernels.geometry.lenses import find_rays
from pipeline_lib.kernels.geometry.projection import project

Floats = NDArray[np.float64]

# Largest number of views, evenly spread, from which initial values are estimated.
_MOST_VIEWS = 30
# Rays further than this from the axis (tangent) are left to the adjustment.
_WIDEST = 5.0
_FEWEST_CORNERS = 6
# Focal lengths to try for a fisheye, as parts of half the diagonal.
_FISHEYE_FOCAL = (0.4, 0.55, 0.75, 1.0, 1.4, 2.0)
# The same for a pinhole camera, if OpenCV's estimate does not converge.
_PINHOLE_FOCAL = (1.0, 2.0, 4.0, 8.0)
# Above this one, others are tried, too.
_LONGEST_FOCAL = 40.0
# Median error in px of a lens that fits.
_FITS = 1.0


class Transform(NamedTuple):
    """Hold a rotation (3, 3) and a translation (3,)."""

    rotation: Floats
    translation: Floats

    def after(self, other: "Transform") -> "Transform":
        """Return the composition that applies `other` first, then this transform."""
        return Transform(
            self.rotation @ other.rotation,
            self.rotation @ other.translation + self.translation,
        )

    def undo(self) -> "Transform":
        """Return the inverse."""
        return Transform(self.rotation.T, -self.rotation.T @ self.translation)


def estimate_lens(
    name: str, size: tuple[int, int], model: Model, views: Sequence[BoardView], free: Sequence[int]
) -> Camera:
    """Estimate the intrinsics of one camera from its views of the board.

    Parameters
    ----------
    name, size, model
        Of the camera.
    views
        All of this camera.
    free
        Indices of the coefficients of distortion that may be other than 0.

    Raises
    ------
    ValueError
        If no lens fits.
    """
    some = [
        views[index] for index in np.unique(np.linspace(0, len(views) - 1, _MOST_VIEWS, dtype=int))
    ]
    starts = _start_pinholes if model == "pinhole" else _start_fisheyes
    best, least = None, np.inf
    for start in starts(name, size, some):
        adjusted = _adjust_alone(start, some, tuple(free))
        if adjusted is not None and adjusted[1] < least:
            best, least = adjusted
        if model == "pinhole" and best is not None and least < _FITS and _is_usual(best):
            break
    if best is None:
        raise ValueError("no lens fits its views of the board")
    return best


def _is_usual(camera: Camera) -> bool:
    """Tell whether lenses have such focal lengths: boards that face one fit any longer one."""
    return bool(camera.matrix[0, 0] < _LONGEST_FOCAL * np.hypot(*camera.size) / 2)


def _start_pinholes(
    name: str, size: tuple[int, int], views: Sequence[BoardView]
) -> Iterator[Camera]:
    """Yield OpenCV's estimate, then estimates that start from usual focal lengths.

    The first one is useless if a few boards face the camera.
    """
    points = [view.points.astype(np.float32) for view in views]
    pixels = [view.pixels.astype(np.float32) for view in views]
    half = np.hypot(*size) / 2
    guesses = [cv2.initCameraMatrix2D(points, pixels, size)]
    for part in _PINHOLE_FOCAL:
        guess = np.diag([part * half, part * half, 1.0])
        guess[:2, 2] = (size[0] - 1) / 2, (size[1] - 1) / 2
        guesses.append(guess)
    flags = cv2.CALIB_USE_INTRINSIC_GUESS | cv2.CALIB_FIX_K3
    for guess in guesses:
        try:
            _, matrix, distortion, _, _ = cv2.calibrateCamera(
                points, pixels, size, guess.copy(), None, flags=flags
            )
        except cv2.error:
            matrix, distortion = guess, np.zeros(4)
        if not (np.isfinite(matrix).all() and np.abs(distortion).max() < 10):
            distortion = np.zeros(4)
        if np.isfinite(matrix).all() and min(matrix[0, 0], matrix[1, 1]) > 0:
            yield Camera(name, size, matrix, np.ravel(distortion))


def _start_fisheyes(name: str, size: tuple[int, int], views: Sequence[BoardView]) -> list[Camera]:
    del views
    half = np.hypot(*size) / 2
    centre = ((size[0] - 1) / 2, (size[1] - 1) / 2)
    cameras = []
    for part in _FISHEYE_FOCAL:
        matrix = np.array([[part * half, 0, centre[0]], [0, part * half, centre[1]], [0, 0, 1]])
        cameras.append(Camera(name, size, matrix, np.zeros(4), "fisheye"))
    return cameras


def _adjust_alone(
    camera: Camera, views: Sequence[BoardView], free: tuple[int, ...]
) -> tuple[Camera, float] | None:
    poses: list[Pose] = []
    kept: list[BoardView] = []
    for view in views:
        placed = place_board(camera, view)
        if placed is not None:
            kept.append(BoardView(0, len(poses), view.points, view.pixels))
            poses.append(Pose(*placed))
    if len(kept) < max(1, len(views) // 2):
        return None
    bundle = Bundle((camera,), tuple(poses), tuple(kept), (free,))
    try:
        # Large errors of a poor initial estimate count linearly.
        adjusted = adjust(bundle, scale=2.0, most_steps=60)
    except (ValueError, np.linalg.LinAlgError):
        return None
    return adjusted.bundle.cameras[0], float(np.median(np.concatenate(adjusted.errors)))


def place_board(camera: Camera, view: BoardView) -> Transform | None:
    """Return the pose of the board in a camera's axes; None if none fits.

    A plane may have two poses (Collins and Bartoli 2014); the one with the smaller error is taken.
    """
    x, y, z = find_rays(camera, *view.pixels.T)
    with np.errstate(all="ignore"):
        flat = np.stack([x / z, y / z], axis=1)
    good = (z > 0) & (np.abs(flat).max(axis=1) < _WIDEST)
    if good.sum() < _FEWEST_CORNERS:
        return None
    try:
        count, turns, shifts, _ = cv2.solvePnPGeneric(
            view.points[good], flat[good], np.eye(3), None, flags=cv2.SOLVEPNP_IPPE
        )
    except cv2.error:
        return None
    best, least = None, np.inf
    for turn, shift in zip(turns[:count], shifts[:count], strict=True):
        placed = Transform(cv2.Rodrigues(turn)[0], np.ravel(shift))
        error = _measure(camera, placed, view)
        if error < least:
            best, least = placed, error
    return best


def _measure(camera: Camera, placed: Transform, view: BoardView) -> float:
    """Return the mean error of a view in px, infinite behind the camera."""
    own = Camera(camera.name, camera.size, camera.matrix, camera.distortion, camera.model)
    off = project(own, view.points @ placed.rotation.T + placed.translation) - view.pixels
    error = float(np.hypot(*off.T).mean())
    return error if np.isfinite(error) else np.inf


def find_groups(count: int, views: Sequence[BoardView], fewest: int) -> list[list[int]]:
    """Return groups of cameras that are linked by frames in which two of them saw the board.

    Parameters
    ----------
    count
        Number of cameras.
    views
        Of all cameras.
    fewest
        Frames that two cameras must share to count as linked.
    """
    shared = count_shared(count, views)
    groups: list[list[int]] = []
    left = set(range(count))
    while left:
        group, waiting = [], [min(left)]
        while waiting:
            camera = waiting.pop()
            if camera in left:
                left.remove(camera)
                group.append(camera)
                waiting += np.flatnonzero(shared[camera] >= fewest).tolist()
        groups.append(sorted(group))
    return groups


def count_shared(count: int, views: Sequence[BoardView]) -> NDArray[np.intp]:
    """Return the number of frames in which two cameras both saw the board; shape (n, n)."""
    seen = np.zeros((count, max(view.frame for view in views) + 1), dtype=np.intp)
    for view in views:
        seen[view.camera, view.frame] = 1
    shared = seen @ seen.T
    np.fill_diagonal(shared, 0)
    return shared


def place_cameras(
    cameras: Sequence[Camera], views: Sequence[BoardView]
) -> tuple[list[Camera], dict[int, Transform]]:
    """Estimate the poses of the cameras relative to the first, and of the board in each frame.

    Cameras are added one by one, each by the pair that shares the most frames. Every shared frame
    gives a transform between the two cameras; the one that explains the board in the other shared
    frames best is taken.

    Parameters
    ----------
    cameras
        With their lenses; all linked by shared frames.
    views
        Of all cameras.

    Returns
    -------
    tuple
        Cameras with their rotations and translations, and the pose of the board in the world, by
        frame.
    """
    boards: dict[int, dict[int, Transform]] = {camera: {} for camera in range(len(cameras))}
    seen = {(view.camera, view.frame): view for view in views}
    for (camera, frame), view in seen.items():
        placed = place_board(cameras[camera], view)
        if placed is not None:
            boards[camera][frame] = placed
    shared = count_shared(len(cameras), views)
    transforms = {0: Transform(np.eye(3), np.zeros(3))}
    while len(transforms) < len(cameras):
        links = [
            (int(shared[old, new]), -old, -new)
            for old in transforms
            for new in range(len(cameras))
            if new not in transforms
        ]
        _, old, new = max(links)
        relative = _relate(cameras[-new], -new, -old, boards, seen)
        transforms[-new] = relative.after(transforms[-old])
    placed_cameras = [
        Camera(one.name, one.size, one.matrix, one.distortion, one.model, *transforms[number])
        for number, one in enumerate(cameras)
    ]
    return placed_cameras, _place_boards(placed_cameras, transforms, boards, seen)


def _relate(
    camera: Camera,
    new: int,
    old: int,
    boards: dict[int, dict[int, Transform]],
    seen: dict[tuple[int, int], BoardView],
) -> Transform:
    frames = sorted(boards[new].keys() & boards[old].keys())
    if not frames:
        raise ValueError(f"camera {camera.name} shares no frame in which the board has a pose")
    some = [
        frames[index]
        for index in np.unique(np.linspace(0, len(frames) - 1, _MOST_VIEWS, dtype=int))
    ]
    best, least = None, np.inf
    for frame in some:
        relative = boards[new][frame].after(boards[old][frame].undo())
        errors = [
            min(_measure(camera, relative.after(boards[old][other]), seen[new, other]), 1e6)
            for other in some
        ]
        if np.median(errors) < least:
            best, least = relative, float(np.median(errors))
    if best is None:
        raise ValueError(f"camera {camera.name} could not be placed")
    return best


def _place_boards(
    cameras: Sequence[Camera],
    transforms: dict[int, Transform],
    boards: dict[int, dict[int, Transform]],
    seen: dict[tuple[int, int], BoardView],
) -> dict[int, Transform]:
    """Return the pose of each frame that explains the views of all its cameras best."""
    poses: dict[int, Transform] = {}
    for frame in sorted({frame for _, frame in seen}):
        watching = [camera for camera, other in seen if other == frame]
        least = np.inf
        for camera in watching:
            if frame not in boards[camera]:
                continue
            world = transforms[camera].undo().after(boards[camera][frame])
            errors = [
                _measure(cameras[one], transforms[one].after(world), seen[one, frame])
                for one in watching
            ]
            if sum(errors) < least:
                poses[frame], least = world, sum(errors)
    return poses
