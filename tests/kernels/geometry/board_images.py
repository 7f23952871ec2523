"""Render images of calibration boards with exact truth."""

import functools

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from pipeline_lib.core.cameras.boards import Board
from pipeline_lib.core.cameras.calibration import Camera
from pipeline_lib.kernels.geometry.boards import draw_board
from pipeline_lib.kernels.geometry.lenses import find_rays

CHESSBOARD = Board("chessboard", 8, 5, 30.0)
CHARUCO = Board("charuco", 8, 5, 30.0, 22.0, "4X4_50")
_TEXTURE = 48
_FINER = 2


@functools.cache
def find_pixel_rays(camera):
    """Return the rays of a finer image; they are the same for all images of a camera."""
    width, height = camera.size
    x, y = np.meshgrid(np.arange(width * _FINER), np.arange(height * _FINER))
    rays = find_rays(camera, (x + 0.5) / _FINER - 0.5, (y + 0.5) / _FINER - 0.5)
    return np.stack(rays, -1)


def render(camera, rotation, translation, board):
    """Return a gray image of a board whose pose is in the camera's axes."""
    texture = cv2.copyMakeBorder(
        draw_board(board, _TEXTURE), *[_TEXTURE] * 4, cv2.BORDER_CONSTANT, value=235
    )
    rays = find_pixel_rays(camera)
    with np.errstate(all="ignore"):
        reach = (rotation[:, 2] @ translation) / (rays @ rotation[:, 2])
        on_board = (rays * reach[..., None] - translation) @ rotation
        place = on_board[..., :2] / board.square * _TEXTURE - 0.5 + _TEXTURE
    place[~(reach > 0)] = -1e4
    place = np.nan_to_num(place, nan=-1e4).astype(np.float32)
    fine = cv2.remap(
        texture, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=120
    )
    return cv2.resize(fine, camera.size, interpolation=cv2.INTER_AREA)


def draw_poses(count, board, seed=0, distance=(450, 800), tilt=0.5):
    """Return poses of a board in front of a camera: tilted, turned, near and far."""
    stream = np.random.default_rng(seed)
    middle = np.array([board.columns, board.rows, 0]) * board.square / 2
    poses = []
    for _ in range(count):
        rotation = Rotation.from_euler(
            "xyz", [*stream.uniform(-tilt, tilt, 2), stream.uniform(-0.5, 0.5)]
        ).as_matrix()
        far = stream.uniform(*distance)
        aside = stream.uniform(-0.25, 0.25, 2) * far
        poses.append((rotation, np.array([*aside, far]) - rotation @ middle))
    return poses


@functools.cache
def make_pair(model="pinhole"):
    """Return two cameras that look at the same place from 200 mm apart."""
    focal, distortion = (520, [-0.2, 0.06, 0.001, -0.001, 0])
    if model == "fisheye":
        focal, distortion = 330, [0.03, -0.01, 0.002, 0]
    cameras = []
    for number, (x, turn) in enumerate(((0, 0.0), (200, -0.3))):
        matrix = np.array([[focal + 3 * number, 0, 322], [0, focal + 5, 236 + number], [0, 0, 1]])
        rotation = Rotation.from_euler("y", turn).as_matrix().T
        cameras.append(
            Camera(
                f"cam{number}",
                (640, 480),
                matrix,
                distortion,
                model,
                rotation,
                -rotation @ np.array([x, 0.0, 0.0]),
            )
        )
    return tuple(cameras)


def see_pose(camera, pose):
    """Return the pose in a camera's axes of a board in the world."""
    rotation, translation = pose
    return camera.rotation @ rotation, camera.rotation @ translation + camera.translation


def write_images(folder, cameras, poses, board, skip=()):
    """Write CAMERA_NN.png of each camera and pose; `skip` holds pairs (camera, pose)."""
    folder.mkdir(exist_ok=True)
    paths = []
    for number, camera in enumerate(cameras):
        for moment, pose in enumerate(poses):
            if (number, moment) in skip:
                continue
            path = folder / f"{camera.name}_{moment:02d}.png"
            cv2.imwrite(str(path), render(camera, *see_pose(camera, pose), board))
            paths.append(path)
    return paths
