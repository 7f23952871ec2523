"""Build the calibrated cameras of a demo in three dimensions, and hold boards in front of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.boards import Board
from pipeline_lib.demo.render.boards import BoardPose
from pipeline_lib.demo.render.camera import aim_camera
from pipeline_lib.demo.render.lens import Lens, add_lens

# The board that is filmed, sides in mm.
BOARD = Board("charuco", 6, 5, 40.0, 30.0, "4X4_50")
# Distance of cameras from the middle of the arena, mm; near, so that perspective is strong.
_DISTANCE, _ABOVE = 760.0, 720.0
_ELEVATION = 50.0
# Range of the distance between a board and the camera it is shown to, as a share of that from the
# camera to the arena: near and far.
_NEAR, _FAR = 0.5, 0.95
_TILT = np.deg2rad(45.0)


def build_rig(
    seed: Sequence[int], cameras: int, size: tuple[int, int], halves: tuple[float, float]
) -> tuple[Lens, ...]:
    """Place cameras with lenses around an arena; all recordings are made with them.

    Parameters
    ----------
    seed
        Seed of all random numbers.
    cameras
        Number of cameras: the first above the arena, the others around it.
    size
        Width and height of the images in px.
    halves
        Half the width and half the depth of the arena in mm.
    """
    rng = np.random.default_rng(list(seed))
    corners = np.array([[x, y, 0.0] for x in (-1, 1) for y in (-1, 1)])
    corners[:, :2] *= np.array(halves) + 12.0
    lenses = []
    for number in range(cameras):
        sway = rng.uniform(-1.0, 1.0, 4)
        if number == 0:
            place = (30.0 * sway[0], 30.0 * sway[1], _ABOVE + 30.0 * sway[2])
            pinhole = aim_camera(place, (0.0, 0.0, 0.0), corners, size, roll=0.05 * sway[3])
        else:
            around = (number - 1) * 2 * np.pi / max(cameras - 1, 1) + 0.2 * sway[0]
            elevation = np.deg2rad(_ELEVATION + 5.0 * sway[1])
            distance = _DISTANCE + 40.0 * sway[2]
            flat = distance * np.cos(elevation)
            place = (
                float(flat * np.cos(around)),
                float(flat * np.sin(around)),
                float(distance * np.sin(elevation)),
            )
            pinhole = aim_camera(place, (0.0, 0.0, 10.0), corners, size, roll=0.05 * sway[3])
        lenses.append(add_lens(rng, pinhole, f"camera-{number}"))
    return tuple(lenses)


def hold_boards(rng: np.random.Generator, lenses: Sequence[Lens], count: int) -> list[BoardPose]:
    """Hold a board before the cameras: near, far, tilted, in all parts of their images.

    Each moment is for one camera, in turn; the board is turned towards it and a second one, so
    that others often see it, too.
    """
    middle = np.array([BOARD.columns, BOARD.rows, 0.0]) * BOARD.square / 2
    poses = []
    for moment in range(count):
        lens = lenses[moment % len(lenses)]
        camera = lens.camera
        other = lenses[int(rng.integers(len(lenses)))].camera
        # A cell of the image after the other, each at a random place in it.
        turn = moment // len(lenses)
        cell = np.array([turn % 3, turn // 3 % 3])
        share = (cell + rng.uniform(0.15, 0.85, 2)) / 3
        ray = lens.view.cast_rays(
            *(share * 0.64 + 0.18) * np.array([lens.view.width, lens.view.height])
        )
        reach = np.linalg.norm(camera.centre)
        depth = reach * (_NEAR + (_FAR - _NEAR) * float(rng.uniform()))
        centre = camera.centre + ray * depth
        towards = _unit(camera.centre - centre)
        if other is not camera:
            towards = _unit(towards + 0.7 * _unit(other.centre - centre))
        rotation = _face(rng, towards)
        poses.append(BoardPose(rotation, centre - rotation @ middle))
    return poses


def _face(rng: np.random.Generator, towards: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the axes of a board whose printed side faces a direction, roughly."""
    aside = _unit(np.cross(towards, _unit(rng.standard_normal(3))))
    angle = rng.uniform(0.1, 1.0) * _TILT
    normal = -(np.cos(angle) * towards + np.sin(angle) * aside)
    across = _unit(np.cross(normal, rng.standard_normal(3)))
    return np.stack([across, np.cross(normal, across), normal], axis=1)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = vector / np.linalg.norm(vector)
    return scaled
