"""Make sessions of moving animals with exact truth, for tests of triangulation."""

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.tables import FrameStatus, TrackStatus
from pipeline_lib.kernels.geometry.projection import project
from pipeline_lib.steps.triangulate.views import View
from tests.kernels.geometry.rigs import make_ring

BODYPARTS = ("nose", "neck", "back", "tail", "left", "right")
EDGES = (("nose", "neck"), ("neck", "back"), ("back", "tail"), ("neck", "left"), ("neck", "right"))
# Of an animal that looks along x, in mm.
SHAPE = np.array([[60, 0, 5], [30, 0, 12], [-10, 0, 18], [-70, 0, 2], [25, 18, 0], [25, -18, 0]])


def move_animals(moments, animals, seed=0, extent=160.0):
    """Return points (moment, animal, keypoint, 3) of rigid animals that walk about."""
    stream = np.random.default_rng(seed)
    walk = gaussian_filter1d(stream.normal(0, 1, (moments + 200, animals, 3)), 25, axis=0)[100:-100]
    walk = walk / walk.std() * [extent * 0.6, extent * 0.6, 6]
    step = np.gradient(walk, axis=0)
    heading = gaussian_filter1d(
        np.unwrap(np.arctan2(step[..., 1], step[..., 0]), axis=0), 5, axis=0
    )
    cosine, sine, zero = np.cos(heading), np.sin(heading), np.zeros_like(heading)
    turn = np.stack(
        [
            np.stack([cosine, -sine, zero], -1),
            np.stack([sine, cosine, zero], -1),
            np.stack([zero, zero, zero + 1], -1),
        ],
        -2,
    )
    return walk[:, :, None] + np.einsum("taij,kj->taki", turn, SHAPE)


def see(points, cameras, noise=0.0, seed=0, fps=50.0):
    """Return one view per camera of points (moment, animal, keypoint, 3)."""
    stream = np.random.default_rng(seed)
    views = []
    for camera in cameras:
        pixels = project(camera, points) + stream.normal(0, noise, (*points.shape[:-1], 2))
        views.append(View(camera.name, make_poses(pixels, fps=fps)))
    return views


def make_poses(pixels, confidence=None, fps=50.0, names=None, video="v"):
    frames, animals, keypoints = pixels.shape[:3]
    if confidence is None:
        confidence = np.where(np.isfinite(pixels[..., 0]), 0.9, 0.0)
    if names is None:
        names = tuple(f"animal{n}" for n in range(animals))
    return Poses(
        pixels.astype(np.float32),
        confidence.astype(np.float32),
        np.full(frames, FrameStatus.DECODED, np.uint8),
        np.arange(frames) / fps,
        BODYPARTS[:keypoints],
        names,
        {"fps": fps, "video": video},
    )


def make_rig(count=4, lens="brown", seed=0):
    return Calibration(tuple(make_ring(count, lens, seed=seed)), "mm")


def circle_animals(moments, animals, seed=0):
    """Return points of animals that walk on circles of their own, and pass before each other."""
    stream = np.random.default_rng(seed)
    time = np.arange(moments)[:, None]
    speed = stream.uniform(0.012, 0.03, animals) * stream.choice([-1, 1], animals)
    angle = stream.uniform(0, 2 * np.pi, animals) + speed * time
    radius = 60 + 110 * np.arange(animals)
    centre = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * angle], -1)
    heading = angle + np.pi / 2 * np.sign(speed)
    cosine, sine = np.cos(heading)[..., None], np.sin(heading)[..., None]
    along, across, up = SHAPE.T
    turned = np.stack(
        [cosine * along - sine * across, sine * along + cosine * across, up + 0 * cosine], -1
    )
    return centre[:, :, None] + turned


def exchange(view, first, second, start, stop=None):
    """Return a view in which two slots are exchanged for some frames."""
    position, confidence = view.poses.position.copy(), view.poses.confidence.copy()
    status = None if view.poses.track_status is None else view.poses.track_status.copy()
    part = slice(start, stop)
    for one in (position, confidence, status):
        if one is not None:
            one[part, [first, second]] = one[part, [second, first]]
    return replace(
        view,
        poses=replace(view.poses, position=position, confidence=confidence, track_status=status),
    )


def track(view):
    """Return a view whose slots follow animals, as a tracker says."""
    shape = view.poses.position.shape[:2]
    return replace(
        view,
        poses=replace(view.poses, track_status=np.full(shape, TrackStatus.FOLLOWED, np.uint8)),
    )
